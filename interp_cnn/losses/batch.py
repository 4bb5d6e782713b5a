"""A batch over devices: sums over all of it, and the images that are left out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from interp_cnn.arguments import as_where
from interp_cnn.templates import is_traced


def global_sum(values: Any, axis_name: str | None) -> Any:
    """The sum of each device's values."""
    return values if axis_name is None else jax.lax.psum(values, axis_name)


def number_of_images(x: jax.Array, axis_name: str | None) -> int:
    """Images of all devices, with those left out."""
    return len(x) if axis_name is None else len(x) * jax.lax.axis_size(axis_name)


def images_used(where: jax.Array, axis_name: str | None) -> jax.Array:
    """Number of images that count, at least 1, [1, 1] or [1, filters]."""
    number = global_sum(where.astype(jnp.float32).sum(axis=0, keepdims=True), axis_name)
    return jnp.maximum(number, 1.0)


def as_yes_or_no(name: str, values: ArrayLike) -> jax.Array:
    """Known values as bool; a ValueError for others than False and True, or 0 and 1."""
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return jnp.asarray(array)
    if not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"{name} must hold nothing but False and True, or 0 and 1, got"
            f" {np.unique(array)[:5].tolist()}; give a comparison such as"
            " labels[:, None] == category"
        )
    return jnp.asarray(array, bool)


def as_used(where: ArrayLike | None, x: jax.Array) -> jax.Array | None:
    """Which images of maps x count, [batch, 1] or [batch, filters]; None for all."""
    if where is None:
        return None
    used = jnp.asarray(where, bool) if is_traced(where) else as_yes_or_no("where", where)
    return as_where(used, x.shape[0], x.shape[-1])


def without(x: jax.Array, used: jax.Array | None) -> jax.Array:
    """Zero for images left out, whatever they hold (a product would keep their NaN)."""
    return x if used is None else jnp.where(used[:, None, None, :], x, 0.0)
