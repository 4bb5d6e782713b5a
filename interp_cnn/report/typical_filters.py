"""Typical filters of networks side by side: those at the same places of the ranking of each."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp_cnn.evaluation.network_filters import LayerFilters, NetworkFilters
from interp_cnn.evaluation.sampled_images import evenly
from interp_cnn.metrics.followed_parts import FOLLOWS_BELOW
from interp_cnn.receptive_field import discs
from interp_cnn.report import pictures

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the tracking ratio; the lower, the better it follows
_INFORMATION = "mutual_information"
_BY_TRACKING = "tracking ratio (lower is better)"
_BY_INFORMATION = "mutual information (higher is better)"


class TypicalFilter(NamedTuple):
    """A filter at a quantile of the tracking ratio of its network.

    Attributes:
      network: that it belongs to.
      layer: of its maps.
      unit: its number.
      quantile: share of the filters that are better.
      ratio: its lowest tracking ratio, NaN where unknown.
      text: which part it follows and its tracking ratio, or its mutual information.
      photos: the same images for all filters, each with its region, uint8 [images, side, side, 3].
      by: the figure that the filters are ranked by, and which is better.
      category: of the filters that are ranked; "" where there is only one.
    """

    network: str
    layer: str
    unit: int
    quantile: float
    ratio: float
    text: str
    photos: NDArray[np.uint8]
    by: str = _BY_TRACKING
    category: str = ""


def best_landmark(layer: LayerFilters, unit: int) -> tuple[str, float]:
    """The landmark that a filter follows best and its tracking ratio; "" and NaN for none."""
    index, ratio = (values[unit] for values in layer.best_landmarks())
    return ("" if index < 0 else layer.landmarks[index].replace("_", " ")), float(ratio)


def ranked_by_information(layer: LayerFilters) -> bool:
    """Whether mutual information ranks the filters: where no part has a landmark."""
    return not len(layer.landmarks) and _INFORMATION in layer.terms


def information(layer: LayerFilters, unit: int) -> str:
    """The mutual information of a filter in words."""
    return f"mutual information {float(layer.terms[_INFORMATION][unit]):.2f} nats"


def follows(landmark: str, ratio: float) -> str:
    """Which part a filter follows, in words."""
    if not landmark:
        return "tracking ratio unknown"
    if ratio < FOLLOWS_BELOW:
        return f"follows the {landmark}, tracking ratio {ratio:.2f}"
    return f"follows no part, tracking ratio {ratio:.2f}"


def at_quantiles(values: NDArray[np.floating], quantiles: Sequence[float]) -> list[int]:
    """Places of the values at some quantiles; NaN are left out, unless there are only those."""
    order = np.argsort(values, kind="stable")  # NaN last
    count = int((~np.isnan(values)).sum()) or len(values)
    return [int(order[round(quantile * (count - 1))]) for quantile in quantiles]


def typical_filters(
    networks: Sequence[NetworkFilters],
    layer: str,
    *,
    quantiles: Sequence[float] = QUANTILES,
    images: int = 4,
) -> list[list[TypicalFilter]]:
    """Filters at fixed quantiles of the tracking ratio, of each network, on the same images.

    Without landmarks the mutual information ranks them, the highest first.

    With several categories they are all of one, that of which the networks have most filters, and
    so are the images. Where the networks have no category in common, each filter is shown on
    images of its own.

    Args:
      networks: that are compared.
      layer: of the filters.
      quantiles: which filters, 0 the best.
      images: at most so many objects of the category, evenly chosen from the sample.

    Returns:
      For each quantile a filter of each network.
    """
    layers = [_layer(network, layer) for network in networks]
    category = _common_category(networks, layers)
    several = len({name for layer in layers for name in layer.categories}) > 1
    among = category.replace("_", " ") if several and category is not None else ""
    chosen = []
    for network, of in zip(networks, layers, strict=True):
        units = np.flatnonzero([category in (None, name) for name in of.categories])
        disc = layer_discs(of, network.sample.pictures.shape[1])
        best = _ranked_by(of)[units]
        chosen.append(
            [
                _typical(network, of, int(units[place]), quantile, images, disc, among)
                for quantile, place in zip(quantiles, at_quantiles(best, quantiles), strict=True)
            ]
        )
    return [list(pair) for pair in zip(*chosen, strict=True)]


def _layer(network: NetworkFilters, name: str) -> LayerFilters:
    return next(layer for layer in network.layers if layer.name == name)


def _common_category(
    networks: Sequence[NetworkFilters], layers: Sequence[LayerFilters]
) -> str | None:
    """The category of which the layers have most filters, counted where there are fewest.

    Of categories that are in the sample, and of filters that can be ranked, if there are any: the
    others have no figures.
    """
    shown = {name for network in networks for name in network.sample.categories}
    names = dict.fromkeys(name for layer in layers for name in layer.categories if name in shown)

    def filters(layer: LayerFilters, name: str) -> tuple[int, int]:
        of = np.array([category == name for category in layer.categories])
        return int((of & ~np.isnan(_ranked_by(layer))).sum()), int(of.sum())

    counts = {name: min(filters(layer, name) for layer in layers) for name in names}
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best][1] else None


def _ranked_by(layer: LayerFilters) -> NDArray[np.floating]:
    """What the filters of a layer are ranked by, the best lowest; NaN where unknown."""
    if ranked_by_information(layer):
        return -np.asarray(layer.terms[_INFORMATION], np.float64)
    return np.asarray(layer.best_landmarks()[1], np.float64)


def _typical(
    network: NetworkFilters,
    layer: LayerFilters,
    unit: int,
    quantile: float,
    images: int,
    disc: NDArray[np.bool_],
    category: str,
) -> TypicalFilter:
    landmark, ratio = best_landmark(layer, unit)
    by, text = _BY_TRACKING, follows(landmark, ratio)
    if ranked_by_information(layer):
        by, text = _BY_INFORMATION, information(layer, unit)
    places = objects_of(network, layer, unit)
    places = places[evenly(len(places), images)] if len(places) else places
    return TypicalFilter(
        network=network.network,
        layer=layer.name,
        unit=unit,
        quantile=quantile,
        ratio=ratio,
        by=by,
        text=text,
        photos=sampled_photos(network, layer, unit, places, disc),
        category=category,
    )


def objects_of(network: NetworkFilters, layer: LayerFilters, unit: int) -> NDArray[np.int64]:
    """Places in the sample of the objects of a filter's category."""
    return np.flatnonzero([name == layer.categories[unit] for name in network.sample.categories])


def sampled_photos(
    network: NetworkFilters,
    layer: LayerFilters,
    unit: int,
    places: NDArray[np.int64],
    disc: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Sampled images with a filter's region, uint8 [images, side, side, 3]."""
    photos = network.sample.pictures[places]
    if not len(places):
        return photos
    maps = layer.sampled.maps[places, :, :, unit]
    return pictures.region_over_image(photos, pictures.regions(maps, layer.thresholds[unit], disc))


def layer_discs(layer: LayerFilters, side: int) -> NDArray[np.bool_]:
    """The disc of each position of a layer's maps in a picture of this side."""
    scale = side / layer.image_size
    return discs(
        np.asarray(layer.centers_y) * scale,
        np.asarray(layer.centers_x) * scale,
        layer.radius * scale,
        (side, side),
    ).reshape(-1, side, side)
