"""The published files of CUB-200-2011: where they are, and what they say.

Needs neither tfds nor the network; the builder is in `cub_200_2011`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from interp_cnn.data.photos import photo_files
from interp_cnn.data.photos.photo_files import Counts, Example, Photos

BIRD = "bird"  # the category of all birds together
LAYOUT = "CUB_200_2011/ as published and the authors' neg/"


@dataclasses.dataclass(frozen=True)
class Tables:
    """The text files.

    Attributes:
        images: number of an image -> its path in images/, for all that are published.
        species: number of an image -> name of its class.
        classes: names of all classes, in their order.
        boxes: number of an image -> x, y, width, height.
        in_test: number of an image -> whether it is for testing.
        points: number of an image -> name, x, y of its visible parts.
        part_names: names of all parts.
    """

    images: dict[str, str]
    species: dict[str, str]
    classes: tuple[str, ...]
    boxes: dict[str, tuple[float, ...]]
    in_test: dict[str, bool]
    points: dict[str, list[tuple[str, float, float]]]
    part_names: tuple[str, ...]


def read_tables(source: Path) -> Tables:
    """Read all text files.

    Raises:
        FileNotFoundError: if one is missing.
        ValueError: if a line cannot be read.
    """
    root = _root(source)
    classes = {number: name for number, name in _rows(root / "classes.txt", 2)}
    labels = root / "image_class_labels.txt"
    species = {}
    for image, number in _rows(labels, 2):
        if number not in classes:
            raise ValueError(f"{labels} has the class {number}, which classes.txt does not name.")
        species[image] = classes[number]
    # A name may have several words.
    names = {n: name.replace(" ", "_") for n, name in _rows(root / "parts" / "parts.txt", 2)}
    places = root / "parts" / "part_locs.txt"
    points: dict[str, list[tuple[str, float, float]]] = {}
    located = _rows(places, 5)
    if not located:
        raise ValueError(f"{places} is empty: copy it again.")
    for image, part, x, y, visible in located:
        if part not in names:
            raise ValueError(f"{places} has the part {part}, which parts.txt does not name.")
        across, down, seen = _numbers([x, y, visible], places)
        if seen not in (0, 1):
            raise ValueError(
                f"{places} has {visible!r} where 0 or 1 says whether a part is visible: copy it"
                " again."
            )
        if seen:
            points.setdefault(image, []).append((names[part], across, down))
    boxes, sides = root / "bounding_boxes.txt", root / "train_test_split.txt"
    in_test = {}
    for image, side in _rows(sides, 2):
        (for_training,) = _numbers([side], sides)
        if for_training not in (0, 1):
            raise ValueError(
                f"{sides} has {side!r} where 0 or 1 says whether an image is for training: copy it"
                " again."
            )
        in_test[image] = not for_training
    return Tables(
        images={image: name for image, name in _rows(root / "images.txt", 2)},
        species=species,
        classes=tuple(classes.values()),
        boxes={image: _numbers(box, boxes) for image, *box in _rows(boxes, 5)},
        in_test=in_test,
        points=points,
        part_names=tuple(names.values()),
    )


def scan(
    source: Path, categories: tuple[str, ...], skip_damaged: bool
) -> tuple[list[Example], dict[str, Any]]:
    """Read and check a copy, which may lack classes and images.

    Args:
        source: folder with CUB_200_2011/ and perhaps neg/, or CUB_200_2011/ itself.
        categories: `("bird",)`, or names of classes.txt in the order of their labels.
        skip_damaged: leave damaged images out instead of stopping.

    Returns:
        All examples, and by category (and `other`) the number of examples, of different photos,
        of each part, and of what was left out and why.

    Raises:
        FileNotFoundError: if an annotation file or all images are missing.
        ValueError: if a file is damaged or does not fit the others, or a species is not known.
    """
    tables = read_tables(source)
    for category in categories:
        if category not in (BIRD, *tables.classes):
            raise ValueError(
                f"{category!r} is no category; give {BIRD!r}, 'all', or species as"
                f" {_root(source) / 'classes.txt'} names them, joined by +."
            )
    opened = Photos(skip_damaged)
    examples: list[Example] = []
    counts = {c: Counts(parts=dict.fromkeys(tables.part_names, 0)) for c in categories}
    sides: dict[str, bool] = {}
    for image, name in tables.images.items():
        category = BIRD if categories == (BIRD,) else _entry(tables.species, image, source)
        if category not in categories:
            continue
        path = _root(source) / "images" / name
        if not path.is_file():
            counts[category].leave_out("images that are not in this copy")
            continue
        key = str(Path(name).with_suffix(""))
        photo = opened.open(path, key, counts[category])
        if photo is None:
            continue
        in_test = _entry(tables.in_test, image, source)
        if sides.setdefault(photo.photo_id, in_test) != in_test:
            counts[category].leave_out(photo_files.OTHER_SIDE)
            continue
        bbox = _box(_entry(tables.boxes, image, source), photo.size, path)
        if photo_files.area(bbox) < photo_files.MIN_AREA:
            counts[category].leave_out(photo_files.TOO_SMALL)
            continue
        parts = _parts(tables.points.get(image, []), bbox, photo.size, counts[category])
        label = categories.index(category) + 1
        example = Example(key, path, photo.photo_id, in_test, label, bbox, parts)
        examples.append(example)
        counts[category].add(example)
    rest, other_counts = photo_files.read_others(others(source), opened)
    summary = {name: count.summary() for name, count in counts.items()}
    return examples + rest, summary | {"other": other_counts.summary()}


def found(source: Path) -> tuple[str, ...]:
    """The classes of which a copy has an image, in their order.

    Raises:
        FileNotFoundError: if it has none, or no text files.
    """
    tables = read_tables(source)
    there = {tables.species.get(image) for image, _ in _present(source, tables)}
    return tuple(name for name in tables.classes if name in there)


def contents(source: Path) -> str:
    """How complete a copy is."""
    tables = read_tables(source)
    images = len(_present(source, tables))
    return (
        f"{len(found(source))} of {len(tables.classes)} classes,"
        f" {images} of {len(tables.images)} images"
    )


def paths(source: Path, categories: tuple[str, ...]) -> list[Path]:
    """Every file that the examples of these categories are made from."""
    tables = read_tables(source)
    root = _root(source)
    images = [
        path
        for image, path in _present(source, tables)
        if categories == (BIRD,) or tables.species.get(image) in categories
    ]
    texts = sorted([*root.glob("*.txt"), *(root / "parts").glob("*.txt")])
    return [*texts, *images, *others(source)]


def others(source: Path) -> list[Path]:
    """The photos of other things, none where there is no such folder."""
    beside = [source.absolute().parent] if _root(source) == source else []
    return photo_files.other_photos([source, *beside])


def _root(source: Path) -> Path:
    photo_files.folder(source, "manual_dir", LAYOUT)
    root = source / "CUB_200_2011"
    if not root.is_dir() and (source / "images.txt").is_file():
        return source
    return photo_files.folder(root, "the data set", LAYOUT)


def _present(source: Path, tables: Tables) -> list[tuple[str, Path]]:
    """Numbers and paths of the images that are there."""
    folder = photo_files.folder(_root(source) / "images", "photos of the birds", LAYOUT)
    every = [(image, folder / name) for image, name in tables.images.items()]
    there = [(image, path) for image, path in every if path.is_file()]
    if not there:
        raise FileNotFoundError(
            f"The folder {folder} has no image that images.txt names: copy the photos there."
        )
    return there


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The columns of each line, separated by spaces; the last one takes the rest."""
    if not path.is_file():
        raise FileNotFoundError(f"The annotation file {path} is missing: copy it there.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): copy it again.") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        row = line.strip().split(maxsplit=columns - 1)
        if not row:  # such as at the end of a file that was edited
            continue
        if len(row) != columns:
            raise ValueError(
                f"Line {number} of {path} is {line!r}, not {columns} columns: copy the file again."
            )
        rows.append(row)
    return rows


