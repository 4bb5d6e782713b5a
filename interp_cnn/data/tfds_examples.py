"""Any prepared tfds data set with the features `image` and `label`, as the pipeline reads it."""

import dataclasses
import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from interp_cnn.data.photos.folder_files import draw_split
from interp_cnn.data.photos.folder_layout import is_other
from interp_cnn.data.pipeline import Example, Source, decoders_of

_TEST = ("test", "validation")  # the first that is there and has labels
_PHOTO_IDS = ("photo_id", "image/filename", "file_name", "filename", "image_id", "id")


@dataclasses.dataclass(frozen=True)
class TfdsSplit:
    """One split of a data set.

    Attributes:
      source: the examples with the features of the pipeline.
      labels: their labels: 0 for other things, else the number of the category from 1.
    """

    source: "_Adapted"
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class TfdsExamples:
    """A prepared data set, adapted.

    Attributes:
      builder: its builder, as tfds has it.
      categories: the names of the labels 1, 2, ...
      splits: `"train"` and `"test"`.
      landmarks: the names of the parts, sorted.
      parts: the names of those that have a box or a mask.
      has_masks: whether parts have masks.
    """

    builder: tfds.core.DatasetBuilder
    categories: tuple[str, ...]
    splits: dict[str, TfdsSplit]
    landmarks: tuple[str, ...]
    parts: tuple[str, ...]
    has_masks: bool


