"""Photos in folders, checked: the examples of a data set, and on which side of the split they are.

Needs neither tfds nor the network; the builder is in `folder`.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from absl import logging

from interp_cnn.data.photos.annotation_files import Annotations
from interp_cnn.data.photos.annotation_places import Wrong, place
from interp_cnn.data.photos.folder_layout import SPLITS, Folder, FolderPhoto, is_other
from interp_cnn.data.photos.folder_photos import (
    UnusablePhoto,
    digests,
    read_photo,
    refused,
    upright,
)
from interp_cnn.data.photos.photo_files import Counts, Example

_FORMAT = 3  # of what is prepared: another number prepares anew


def fingerprint(
    folder: Folder, annotations: Annotations | None, *, seed: int, skip_damaged: bool
) -> str:
    """A hash of all that the prepared examples are made from.

    Args:
        folder: the folder, whose photos are read.
        annotations: those of its photos.
        seed: the seed of the split, which counts where one is drawn.
        skip_damaged: whether photos that cannot be used are left out.

    Raises:
        ValueError: if a photo cannot be read.
    """
    content = digests(folder, skip_damaged=skip_damaged)
    what = {
        "format": _FORMAT,
        "photos": {name: digest.hex() for name, digest in content.items()},
        "classes": folder.classes,
        "annotations": annotations.digest if annotations else "",
        "seed": None if folder.is_split else seed,
        "skip_damaged": skip_damaged,
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a folder holds, checked.

    Attributes:
        examples: all of them.
        summary: by class (and `other`) what was found, and what was left out and why.
        wrong: the annotations that were left out.
        parts: of each class the names of its parts.
        regions: the names of the parts that have a box or a mask.
    """

    examples: list[Example]
    summary: dict[str, Any]
    wrong: Wrong
    parts: dict[str, list[str]]
    regions: list[str]


def scan(folder: Folder, annotations: Annotations | None, *, seed: int, skip_damaged: bool) -> Scan:
    """Read and check all photos and their annotations.

    Args:
        folder: the folder.
        annotations: the annotations of its photos.
        seed: the seed of the split, where the folder has none.
        skip_damaged: leave photos that cannot be used out, and count them, instead of stopping.

    Raises:
        ValueError: if a photo cannot be used, is in two classes, or a class has too few photos.
    """
    content = digests(folder, skip_damaged=skip_damaged)
    counts = {name: Counts() for name in (*folder.classes, "other")}
    used, sizes = _usable(folder, content, counts, skip_damaged)
    _check_one_class(used, content)
    used = _without_leaks(used, content, counts)
    in_test = _sides(folder, used, content, seed)
    placed = place(
        annotations,
        known=[photo.name for photo in folder.photos],
        categories={photo.name: photo.category for photo in used},
        sizes=sizes,
    )
    ids: dict[bytes, str] = {}
    labels = {name: label for label, name in enumerate(folder.classes, start=1)}
    examples = []
    for photo in used:
        photo_id = ids.setdefault(content[photo.name], _text(photo.name))
        label = labels.get(photo.category, 0)
        for number, one in enumerate(placed.objects[photo.name]):
            key = _text(photo.name) + (f"#{number + 1}" if number else "")
            example = Example(
                key, photo.path, photo_id, in_test[photo.name], label, one.box, one.parts
            )
            examples.append(example)
            counts[_shown(photo.category)].add(example)
    parts: dict[str, dict[str, None]] = {name: {} for name in folder.classes}
    for example in examples:
        if example.label:
            named = parts[folder.classes[example.label - 1]]
            named.update(dict.fromkeys(part["name"] for part in example.parts))
    regions = sorted(
        {p["name"] for e in examples if e.label for p in e.parts if np.isfinite(p["box"]).all()}
    )
    for suffix, number in sorted(folder.other_files.items()):
        logging.warning("%s: ignored %d files (%s)", folder.root, number, suffix)
    return Scan(
        examples,
        {name: of.summary() for name, of in counts.items()},
        placed.wrong,
        {name: sorted(of) for name, of in parts.items()},
        regions,
    )


