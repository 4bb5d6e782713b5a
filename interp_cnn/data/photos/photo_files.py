"""What all sets of photos share: checked images, identity and split by photo, counts.

Needs neither tfds nor the network.
"""

import dataclasses
import hashlib
import io
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from interp_cnn.data.images import as_rgb

_FORMAT = 2  # of what is prepared: another number prepares anew
MIN_AREA = 50 * 50  # pixels; smaller objects are left out, as the authors do
TOO_SMALL = f"objects under {MIN_AREA} pixels"
OTHER_SIDE = "copies of a photo on the other side of the split"
OF_AN_OBJECT = "photos of other things that are an object's as well"
HOW_TO_SKIP = "--config.data.skip_damaged (of interp-cnn data, --skip_damaged)"

# Where the authors' photos of other things are: in a folder of their own, or in the repository.
_OTHERS = ("neg", "interpretableCNN*/data/neg")
_NO_JPEG = (".bmp", ".gif", ".heic", ".png", ".tif", ".tiff", ".webp")
_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".Jpg", ".Jpeg")


@dataclasses.dataclass(frozen=True)
class Example:
    """One object, or one photo of something else.

    Attributes:
        key: unique.
        path: the photo.
        photo_id: an identifier, the same for identical photos.
        in_test: whether the photo belongs to the test split.
        label: 0, or the number of the category from 1.
        bbox: [4] float32: ymin, xmin, ymax, xmax in continuous pixels of the photo.
        parts: name, center [2], and what else the data set knows of each annotated part.
        extra: further lists of parts, by the name of their feature.
    """

    key: str
    path: Path
    photo_id: str
    in_test: bool
    label: int
    bbox: np.ndarray
    parts: list[dict[str, Any]]
    extra: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Counts:
    """What was found of one category, and what was left out and why."""

    parts: dict[str, int] = dataclasses.field(default_factory=dict)
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    photos: set[str] = dataclasses.field(default_factory=set)
    examples: int = 0

    def add(self, example: Example) -> None:
        """Count an example and its parts."""
        self.examples += 1
        self.photos.add(example.photo_id)
        for part in example.parts:
            self.parts[part["name"]] = self.parts.get(part["name"], 0) + 1

    def leave_out(self, why: str) -> None:
        """Count something that was left out."""
        self.left_out[why] = self.left_out.get(why, 0) + 1

    def summary(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        return {
            "examples": self.examples,
            "photos": len(self.photos),
            "parts": self.parts,
            "left_out": self.left_out,
        }


@dataclasses.dataclass(frozen=True)
class Photo:
    """A whole photo.

    Attributes:
        photo_id: the name of the first photo with the same bytes.
        in_test: whether its bytes put it into the test split, one third of all.
        size: height and width in pixels.
    """

    photo_id: str
    in_test: bool
    size: tuple[int, int]


class Photos:
    """Opens photos and knows which of them are identical.

    Args:
        skip_damaged: leave damaged and missing ones out instead of stopping.
    """

    def __init__(self, skip_damaged: bool) -> None:
        self.skip_damaged = skip_damaged
        self._ids: dict[bytes, str] = {}

    def open(self, path: Path, name: str, *counts: Counts) -> Photo | None:
        """The photo of a file, None for one that is left out.

        Args:
            path: the path of the image.
            name: its id, unless the same photo was there before.
            *counts: the counters of images that are left out.

        Raises:
            FileNotFoundError: if there is no such file and such photos are not left out.
            ValueError: if it is damaged and such photos are not left out.
        """
        if not path.is_file():
            if self.skip_damaged:
                _leave_out("missing", path, "there is no such file", counts)
                return None
            raise FileNotFoundError(
                f"The image {path} is missing: copy it there, or leave such images out,"
                f" {HOW_TO_SKIP}."
            )
        data = path.read_bytes()
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()  # decodes all of it: a truncated file shows only here
                as_rgb(image)
                size = image.height, image.width
        except Exception as error:  # Pillow raises whatever a damaged file leads it into
            if self.skip_damaged:
                _leave_out("damaged", path, error, counts)
                return None
            raise ValueError(
                f"The image {path} is damaged ({error}): copy it again, or leave such images out,"
                f" {HOW_TO_SKIP}."
            ) from error
        # One photo of several objects may be there once per object, under different names; the
        # bytes tell. The split hangs on them alone, so it is the same in every config.
        digest = hashlib.sha256(data).digest()
        in_test = int.from_bytes(digest[:8], "big") % 3 == 0
        return Photo(self._ids.setdefault(digest, name), in_test, size)


def _leave_out(kind: str, path: Path, why: object, counts: Iterable[Counts]) -> None:
    logging.warning("Left out the %s image %s (%s).", kind, path, why)
    for count in counts:
        count.leave_out(f"{kind} images")


def area(box: np.ndarray) -> float:
    """Pixels within ymin, xmin, ymax, xmax."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def read_others(paths: Iterable[Path], photos: Photos) -> tuple[list[Example], Counts]:
    """The photos of other things as examples with label 0, each as a whole.

    One that is a photo of an object, too, is left out: it cannot have both labels.

    Args:
        paths: the files.
        photos: what opens them, and has opened those of the objects.

    Raises:
        ValueError: for a damaged one, unless such photos are left out.
    """
    paths = list(paths)
    examples, counts = [], Counts()
    for parent in sorted({path.parent for path in paths}):
        for path in parent.iterdir():
            if path.suffix.lower() in _NO_JPEG and not path.name.startswith("."):
                counts.leave_out("photos that are no JPEG files")
    keys: set[str] = set()
    for path in paths:
        key = f"neg/{path.stem}"
        if key in keys:  # 00001.jpg beside 00001.JPEG
            key = f"neg/{path.name}"
        keys.add(key)
        photo = photos.open(path, key, counts)
        if photo is None:
            continue
        if not photo.photo_id.startswith("neg/"):
            counts.leave_out(OF_AN_OBJECT)
            continue
        bbox = np.array([0, 0, *photo.size], np.float32)
        examples.append(Example(key, path, photo.photo_id, photo.in_test, 0, bbox, []))
        counts.add(examples[-1])
    return examples, counts


def other_photos(bases: Iterable[Path]) -> list[Path]:
    """The authors' photos of other things in the folder `neg/`, none where there is no such folder.

    Args:
        bases: the folders that may hold it.

    Raises:
        FileNotFoundError: if the folder is there and empty.
    """
    folder = find_folder(bases, _OTHERS)
    if folder is None:
        return []
    paths = images(folder)
    if not paths:
        raise FileNotFoundError(f"The folder {folder} has no .JPEG image: copy the photos there.")
    return paths


def images(folder: Path) -> list[Path]:
    """The JPEG files of a folder, without the hidden ones that macOS leaves in archives."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix in _SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    )


def image(folder: Path, stem: str) -> Path:
    """The JPEG file of that name, whatever the spelling of its suffix; `.jpg` if there is none."""
    paths = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES]
    return next((p for p in paths if p.is_file()), paths[0])