def open_tfds(name: str, *, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The builder of a data set, prepared or not; nothing is downloaded.

    Args:
      name: `NAME`, `NAME/CONFIG` or `NAME/CONFIG:VERSION`.
      data_dir: the folder for prepared data sets; None is tfds' own default.

    Raises:
      ValueError: where tfds knows no such data set, or it is none of images and labels.
    """
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
        features = builder.info.features
        has = {key: key in features for key in ("image", "label")}  # type: ignore[operator]
    except Exception as error:  # tfds raises whatever the module of a data set leads it into
        reason = " ".join(str(error).strip().split("\n", 1)[0].split())
        raise ValueError(
            f"The tfds data set {name!r} cannot be opened ({reason}): give the name of one that is"
            f" prepared, {_how_to_prepare(name)}."
        ) from error
    if not all(has.values()) or not _are_images_of_classes(features):
        raise ValueError(
            f"The tfds data set {name!r} has the features {', '.join(features or ())}: one with an"
            " image and a label (Image of whole numbers, ClassLabel) is needed."
        )
    return builder


def _are_images_of_classes(features: Any) -> bool:
    """Whether `image` is one image, not several nor an array, and `label` one of named classes."""
    image, label = features["image"], features["label"]
    return (
        isinstance(image, tfds.features.Image)
        and np.issubdtype(image.np_dtype, np.integer)
        and isinstance(label, tfds.features.ClassLabel)
        and label.num_classes is not None
    )


def _how_to_prepare(name: str) -> str:
    return (
        f"by `tfds build {name} --file_format=array_record` where there are TensorFlow and a"
        " network, and set config.data.data_dir to its folder"
    )


def categories_of(builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
    """The names of the labels but those that stand for other things, see `is_other`."""
    names = builder.info.features["label"].names  # type: ignore[index]
    return tuple(name for name in names if not is_other(name))


def read_tfds(name: str, *, data_dir: str | None, seed: int) -> TfdsExamples:
    """Open a prepared data set.

    Its split `test` is the test split, or else `validation`, if its examples have labels. Where it
    has neither, one third of `train` is drawn by the content of the images. Examples without a
    label are left out.

    Args:
      name: `NAME`, `NAME/CONFIG` or `NAME/CONFIG:VERSION`.
      data_dir: the folder for prepared data sets; None is tfds' own default.
      seed: the seed of the split, where one is drawn.

    Raises:
      ValueError: where it is not prepared, or not in the format that is read without TensorFlow.
    """
    builder = open_tfds(name, data_dir=data_dir)
    if not builder.info.splits:
        raise ValueError(
            f"The tfds data set {name!r} is not prepared in {builder.data_dir}: prepare it"
            f" {_how_to_prepare(name)}."
        )
    if "train" not in builder.info.splits:
        raise ValueError(
            f"The tfds data set {name!r} has the splits {', '.join(builder.info.splits)}: one named"
            " train is needed."
        )
    adapt = _Adapter(builder)
    train = _labelled(builder, "train", adapt, name)
    there = [_labelled(builder, of, adapt, name) for of in _TEST if of in builder.info.splits]
    labelled = [split for split in there if len(split.labels)]
    train, test = (train, labelled[0]) if labelled else _drawn(train, seed)
    landmarks, parts = _part_names(train, test) if adapt.has_parts else ((), ())
    return TfdsExamples(
        builder,
        categories_of(builder),
        {"train": train, "test": test},
        landmarks,
        parts,
        adapt.has_masks,
    )


class _Adapter:
    """Makes examples with the features of the pipeline from those of a data set."""

    def __init__(self, builder: tfds.core.DatasetBuilder) -> None:
        features: Any = builder.info.features
        names = features["label"].names
        numbers = iter(range(1, len(names) + 1))
        self._labels = [0 if is_other(name) else next(numbers) for name in names]
        self._frame = _box_reader(features["bbox"]) if "bbox" in features else None
        self._id = next((key for key in _PHOTO_IDS if key in features), None)
        part = features["parts"] if "parts" in features else {}
        self.has_parts = hasattr(part, "keys") and {"name", "center"} <= set(part.keys())
        self.has_masks = self.has_parts and "mask" in part

    def label(self, stored: int) -> int:
        """The label of an example, -1 for none."""
        return self._labels[stored] if stored >= 0 else -1

    def __call__(self, stored: Example, place: str) -> Example:
        """An example; `place` names it where it has no name of its own."""
        data = bytes(stored["image"])
        with Image.open(io.BytesIO(data)) as image:
            size = np.array([image.height, image.width] * 2, np.float32)
        bbox = np.array([0, 0, *size[:2]], np.float32)
        if self._frame is not None:
            bbox = _inside(self._frame(np.asarray(stored["bbox"], np.float32), size), size)
        photo_id = place if self._id is None else stored[self._id]
        if not isinstance(photo_id, bytes):
            photo_id = str(photo_id).encode()
        nothing = {"name": np.zeros(0, object), "center": np.zeros((0, 2), np.float32)}
        return {
            "image": data,
            "photo_id": photo_id,
            "label": self.label(int(stored["label"])),
            "bbox": bbox,
            "parts": stored["parts"] if self.has_parts else nothing,
        }


def _box_reader(feature: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """What makes ymin, xmin, ymax, xmax in pixels from a stored box; None where nothing is known.

    Without a format they are pixels, as in the data sets of this package, unless all of a box lies
    within the first one: then they are shares of the sides, as tfds has them.
    """
    if feature.shape != (4,):
        return None
    form = getattr(feature, "bbox_format", None)
    name = getattr(form, "value", form) or "YXYX"
    declared, order = name.startswith("REL_"), name.removeprefix("REL_")
    if order not in ("YXYX", "XYXY", "XYWH"):
        return None
    axes = [0, 1, 2, 3] if order == "YXYX" else [1, 0, 3, 2]

    def read(box: np.ndarray, size: np.ndarray) -> np.ndarray:
        relative = declared or (form is None and box.max() <= 1)
        box = box[axes] * (size if relative else 1)
        return np.concatenate([box[:2], box[:2] + box[2:]]) if order == "XYWH" else box

    return read


def _inside(box: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The part of a box that is inside the image; all of the image for a box of no area."""
    top, left, bottom, right = np.clip(box, 0, size)
    if not (top < bottom and left < right):
        return np.array([0, 0, *size[:2]], np.float32)
    return np.array([top, left, bottom, right], np.float32)


@dataclasses.dataclass(frozen=True)
class _Adapted:
    """Some examples of a split, adapted when they are read."""

    stored: Source
    rows: np.ndarray
    adapt: _Adapter
    split: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Example:
        row = int(self.rows[position])
        return self.adapt(self.stored[row], f"{self.split} {row}")


def _labelled(
    builder: tfds.core.DatasetBuilder, split: str, adapt: _Adapter, name: str
) -> TfdsSplit:
    """The examples of a split that have a label."""
    try:
        stored = builder.as_data_source(split=split, decoders=decoders_of(builder))
    except NotImplementedError as error:
        raise ValueError(
            f"The tfds data set {name!r} in {builder.data_dir} is stored in a format that needs"
            f" TensorFlow: prepare it {_how_to_prepare(name)}."
        ) from error
    labels = np.array([adapt.label(int(stored[i]["label"])) for i in range(len(stored))], np.int32)
    rows = np.flatnonzero(labels >= 0)
    return TfdsSplit(_Adapted(stored, rows, adapt, split), labels[rows])


def _drawn(split: TfdsSplit, seed: int) -> tuple[TfdsSplit, TfdsSplit]:
    """The examples of a split for training and for the test, by the content of the images."""
    source = split.source
    content = [
        hashlib.sha256(bytes(source.stored[int(row)]["image"])).digest() for row in source.rows
    ]
    in_test = np.zeros(len(content), bool)
    for label in np.unique(split.labels):
        own = np.flatnonzero(split.labels == label)
        sides = draw_split([content[place] for place in own], seed)
        in_test[own] = [sides[content[place]] for place in own]
    return _some(split, ~in_test), _some(split, in_test)


def _some(split: TfdsSplit, where: np.ndarray) -> TfdsSplit:
    chosen = dataclasses.replace(split.source, rows=split.source.rows[where])
    return TfdsSplit(chosen, split.labels[where])


def _part_names(*splits: TfdsSplit) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of all parts of objects, and of those that have a box or a mask."""
    names: set[str] = set()
    regions: set[str] = set()
    for split in splits:
        for place in np.flatnonzero(split.labels > 0):
            parts = split.source[int(place)]["parts"]
            found: Sequence[str] = [name.decode() for name in parts["name"]]
            names.update(found)
            boxes = parts.get("box")
            regions.update(
                name
                for index, name in enumerate(found)
                if "mask" in parts or (boxes is not None and np.isfinite(boxes[index]).all())
            )
    return tuple(sorted(names)), tuple(sorted(regions))
