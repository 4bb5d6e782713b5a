"""Name of a data set -> prepared splits of the task."""

import dataclasses
import functools
import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock
import jax
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from interp_cnn import hosts
from interp_cnn.data.categories import ALL, named_categories
from interp_cnn.data.embedded.builder import EmbeddedAnimals
from interp_cnn.data.photos.cub_200_2011 import Cub2002011
from interp_cnn.data.photos.cub_files import BIRD
from interp_cnn.data.photos.folder import FolderPhotos
from interp_cnn.data.photos.ilsvrc_animal_part import IlsvrcAnimalPart
from interp_cnn.data.photos.object_builder import ObjectBuilder
from interp_cnn.data.photos.pascal_voc_part import PascalVocPart
from interp_cnn.data.pipeline import (
    CATEGORIES,
    NONE,
    PHOTOS,
    Split,
    choose_examples,
    read_split,
    with_negatives_per_positive,
)
from interp_cnn.data.tfds_examples import TfdsExamples, read_tfds

_PNG = b"\x89PNG"
EMBEDDED = EmbeddedAnimals.name
FOLDER, TFDS = FolderPhotos.name, "tfds"
PUBLISHED = {b.name: b for b in (IlsvrcAnimalPart, PascalVocPart, Cub2002011)}


@dataclasses.dataclass(frozen=True)
class Data:
    """A prepared data set for one category against others, or for several.

    Attributes:
      train: training examples.
      test: test examples; no photo is in both.
      categories: names of the labels 1, 2, ...
      parts: names of the parts for part interpretability; empty where parts are points.
      landmarks: names of the parts whose centres the location metrics use.
      has_masks: whether the parts have masks, else boxes.
      name: name and numbers of the examples, and a hash of what tells them apart that is known
        without reading them; "" where nobody asks.
      by_content: whether that does not tell them from others of the same name.
    """

    train: Split
    test: Split
    categories: tuple[str, ...]
    parts: tuple[str, ...]
    landmarks: tuple[str, ...]
    has_masks: bool
    name: str = ""
    by_content: bool = False

    @functools.cached_property
    def content(self) -> str:
        """A hash of all examples, which are read for it: images, labels, boxes, parts."""
        splits = "".join(map(_fingerprint, (self.train, self.test)))
        return hashlib.sha256(splits.encode()).hexdigest()

    @functools.cached_property
    def identity(self) -> str:
        """What tells the data from others that a configuration may mean another time.

        Such as a folder before a photo was added; "" where nobody asks.
        """
        return f"{self.name}, content {self.content[:12]}" if self.by_content else self.name


def open_builder(
    name: str, category: str, *, data_dir: str | None, skip_damaged: bool
) -> tfds.core.DatasetBuilder:
    """The builder of a data set, not prepared.

    Args:
      name: the name of the data set.
      category: a name, several joined by `+`, or `"all"`.
      data_dir: the folder for prepared data sets; None is tfds' own default.
      skip_damaged: leave damaged and missing images out instead of stopping.

    Raises:
      ValueError: for an unknown data set or category.
    """
    if name == EMBEDDED:
        return EmbeddedAnimals(config=category, data_dir=data_dir)
    if name in PUBLISHED:
        return PUBLISHED[name](config=category, data_dir=data_dir, skip_damaged=skip_damaged)
    raise ValueError(
        f"unknown data set {name!r}; config.data.name is one of {', '.join([EMBEDDED, *PUBLISHED])}"
    )


def open_folder(config: Mapping[str, Any], category: str, *, seed: int) -> FolderPhotos:
    """The builder of the photos in a folder, not prepared.

    Args:
      config: the fields of `config.data`.
      category: a name, several joined by `+`, or `"all"`.
      seed: the seed of the split, where the folder has none.

    Raises:
      ValueError, OSError: as `FolderPhotos`.
    """
    annotations = config["annotations"]
    return FolderPhotos(
        source=Path(config["manual_dir"]).expanduser(),
        annotations=Path(annotations).expanduser() if annotations else None,
        category=category,
        seed=seed,
        skip_damaged=config["skip_damaged"],
        data_dir=config["data_dir"] or None,
    )


