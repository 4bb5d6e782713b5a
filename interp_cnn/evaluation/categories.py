"""Which category each filter of a network belongs to."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from interp_cnn import hosts
from interp_cnn.data.pipeline import Split
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.losses.categories import FilterActivity, Rule, categories_of
from interp_cnn.training.filter_categories import update_activity
from interp_cnn.training.state import no_activities


def filter_categories(
    predict: Predictor,
    objects: Split,
    activity: Mapping[str, FilterActivity] | None,
    *,
    rule: Rule,
) -> dict[str, NDArray[np.integer]]:
    """Category of each filter, from training or else from the objects at hand.

    Args:
      predict: the network.
      objects: all of them.
      activity: of the filters in training; None where there was none.
      rule: of `config.filter_loss.category_rule`.

    Returns:
      Of each layer int [filters], 0 for the first category.
    """
    network = predict.network
    if network.num_outputs == 1:
        return {name: np.zeros(n, int) for name, n in network.map_filters.items()}
    if activity is None:
        activity = _measured_activity(predict, objects, rule=rule)
    # A checkpoint has the layers in the order of their names.
    return {name: np.asarray(categories_of(activity[name])) for name in network.map_filters}


def _measured_activity(
    predict: Predictor, objects: Split, *, rule: Rule
) -> Mapping[str, FilterActivity]:
    """Activity of the filters over all objects."""
    activity = no_activities(predict.network)
    mine = objects.take(np.arange(*hosts.share(len(objects))))
    for batch in predict.batches(mine):
        labels = jnp.where(batch["weight"] > 0, batch["label"], 0)
        activity = {
            name: update_activity(activity[name], x, labels, rule=rule, decay=1.0)
            for name, x in predict.padded(batch, "maps")["maps"].items()
        }
    total: Mapping[str, FilterActivity] = hosts.total(activity)
    return total
