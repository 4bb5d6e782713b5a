"""Convolution with the gradient by a large kernel that XLA computes slowly on CPUs.

Values and gradients are those of `jax.lax` to rounding; on accelerators nothing is changed.
`benchmarks/step_parts.py` prints what they save.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Channels times features from which one matrix product a position is faster than XLA's gradient.
_LARGE_PRODUCT = 256 * 256


def convolution(
    x: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` for the attribute of this name of `flax.linen.Conv`.

    On CPUs the gradient by a large kernel is one matrix product for each of its positions. Grouped
    and dilated convolutions are left to XLA.

    Args:
      x: [batch, height, width, channels].
      kernel: [height, width, channels, features].
      window_strides: rows and columns from one window to the next.
      padding: numbers of zeros before and behind the rows, and the columns.
      **options: the other arguments of `jax.lax.conv_general_dilated`.

    Returns:
      [batch, height, width, features].
    """
    dilated = any(
        size != 1 for name in ("lhs_dilation", "rhs_dilation") for size in options[name] or ()
    )
    small = kernel.shape[2] * kernel.shape[3] < _LARGE_PRODUCT
    if small or dilated or options["feature_group_count"] > 1:
        return jax.lax.conv_general_dilated(x, kernel, window_strides, padding, **options)
    return _convolution(x, kernel, tuple(window_strides), tuple(padding))


def _by_xla(x, kernel, strides, padding):  # type: ignore[no-untyped-def]
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(x, kernel, strides, padding):  # type: ignore[no-untyped-def]
    return _by_xla(x, kernel, strides, padding)


def _forward(x, kernel, strides, padding):  # type: ignore[no-untyped-def]
    return _by_xla(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, saved, slope):  # type: ignore[no-untyped-def]
    x, kernel = saved

    def by_x(x: jax.Array) -> jax.Array:
        return _by_xla(x, kernel, strides, padding)

    def kernel_slope_by_xla(x: jax.Array, slope: jax.Array) -> jax.Array:
        def by_kernel(kernel: jax.Array) -> jax.Array:
            return _by_xla(x, kernel, strides, padding)

        return jax.vjp(by_kernel, kernel)[1](slope)[0]

    def kernel_slope_by_products(x: jax.Array, slope: jax.Array) -> jax.Array:
        rows, columns = kernel.shape[:2]
        height, width = slope.shape[1:3]
        padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))

        def product(row: int, column: int) -> jax.Array:
            seen = padded[
                :,
                row : row + strides[0] * (height - 1) + 1 : strides[0],
                column : column + strides[1] * (width - 1) + 1 : strides[1],
            ]
            return jnp.einsum(
                "bhwc,bhwf->cf", seen, slope, preferred_element_type=jnp.float32
            ).astype(kernel.dtype)

        products = [product(row, column) for row in range(rows) for column in range(columns)]
        return jnp.stack(products).reshape(kernel.shape)

    kernel_slope = jax.lax.platform_dependent(
        x, slope, cpu=kernel_slope_by_products, default=kernel_slope_by_xla
    )
    return jax.vjp(by_x, x)[1](slope)[0], kernel_slope


_convolution.defvjp(_forward, _backward)
