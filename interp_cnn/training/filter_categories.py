"""Which category each filter belongs to: a running statistic of its activity."""

import jax
import jax.numpy as jnp

from interp_cnn.losses.categories import FilterActivity, Rule, activity_of

# Of what was counted so far, kept at each step: a memory of about a hundred batches.
DECAY = 0.99


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
      activity: the statistic so far.
      maps: feature maps after ReLU, [batch, height, width, filters].
      labels: int [batch], 1, 2, ... for the categories; images with 0 do not count.
      rule: `"sum"`: the activity of a map is `sum_ij x_ij` (section 3.2); `"max"`: its peak, as in
        the authors' code.
      decay: factor of the old sums.
      axis_name: mapped axis over the devices, whose images are added up.

    Returns:
      The statistic, the same on all devices.
    """
    new = activity_of(
        jax.lax.stop_gradient(maps),
        labels - 1,
        num_categories=activity.images.shape[0],
        rule=rule,
        axis_name=axis_name,
    )
    return jax.tree.map(lambda old, more: decay * old + more, activity, new)
