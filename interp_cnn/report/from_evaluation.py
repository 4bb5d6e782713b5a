"""From an evaluation to what the figure and the page show of its filters."""

from collections.abc import Sequence

import numpy as np

from interp_cnn.evaluation.explanations import ExplainedObject
from interp_cnn.evaluation.strongest_images import NetworkFilters
from interp_cnn.receptive_field import Disc, image_region
from interp_cnn.report.filters_picture import FilterRow
from interp_cnn.report.page import Contribution, ExplainedPrediction


def filter_rows(
    network: NetworkFilters, layer: str, *, filters: int = 3, images: int = 2
) -> list[FilterRow]:
    """Pictures of the filters that follow a part best, each on its strongest images.

    Args:
      network: filters of a network.
      layer: name of one of its layers.
      filters: number of filters.
      images: number of images of each, at most those of the gallery.
    """
    gallery, top = network.gallery, network.gallery.layers[layer]
    found = next(one for one in network.layers if one.name == layer)
    landmark, ratio = found.best_landmarks()
    chosen = np.argsort(ratio, kind="stable")[:filters]  # NaN last
    side = gallery.pictures.shape[1]
    scale = side / found.image_size
    rows = []
    for unit in chosen:
        follows = ""
        if landmark[unit] >= 0:
            follows = f", follows the {found.landmarks[landmark[unit]].replace('_', ' ')}"
        for index in range(images):
            picture, raw = top.image[unit, index], top.maps[unit, index]
            if picture < 0:
                continue
            row, column = np.unravel_index(raw.argmax(), raw.shape)
            center = np.array([found.centers_y[row], found.centers_x[column]]) * scale
            mask = None if found.masks is None else found.masks[unit, index]
            rows.append(
                FilterRow(
                    label=f"{network.network} {layer} {unit}{follows}",
                    image=gallery.pictures[picture],
                    raw_map=raw,
                    mask=mask,
                    masked_map=None if mask is None else np.maximum(raw * mask, 0.0),
                    region=image_region(Disc(found.radius * scale), [center], (side, side)),
                )
            )
    return rows


def explained_predictions(
    network: str, explained: Sequence[ExplainedObject], *, layer: str
) -> list[ExplainedPrediction]:
    """What the page shows of predictions that were explained.

    Args:
      network: what the network is called.
      explained: predictions of the network.
      layer: of the filters that are named.
    """
    return [
        ExplainedPrediction(
            found.sentence,
            caption,
            pixels,
            found.shares,
            [Contribution(network, layer, one.unit, one.part, one.value) for one in found.filters],
        )
        for caption, pixels, found in explained
    ]