def _text(name: str) -> str:
    """A name that can be stored as UTF-8, whatever the bytes of the file's name."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _shown(category: str) -> str:
    return "other" if is_other(category) else category


def _usable(
    folder: Folder, content: dict[str, bytes], counts: dict[str, Counts], skip_damaged: bool
) -> tuple[list[FolderPhoto], dict[str, tuple[int, int]]]:
    """The photos that can be used, and their height and width."""
    used, sizes = [], {}
    for photo in folder.photos:
        try:
            image, _ = upright(read_photo(photo.path))
        except UnusablePhoto as error:
            if not skip_damaged:
                raise refused(photo.path, error) from error
            logging.warning("Left out the image %s (it %s).", photo.path, error)
            counts[_shown(photo.category)].leave_out(error.kind)
            continue
        if photo.name not in content:  # it became readable meanwhile
            continue
        used.append(photo)
        sizes[photo.name] = (image.height, image.width)
    return used, sizes


def _check_one_class(photos: Iterable[FolderPhoto], content: dict[str, bytes]) -> None:
    first: dict[bytes, FolderPhoto] = {}
    for photo in photos:
        same = first.setdefault(content[photo.name], photo)
        if _shown(same.category) != _shown(photo.category):
            raise ValueError(
                f"{same.path} and {photo.path} are the same photo in two classes: remove one of"
                " them."
            )


def _without_leaks(
    photos: Sequence[FolderPhoto], content: dict[str, bytes], counts: dict[str, Counts]
) -> list[FolderPhoto]:
    """The photos without those of test/ that are in train/, too."""
    train = {content[photo.name]: photo for photo in photos if photo.split == "train"}
    kept = []
    for photo in photos:
        same = train.get(content[photo.name]) if photo.split == "test" else None
        if same is None:
            kept.append(photo)
            continue
        logging.warning("Left out %s, which is the same photo as %s.", photo.path, same.path)
        counts[_shown(photo.category)].leave_out("test images that are also in train")
    return kept


def _sides(
    folder: Folder, photos: Sequence[FolderPhoto], content: dict[str, bytes], seed: int
) -> dict[str, bool]:
    """Whether each photo, by its name, is for the test.

    Raises:
        ValueError: if a class has no photo on one of the sides.
    """
    result: dict[str, bool] = {}
    for category in dict.fromkeys((*folder.classes, *(_shown(p.category) for p in folder.photos))):
        own = [photo for photo in photos if _shown(photo.category) == category]
        if folder.is_split:
            sides = {photo.name: photo.split == "test" for photo in own}
        else:
            drawn = draw_split([content[photo.name] for photo in own], seed)
            sides = {photo.name: drawn[content[photo.name]] for photo in own}
        if len(set(sides.values())) < 2:
            lacking = [split for split in SPLITS if (split == "test") not in sides.values()]
            split = lacking[0] if folder.is_split else ""
            name = next(p.category for p in folder.photos if _shown(p.category) == category)
            raise ValueError(
                f"The class folder {folder.root / split / name} has too few different photos that"
                " can be used for a training and a test side: add some."
            )
        result |= sides
    return result


def draw_split(content: Iterable[bytes], seed: int) -> dict[bytes, bool]:
    """Which photos are for the test, about one third, by their content.

    A photo stays on its side when others are added, unless chance had left a side empty, which gets
    one photo; of a single photo no split can be drawn.

    Args:
        content: the hash of each photo; identical photos count once.
        seed: the seed; 0 gives the split of the published data sets, see `Photos`.
    """
    drawn = {one: _number(one, seed) for one in dict.fromkeys(content)}
    sides = {one: number % 3 == 0 for one, number in drawn.items()}
    if len(sides) > 1 and len(set(sides.values())) < 2:
        smallest = min(drawn, key=lambda one: drawn[one])
        sides[smallest] = not sides[smallest]
    return sides


def _number(digest: bytes, seed: int) -> int:
    if seed:
        digest = hashlib.sha256(seed.to_bytes(8, "big") + digest).digest()
    return int.from_bytes(digest[:8], "big")
