"""From a prepared data set to batches: read, crop, flip, shuffle, shard, batch. No TensorFlow.

Every data set stores the features `image`, `photo_id`, `label` (0 is "other"), `bbox`, `parts`.
A task takes the examples of its categories from them and numbers the labels anew.
Positions are (y, x) in continuous pixels: pixel i covers [i, i + 1).
"""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any, Protocol

import grain
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from interp_cnn.data.images import as_rgb, cut_out
from interp_cnn.metrics.parts import part_boxes_to_masks

Example = dict[str, Any]

PHOTOS, CATEGORIES, NONE = "photos", "categories", "none"  # what the negatives of a task are

_NEXT_TO_CORNER = 1e-3  # pixels


class Source(Protocol):
    """Random access to stored examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Example: ...


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves images as bytes, within sequences too."""

    def decode_batch_example_np(self, serialized_example: Any) -> Any:
        return serialized_example


@dataclasses.dataclass(frozen=True)
class Features:
    """What stands for the images of some examples: the output of layers that are not trained.

    Attributes:
      array: the features of all examples, [rows, height, width, channels]; may lie on disk.
      rows: where the examples are in it, int [examples, orientations]: as they are, and, for
        training, mirrored.
    """

    array: np.ndarray
    rows: np.ndarray

    def take(self, positions: np.ndarray) -> "Features":
        """Those of the examples at these positions."""
        return Features(self.array, self.rows[positions])


@dataclasses.dataclass(frozen=True)
class Split:
    """Some examples of one split of a prepared data set.

    Attributes:
      source: random access to the stored examples, images still encoded.
      indices: the examples that belong to the task, in a fixed order.
      labels: the labels of these examples in the task, 0 for "other".
      features: what stands for the images of these examples, if anything does.
    """

    source: Source
    indices: np.ndarray
    labels: np.ndarray
    features: Features | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Example:
        example = self.source[int(self.indices[position])]
        return example | {"label": self.labels[position]}

    def take(self, positions: np.ndarray) -> "Split":
        """The examples at these positions."""
        features = None if self.features is None else self.features.take(positions)
        return Split(self.source, self.indices[positions], self.labels[positions], features)


@dataclasses.dataclass(frozen=True)
class _Joined:
    first: Split
    second: Split

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, position: int) -> Example:
        if position < len(self.first):
            return self.first[position]
        return self.second[position - len(self.first)]


def join(first: Split, second: Split) -> Split:
    """The examples of one split, then those of the other; with features if one array has them."""
    both = _Joined(first, second)
    features = None
    if first.features is not None and second.features is not None:
        if first.features.array is second.features.array:
            rows = [first.features.rows[:, :1], second.features.rows[:, :1]]
            features = Features(first.features.array, np.concatenate(rows))
    labels = np.concatenate([first.labels, second.labels])
    return Split(both, np.arange(len(both)), labels, features)


def read_split(
    builder: tfds.core.DatasetBuilder,
    split: str,
    *,
    categories: tuple[str, ...] | None = None,
    negatives: str = PHOTOS,
    negatives_per_positive: float | None = None,
    seed: int = 0,
) -> Split:
    """Open one split of a prepared data set.

    Args:
      builder: the builder of a data set that is prepared.
      split: `"train"` or `"test"`.
      categories: those of the task, in the order of their labels 1, 2, ...; None for all that are
        stored.
      negatives: what gets label 0: `"photos"` the images of other things that the data set has,
        `"categories"` the objects of all other categories, `"none"` nothing.
      negatives_per_positive: keep this many examples with label 0 for each object, chosen by the
        seed; None keeps all.
      seed: the seed of that choice.

    Raises:
      ValueError: where the arguments do not fit the data set or each other, or the split has no
        objects, no negatives, or too few for the ratio.
    """
    known = builder.info.features["label"].names[1:]  # type: ignore[index]
    source = builder.as_data_source(split=split, decoders=decoders_of(builder))
    stored = np.array([source[index]["label"] for index in range(len(source))], np.int32)
    return choose_examples(
        source,
        stored,
        known=known,
        dataset=builder.info.full_name,
        split=split,
        categories=categories,
        negatives=negatives,
        negatives_per_positive=negatives_per_positive,
        seed=seed,
    )


