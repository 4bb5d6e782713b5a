"""The second pass over the objects: how often filters cover parts."""

import itertools
from collections.abc import Mapping, Sequence

import ml_collections
import numpy as np
from numpy.typing import NDArray

from interp_cnn import hosts, metrics
from interp_cnn.data.pipeline import Split
from interp_cnn.evaluation.gathering import GatheredLayer, Members, own_share
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.models import Network


def region_radius(config: ml_collections.ConfigDict, network: Network) -> float:
    """Radius of a unit's image region in pixels of the input: configured, or the default."""
    size = (network.input_size, network.input_size)
    return float(config.eval.radius or metrics.default_radius(size))


def part_shares(
    predict: Predictor,
    objects: Split,
    gathered: Mapping[str, GatheredLayer],
    members: Members,
    *,
    parts: int,
    radii: Sequence[float],
) -> dict[str, NDArray[np.float64]]:
    """Part interpretability P_{f,k} of each layer, over the part masks alone: no network runs.

    Args:
      predict: for its batches.
      objects: all of them.
      gathered: of each layer its valid positions.
      members: of each layer, which objects count for which filter.
      parts: number of parts; 0 where the data set has points alone.
      radii: of the regions, in pixels of the input.

    Returns:
      Of each layer [radii, filters, parts] in [0, 1], NaN where no object has the part.
    """
    network = predict.network
    filters = network.map_filters
    if not parts:
        return {name: np.full((len(radii), filters[name], 0), np.nan) for name in gathered}
    fields = network.receptive_fields()
    found = {
        name: metrics.PartShares(
            np.full(filters[name], 0.5),  # the maps are 1 above the threshold of their filter
            radii=radii,
            centers_y=fields[name].centers(layer.valid.map_size[0]),
            centers_x=fields[name].centers(layer.valid.map_size[1]),
        )
        for name, layer in gathered.items()
    }
    done, mine = own_share(objects)
    side = network.input_size
    none = {"masks": np.zeros((0, parts, side, side), bool), "weight": np.zeros(0)}
    for batch in itertools.chain([none], predict.batches(mine)):
        count = int(batch["weight"].sum())
        for name, layer in gathered.items():
            where = members[name][done : done + count]
            found[name].update(layer.valid.maps(done, count), batch["masks"][:count], where)
        done += count
    counts = hosts.total({name: shares.kept() for name, shares in found.items()})
    return {name: metrics.PartShares.of_counts(**counts[name]) for name in gathered}
