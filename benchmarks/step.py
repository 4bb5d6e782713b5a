"""Interpretable training step over the ordinary one: same network, batch and machine, in one run.

Usage: python benchmarks/step.py [--networks vgg16,alexnet] [--batch 8] [--repeats 5]
"""

import argparse
import datetime
import platform
import statistics
import time

import jax
import numpy as np
import optax

from interp_cnn.models import create_model
from interp_cnn.training.objective import Objective
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_state, init_variables
from interp_cnn.training.steps import train_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="vgg16,alexnet")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{datetime.date.today()}, {platform.machine()}, {jax.devices()[0].device_kind},"
        f" jax {jax.__version__}, batch {options.batch}, float32"
    )
    random = np.random.default_rng(0)
    for name in options.networks.split(","):
        size = create_model(name).input_size
        batch = {
            "image": random.integers(0, 256, (options.batch, size, size, 3), np.uint8),
            "label": np.arange(options.batch, dtype=np.int32) % 2,
        }
        optimizer = make_optimizer(optax.constant_schedule(1e-3))
        steps = {}
        for variant in (False, True):
            network = create_model(name, interpretable=variant)

            def step(state, batch, network=network, optimizer=optimizer):
                return train_step(
                    state,
                    batch,
                    network=network,
                    optimizer=optimizer,
                    objective=Objective(),
                    mean=(128.0, 128.0, 128.0),
                    seed=0,
                )

            steps[variant] = jax.jit(step)
        state = init_state(init_variables(create_model(name), 0), optimizer, create_model(name))
        times: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(options.repeats + 1):
            for variant, function in steps.items():
                start = time.perf_counter()
                jax.block_until_ready(function(state, batch))
                if repeat:  # the first call compiles
                    times[variant].append(time.perf_counter() - start)
        ordinary, ours = (statistics.median(times[variant]) for variant in (False, True))
        ratios = [b / a for a, b in zip(times[False], times[True], strict=True)]
        print(
            f"{name}: ordinary {ordinary:.3f} s, interpretable {ours:.3f} s,"
            f" ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