def decoders_of(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """What leaves the images and masks of a data set encoded."""
    features: Any = builder.info.features
    decoders: dict[str, Any] = {
        name: _Encoded()
        for name, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    }
    for name in ("parts", "fine_parts"):
        # Parts of other data sets than these may be anything.
        if name in features and hasattr(features[name], "keys") and "mask" in features[name]:
            decoders[name] = {"mask": _Encoded()}
    return decoders


def choose_examples(
    source: Source,
    stored: np.ndarray,
    *,
    known: Sequence[str],
    dataset: str,
    split: str,
    categories: tuple[str, ...] | None = None,
    negatives: str = PHOTOS,
    negatives_per_positive: float | None = None,
    seed: int = 0,
) -> Split:
    """The examples of a task.

    Args:
      source: all examples of a split.
      stored: their labels, 0 for other things.
      known: the names of the labels 1, 2, ...
      dataset: the name of the data set, for messages.
      split: the name of the split, alike.
      categories: see `read_split`, as the other arguments.
      negatives: see there.
      negatives_per_positive: see there.
      seed: see there.

    Raises:
      ValueError: as `read_split`.
    """
    task = _task_labels(known, dataset, categories, negatives)
    if negatives == NONE and negatives_per_positive is not None:
        raise ValueError(
            f"negatives_per_positive={negatives_per_positive} needs negatives; with"
            f" negatives={NONE!r} leave it unset"
        )
    labels = task[stored]
    positive, negative = np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)
    where = f"the {split} split of {dataset}"
    if not len(positive) or (not len(negative) and negatives != NONE):
        raise ValueError(
            f"{where} has {len(positive)} objects and {len(negative)} other images;"
            " both are needed, add photos to the source (neg/ for the other ones) and prepare it"
            f" again, or set negatives={CATEGORIES!r} (one category against the others of the data"
            f" set) or {NONE!r} (several categories alone)"
        )
    indices = np.concatenate([positive, negative])
    found = Split(source, indices, labels[indices])
    if negatives_per_positive is None:
        return found
    return with_negatives_per_positive(found, negatives_per_positive, seed=seed, where=where)


def with_negatives_per_positive(split: Split, ratio: float, *, seed: int, where: str) -> Split:
    """The objects of a split, and so many examples with label 0 for each, chosen by the seed.

    Args:
      split: the split, its objects first.
      ratio: that number.
      seed: the seed.
      where: the split in words, for messages.

    Raises:
      ValueError: where the split has too few examples with label 0, or the ratio asks for none.
    """
    positive, negative = np.flatnonzero(split.labels > 0), np.flatnonzero(split.labels == 0)
    wanted = round(ratio * len(positive))
    if not 0 < wanted <= len(negative):
        raise ValueError(
            f"negatives_per_positive={ratio} asks for {wanted} other images, {where} has"
            f" {len(negative)}; give a ratio of at most {len(negative) / len(positive):.3g}"
        )
    chosen = np.random.default_rng(seed).permutation(len(negative))[:wanted]
    return split.take(np.concatenate([positive, np.sort(negative[chosen])]))


def _task_labels(
    stored: Sequence[str], dataset: str, categories: tuple[str, ...] | None, negatives: str
) -> np.ndarray:
    """The label in the task of each stored label, -1 for examples that are left out."""
    if negatives not in (PHOTOS, CATEGORIES, NONE):
        raise ValueError(
            f"negatives={negatives!r} is unknown; give {PHOTOS!r}, {CATEGORIES!r} or {NONE!r}"
        )
    chosen = tuple(stored) if categories is None else categories
    if missing := [name for name in chosen if name not in stored]:
        names = f"{', '.join(stored[:30])}{', ...' * (len(stored) > 30)}"
        raise ValueError(f"{dataset} has no category {missing[0]!r}, only {names}")
    if negatives == NONE and len(chosen) < 2:
        raise ValueError(
            f"negatives={NONE!r} needs several categories, here is {chosen[0]!r} alone;"
            f" give {PHOTOS!r} or {CATEGORIES!r}"
        )
    if negatives == CATEGORIES and len(chosen) == len(stored):
        raise ValueError(
            f"negatives={CATEGORIES!r} needs a category beside those of the task;"
            f" give {PHOTOS!r} or {NONE!r}"
        )
    rest = 0 if negatives == CATEGORIES else -1
    other = 0 if negatives == PHOTOS else -1
    objects = [chosen.index(name) + 1 if name in chosen else rest for name in stored]
    return np.array([other, *objects], np.int32)


