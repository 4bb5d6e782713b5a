"""Photos in folders: which classes and photos there are, what they hold, how they are split.

Needs neither tfds nor the network; the builder is in `folder`.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import Image, ImageOps, UnidentifiedImageError

from interp_cnn.data.images import as_rgb
from interp_cnn.data.photos.folder_annotations import Annotations, Wrong, place
from interp_cnn.data.photos.photo_files import Counts, Example

SPLITS = ("train", "test")
LAYOUT = "DIR/CLASS/PHOTO.jpg, or DIR/train/CLASS/ and DIR/test/CLASS/"
# Folders of these names hold photos of other things, whatever their case: label 0.
OTHER = ("other", "others", "neg", "negative", "negatives")
SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
MOST_BYTES = 2**28  # of a file
_NO_PHOTOS = ("thumbs.db", "desktop.ini")  # what Windows leaves in folders
_MACOS = "__MACOSX"  # a folder that macOS puts into archives
_AS_THEY_ARE = ("JPEG", "MPO", "PNG")
_QUALITY = 95  # of turned JPEG photos
_FORMAT = 1  # of what is prepared: another number prepares anew


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


# What the files hold.


class UnusablePhoto(ValueError):
    """A photo that cannot be used, and why; `kind` is what it counts as."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def read_photo(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        UnusablePhoto: if it is missing or huge.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UnusablePhoto(
                "too large images",
                f"has {size:,} bytes, at most {MOST_BYTES:,} are read: scale it down",
            )
        return path.read_bytes()
    except OSError as error:
        raise UnusablePhoto(
            "missing images", f"cannot be read ({error.strerror}): copy it again"
        ) from error


def upright(data: bytes) -> tuple[Image.Image, bool]:
    """A photo in 8-bit RGB as viewers show it, and whether its bytes stand for the same pixels.

    Raises:
        UnusablePhoto: if it is damaged or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        image.load()  # decodes all of it: a truncated file shows only here
        shown = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusablePhoto(
            "too large images",
            f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels, the most that are read: scale it"
            " down",
        ) from error
    except UnidentifiedImageError as error:
        raise UnusablePhoto(
            "damaged images", "is no image that can be read: copy it again"
        ) from error
    except Exception as error:  # Pillow raises whatever a damaged file leads it into
        raise UnusablePhoto("damaged images", f"is damaged ({error}): copy it again") from error
    try:
        rgb = as_rgb(shown)
    except ValueError as error:
        raise UnusablePhoto("damaged images", f"cannot be used: {error}") from error
    kept = image.format in _AS_THEY_ARE and image.mode == "RGB" and rgb is shown
    return rgb, kept and image.getexif().get(_ORIENTATION, 1) not in range(2, 9)


_ORIENTATION = 0x0112  # of EXIF


def stored_bytes(data: bytes) -> bytes:
    """An RGB photo that is upright as it is stored: the file's own bytes where it is one.

    Others become PNG, and JPEG photos that are turned JPEG of high quality, which is a tenth of the
    size.
    """
    image, kept = upright(data)
    if kept:
        return data
    with Image.open(io.BytesIO(data)) as original:
        turned_jpeg = original.format in ("JPEG", "MPO") and original.mode == "RGB"
    file = io.BytesIO()
    if turned_jpeg:
        image.save(file, "JPEG", quality=_QUALITY)
    else:
        image.save(file, "PNG")
    return file.getvalue()


@functools.lru_cache(maxsize=1_000_000)
def _digest(path: Path, changed: int, size: int) -> bytes:
    return hashlib.sha256(read_photo(path)).digest()


def digests(folder: Folder, *, skip_damaged: bool) -> dict[str, bytes]:
    """A hash of the content of each photo by its name; photos that are left out have none.

    A photo that stays as it is is read once for all calls.

    Args:
        folder: the folder.
        skip_damaged: leave photos out that cannot be read, instead of stopping.

    Raises:
        ValueError: if a photo cannot be read.
    """
    found = {}
    for photo in folder.photos:
        try:
            try:
                state = photo.path.stat()
                key = (state.st_mtime_ns, state.st_size)
            except OSError:
                key = (0, 0)  # read_photo says what is wrong
            found[photo.name] = _digest(photo.path, *key)
        except UnusablePhoto as error:
            if not skip_damaged:
                raise _refused(photo.path, error) from error
    return found


def _refused(path: Path, error: UnusablePhoto) -> ValueError:
    return ValueError(f"The image {path} {error}, or leave such images out with skip_damaged=True.")


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


# The split, and the examples.


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
    return os.fsencode(name).decode("utf-8", "replace")


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
                raise _refused(photo.path, error) from error
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
    for category in dict.fromkeys((*folder.classes, *(p.category for p in photos))):
        own = [photo for photo in photos if photo.category == category]
        if folder.is_split:
            sides = {photo.name: photo.split == "test" for photo in own}
        else:
            drawn = draw_split([content[photo.name] for photo in own], seed)
            sides = {photo.name: drawn[content[photo.name]] for photo in own}
        if len(set(sides.values())) < 2:
            where = folder.root / (own[0].split if own else "") / category
            raise ValueError(
                f"The class folder {where} has too few different photos that can be used for a"
                " training and a test side: add some."
            )
        result |= sides
    return result


def draw_split(content: Iterable[bytes], seed: int) -> dict[bytes, bool]:
    """Which photos are for the test, about one third, by their content.

    A photo stays on its side when others are added. Where chance leaves a side empty it gets one
    photo; of a single photo no split can be drawn.

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
