"""Photos in folders, by the names of their files alone: which classes there are, which photos.

Needs neither tfds nor the network, and opens no photo.
"""

import dataclasses
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

SPLITS = ("train", "test")
LAYOUT = "DIR/CLASS/PHOTO.jpg, or DIR/train/CLASS/ and DIR/test/CLASS/"
# Folders of these names hold photos of other things, whatever their case: label 0.
OTHER = ("other", "others", "neg", "negative", "negatives")
SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
_NO_PHOTOS = ("thumbs.db", "desktop.ini")  # what Windows leaves in folders
_MACOS = "__MACOSX"  # a folder that macOS puts into archives


@dataclasses.dataclass(frozen=True)
class FolderPhoto:
    """A photo of the folder.

    Attributes:
        path: the file.
        name: its path in the folder, with slashes.
        category: the name of its class's folder.
        split: `"train"` or `"test"`, "" where the folder has no split.
    """

    path: Path
    name: str
    category: str
    split: str


@dataclasses.dataclass(frozen=True)
class Folder:
    """What a folder holds, by the names of its files alone.

    Attributes:
        root: the folder.
        classes: names of the classes, sorted: the labels 1, 2, ...
        photos: all photos, those of other things included, sorted by name.
        other_files: how many files there are that are no photos, by their suffix, and photos in no
            class's folder.
    """

    root: Path
    classes: tuple[str, ...]
    photos: tuple[FolderPhoto, ...]
    other_files: dict[str, int]

    @property
    def has_others(self) -> bool:
        """Whether there are photos of other things, label 0."""
        return any(is_other(photo.category) for photo in self.photos)

    @property
    def is_split(self) -> bool:
        """Whether the folder says which photos are for the test."""
        return bool(self.photos[0].split)


def is_other(category: str) -> bool:
    """Whether a class of this name stands for other things, label 0."""
    return category.lower() in OTHER


def composed(name: str) -> str:
    """A name in one of the two ways to write accents: macOS writes those of files in the other."""
    return unicodedata.normalize("NFC", name)


def read_folder(root: Path) -> Folder:
    """List the classes and photos of a folder; no file is opened.

    Photos in folders inside the folder of a class belong to the class. Hidden files are ignored.

    Args:
        root: a folder with a folder for each class, or with train/ and test/ that have them.

    Raises:
        FileNotFoundError: if there is no such folder.
        NotADirectoryError: if it is a file.
        ValueError: if it has no classes, one class only, a class without photos, or other classes
            for the test than for the training.
    """
    if not root.exists():
        raise FileNotFoundError(f"The folder {root} does not exist: give one with {LAYOUT}.")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file: give a folder with {LAYOUT}.")
    splits = _splits(root)
    photos: list[FolderPhoto] = []
    other_files: dict[str, int] = {}
    for split in splits:
        if stray := _number_of_photos(root / split):
            other_files["photos in no class folder"] = stray
        for folder in _folders(root / split):
            found = list(_photos(folder, other_files))
            if not found:
                raise ValueError(
                    f"The class folder {folder} has no photo ({_listed(sorted(SUFFIXES))}): add"
                    " some, or remove the folder."
                )
            photos += [
                FolderPhoto(path, path.relative_to(root).as_posix(), folder.name, split)
                for path in found
            ]
    _check_classes(root, photos, splits)
    classes = sorted({photo.category for photo in photos if not is_other(photo.category)})
    return Folder(
        root, tuple(classes), tuple(sorted(photos, key=lambda p: p.name)), dict(other_files)
    )


def _splits(root: Path) -> tuple[str, ...]:
    """`("train", "test")`, or `("",)` for a folder that has no split."""
    there = [name for name in SPLITS if (root / name).is_dir() and not _has_photos(root / name)]
    if len(there) == 2:
        return SPLITS
    if there and len(_folders(root)) - _counts_as_split(root) <= 1:
        missing = next(name for name in SPLITS if name not in there)
        raise ValueError(
            f"The folder {root} has {there[0]}/ and no {missing}/: add it, or put the folders of"
            f" the classes directly into {root} for a split that is drawn."
        )
    return ("",)


def _counts_as_split(root: Path) -> int:
    """How many folders are named as the validation part of a data set."""
    return sum((root / name).is_dir() for name in ("val", "valid", "validation"))


def _folders(root: Path) -> list[Path]:
    return sorted(
        p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != _MACOS
    )


def _has_photos(folder: Path) -> bool:
    return _number_of_photos(folder) > 0


def _number_of_photos(folder: Path) -> int:
    """Photos in a folder itself."""
    return sum(_is_photo(p.name) for p in folder.iterdir() if p.is_file())


def _is_photo(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _photos(folder: Path, other_files: dict[str, int]) -> Iterator[Path]:
    """The photos in a class's folder and in the folders in it; counts other files."""
    seen: set[str] = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        # A link may lead back to a folder above it.
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else [f for f in folders if not f.startswith(".")]
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            if _is_photo(name):
                yield Path(where, name)
            elif not name.startswith(".") and name.lower() not in _NO_PHOTOS:
                suffix = os.path.splitext(name)[1].lower() or "no suffix"
                other_files[suffix] = other_files.get(suffix, 0) + 1


def _check_classes(root: Path, photos: Sequence[FolderPhoto], splits: Sequence[str]) -> None:
    """Raise a ValueError unless there are two classes, the same ones on both sides."""
    if not photos:
        raise ValueError(f"The folder {root} has no folder with photos in it: give {LAYOUT}.")
    of = [{photo.category for photo in photos if photo.split == split} for split in splits]
    for index, (here, there) in enumerate(zip(of, of[::-1], strict=True)):
        if lacking := sorted(there - here):
            raise ValueError(
                f"The folder {root / splits[index]} lacks the classes {_listed(lacking)}, which"
                f" {root / splits[1 - index]} has: both need the same ones."
            )
    names = sorted(of[0])
    if len(names) < 2 or all(map(is_other, names)):
        raise ValueError(
            f"The folder {root} has one class only ({_listed(names)}): add the folder of another"
            f" class, or one with photos of other things, {OTHER[0]}/."
        )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:20])}{', ...' * (len(names) > 20)}"