def prepare(config: Mapping[str, Any], *, seed: int) -> Data:
    """Prepare the data set of a configuration, unless that is done, and open its splits.

    Args:
      config: the fields of `config.data`. Its `negatives`, what gets label 0, are `"photos"`
        (images of other things), `"categories"` (the objects of the
        other categories of the data set, which are all prepared then) or `"none"`.
      seed: the seed of the choice of negatives, and of a split that is drawn.

    Raises:
      ValueError: for an unknown data set or category, or damaged source files.
      FileNotFoundError: where source files are missing.
    """
    if config["name"] == TFDS:
        return _of_tfds(config, seed)

    def opened(category: str) -> tfds.core.DatasetBuilder:
        if config["name"] == FOLDER:
            return open_folder(config, category, seed=seed)
        return open_builder(
            config["name"],
            category,
            data_dir=config["data_dir"] or None,
            skip_damaged=config["skip_damaged"],
        )

    wanted = config["category"]
    task = source = opened(wanted)
    negatives, folder = config["negatives"], config["manual_dir"] or None
    if negatives == CATEGORIES:
        wanted = ALL
        source = opened(wanted)
        if config["name"] == Cub2002011.name and task.categories == (BIRD,):
            raise ValueError(
                f"negatives={CATEGORIES!r} needs a category beside those of the task, and"
                f" {BIRD!r} has all of the data set: give {PHOTOS!r}, with JPEG files of other"
                " things in the folder neg/, or one species as category."
            )
    if negatives == PHOTOS and folder and isinstance(source, ObjectBuilder):
        source.check_others(Path(folder).expanduser())
    download = tfds.download.DownloadConfig(manual_dir=folder)
    # On a common disk the first host prepares and the others wait; on its own disk each prepares.
    source = hosts.in_turn(lambda: _prepare_once(source, lambda: opened(wanted), download))
    # Some things are known only when the data are prepared, such as the categories of "all".
    task = opened(config["category"])
    categories = task.categories or source.categories
    whole = config["crop"] == "image" and config["name"] != EMBEDDED

    def read(split: str, ratio: float | None) -> Split:
        return read_split(
            source,
            split,
            categories=categories,
            negatives=negatives,
            negatives_per_positive=ratio,
            seed=seed,
        )

    train, test, fewer = _splits(read, config, categories, source, whole=whole, seed=seed)
    _check_both_sides(source, categories, train, test)
    return _same_everywhere(
        source,
        Data(
            train=train,
            test=test,
            categories=categories,
            parts=task.parts,
            landmarks=task.landmarks,
            has_masks="mask" in source.info.features["parts"],
            name=_name(source, train, test, fewer=fewer),
            by_content=source.name in PUBLISHED,
        ),
    )


def _splits(
    read: Callable[[str, float | None], Split],
    config: Mapping[str, Any],
    categories: tuple[str, ...],
    builder: tfds.core.DatasetBuilder,
    *,
    whole: bool,
    seed: int,
) -> tuple[Split, Split, bool]:
    """The training and test examples; where the whole photo is the input, one of each photo.

    Args:
      read: makes a split with so many negatives for each positive, None for all.
      config: the fields of `config.data`.
      categories: the names of the labels 1, 2, ...
      builder: the data set.
      whole: whether the whole photo is the input, and its objects so the same input.
      seed: the seed of the choice of negatives.

    Returns:
      Both, and whether some objects are left out for that.
    """
    ratio, fewer, chosen = config["negatives_per_positive"], False, []
    for name in ("train", "test"):
        split = read(name, None if whole else ratio)
        if whole:
            where = f"the {name} split of {builder.info.full_name}"
            every, split = split, _one_of_each_photo(split, categories, where)
            fewer = fewer or len(split) < len(every)
            if ratio is not None:
                split = with_negatives_per_positive(split, ratio, seed=seed, where=where)
        chosen.append(split)
    return chosen[0], chosen[1], fewer


def _check_both_sides(
    builder: tfds.core.DatasetBuilder, categories: tuple[str, ...], train: Split, test: Split
) -> None:
    """Raise a ValueError where a category has no object to train or to test with."""
    for side, split in (("train", train), ("test", test)):
        for label, name in enumerate(categories, start=1):
            if not (split.labels == label).any():
                raise ValueError(
                    f"the {side} split of {builder.info.full_name} has no object of the category"
                    f" {name!r}; add photos of it to the source and prepare it again, or name the"
                    " categories without it in config.data.category"
                )


def _one_of_each_photo(split: Split, categories: tuple[str, ...], where: str) -> Split:
    """One example of each photo, and none of photos with several labels.

    Raises:
      ValueError: where a label loses all of its photos.
    """
    labels: dict[bytes, set[int]] = {}
    first: dict[bytes, int] = {}
    for index, label in enumerate(split.labels.tolist()):
        photo = hashlib.sha256(split[index]["image"]).digest()
        labels.setdefault(photo, set()).add(label)
        first.setdefault(photo, index)
    kept = [index for photo, index in first.items() if len(labels[photo]) == 1]
    if len(kept) == len(split):
        return split
    result = split.take(np.array(kept, np.int64))
    if lost := set(split.labels.tolist()) - set(result.labels.tolist()):
        name = ("other things", *categories)[min(lost)]
        raise ValueError(
            f"{where}: all photos of {name!r} have another label, too, and with"
            " config.data.crop='image' the whole photo is the input; set it to 'object'"
        )
    logging.warning(
        "%s: of %d objects in %d photos one of each photo is kept, and none of %d photos with"
        " several labels, for config.data.crop='image' shows the whole photo",
        *(where, len(split), len(labels), len(labels) - len(kept)),
    )
    return result


