"""From what was measured of a layer to the figures of each of its filters, row by row."""

import numpy as np
from numpy.typing import NDArray

from interp_cnn import metrics
from interp_cnn.attribution import part_of_filters
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.filter_files import FilterFigures
from interp_cnn.evaluation.measuring import MeasuredLayer, fired_shares
from interp_cnn.evaluation.results import known
from interp_cnn.metrics.best import best_of_filters


def filter_rows(layer: MeasuredLayer, data: Data) -> list[FilterFigures]:
    """The figures of each filter of a layer.

    Args:
      layer: what was measured.
      data: it was measured on, for the names of categories, parts and landmarks.
    """
    shares = layer.at_radius(layer.parts.shares)
    stands_for = part_of_filters(shares, layer.tracking)
    names = data.parts or data.landmarks
    landmark, ratio = best_of_filters(layer.tracking, largest=False)
    peaks, where = layer.gathered.peaks, layer.members
    figures: dict[str, NDArray] = {
        "location_instability": layer.instability,
        "tracking_ratio": ratio,
        "part_interpretability": best_of_filters(shares, largest=True)[1],
        "part_interpretability_fired": best_of_filters(
            layer.at_radius(layer.parts.shares_fired), largest=True
        )[1],
        "fired_share": layer.parts.fired if data.parts else fired_shares(layer),
        "mutual_information": layer.gathered.terms["mutual_information"],
    }
    if layer.related is not None:
        figures |= {
            "purity": layer.related.purity,
            "inconsistency": layer.related.inconsistency,
            "category_information": layer.related.category_information,
        }
    dead = metrics.dead_filters(peaks, where=where)
    collapsed = metrics.collapsed_filters(
        layer.gathered.positions, peaks, image_size=layer.image_size, top=layer.top, where=where
    )
    return [
        FilterFigures(
            layer=layer.name,
            filter=unit,
            category=data.categories[layer.categories[unit]],
            part=_name(names, stands_for[unit]),
            landmark=_name(data.landmarks, landmark[unit]),
            **{name: known(np.float64(values[unit])) for name, values in figures.items()},
            dead=bool(dead[unit]),
            collapsed=bool(collapsed[unit]),
        )
        for unit in range(len(layer.categories))
    ]


def _name(names: tuple[str, ...], index: int) -> str:
    """The name at an index, "" for -1."""
    return names[index] if index >= 0 else ""
