"""Convolution and max pooling whose gradients XLA computes slowly on CPUs.

Values and gradients are those of `jax.lax` to rounding; on accelerators nothing is changed.
`benchmarks/step_parts.py` prints what they save.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
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


def max_pool(
    x: jax.Array, *, kernel: int, stride: int, pad: int = 0, pad_end: int = 0
) -> jax.Array:
    """Maximum over square windows.

    On CPUs the gradient of windows that neither overlap nor leave a rest is found by comparing
    values with the maximum, without a search. Equal maxima share it then; XLA gives it to the first
    of them.

    Args:
      x: [batch, height, width, channels].
      kernel: side of a window.
      stride: rows and columns from one window to the next.
      pad: rows and columns of padding on all sides.
      pad_end: those at the bottom and the right alone.

    Returns:
      [batch, height, width, channels].
    """
    rest = x.shape[1] % kernel or x.shape[2] % kernel
    if kernel == stride and not (pad or pad_end or rest):
        return _pool_tiles(x, kernel)
    return _pool_by_xla(x, kernel=kernel, stride=stride, pad=pad, pad_end=pad_end)


def _pool_by_xla(
    x: jax.Array, *, kernel: int, stride: int, pad: int = 0, pad_end: int = 0
) -> jax.Array:
    padding = [(pad, pad + pad_end)] * 2
    return nn.max_pool(x, (kernel,) * 2, strides=(stride,) * 2, padding=padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool_tiles(x: jax.Array, side: int) -> jax.Array:
    return _pool_by_xla(x, kernel=side, stride=side)


def _pool_tiles_forward(x: jax.Array, side: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    top = _pool_by_xla(x, kernel=side, stride=side)
    return top, (x, top)


def _pool_tiles_backward(
    side: int, saved: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array]:
    def by_xla(x: jax.Array, top: jax.Array, slope: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: _pool_by_xla(x, kernel=side, stride=side), x)[1](slope)[0]

    def by_comparison(x: jax.Array, top: jax.Array, slope: jax.Array) -> jax.Array:
        batch, height, width, channels = top.shape
        tiles = x.reshape(batch, height, side, width, side, channels)
        largest = tiles == top[:, :, None, :, None]
        number = largest.sum(axis=(2, 4), keepdims=True, dtype=slope.dtype)
        return jnp.where(largest, slope[:, :, None, :, None] / number, 0).reshape(x.shape)

    return (jax.lax.platform_dependent(*saved, slope, cpu=by_comparison, default=by_xla),)


_pool_tiles.defvjp(_pool_tiles_forward, _pool_tiles_backward)