@dataclasses.dataclass(frozen=True)
class Crop(grain.transforms.Map):
    """Decode a photo and cut its object out: box stretched to a square, aspect not kept.

    Boxes count the pixels as they are stored, see `as_rgb`.

    Attributes:
      size: side of the result in pixels.
      box: `"object"` cuts the object's box out, `"image"` takes the whole image.
    """

    size: int
    box: str = "object"

    def frame(self, element: Example, image_size: tuple[int, int]) -> np.ndarray:
        """The rectangle that becomes the result, [ymin, xmin, ymax, xmax] in the photo."""
        if self.box == "object":
            return np.asarray(element["bbox"], np.float32)
        return np.array([0, 0, image_size[1], image_size[0]], np.float32)

    def map(self, element: Example) -> Example:
        """Image uint8 [size, size, 3] and label int32 of one stored example."""
        photo = as_rgb(Image.open(io.BytesIO(element["image"])))
        image = cut_out(photo, self.size, self.frame(element, photo.size))
        return {"image": image, "label": np.int32(element["label"])}


@dataclasses.dataclass(frozen=True)
class CropWithParts(Crop):
    """As `Crop`, with the parts in the frame of the result.

    Attributes:
      parts: names of the parts whose masks are wanted, in order.
      landmarks: names of the parts whose centres are wanted, in order.
    """

    parts: tuple[str, ...] = ()
    landmarks: tuple[str, ...] = ()

    def map(self, element: Example) -> Example:
        """Adds landmarks float32 [K, 2] (NaN = missing) and masks bool [parts, size, size].

        Where the data set has no masks the parts' boxes are filled.

        Raises:
          ValueError: where parts are wanted of a data set that has neither.
        """
        result = super().map(element)
        stored = element["parts"]
        if self.parts and "mask" not in stored and "box" not in stored:
            raise ValueError(
                f"parts={self.parts}: the parts of this data set are points, without boxes or masks"
            )
        names = [name.decode() for name in stored["name"]]
        top, left, bottom, right = self.frame(element, _image_size(element["image"]))
        scale = self.size / np.array([bottom - top, right - left], np.float32)
        corner = np.array([top, left], np.float32)

        landmarks = np.full((len(self.landmarks), 2), np.nan, np.float32)
        boxes = np.full((len(self.parts), 4), np.nan, np.float32)
        masks = np.zeros((len(self.parts), self.size, self.size), bool)
        for index, name in enumerate(names):
            if name in self.landmarks:
                place = (stored["center"][index] - corner) * scale
                landmarks[self.landmarks.index(name)] = place
            if name not in self.parts:
                continue
            row = self.parts.index(name)
            if "mask" in stored:
                mask = Image.open(io.BytesIO(stored["mask"][index])).resize(
                    (self.size, self.size),
                    Image.Resampling.NEAREST,
                    box=(left, top, right, bottom),
                )
                masks[row] = np.asarray(mask) > 0
            else:
                box = stored["box"][index].reshape(2, 2)
                boxes[row] = ((box - corner) * scale).reshape(4)
        # Metrics of arrays take the very corner for a point that is missing.
        landmarks[(landmarks == 0).all(axis=1)] = _NEXT_TO_CORNER
        if "mask" not in stored:
            masks = part_boxes_to_masks(boxes[None], (self.size, self.size))[0]
        return result | {"landmarks": landmarks, "masks": masks}


def _image_size(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded)) as photo:
        return photo.size


class RandomFlip(grain.transforms.RandomMap):
    """Mirror the image left to right, half of the time."""

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        """The example, with image [height, width, channels] as it is or mirrored."""
        if not _mirrored(rng):
            return element
        return element | {"image": np.ascontiguousarray(element["image"][:, ::-1])}


