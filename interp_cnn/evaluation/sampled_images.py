"""A few images of the test split, the same for every network, and what its filters make of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from numpy.typing import NDArray

from interp_cnn.data.pipeline import CropWithParts, Split
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.strongest_images import SIDE, resized
from interp_cnn.models import AnyNetwork
from interp_cnn.training import build
from interp_cnn.training.steps import compiled_predict_step

_OBJECTS = 32  # of each category
_MOST = 96  # of all categories together
_OTHERS = 32  # images without any category
_BATCH = 16  # of what is predicted at once


@dataclasses.dataclass(frozen=True)
class Sample:
    """Images evenly chosen from the test split, in its order.

    Attributes:
      images: as the networks see them, uint8 [images, size, size, 3].
      pictures: the same, uint8 [images, side, side, 3], with the side of those of the gallery.
      categories: of each image, "" for one without any.
      landmarks: float32 [images, landmarks, 2], (y, x) in pixels of the images; NaN where missing.
      captions: of each image, such as category and photo id.
    """

    images: NDArray[np.uint8]
    pictures: NDArray[np.uint8]
    categories: tuple[str, ...]
    landmarks: NDArray[np.float32]
    captions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SampledMaps:
    """What the filters of a layer make of the sampled images.

    Attributes:
      maps: feature maps after ReLU, float32 [images, height, width, filters].
      positions: where they peak, float32 [images, filters, 2] as (y, x) in pixels of the images.
      peaks: how strongly, float32 [images, filters].
    """

    maps: NDArray[np.float32]
    positions: NDArray[np.float32]
    peaks: NDArray[np.float32]


def evenly(count: int, number: int) -> NDArray[np.int64]:
    """At most `number` of `count` places, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(number, count)).round().astype(np.int64))


def sample_images(config: ml_collections.ConfigDict, data: Data, size: int) -> Sample:
    """Chooses the images: as many of every category, and some without any.

    Args:
      config: that the networks were trained with.
      data: that they are evaluated on.
      size: side of their input in pixels.
    """
    each = max(1, min(_OBJECTS, _MOST // len(data.categories)))
    chosen: list[int] = []
    for label in range(len(data.categories) + 1):
        places = np.flatnonzero(data.test.labels == label)
        chosen += places[evenly(len(places), each if label else _OTHERS)].tolist()
    split = data.test.take(np.array(sorted(chosen), np.int64))
    crop = CropWithParts(size, config.data.crop, landmarks=tuple(data.landmarks))
    found = [crop.map(split[place]) for place in range(len(split))]
    landmarks = [one["landmarks"] for one in found]
    photos = [resized(one["image"], SIDE) for one in found]
    return Sample(
        images=np.array([one["image"] for one in found], np.uint8).reshape(-1, size, size, 3),
        pictures=np.array(photos, np.uint8).reshape(-1, SIDE, SIDE, 3),
        categories=tuple(("", *data.categories)[label] for label in split.labels),
        landmarks=np.array(landmarks, np.float32).reshape(len(found), len(data.landmarks), 2),
        captions=tuple(caption(data.categories, split, place) for place in range(len(split))),
    )


def caption(categories: Sequence[str], split: Split, place: int) -> str:
    """The category of an example and its photo, such as `cat, n02121620_10`."""
    example = split[place]
    label, photo = int(example["label"]), example["photo_id"]
    name = photo.decode() if isinstance(photo, bytes) else str(photo)
    return f"{label_name(categories, label)}, {name}"


def label_name(categories: Sequence[str], label: int) -> str:
    """What a label stands for in words: a category, or none."""
    if label:
        return categories[label - 1].replace("_", " ")
    return f"no {categories[0].replace('_', ' ')}" if len(categories) == 1 else "another image"


def sampled_maps(
    config: ml_collections.ConfigDict, network: AnyNetwork, variables: Any, sample: Sample
) -> Mapping[str, SampledMaps]:
    """What a network makes of the sampled images: of each layer its maps and their peaks."""
    how = {"network": network, **build.normalisation(config)}
    count = len(sample.images)
    # Whole batches, so that one program does for all.
    padded = np.pad(sample.images, ((0, -count % _BATCH), (0, 0), (0, 0), (0, 0)))
    found = [
        jax.device_get(compiled_predict_step(variables, {"image": images}, **how))
        for images in np.split(padded, len(padded) // _BATCH)
    ]
    return {
        name: SampledMaps(
            *(
                np.concatenate([batch[kind][name] for batch in found])[:count]
                for kind in ("maps", "positions", "peaks")
            )
        )
        for name in network.map_filters
    }
