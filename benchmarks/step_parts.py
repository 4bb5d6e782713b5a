"""What a training step of the photos' configuration is made of, each part compiled alone.

Usage: python benchmarks/step_parts.py [--config ilsvrc_animal_part] [--repeats 5]
"""

import argparse
import datetime
import functools
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from interp_cnn.configs import embedded, ilsvrc_animal_part
from interp_cnn.models import stages
from interp_cnn.training import build, steps
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_state, init_variables

CONFIGS = {"ilsvrc_animal_part": ilsvrc_animal_part, "embedded": embedded}


def seconds(repeats: int, *functions: Callable[[], Any]) -> list[float]:
    """Median seconds of functions that are called in turn, after a call each to compile."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(function())
            if repeat:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def gradients_by_xla() -> Any:
    """The networks with XLA's own gradients of convolutions."""
    return mock.patch.object(stages, "convolution", jax.lax.conv_general_dilated)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="ilsvrc_animal_part", choices=CONFIGS)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    config = CONFIGS[options.config].get_config()
    size, random = config.train.batch_size, np.random.default_rng(0)
    made = build.make_network(config, "interpretable")
    objective = build.make_objective(config, np.arange(size) % 2, categories=1, steps_per_epoch=10)
    optimizer = make_optimizer(
        optax.constant_schedule(1e-3),
        frozen=made.frozen_layers,
        momentum=config.train.momentum,
        weight_decay=config.train.weight_decay,
        clip_norm=config.train.clip_norm,
    )
    variables = init_variables(made, 0)
    params = variables["params"]
    state = init_state(variables, optimizer, made)
    side = made.input_size
    photos = jnp.asarray(random.normal(0, 50, (size, side, side, 3)), jnp.float32)
    labels = jnp.asarray(np.arange(size) % 2, jnp.int32)
    if made.frozen_layers:
        network_input = {
            "features": jax.jit(functools.partial(made.apply, method="frozen_features"))(
                variables, photos
            )
        }
    else:
        network_input = {"images": photos}
    batch = {"label": labels} | (
        network_input if made.frozen_layers else {"image": photos.astype(jnp.uint8)}
    )

    def forward(params: Any, given: Any) -> Any:
        return made.apply({"params": params}, **given)

    def task_gradient(params: Any, given: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            return objective.task_loss(forward(params, given)[0], labels)

        return jax.grad(loss)(params)

    maps = jax.jit(forward)(params, network_input)[1]
    members = jnp.broadcast_to(labels[:, None] == 1, (size, maps["new_conv"].shape[-1]))

    def filter_gradient(maps: Any) -> Any:
        def loss(maps: Any) -> jax.Array:
            return sum(
                objective.filter_loss(made, name, x, members, None).mean()
                for name, x in maps.items()
            )

        return jax.grad(loss)(maps)

    def update(gradient: Any, opt_state: Any, params: Any) -> Any:
        updates, after = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), after

    def step(state: Any, batch: Any) -> Any:
        return steps.train_step(
            state,
            batch,
            network=made,
            optimizer=optimizer,
            objective=objective,
            **build.normalisation(config),
            seed=0,
        )

    def by_xla(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        with gradients_by_xla():
            compiled = jax.jit(lambda *given: function(*given)).lower(*arguments).compile()
        return functools.partial(compiled, *arguments)

    def as_built(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        return functools.partial(jax.jit(function).lower(*arguments).compile(), *arguments)

    gradient = jax.jit(task_gradient)(params, network_input)
    names = (
        "whole step",
        "whole step, gradients by XLA",
        "forward pass",
        "gradient of the task's loss, with its forward pass",
        "the same, gradients by XLA",
        "gradient of the filter losses by the maps",
        "clipping, decay, momentum, update",
    )
    times = seconds(
        options.repeats,
        as_built(step, state, batch),
        by_xla(step, state, batch),
        as_built(forward, params, network_input),
        as_built(task_gradient, params, network_input),
        by_xla(task_gradient, params, network_input),
        as_built(filter_gradient, maps),
        as_built(update, gradient, state.opt_state, params),
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(
        f"{datetime.date.today()}, {platform.machine()}, {jax.devices()[0].device_kind},"
        f" jax {jax.__version__}; {config.model.name}, frozen through"
        f" {config.model.frozen_through}, batch {size}, {count / 1e6:.1f} million parameters"
    )
    for name, taken in zip(names, times, strict=True):
        print(f"{name:52s} {taken:7.3f} s  {taken / times[0]:5.2f} of the step")


if __name__ == "__main__":
    main()
