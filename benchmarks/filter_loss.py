"""Masks and filter loss against the 3 x 3 convolution they follow, value and gradient, in one run.

    python benchmarks/filter_loss.py [--batch 32] [--size 14] [--filters 512] [--repeats 10]

Repeats are interleaved, so that a busy moment of the machine hits all rows. Goal: masks and loss
together at most 0.11 of the convolution.
"""

import argparse
import datetime
import functools
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

import interp_cnn

CONVOLUTION = "3 x 3 convolution"


def convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


# Other ways to write Eq. 1, differentiated by JAX.


def templates_first(x: jax.Array) -> jax.Array:
    """Scores as [templates, batch, filters], the layout of the package."""
    _, height, width, _ = x.shape
    scores = interp_cnn.template_scores(x, interp_cnn.template_bank(height, width))
    log_prior = jnp.log(interp_cnn.template_prior(height, width))[:, None, None]
    conditional = jax.nn.log_softmax(scores, axis=1)
    marginal = logsumexp(conditional + log_prior, axis=0, keepdims=True)
    joint = jnp.exp(conditional + log_prior)
    return -(joint * (conditional - marginal)).sum(axis=(0, 1))


def batch_first(x: jax.Array) -> jax.Array:
    """Scores as [batch, templates, filters], which needs no transposition of x."""
    _, height, width, _ = x.shape
    bank = interp_cnn.template_bank(height, width)
    scores = jnp.einsum("bhwf,thw->btf", x, bank, precision="highest")
    log_prior = jnp.log(interp_cnn.template_prior(height, width))[None, :, None]
    conditional = jax.nn.log_softmax(scores, axis=0)
    marginal = logsumexp(conditional + log_prior, axis=1, keepdims=True)
    joint = jnp.exp(conditional + log_prior)
    return -(joint * (conditional - marginal)).sum(axis=(0, 1))


def value_and_gradient(function: Callable[..., Any], *, of: int = 1) -> Callable[..., Any]:
    """`(cotangent, *args) -> (value, gradients of the first `of` arguments)`, compiled."""

    def compute(cotangent: Any, *args: jax.Array) -> tuple[Any, Any]:
        value, pull = jax.vjp(lambda *first: function(*first, *args[of:]), *args[:of])
        return value, pull(cotangent)

    return jax.jit(compute)


def cases(batch: int, size: int, filters: int) -> dict[str, Callable[[], Any]]:
    """Name -> one call. Maps are like those of a trained network: sparse, with a few peaks."""
    rng = np.random.default_rng(0)
    shape = (batch, size, size, filters)
    x = jnp.asarray(np.maximum(rng.standard_normal(shape, np.float32) - 1, 0) * 20)
    above = jnp.asarray(rng.standard_normal(shape, np.float32))  # what comes from the next layer
    kernel = jnp.asarray(rng.standard_normal((3, 3, filters, filters), np.float32) * 0.01)
    target = jnp.asarray(np.tile(rng.random((batch, 1)) < 0.7, (1, filters)))
    weight = jnp.full((filters,), 1 / filters)

    def paper(x: jax.Array, target: jax.Array) -> jax.Array:
        return interp_cnn.filter_loss(x, gradient="paper", target=target)

    def exact(x: jax.Array) -> jax.Array:
        return interp_cnn.filter_loss(x, gradient="exact")

    def layer(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return interp_cnn.apply_template_mask(x), exact(x)

    def paper_layer(x: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        return interp_cnn.apply_template_mask(x), paper(x, target)

    def default_layer(x: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        loss = interp_cnn.filter_loss(x, sharpness=60.0, gradient="paper", target=target)
        return interp_cnn.apply_template_mask(x), loss

    def call(function: Callable[..., Any], *args: Any, of: int = 1) -> Callable[[], Any]:
        return functools.partial(value_and_gradient(function, of=of), *args)

    return {
        CONVOLUTION: call(convolution, above, x, kernel, of=2),
        "masks": call(interp_cnn.apply_template_mask, above, x),
        "filter loss, exact": call(exact, weight, x),
        "filter loss, paper": call(paper, weight, x, target),
        "masks and filter loss, exact": call(layer, (above, weight), x),
        "masks and filter loss, paper": call(paper_layer, (above, weight), x, target),
        "the same, scale normalised (the default)": call(default_layer, (above, weight), x, target),
        "autodiff, [templates, batch, filters]": call(templates_first, weight, x),
        "autodiff, [batch, templates, filters]": call(batch_first, weight, x),
    }


def check(calls: dict[str, Callable[[], Any]]) -> None:
    """All ways to write the exact loss must agree."""
    expected, (gradient,) = calls["filter loss, exact"]()
    for name, call in calls.items():
        if name.startswith("autodiff"):
            value, (other,) = call()
            np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-6, err_msg=name)
            scale = float(jnp.abs(gradient).max())
            np.testing.assert_allclose(other, gradient, rtol=0, atol=1e-3 * scale, err_msg=name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=14)
    parser.add_argument("--filters", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=10)
    flags = parser.parse_args()
    calls = cases(flags.batch, flags.size, flags.filters)
    for call in calls.values():  # compiles
        jax.block_until_ready(call())
    check(calls)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(flags.repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    device = jax.devices()[0]
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {device.platform}"
        f" ({device.device_kind}), jax {jax.__version__}\n"
        f"maps {flags.batch} x {flags.size} x {flags.size} x {flags.filters},"
        f" {flags.repeats} repeats, value and gradient\n"
    )
    print(f"{'':40s} {'median s':>9s} {'ratio':>7s} {'min s':>9s} {'ratio':>7s}")
    base = seconds[CONVOLUTION]
    for name, values in seconds.items():
        middle, least = np.median(values), min(values)
        print(
            f"{name:40s} {middle:9.4f} {middle / np.median(base):7.3f}"
            f" {least:9.4f} {least / min(base):7.3f}"
        )


if __name__ == "__main__":
    main()
