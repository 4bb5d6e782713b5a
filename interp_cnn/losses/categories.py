"""The category of a filter: that on whose images it is most active (section 3.2)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from interp_cnn.arguments import as_count
from interp_cnn.losses.batch import as_used, global_sum, without
from interp_cnn.templates import as_maps, check_not_negative, is_traced

Rule = Literal["sum", "max"]


class FilterActivity(NamedTuple):
    """Sums over images, for each category.

    Attributes:
      total: activity of the filters, float32 [categories, filters].
      images: number of images, float32 [categories].
    """

    total: jax.Array
    images: jax.Array


def activity_of(
    x: jax.Array,
    labels: jax.Array,
    *,
    num_categories: int,
    rule: Rule = "sum",
    used: jax.Array | None = None,
    axis_name: str | None = None,
) -> FilterActivity:
    """Activity of the filters on the images of each category, summed over the devices.

    Args:
      x: feature maps, [batch, height, width, filters].
      labels: category of each image, int [batch]; images with another number do not count.
      num_categories: number of categories.
      rule: `"sum"`: the activity of a map is `sum_ij x_ij`; `"max"`: its peak.
      used: which images count, bool [batch, 1]; None for all.
      axis_name: mapped axis over the devices.
    """
    maps = without(x.astype(jnp.float32), used)
    each = maps.sum(axis=(1, 2)) if rule == "sum" else maps.max(axis=(1, 2))
    members = jax.nn.one_hot(labels, num_categories, dtype=jnp.float32)
    if used is not None:
        members = members * used
    total = (members[:, :, None] * each[:, None, :]).sum(axis=0)  # exact also on a TPU
    return global_sum(FilterActivity(total, members.sum(axis=0)), axis_name)


def categories_of(activity: FilterActivity) -> jax.Array:
    """`c_hat = argmax_c` of the mean activity, int32 [filters]; never one without an image."""
    images = activity.images[:, None]
    # Running sums may hold less than one image.
    mean = jnp.where(images > 0, activity.total / jnp.maximum(images, 1e-6), -jnp.inf)
    return mean.argmax(axis=0).astype(jnp.int32)


def filter_categories(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    num_categories: int,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Category of each filter, `c_hat = argmax_c mean_{x of c} sum_ij x_ij` (section 3.2).

    Args:
      x: feature maps after ReLU, see `template_mask`.
      labels: category of each image, int [batch] in [0, num_categories).
      num_categories: number of categories. One without an image is never chosen.
      where: bool [batch], False for images to leave out, such as padding or "other" images.
      axis_name: see `filter_loss`.

    Returns:
      int32 [filters].

    Raises:
      ValueError: for an x that is no batch of maps, labels or a where of another shape, labels
        that are not int or out of range.

    >>> x = jnp.zeros((2, 3, 3, 1)).at[1, 0, 0, 0].set(5.0)  # it fires on the second image alone
    >>> filter_categories(x, jnp.array([0, 1]), num_categories=2).tolist()
    [1]
    """
    x = as_maps(x)
    labels = jnp.asarray(labels)
    if labels.shape != x.shape[:1]:
        raise ValueError(
            f"labels must have the shape [batch] = [{x.shape[0]}], got {tuple(labels.shape)}"
        )
    num_categories = as_count(
        "num_categories", num_categories, 1, "give a whole number of at least 1"
    )
    if labels.dtype.kind not in "iu":
        raise ValueError(f"labels is {labels.dtype}; give the index of each image's category, int.")
    used = as_used(where, x[..., :1])
    if not is_traced((labels, used)) and labels.is_fully_addressable:
        counted = np.asarray(labels) if used is None else np.asarray(labels)[np.asarray(used)[:, 0]]
        if counted.size and not 0 <= counted.min() <= counted.max() < num_categories:
            raise ValueError(
                f"labels lie in {counted.min()}..{counted.max()}; give indices from 0 to"
                f" {num_categories - 1}, and where=False for images of none."
            )
    check_not_negative(without(x, used))
    return categories_of(
        activity_of(x, labels, num_categories=num_categories, used=used, axis_name=axis_name)
    )
