"""The published files of ILSVRC Animal-Part: where they are, what they say, whether they are whole.

Needs neither tfds nor the network; the builder is in `ilsvrc_animal_part`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from interp_cnn.data.photos import photo_files
from interp_cnn.data.photos.photo_files import Counts, Example, Photos
from interp_cnn.matlab import read_structs

PARTS: tuple[str, ...] = ("head", "front_legs")

# The 30 categories of the paper, by their WordNet ids.
CATEGORIES: dict[str, str] = {
    "goldfish": "n01443537",
    "bird": "n01503061",
    "frog": "n01639765",
    "turtle": "n01662784",
    "lizard": "n01674464",
    "koala": "n01882714",
    "lobster": "n01982650",
    "dog": "n02084071",
    "fox": "n02118333",
    "cat": "n02121808",
    "lion": "n02129165",
    "tiger": "n02129604",
    "bear": "n02131653",
    "rabbit": "n02324045",
    "hamster": "n02342885",
    "squirrel": "n02355227",
    "horse": "n02374451",
    "zebra": "n02391049",
    "swine": "n02395003",
    "hippopotamus": "n02398521",
    "cattle": "n02402425",
    "sheep": "n02411705",
    "antelope": "n02419796",
    "camel": "n02437136",
    "otter": "n02444819",
    "armadillo": "n02454379",
    "monkey": "n02484322",
    "elephant": "n02503517",
    "red_panda": "n02509815",
    "giant_panda": "n02510455",
}
NAMES = {wordnet_id: name for name, wordnet_id in CATEGORIES.items()}

# Of these 30 only the goldfish has no front legs, and so no second file.
_HEAD_ONLY = "n01443537"

_FRAME = 224.0  # parts are given in the object's crop stretched to 224 x 224
LAYOUT = "detanimalpart/, truth/ and the authors' neg/"
# The folder of part boxes: by itself, or in the authors' repository.
_TRUTH = ("truth", "interpretableCNN*/code/data_input/data_input_DET-2015-subset-ILSVRC2013train")

# Where the files of the two archives go in the layout of `manual_dir`.
_ARCHIVE_MEMBERS = (
    (re.compile(r"[^/]+/(n\d{8}_obj/img/(?:data\.mat|img/\d{5}\.jpg))"), "detanimalpart"),
    (
        re.compile(
            r"[^/]+/code/data_input/data_input_DET-2015-subset-ILSVRC2013train/"
            r"(n\d{8}/truth_part\d\d\.mat)"
        ),
        "truth",
    ),
)


def scan(
    source: Path, categories: tuple[str, ...], skip_damaged: bool
) -> tuple[list[Example], dict[str, Any]]:
    """Read and check a whole folder.

    Args:
        source: folder with detanimalpart/, truth/ and perhaps neg/, or with the authors' two
            repositories, or detanimalpart/ itself beside the others.
        categories: WordNet ids, in the order of their labels.
        skip_damaged: leave damaged and missing images out instead of stopping.

    Returns:
        All examples, and by category (and `other`) the number of examples, of different photos,
        of each part, and of what was left out and why.

    Raises:
        FileNotFoundError: if a folder, an annotation file or an image is missing.
        ValueError: if a file is damaged or does not fit the others.
    """
    opened = Photos(skip_damaged)
    examples: list[Example] = []
    summary = {}
    for label, category in enumerate(categories, start=1):
        objects, counts = _category(source, category, label, opened)
        examples += objects
        summary[NAMES.get(category, category)] = counts.summary()
    rest, counts = photo_files.read_others(others(source), opened)
    summary["other"] = counts.summary()
    return examples + rest, summary


def _category(
    source: Path, category: str, label: int, opened: Photos
) -> tuple[list[Example], Counts]:
    boxes, parts, images = _category_files(source, category)
    samples = read_structs(boxes, "samples")
    truths = {}
    for name, path in parts.items():
        truths[name] = read_structs(path, "truth")
        if len(truths[name]) != len(samples):
            raise ValueError(
                f"{path} has {len(truths[name])} entries but {boxes} has {len(samples)}: "
                "copy both from the same release."
            )
    examples = []
    counts = Counts(parts=dict.fromkeys(parts, 0))
    entries = {f"{i:05d}" for i in range(1, len(samples) + 1)}
    for path in photo_files.images(images):
        if path.stem not in entries:
            counts.leave_out("images without an entry in data.mat")
    for i, sample in enumerate(samples, start=1):
        path, key = photo_files.image(images, f"{i:05d}"), f"{category}/{i:05d}"
        photo = opened.open(path, key, counts)
        if photo is None:
            continue
        try:
            bbox = _object_box(sample, f"entry {i} of {boxes}", photo.size)
        except ValueError as error:
            if not opened.skip_damaged:
                raise
            logging.warning("Left out an object: %s", error)
            counts.leave_out("objects with a damaged box")
            continue
        if photo_files.area(bbox) < photo_files.MIN_AREA:
            counts.leave_out(photo_files.TOO_SMALL)
            continue
        for _ in sample["obj"][1:]:
            counts.leave_out("further objects of an entry of data.mat")
        placed = []
        for name, truth in truths.items():
            boxes_drawn = _part_boxes(truth[i - 1], bbox, f"entry {i} of {parts[name]}")
            if len(boxes_drawn) > 1:
                counts.leave_out(f"{name} with several boxes")
            elif boxes_drawn:
                placed.append({"name": name, **boxes_drawn[0]})
        example = Example(key, path, photo.photo_id, photo.in_test, label, bbox, placed)
        examples.append(example)
        counts.add(example)
    return examples, counts


def _object_box(sample: dict[str, Any], where: str, size: tuple[int, int]) -> np.ndarray:
    """The object's box [ymin, xmin, ymax, xmax] in continuous pixels.

    The authors cut I(ymin:ymax, xmin:xmax) out, 1-based and inclusive.
    """
    try:
        bndbox = sample["obj"][0]["bndbox"][0]
        box = np.array([bndbox[side].item() for side in ("ymin", "xmin", "ymax", "xmax")])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} has no readable bndbox: copy the file again.") from error
    box -= [1, 1, 0, 0]
    height, width = size
    if not (0 <= box[0] < box[2] <= height and 0 <= box[1] < box[3] <= width):
        raise ValueError(
            f"{where} has the box {box.tolist()} (ymin, xmin, ymax, xmax), which is not inside its "
            f"image of {height} x {width} pixels: images and annotations do not belong together."
        )
    return box.astype(np.float32)


def _part_boxes(entry: dict[str, Any], bbox: np.ndarray, where: str) -> list[dict[str, Any]]:
    """The centre and box, in the photo, of each box that was drawn for a part in one entry.

    y = ymin + H / 224 * (ymax - ymin), x likewise, with (H, W) in the stretched crop.
    """
    if entry.get("pHW_center") is None:
        return []
    center, extent = np.asarray(entry["pHW_center"]), np.asarray(entry.get("pHW_scale"))
    if center.shape != extent.shape or center.ndim != 2 or len(center) != 2:
        raise ValueError(
            f"{where} has no 2xK pHW_center and pHW_scale of one size: copy the file again."
        )
    if not np.isfinite([center, extent]).all():
        raise ValueError(f"{where} has a part that is not finite: copy the file again.")
    scale = (bbox[2:] - bbox[:2]) / _FRAME
    boxes = []
    for middle, size in zip(center.T, extent.T, strict=True):
        middle = bbox[:2] + middle * scale
        half = size / 2 * scale
        boxes.append(
            {
                "center": middle.astype(np.float32),
                "box": np.concatenate([middle - half, middle + half]).astype(np.float32),
            }
        )
    return boxes


def found(source: Path) -> tuple[str, ...]:
    """The WordNet ids of the 30 categories that a folder holds, in their order.

    Raises:
        FileNotFoundError: if it holds none.
    """
    ids = _held(source)
    if not ids:
        raise FileNotFoundError(
            f"The folder {_objects(source)} has no category (such as {_HEAD_ONLY}_obj)."
        )
    return ids


def contents(source: Path) -> str:
    """How complete a folder is."""
    return f"{len(_held(source))} of {len(CATEGORIES)} categories"


def _held(source: Path) -> tuple[str, ...]:
    folder = _objects(source)
    return tuple(i for i in CATEGORIES.values() if (folder / f"{i}_obj").is_dir())


def _folder(path: Path, what: str) -> Path:
    return photo_files.folder(path, what, LAYOUT)


def _objects(source: Path) -> Path:
    """The folder with a folder for each category."""
    _folder(source, "manual_dir")
    found = photo_files.find_folder([source], ("detanimalpart", "detanimalpart-*"))
    if found is None and any(source.glob("n????????_obj")):
        return source
    return found or _folder(source / "detanimalpart", "photos and object boxes")


def _bases(source: Path) -> list[Path]:
    """Where truth/ and neg/ may be."""
    return [source, *([source.absolute().parent] if _objects(source) == source else [])]


def _category_files(source: Path, category: str) -> tuple[Path, dict[str, Path], Path]:
    """A category's object boxes, its part files by part, and its folder of images."""
    name = NAMES.get(category, category)
    folder = _folder(_objects(source) / f"{category}_obj", f"photos of {name}") / "img"
    truths = photo_files.find_folder(_bases(source), _TRUTH) or _folder(
        source / "truth", "part boxes"
    )
    truth = _folder(truths / category, f"part boxes of {name}")
    parts = {part: truth / f"truth_part{k:02d}.mat" for k, part in enumerate(PARTS, start=1)}
    # A known category must be complete; of another one only the head is certain.
    optional = category == _HEAD_ONLY or category not in NAMES
    if optional and not parts["front_legs"].exists():
        del parts["front_legs"]
    return folder / "data.mat", parts, _folder(folder / "img", f"photos of {name}")


def others(source: Path) -> list[Path]:
    """The photos of other things, none where there is no such folder."""
    return photo_files.other_photos(_bases(source))


def parts_of(categories: tuple[str, ...]) -> tuple[str, ...]:
    """The parts that any of these categories (WordNet ids) has."""
    return PARTS[:1] if categories == (_HEAD_ONLY,) else PARTS


def paths(source: Path, categories: tuple[str, ...]) -> list[Path]:
    """Every file that the examples of these categories are made from."""
    files = []
    for category in categories:
        boxes, parts, images = _category_files(source, category)
        files += [boxes, *parts.values(), *photo_files.images(images)]
    return files + others(source)


def members(categories: tuple[str, ...]) -> Callable[[str], str | None]:
    """Which files of the authors' two archives these categories need, and where they go."""

    def wanted(member: str) -> str | None:
        for pattern, folder in _ARCHIVE_MEMBERS:
            match = pattern.fullmatch(member)
            if match and match[1][:9] in categories:
                return f"{folder}/{match[1]}"
        return None

    return wanted