def _numbers(texts: list[str], path: Path) -> tuple[float, ...]:
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        raise ValueError(f"{path} has {texts}, which are not numbers: copy it again.") from None


def _entry(table: dict[str, Any], image: str, source: Path) -> Any:
    if image not in table:
        raise ValueError(
            f"Image {image} of {_root(source) / 'images.txt'} is not in the other text files: copy"
            " them again."
        )
    return table[image]


def _box(published: tuple[float, ...], size: tuple[int, int], path: Path) -> np.ndarray:
    """The bird's box [ymin, xmin, ymax, xmax] in continuous pixels, cut at the image's border."""
    x, y, width, height = published
    corners = np.array([y, x, y + height, x + width], np.float32)
    box = np.clip(corners, 0, [*size, *size]).astype(np.float32)
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(
            f"The image {path} has {size[0]} x {size[1]} pixels and the box {list(published)}"
            " (x, y, width, height): images and annotations do not belong together."
        )
    return box


def _parts(
    points: list[tuple[str, float, float]], bbox: np.ndarray, size: tuple[int, int], counts: Counts
) -> list[dict[str, Any]]:
    """The points that lie in the image and in the box; the others are counted."""
    parts = []
    for name, x, y in points:
        center = np.array([y, x], np.float32)
        if not ((center >= 0).all() and (center <= size).all()):
            counts.leave_out(f"{name} outside the image")
        elif not ((center >= bbox[:2]).all() and (center <= bbox[2:]).all()):
            counts.leave_out(f"{name} outside the box")
        else:
            parts.append({"name": name, "center": center})
    return parts
