"""The filters of a network, as the report takes them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from interp_cnn.evaluation.sampled_images import Sample, SampledMaps
from interp_cnn.evaluation.strongest_images import Gallery
from interp_cnn.metrics.best import best_of_filters

Floats = NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class LayerFilters:
    """What was measured of the filters of one layer; NaN is what could not be measured.

    Attributes:
      name: of the layer.
      categories: of each filter, [filters].
      parts: names of the parts.
      shares: P_{f,k}, share of the images with part k on which the filter hits it,
        [filters, parts].
      landmarks: names of the landmarks.
      tracking: tracking ratio, [filters, landmarks].
      instability: location instability, mean over landmarks, [filters].
      terms: of `filter_diagnostics` (Eq. 5), in nats, [filters] each.
      thresholds: T_f above which an activation is valid, [filters].
      centers_y: centres of the receptive fields in pixels of the input, [height].
      centers_x: alike, [width].
      radius: of the disc around each valid position, in pixels of the input.
      image_size: side of the input in pixels.
      masks: template masks of the maps in the gallery, [filters, top, height, width] in [-1, 1];
        None for a layer without masks.
      sampled: what the filters make of the sampled images.
    """

    name: str
    categories: Sequence[str]
    parts: Sequence[str]
    shares: Floats
    landmarks: Sequence[str]
    tracking: Floats
    instability: Floats
    terms: Mapping[str, Floats]
    thresholds: Floats
    centers_y: Floats
    centers_x: Floats
    radius: float
    image_size: int
    masks: Floats | None
    sampled: SampledMaps

    def best_parts(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Index of each filter's most frequent part and P_f, [filters]; -1 and NaN for none."""
        return best_of_filters(self.shares, largest=True)

    def best_landmarks(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Index of the landmark that each filter follows best and its ratio; -1 and NaN."""
        return best_of_filters(self.tracking, largest=False)


@dataclasses.dataclass(frozen=True)
class NetworkFilters:
    """The filters of one network.

    Attributes:
      network: its name.
      gallery: what they fire on.
      captions: of each picture of the gallery, such as category and photo id.
      sample: images of the test split, the same for all networks.
      layers: their figures, for layers of the gallery.
    """

    network: str
    gallery: Gallery
    captions: Sequence[str]
    sample: Sample
    layers: Sequence[LayerFilters]
