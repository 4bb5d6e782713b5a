"""Networks at full width: parameters, maps, time and memory of a step and a prediction.

    python benchmarks/networks.py [--networks alexnet,vgg_m,vgg_s,vgg16] [--batch 16] [--repeats 3]
        [--variants interpretable]

Each network has a process of its own, so that its peak memory is its own: that of the device, or,
on a CPU, of the process. Prints a Markdown table.
"""

import argparse
import datetime
import functools
import itertools
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from interp_cnn.config import INTERPRETABLE, is_interpretable
from interp_cnn.models import NEW_CONV, TOP_CONV, create_model
from interp_cnn.training.objective import Objective
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_state, init_variables
from interp_cnn.training.steps import predict_step, train_step

MEAN = (123.68, 116.779, 103.939)


def seconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Of the first call, which compiles, and the median of the next ones."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return times[0], statistics.median(times[1:])


def peak_gib() -> float:
    """Most memory so far, of the device if it counts, else of the process."""
    if counted := jax.local_devices()[0].memory_stats():
        return float(counted["peak_bytes_in_use"] / 2**30)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux: KiB


def measure(name: str, variant: str, batch_size: int, repeats: int) -> dict[str, Any]:
    network = create_model(name, interpretable=is_interpretable(variant))
    optimizer = make_optimizer(optax.constant_schedule(1e-5))
    state = init_state(init_variables(network, 0), optimizer, network)
    size = network.input_size
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), np.uint8),
        "label": np.arange(batch_size, dtype=np.int32) % 2,
    }
    step = jax.jit(
        functools.partial(
            train_step,
            network=network,
            optimizer=optimizer,
            objective=Objective(),
            mean=MEAN,
            seed=0,
        )
    )
    predict = jax.jit(functools.partial(predict_step, network=network, mean=MEAN))
    compiled, trained = seconds(lambda: step(state, batch), repeats)
    _, predicted = seconds(lambda: predict(state.variables, {"image": batch["image"]}), repeats)
    maps = predict(state.variables, {"image": batch["image"]})["maps"]
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "maps": [" x ".join(map(str, maps[layer].shape[1:])) for layer in (TOP_CONV, NEW_CONV)],
        "compiled": compiled,
        "step": trained,
        "prediction": predicted,
        "gib": peak_gib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="alexnet,vgg_m,vgg_s,vgg16")
    parser.add_argument("--variants", default=INTERPRETABLE)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="one network, in this process")
    options = parser.parse_args()
    if options.alone:
        found = measure(options.networks, options.variants, options.batch, options.repeats)
        print(json.dumps(found))
        return
    print(
        f"{datetime.date.today()}, {platform.machine()}, {jax.devices()[0].device_kind},"
        f" jax {jax.__version__}, batch {options.batch}, float32\n"
    )
    print(
        "| network | variant | parameters, millions | top conv | new conv | first step, s | step, s"
        " | prediction, s | peak memory, GiB |\n|---|---|---|---|---|---|---|---|---|"
    )
    asked = itertools.product(options.networks.split(","), options.variants.split(","))
    for name, variant in asked:
        arguments = [f"--networks={name}", f"--variants={variant}", f"--batch={options.batch}"]
        command = [sys.executable, __file__, "--alone", f"--repeats={options.repeats}", *arguments]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        cells = [
            name,
            variant,
            f"{found['parameters'] / 1e6:.1f}",
            *found["maps"],
            f"{found['compiled']:.1f}",
            *(f"{found[key]:.3f}" for key in ("step", "prediction")),
            f"{found['gib']:.2f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
