"""Photos in folders, by the names of their files alone: which classes there are, which photos.

Needs neither tfds nor the network, and opens no photo.
"""

import dataclasses
import os
import re
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
# Folders of these names, whatever their case, hold a part of a data set more likely than a class.
_TRAINS = frozenset("train training trainset trainingset".split())
_TESTS = frozenset("test testing testset val valid validation valset".split())
_PARTS = _TRAINS | _TESTS
_BESIDE = frozenset("data image images imgs photos seg set".split())  # in such a name
_NO_PHOTOS = ("thumbs.db", "desktop.ini")  # what Windows leaves in folders
_MACOS = "__MACOSX"  # a folder that macOS puts into archives


@dataclasses.dataclass(frozen=True)
class FolderPhoto:
    """A photo of the folder.

    Attributes:
        path: the file.
        name: its path in the folder, with slashes.
        category: the name of its class's folder, accents composed (NFC), as keyboards write them.
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
            class's folder, or in none of train/ and test/.
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
        ValueError: if it has no classes, one class only, a class without photos or with a name that
            is no text, other classes for the test than for the training, or half of a split.
    """
    if not root.exists():
        raise FileNotFoundError(f"The folder {root} does not exist: give one with {LAYOUT}.")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file: give a folder with {LAYOUT}.")
    splits = _splits(root)
    photos: list[FolderPhoto] = []
    other_files: dict[str, int] = {}
    if splits == SPLITS:
        beside = [folder for folder in _folders(root) if folder.name not in SPLITS]
        _count(
            other_files,
            "photos in no folder of train/ or test/",
            sum(1 for folder in beside for _ in _photos(root, folder, {}))
            + _number_of_photos(root),
        )
    for split in splits:
        _count(other_files, "photos in no class folder", _number_of_photos(root / split))
        for folder in _folders(root / split):
            found = list(_photos(root, folder, other_files))
            if not found:
                raise ValueError(
                    f"The class folder {folder} has no photo ({_listed(sorted(SUFFIXES))}): add"
                    " some, or remove the folder."
                )
            photos += [
                FolderPhoto(path, path.relative_to(root).as_posix(), composed(folder.name), split)
                for path in found
            ]
    _check_classes(root, photos, splits)
    classes = sorted({photo.category for photo in photos if not is_other(photo.category)})
    return Folder(
        root, tuple(classes), tuple(sorted(photos, key=lambda p: p.name)), dict(other_files)
    )


def _splits(root: Path) -> tuple[str, ...]:
    """`("train", "test")`, or `("",)` for a folder that has no split.

    Raises:
        ValueError: if it has half of a split, which would else become classes to be told apart.
    """
    names = [folder.name for folder in _folders(root)]
    sorted_ones = [name for name in SPLITS if name in names and _folders(root / name)]
    if len(sorted_ones) == 2:
        return SPLITS
    both = set(SPLITS) <= set(names)
    parts = _parts_of_a_split(root, names, certain=both and bool(sorted_ones))
    if not parts:
        return ("",)
    if both:
        unsorted = next(name for name in SPLITS if name not in sorted_ones)
        raise ValueError(
            f"The folder {root / unsorted} has no folders of classes: sort its photos into"
            f" {unsorted}/CLASS/, or put the folders of the classes directly into {root} for a"
            " split that is drawn."
        )
    lacking = [f"{name}/" for name in SPLITS if name not in names]
    remedy = "add it" if len(lacking) == 1 else "rename them"
    raise ValueError(
        f"The folder {root} has {_listed([f'{name}/' for name in parts])} and no"
        f" {' and no '.join(lacking)}: {remedy}, or put the folders of the classes directly into"
        f" {root} for a split that is drawn; a class of such a name needs another one."
    )


def _parts_of_a_split(root: Path, names: Sequence[str], *, certain: bool) -> list[str]:
    """Which folders hold a part of the data, none where all are more likely classes.

    There are none but such; or `seg_train` beside `seg_test`; or `ours_train` beside `ours_test`
    with folders of classes or alone; or one for the training has folders. A class may well be
    called train, beside a bus and a car.
    """
    plain = _train_and_test([name for name in names if _words(name) <= _PARTS | _BESIDE])
    both = plain or _train_and_test(names)
    if both and (plain or len(both) == len(names) or all(_folders(root / n) for n in both)):
        return both
    named = [name for name in names if name.lower() in _PARTS]
    nested = [name for name in named if name.lower() in _TRAINS and _folders(root / name)]
    return named if certain or nested or len(named) == len(names) else []


def _train_and_test(names: Sequence[str]) -> list[str]:
    """The names with a word for a part of the data, none where there are not both kinds."""
    trains, tests = ([name for name in names if _words(name) & of] for of in (_TRAINS, _TESTS))
    return sorted({*trains, *tests}) if trains and tests else []


def _words(name: str) -> set[str]:
    """The words of a folder's name: train, images of `TrainImages`; seg, test of `seg_test1`."""
    return set(re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower()))


def _count(counts: dict[str, int], what: str, number: int) -> None:
    if number:
        counts[what] = counts.get(what, 0) + number


def _folders(root: Path) -> list[Path]:
    return sorted(
        p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != _MACOS
    )


def _number_of_photos(folder: Path) -> int:
    """Photos in a folder itself."""
    return sum(_is_photo(p.name) for p in folder.iterdir() if p.is_file())


def _is_photo(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _photos(root: Path, folder: Path, other_files: dict[str, int]) -> Iterator[Path]:
    """The photos in a class's folder and in the folders in it; counts other files."""
    # The folders above it, up to that of the data set.
    above = [root, *(path for path in folder.parents if path.is_relative_to(root))]
    seen = {os.path.realpath(path) for path in above}
    for where, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        # A link may lead back to a folder above it; of two to one folder the first by name counts.
        real = os.path.realpath(where)
        inside = sorted(f for f in folders if not f.startswith(".") and f != _MACOS)
        folders[:] = [] if real in seen else inside
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            if _is_photo(name):
                yield Path(where, name)
            elif not name.startswith(".") and name.lower() not in _NO_PHOTOS:
                _count(other_files, os.path.splitext(name)[1].lower() or "no suffix", 1)


def _raise(error: OSError) -> NoReturn:
    raise error  # a folder that cannot be read is not one without photos


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
    for name in names:
        if not _is_line(name):
            raise ValueError(
                f"The class folder {name!r} in {root} has a name that is no text in UTF-8 on one"
                " line: rename it."
            )
    if len(names) < 2 or all(map(is_other, names)):
        raise ValueError(
            f"The folder {root} has one class only ({_listed(names)}): add the folder of another"
            f" class, or one with photos of other things, {OTHER[0]}/."
        )


def _is_line(name: str) -> bool:
    """Whether a name can be stored as a line of UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return name.splitlines() == [name]


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:20])}{', ...' * (len(names) > 20)}"
