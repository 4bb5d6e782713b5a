"""The scale of maps: normalised before the loss, and what the loss owes to it."""

import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from interp_cnn.arguments import as_number
from interp_cnn.losses.batch import as_used, global_sum, images_used, number_of_images, without
from interp_cnn.templates import as_maps, check_not_negative, is_traced

# Largest sharpness whose scores, at most half as large, exp may take as they are in float32.
LARGEST_SHARPNESS = 120.0

# Least r + mean r that maps are divided by, in units of the activations. The weakest filters of
# trained networks have some 5e-4; those that fall below this one are dead but for rounding.
SMALLEST_SCALE = 1e-5


class Scale(NamedTuple):
    """How `normalize_scale` scales maps: to `factor * x / top`."""

    top: jax.Array  # a filter's largest value, whose square may be no float32, [1, filters]
    size: jax.Array  # r of the maps over top, [batch, filters]
    factor: jax.Array  # sharpness / max(r + mean r, floor), of sizes over top, [batch, filters]
    free: jax.Array  # whether r + mean r is above the floor, bool [batch, filters]
    images: ArrayLike  # that the mean is over, a number, [1, 1] or [1, filters]
    sharpness: float


def check_sharpness(sharpness: float) -> float:
    """A sharpness as a number of Python; a ValueError for a traced one, or one not above 0."""
    if is_traced(sharpness):
        raise ValueError(
            "sharpness must be a number, got a traced one; give it as a constant of the compiled"
            " function (static_argnames of jax.jit)"
        )
    if not 0 < as_number("sharpness", sharpness) < math.inf:
        raise ValueError(f"sharpness must be a finite number above 0, got {sharpness}")
    return float(sharpness)


def scale_of(
    x: jax.Array, used: jax.Array | None, sharpness: float, axis_name: str | None
) -> Scale:
    """Of float32 maps x, zero where images are left out."""
    images = number_of_images(x, axis_name) if used is None else images_used(used, axis_name)
    top = jax.lax.stop_gradient(jnp.abs(x).max(axis=(0, 1, 2)))
    if axis_name is not None:
        top = jax.lax.pmax(top, axis_name)
    top = jnp.where(top > 0, top, 1.0)[None]
    mean_square = jnp.square(x / top[:, None, None, :]).mean(axis=(1, 2))  # [batch, filters]
    fires = mean_square > 0
    size = jnp.where(fires, jnp.sqrt(jnp.where(fires, mean_square, 1.0)), 0.0)
    both = size + global_sum(size.sum(axis=0, keepdims=True), axis_name) / images
    floor = SMALLEST_SCALE / top
    return Scale(top, size, sharpness / jnp.maximum(both, floor), both > floor, images, sharpness)


def slope_of_scale(
    x: jax.Array, by_score: jax.Array, scale: Scale, axis_name: str | None
) -> jax.Array:
    """Derivative through the sizes of the maps, r and mean r, of the shape of x.

    Args:
      x: float32 maps, zero where images are left out.
      by_score: `sum_T S[T, x] dLoss/dS[T, x]`, [batch, filters].
      scale: what `scale_of` returns for the maps.
      axis_name: mapped axis over the devices.
    """
    # dLoss/d(r + mean r); the floor is a constant.
    by_sum = jnp.where(scale.free, -by_score * scale.factor / scale.sharpness, 0.0)
    by_mean = global_sum(by_sum.sum(axis=0, keepdims=True), axis_name) / scale.images
    fires = scale.size > 0
    # dr/dx = x / (positions * r)
    positions = x.shape[1] * x.shape[2]
    factor = (by_sum + by_mean) / (positions * jnp.where(fires, scale.size, 1.0))
    factor = jnp.where(fires, factor, 0.0) / scale.top
    return factor[:, None, None, :] * (x / scale.top[:, None, None, :])


def normalize_scale(
    x: ArrayLike,
    *,
    sharpness: float = 60.0,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Maps whose scale does not matter: `sharpness * x / max(r + mean r, 1e-5)`.

    `r` is the root mean square of a map over its positions, `mean r` that of the filter over the
    batch. MI grows with the activations, so the plain loss rewards a filter for growing until it
    explodes, on all images or on a single one. That of `normalize_scale(x)` does not: scaling a
    filter changes nothing, so the gradient is orthogonal to the filter's maps, and an image that
    fires much more than the others gains no more than a factor of two. What is left to win is the
    shape and the position of the blob.

    The gradient by x grows as 1 / scale, so there is a floor: maps of a filter that hardly fires,
    with `r + mean r` below 1e-5, are divided by that. Filters in training are far above it, and
    a filter that is nearly dead cannot be thrown about.

    `filter_loss(x, sharpness=...)` does the same without making the scaled maps.

    Args:
      x: feature maps after ReLU, see `template_mask`.
      sharpness: twice the root mean square of a typical map of the result, a finite number above 0.
        The larger, the closer a map need come to one blob at one position to be told from others.
      where: see `filter_loss`.
      axis_name: see `filter_loss`; give both functions the same one. That it is missing here
        cannot be seen: `mean r` is then that of each device's images, and the result another.

    Returns:
      float32 of the shape of x; zero for a filter that never fires and for images left out.

    Raises:
      ValueError: for an x that is no batch of maps, a where of another shape, a sharpness that is
        not above 0.

    >>> x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)  # r = 1 and 3, mean r = 2
    >>> [round(value, 4) for value in normalize_scale(x, sharpness=6.0).ravel().tolist()]
    [2.0, 3.6]
    """
    x = as_maps(x)
    used = as_used(where, x)
    x = without(x.astype(jnp.float32), used)
    check_not_negative(x)
    scale = scale_of(x, used, check_sharpness(sharpness), axis_name)
    return x / scale.top[:, None, None, :] * scale.factor[:, None, None, :]


def scale_free(x: ArrayLike, **options: Any) -> jax.Array:
    """Former name of `normalize_scale`; it will be removed in the next release."""
    warnings.warn(
        "interp_cnn.scale_free is now interp_cnn.normalize_scale, with the same arguments",
        DeprecationWarning,
        stacklevel=2,
    )
    return normalize_scale(x, **options)
