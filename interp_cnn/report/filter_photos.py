"""The photos of a filter's page: the strongest, ordinary ones, failures, and other things."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp_cnn.evaluation.network_filters import LayerFilters, NetworkFilters
from interp_cnn.evaluation.strongest_images import TOP
from interp_cnn.report import pictures
from interp_cnn.report.typical_filters import best_landmark, objects_of, sampled_photos

# Photos of each group, in their order; of the strongest there are at most as many in the gallery.
ROOMS = (TOP, 4, 2, 2)
_MIDDLE, _FAR, _OTHERS = ROOMS[1:]


class PhotoGroup(NamedTuple):
    """Some photos of a filter under one heading.

    Attributes:
      title: the heading.
      text: which photos these are.
      photos: with the filter's region, uint8 [images, side, side, 3].
      room: for so many photos.
      captions: of each photo two lines, the photo's and the filter's.
    """

    title: str
    text: str
    photos: NDArray[np.uint8]
    room: int
    captions: Sequence[tuple[str, str]]


def photo_groups(
    network: NetworkFilters, layer: LayerFilters, unit: int, disc: NDArray[np.bool_]
) -> list[PhotoGroup]:
    """Photos of a filter, always four groups with the same rooms; a group may have no photos.

    Args:
      network: that the filter belongs to.
      layer: alike.
      unit: number of the filter.
      disc: see `layer_discs`, for pictures of the gallery's side.
    """
    sampled = objects_of(network, layer, unit)
    sampled = sampled[layer.sampled.peaks[sampled, unit] > 0]
    landmark, _ = best_landmark(layer, unit)
    category = layer.categories[unit].replace("_", " ")
    return [
        _strongest(network, layer, unit, disc),
        _of_sample(
            network,
            layer,
            unit,
            disc,
            _middle(layer.sampled.peaks[:, unit], sampled),
            title="From the middle of the ranking",
            text=f"of {len(sampled)} image{'s' * (len(sampled) > 1)} of {category} on which it is"
            " active, evenly chosen from the test images",
            room=_MIDDLE,
        ),
        _far(network, layer, unit, disc, sampled, landmark),
        _of_sample(
            network,
            layer,
            unit,
            disc,
            _others(network, layer, unit),
            title=f"Strongest without {category}",
            text="of other test images",
            room=_OTHERS,
        ),
    ]


def _strongest(
    network: NetworkFilters, layer: LayerFilters, unit: int, disc: NDArray[np.bool_]
) -> PhotoGroup:
    gallery = network.gallery
    top = gallery.layers[layer.name]
    there = top.image[unit] >= 0
    photos = gallery.pictures[top.image[unit][there]]
    if len(photos):
        region = pictures.regions(top.maps[unit][there], layer.thresholds[unit], disc)
        photos = pictures.region_over_image(photos, region)
    captions = [
        (network.captions[image], f"peak {peak:.3f}")
        for image, peak in zip(top.image[unit][there], top.peaks[unit][there], strict=True)
    ]
    text = f"of all measured images of {layer.categories[unit].replace('_', ' ')}, strongest first"
    return PhotoGroup("Strongest", text, photos, ROOMS[0], captions)


def _of_sample(
    network: NetworkFilters,
    layer: LayerFilters,
    unit: int,
    disc: NDArray[np.bool_],
    places: NDArray[np.int64],
    *,
    title: str,
    text: str,
    room: int,
    details: Sequence[str] | None = None,
) -> PhotoGroup:
    """Photos of the sample; without `details` their peaks stand below them."""
    peaks = layer.sampled.peaks[places, unit]
    lines = [f"peak {peak:.3f}" for peak in peaks] if details is None else details
    captions = [(network.sample.captions[i], of) for i, of in zip(places, lines, strict=True)]
    photos = sampled_photos(network, layer, unit, places, disc)
    return PhotoGroup(title, text, photos, room, captions)


def _middle(peaks: NDArray[np.floating], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the places in the middle of the ranking of their peaks, [images]."""
    ranked = places[np.argsort(-peaks[places], kind="stable")]
    first = max(0, (len(ranked) - _MIDDLE) // 2)
    return ranked[first : first + _MIDDLE]


def _far(
    network: NetworkFilters,
    layer: LayerFilters,
    unit: int,
    disc: NDArray[np.bool_],
    places: NDArray[np.int64],
    landmark: str,
) -> PhotoGroup:
    """Where the peak lies farthest from the landmark that the filter follows best."""
    if landmark:
        names = [name.replace("_", " ") for name in layer.landmarks]
        points = network.sample.landmarks[places, names.index(landmark)]
        distance = np.hypot(*(layer.sampled.positions[places, unit] - points).T)
        order = np.argsort(-distance, kind="stable")
        order = order[np.isfinite(distance[order])][:_FAR]
    else:
        order, distance = np.zeros(0, np.int64), np.zeros(0)
    return _of_sample(
        network,
        layer,
        unit,
        disc,
        places[order],
        title=f"Farthest from the {landmark}",
        text="the worst of the same images",
        room=_FAR,
        details=[f"peak {distance[index]:.0f} pixels away" for index in order],
    )


def _others(network: NetworkFilters, layer: LayerFilters, unit: int) -> NDArray[np.int64]:
    """Images of other things than the filter's category, the strongest first."""
    peaks = layer.sampled.peaks[:, unit]
    other = np.array([name != layer.categories[unit] for name in network.sample.categories], bool)
    places = np.flatnonzero(other & (peaks > 0))
    return places[np.argsort(-peaks[places], kind="stable")][:_OTHERS]