def find_folder(bases: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first folder in one of several others, None where there is none.

    Args:
        bases: the folders to look in, the most likely one first.
        names: names of the folder, or patterns for it, the most likely one first.
    """
    for base, name in itertools.product(bases, names):
        for path in sorted(base.glob(name)):
            if path.is_dir():
                return path
    return None


def folder(path: Path, what: str, layout: str) -> Path:
    """The path, if there is such a folder.

    Args:
        path: the path of the folder.
        what: it holds.
        layout: what `manual_dir` must hold.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"The folder {path} ({what}) is missing: manual_dir must hold {layout}."
        )
    return path


def rgb_bytes(data: bytes) -> bytes:
    """The file's bytes as published if it is RGB, else (grey ones) an RGB PNG.

    The pixels stay where they are stored, whatever EXIF says: MATLAB, in which all three data sets
    were annotated, does not turn them either.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "RGB":
            return data
        png = io.BytesIO()
        as_rgb(image).save(png, "PNG")
    return png.getvalue()


def check_annotation_files(paths: Iterable[Path]) -> None:
    """Say that a file is missing that is no photo.

    Raises:
        FileNotFoundError: if one is.
    """
    for path in paths:
        if path.suffix not in _SUFFIXES and not path.is_file():
            raise FileNotFoundError(f"The annotation file {path} is missing: copy it there.")


def fingerprint(source: Path, paths: Iterable[Path], skip_damaged: bool) -> str:
    """A hash of every file that a copy is made from, to tell one source from another.

    Raises:
        FileNotFoundError: if one of the files is missing that is no photo.
    """
    paths = list(paths)
    check_annotation_files(paths)
    total = hashlib.sha256(f"{_FORMAT} {skip_damaged}".encode())
    for path in paths:
        total.update(os.fsencode(os.path.relpath(path, source)))
        if path.is_file():  # else a link that leads nowhere: see Photos
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
