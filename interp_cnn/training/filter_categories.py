"""Which category each filter belongs to: a running statistic of its activity."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Rule = Literal["sum", "max"]

# Of what was counted so far, kept at each step: a memory of about a hundred batches.
DECAY = 0.99


class FilterActivity(NamedTuple):
    """Running sums over images, for each category.

    Attributes:
      total: activity of the filters, float32 [categories, filters].
      images: number of images, float32 [categories].
    """

    total: jax.Array
    images: jax.Array


def no_activity(categories: int, filters: int) -> FilterActivity:
    """The statistic before the first image."""
    return FilterActivity(jnp.zeros((categories, filters)), jnp.zeros(categories))


def update_activity(
    activity: FilterActivity,
    maps: jax.Array,
    labels: jax.Array,
    *,
    rule: Rule = "sum",
    decay: float = DECAY,
    axis_name: str | None = None,
) -> FilterActivity:
    """Let the old sums decay and add a batch.

    Args:
      activity: so far.
      maps: feature maps after ReLU, [batch, height, width, filters].
      labels: int [batch], 1, 2, ... for the categories; images with 0 do not count.
      rule: `"sum"`: the activity of a map is `sum_ij x_ij` (section 3.2); `"max"`: its peak, as in
        the authors' code.
      decay: factor of the old sums.
      axis_name: mapped axis over the devices, whose images are added up.

    Returns:
      The statistic, the same on all devices.
    """
    maps = jax.lax.stop_gradient(maps).astype(jnp.float32)
    each = maps.sum(axis=(1, 2)) if rule == "sum" else maps.max(axis=(1, 2))
    members = jax.nn.one_hot(labels - 1, activity.images.shape[0])
    exact = jax.lax.Precision.HIGHEST
    new = FilterActivity(
        jnp.einsum("bc,bf->cf", members, each, precision=exact), members.sum(axis=0)
    )
    if axis_name is not None:
        new = jax.lax.psum(new, axis_name)
    return jax.tree.map(lambda old, more: decay * old + more, activity, new)


def categories_of(activity: FilterActivity) -> jax.Array:
    """`c_hat = argmax_c` of the mean activity, int32 [filters], 0 for the label 1."""
    images = activity.images[:, None]
    mean = jnp.where(images > 0, activity.total / jnp.maximum(images, 1e-6), -jnp.inf)
    return mean.argmax(axis=0)
