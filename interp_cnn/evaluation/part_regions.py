"""The second pass over the objects: how often filters cover parts."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from interp_cnn import hosts, metrics
from interp_cnn.data.pipeline import Split
from interp_cnn.evaluation.gathering import GatheredLayer, Members, part_masks
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.evaluation.results import Controls, mean_controls


@dataclasses.dataclass(frozen=True)
class PartFigures:
    """How often the filters of a layer cover parts.

    Attributes:
      shares: P_{f,k} over all objects that have the part, [radii, filters, parts].
      shares_fired: P_{f,k} over those of them on which the filter fires, alike.
      fired: share of the objects on which each filter fires, [filters].
      images: number of objects that have any of the parts.
    """

    shares: NDArray[np.floating]
    shares_fired: NDArray[np.floating]
    fired: NDArray[np.floating]
    images: int

    @staticmethod
    def of_none(radii: int, filters: int) -> "PartFigures":
        """Figures of a data set without part regions."""
        nothing = np.full((radii, filters, 0), np.nan)
        return PartFigures(nothing, nothing, np.full(filters, np.nan), images=0)


def measure_parts(
    predict: Predictor,
    objects: Split,
    gathered: Mapping[str, GatheredLayer],
    members: Members,
    *,
    parts: int,
    radii: Sequence[float],
    radius: float,
) -> tuple[dict[str, PartFigures], Controls | None]:
    """Part interpretability of each layer, over the part masks alone: no network runs.

    Args:
      predict: for its batches.
      objects: all of them.
      gathered: of each layer its valid positions.
      members: of each layer, which objects count for which filter.
      parts: number of parts; 0 where the data set has points alone.
      radii: of the regions, in pixels of the input.
      radius: of the regions of the controls.

    Returns:
      The figures of each layer, and what units that ignore the image score; None without parts.
    """
    if not parts:
        filters = predict.network.map_filters
        return {name: PartFigures.of_none(len(radii), filters[name]) for name in gathered}, None
    side = predict.network.input_size
    found = _shares(predict, gathered, radii)
    # Of each category, as filters are measured on the objects of their own.
    categories = np.unique(objects.labels)
    controls = [metrics.PartControlCounts((side, side), radius=radius) for _ in categories]
    annotated = np.zeros((), np.int64)
    for first, masks in part_masks(predict, objects, parts):
        images = slice(first, first + len(masks))
        for category, of in zip(categories, controls, strict=True):
            of.update(masks[objects.labels[images] == category])
        annotated += masks.any(axis=(1, 2, 3)).sum()
        for name, layer in gathered.items():
            maps = layer.valid.maps(first, len(masks))
            found[name].update(maps, masks, members[name][images])
    of_all = hosts.total({"annotated": annotated, "controls": [of.kept() for of in controls]})
    number = int(of_all["annotated"])
    ignoring = map(metrics.PartControlCounts.of_counts, of_all["controls"])
    counts = hosts.total({name: shares.kept() for name, shares in found.items()})
    return (
        {name: _figures(counts[name], number) for name in gathered},
        mean_controls(ignoring, number),
    )


def _shares(
    predict: Predictor, gathered: Mapping[str, GatheredLayer], radii: Sequence[float]
) -> dict[str, metrics.PartShares]:
    """What counts the images of each layer."""
    network = predict.network
    fields = network.receptive_fields()
    return {
        name: metrics.PartShares(
            # The maps are 1 above the threshold of their filter.
            np.full(network.map_filters[name], 0.5),
            radii=radii,
            centers_y=fields[name].centers(layer.valid.map_size[0]),
            centers_x=fields[name].centers(layer.valid.map_size[1]),
        )
        for name, layer in gathered.items()
    }


def _figures(counts: Mapping[str, NDArray[np.int64]], images: int) -> PartFigures:
    return PartFigures(
        shares=metrics.PartShares.of_counts(counts, "all"),
        shares_fired=metrics.PartShares.of_counts(counts, "fired"),
        fired=metrics.PartShares.fired_shares(counts),
        images=images,
    )