def _mirrored(rng: np.random.Generator) -> bool:
    return rng.random() >= 0.5


@dataclasses.dataclass(frozen=True)
class _Rows(grain.transforms.Map):
    """Position of an example -> its rows of the features, and its label."""

    split: Split

    def map(self, position: int) -> Example:
        assert self.split.features is not None
        label = np.int32(self.split.labels[position])
        return {"rows": self.split.features.rows[position], "label": label}


@dataclasses.dataclass(frozen=True)
class _RandomRow(grain.transforms.RandomMap):
    """As `RandomFlip`, by the choice of the row; it draws the same random numbers."""

    array: np.ndarray

    def random_map(self, element: Example, rng: np.random.Generator) -> Example:
        row = element["rows"][int(_mirrored(rng))]
        return {"features": self.array[row], "label": element["label"]}


def train_batches(
    split: Split,
    crop: Crop,
    *,
    batch_size: int,
    seed: int,
    first_batch: int = 0,
    shards: tuple[int, int] = (0, 1),
    threads: int = 4,
) -> grain.IterDataset:
    """Endless shuffled and flipped batches, the same for the same seed.

    Every epoch has a new order; the last examples that do not fill a batch are left out.

    Args:
      split: examples.
      crop: transformation to network input.
      batch_size: examples of one batch over all processes.
      seed: the seed of order and flips.
      first_batch: number of the batch to begin with, to go on after so many.
      shards: index and number of the processes that share the data.
      threads: the number of threads that read and transform.

    Returns:
      Batches with `image` uint8 [batch / processes, size, size, 3] and `label` int32. Where the
      split has features the batches have `features` in place of `image`, of the same examples
      mirrored alike, and no photo is read.

    Raises:
      ValueError: where the batch is larger than the data or the processes do not divide it.
    """
    index, count = shards
    if batch_size > len(split):
        raise ValueError(
            f"config.train.batch_size={batch_size} is larger than the {len(split)} training"
            " examples; lower it, or add images"
        )
    if batch_size % count:
        raise ValueError(f"batch_size={batch_size} is not divisible by the {count} processes")
    # Every process sees the same order of the whole data and takes its part of each batch: the part
    # that the devices of its number have in a process with all of them.
    per_epoch = len(split) // batch_size * batch_size
    source, read, flip = grain.MapDataset.source(split), crop, RandomFlip()
    if split.features is not None:
        # As many transformations in the same order: Grain derives its random numbers from that.
        source = grain.MapDataset.range(len(split))
        read, flip = _Rows(split), _RandomRow(split.features.array)
    dataset = (
        source.seed(seed)
        .shuffle()
        .slice(slice(0, per_epoch))
        .repeat()
        .map(read)
        .random_map(flip)
        .batch(batch_size // count, drop_remainder=True)
        .slice(slice(first_batch * count + index, None, count))
    )
    return dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    )


def eval_batches(
    split: Split, crop: Crop | None, *, batch_size: int, threads: int = 4
) -> grain.IterDataset:
    """All examples once, in order.

    Args:
      split: examples.
      crop: transformation to network input; None reads no photo and leaves `image` out.
      batch_size: examples of one batch. The last one is padded.
      threads: the number of threads that read and transform.

    Returns:
      Batches with what `crop` makes of the examples, `label` int32, `weight` float32, 0 for padding
      and else 1, and `features`, not mirrored, where the split has them.
    """
    padded = len(split) + -len(split) % batch_size
    dataset = (
        grain.MapDataset.range(padded)
        .map(_Padded(split, crop))
        .batch(batch_size, drop_remainder=True)
    )
    return dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    )


@dataclasses.dataclass(frozen=True)
class _Padded(grain.transforms.Map):
    """Example at a position; behind the last the first stands in, and weighs 0."""

    split: Split
    crop: Crop | None

    def map(self, position: int) -> Example:
        split, real = self.split, position < len(self.split)
        index = int(position) if real else 0
        result = {"label": np.int32(split.labels[index]), "weight": np.float32(real)}
        if self.crop is not None:
            result |= self.crop.map(split[index])
        if split.features is not None:
            result["features"] = split.features.array[split.features.rows[index, 0]]
        return result