def _of_tfds(config: Mapping[str, Any], seed: int) -> Data:
    """The splits of the task of any prepared tfds data set."""
    found = read_tfds(config["dataset"], data_dir=config["data_dir"] or None, seed=seed)
    categories = named_categories(config["category"], found.categories)
    others = {of: int((split.labels == 0).sum()) for of, split in found.splits.items()}
    if config["negatives"] != PHOTOS and any(others.values()):
        logging.warning(
            "%s: left out %d training and %d test images of other things; with"
            " config.data.negatives=%r the classes are told from them, too",
            *(found.builder.info.full_name, others["train"], others["test"], PHOTOS),
        )
    if config["category"] == ALL:
        categories = _on_both_sides(found, least=2 if config["negatives"] == NONE else 1)

    def read(split: str, ratio: float | None) -> Split:
        return choose_examples(
            found.splits[split].source,
            found.splits[split].labels,
            known=found.categories,
            dataset=found.builder.info.full_name,
            split=split,
            categories=categories,
            negatives=config["negatives"],
            negatives_per_positive=ratio,
            seed=seed,
        )

    whole = config["crop"] == "image" and "bbox" in (found.builder.info.features or ())
    train, test, _ = _splits(read, config, categories, found.builder, whole=whole, seed=seed)
    _check_both_sides(found.builder, categories, train, test)
    return _same_everywhere(
        found.builder,
        Data(
            train=train,
            test=test,
            categories=categories,
            parts=found.parts,
            landmarks=found.landmarks,
            has_masks=found.has_masks,
            name=_name(found.builder, train, test),
        ),
    )


def _on_both_sides(found: TfdsExamples, *, least: int) -> tuple[str, ...]:
    """The categories with images for training and for the test; names of others are said.

    All of them where fewer than `least` would be left: the missing one is then named as an error.
    """
    categories = found.categories
    there = [set(np.unique(split.labels).tolist()) for split in found.splits.values()]
    kept = tuple(
        name for label, name in enumerate(categories, start=1) if all(label in of for of in there)
    )
    if len(kept) < least:
        return categories
    if missing := [name for name in categories if name not in kept]:
        logging.warning(
            "%s: left out the categories without images for training or without images for the"
            " test: %s",
            *(found.builder.info.full_name, ", ".join(missing)),
        )
    return kept


def _name(
    builder: tfds.core.DatasetBuilder, train: Split, test: Split, *, fewer: bool = False
) -> str:
    """Name and numbers of the examples, and a hash of their labels in order.

    The name of a folder's data has a hash of its photos already.
    """
    numbers = f"{len(train)} + {len(test)} examples"
    if builder.name == FOLDER:
        return f"{builder.info.full_name}{f'; whole photos, {numbers}' if fewer else ''}"
    labels = b"".join(np.ascontiguousarray(split.labels, "<i8").data for split in (train, test))
    digest = hashlib.sha256(labels).hexdigest()[:12]
    return f"{builder.info.full_name}, {numbers}, {digest}"


def _same_everywhere(builder: tfds.core.DatasetBuilder, data: Data) -> Data:
    """The data; raises a ValueError where another host has others."""
    if jax.process_count() > 1:
        hosts.same_everywhere(
            f"the data set {builder.info.full_name}",
            "\n".join([*data.categories, data.content]),
            lambda first, other: f"host 0 has it in {builder.data_dir}, or its own such folder",
        )
    return data


def _prepare_once(
    builder: tfds.core.DatasetBuilder,
    reopen: Callable[[], tfds.core.DatasetBuilder],
    download: tfds.download.DownloadConfig,
) -> tfds.core.DatasetBuilder:
    """Prepare a data set unless that is done; processes that share the folder take turns.

    Returns:
      A builder that knows of what another process has prepared meanwhile.
    """
    folder = Path(builder.data_dir)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.parent / f".{folder.name}.lock"):
        builder = reopen()
        builder.download_and_prepare(download_config=download)
    return builder


def _fingerprint(split: Split) -> str:
    """A hash of the examples of a split: photos, boxes, labels, parts."""
    digest = hashlib.sha256(np.ascontiguousarray(split.labels, "<i8").data)
    for index in range(len(split)):
        for leaf in jax.tree.leaves(split[index]):
            values = np.asarray(leaf)
            # Encoded images and names are objects, whose own bytes are addresses.
            items = values.ravel() if values.dtype == object else [values.tobytes()]
            for item in items:
                content = _pixels(item) if item.startswith(_PNG) else item
                digest.update(len(content).to_bytes(8, "little"))
                digest.update(content)
    return digest.hexdigest()


def _pixels(png: bytes) -> bytes:
    """What a PNG shows: the same image is packed otherwise by another version of a library."""
    with Image.open(io.BytesIO(png)) as image:
        return f"{image.mode} {image.size}".encode() + image.tobytes()
