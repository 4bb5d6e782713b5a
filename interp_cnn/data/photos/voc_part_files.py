"""The published files of PASCAL VOC 2010 and PASCAL-Part: where they are, and what they say.

Needs neither tfds nor the network; the builder is in `pascal_voc_part`.
"""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from interp_cnn.data.photos import photo_files
from interp_cnn.data.photos.photo_files import Counts, Example, Photos
from interp_cnn.matlab import read_structs

LAYOUT = "VOCdevkit/VOC2010/JPEGImages/, Annotations_Part/ and the authors' neg/"

_HEAD = ("head", "leye", "reye", "lear", "rear", "nose", "muzzle", "beak", "lhorn", "rhorn")
_FRONT_LEGS = ("lfleg", "rfleg", "lfpa", "rfpa", "lfuleg", "lflleg", "rfuleg", "rflleg")
_BACK_LEGS = ("lbleg", "rbleg", "lbpa", "rbpa", "lbuleg", "lblleg", "rbuleg", "rblleg")

# The paper's parts, from those of PASCAL-Part: l and r are left and right, f and b front and back,
# then upper and lower legs, paws and hoofs. Neck and wings belong to the torso, as in the authors'
# code.
MERGED: dict[str, tuple[str, ...]] = {
    "head": _HEAD,
    "torso": ("torso", "neck", "lwing", "rwing"),
    "legs": ("lleg", "rleg", "lfoot", "rfoot"),
    "front_legs": (*_FRONT_LEGS, "lfho", "rfho"),
    "back_legs": (*_BACK_LEGS, "lbho", "rbho"),
    "tail": ("tail",),
}
_FOUR_LEGS = ("head", "torso", "front_legs", "back_legs")
# Category -> its parts; cows, horses and sheep have no tail in the paper.
PARTS: dict[str, tuple[str, ...]] = {
    "bird": ("head", "torso", "legs", "tail"),
    "cat": (*_FOUR_LEGS, "tail"),
    "cow": _FOUR_LEGS,
    "dog": (*_FOUR_LEGS, "tail"),
    "horse": _FOUR_LEGS,
    "sheep": _FOUR_LEGS,
}
CATEGORIES: tuple[str, ...] = tuple(PARTS)
LANDMARKS: tuple[str, ...] = ("head", "neck", "torso")


@dataclasses.dataclass(frozen=True)
class _Object:
    """One object of a photo, as annotated.

    Attributes:
        number: the number of the object in the photo, from 1.
        category: one of all the classes of VOC.
        mask: [height, width] bool.
        bbox: [4] float32: ymin, xmin, ymax, xmax; None without a visible pixel.
        bbox_fits: whether a published box, if there is one, holds the mask; else `bbox` is the
            mask's.
        fine_parts: name and mask of each part with a visible pixel, as PASCAL-Part has them.
    """

    number: int
    category: str
    mask: np.ndarray
    bbox: np.ndarray | None
    bbox_fits: bool
    fine_parts: list[tuple[str, np.ndarray]]


def parts_of(categories: tuple[str, ...]) -> tuple[str, ...]:
    """The parts that any of these categories has, in one order."""
    return tuple(part for part in MERGED if any(part in PARTS[c] for c in categories))


def scan(
    source: Path, categories: tuple[str, ...], skip_damaged: bool
) -> tuple[list[Example], dict[str, Any]]:
    """Read and check all annotations and the photos that they speak of.

    Args:
        source: folder with VOCdevkit/, Annotations_Part/ and perhaps neg/, or one of VOCdevkit/ and
            VOC2010/ itself.
        categories: some of `CATEGORIES`, in the order of their labels.
        skip_damaged: leave damaged and missing images out instead of stopping.

    Returns:
        An example for each object, and by category (and `other`) the number of examples, of
        different photos, of each part, and of what was left out and why.

    Raises:
        FileNotFoundError: if a folder or an image is missing.
        ValueError: if a file is damaged or does not fit the others.
    """
    opened = Photos(skip_damaged)
    examples: list[Example] = []
    counts = {category: Counts() for category in categories}
    folder = _images(source)
    for path in tqdm(_annotations(source), desc="PASCAL-Part", leave=False, disable=None):
        objects = [o for o in _read_objects(path) if o.category in categories]
        if not objects:
            continue
        image = photo_files.image(folder, path.stem)
        present = [counts[category] for category in {o.category for o in objects}]
        photo = opened.open(image, path.stem, *present)
        if photo is None:
            continue
        for found in objects:
            where, count = f"object {found.number} of {path}", counts[found.category]
            _check_sizes(found, photo.size, where)
            if not found.bbox_fits:
                count.leave_out("boxes that do not hold the mask, whose own was taken")
            if found.bbox is None:
                count.leave_out("objects with an empty mask")
            elif photo_files.area(found.bbox) < photo_files.MIN_AREA:
                count.leave_out(photo_files.TOO_SMALL)
            else:
                label = categories.index(found.category) + 1
                key = f"{path.stem}/{found.number}"
                example = Example(
                    *(key, image, photo.photo_id, photo.in_test, label, found.bbox),
                    parts=[_encoded(*part) for part in _merged(found)],
                    extra={"fine_parts": [_encoded(*part) for part in found.fine_parts]},
                )
                examples.append(example)
                count.add(example)
    rest, other_counts = photo_files.read_others(others(source), opened)
    summary = {name: count.summary() for name, count in counts.items()}
    return examples + rest, summary | {"other": other_counts.summary()}


def found(source: Path) -> tuple[str, ...]:
    """The categories that the folder may hold: its annotations alone tell which it does."""
    return CATEGORIES


def contents(source: Path) -> str:
    """How many annotated photos the folder has."""
    return f"{len(_annotations(source))} annotated photos"


def paths(source: Path, categories: tuple[str, ...]) -> list[Path]:
    """Every file that examples of any category are made from, photos as far as they are there."""
    annotations = _annotations(source)
    folder = _images(source)
    images = [photo_files.image(folder, path.stem) for path in annotations]
    return [*annotations, *(p for p in images if p.is_file()), *others(source)]


def others(source: Path) -> list[Path]:
    """The photos of other things, none where there is no such folder."""
    return photo_files.other_photos(_bases(source))


def _bases(source: Path) -> list[Path]:
    """Where Annotations_Part/ and neg/ may be: people unpack them beside VOC 2010 or into it."""
    photo_files.folder(source, "manual_dir", LAYOUT)
    inside = [source / name for name in (".", "VOCdevkit", "VOCdevkit/VOC2010", "VOC2010")]
    source = source.absolute()
    above = {"VOCdevkit": 1, "VOC2010": 2}.get(source.name, 0)
    return [*inside, *source.parents[:above]]


def _annotations(source: Path) -> list[Path]:
    folder = photo_files.find_folder(
        _bases(source), ("Annotations_Part", "trainval/Annotations_Part")
    )
    if folder is None:
        folder = photo_files.folder(source / "Annotations_Part", "part annotations", LAYOUT)
    found = sorted(p for p in folder.glob("*.mat") if not p.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"The folder {folder} has no .mat file: copy PASCAL-Part there.")
    return found


def _images(source: Path) -> Path:
    places = ("VOCdevkit/VOC2010/JPEGImages", "VOC2010/JPEGImages", "JPEGImages")
    found = photo_files.find_folder([source], places)
    return found or photo_files.folder(source / places[0], "photos of VOC 2010", LAYOUT)


def _read_objects(path: Path) -> list[_Object]:
    """The objects of one photo's annotation."""
    (annotation,) = read_structs(path, "anno")
    objects = []
    for number, entry in enumerate(annotation.get("objects") or [], start=1):
        where = f"object {number} of {path}"
        category = entry.get("class")
        if isinstance(category, str) and category not in CATEGORIES:
            continue
        if not isinstance(category, str) or not isinstance(entry.get("mask"), np.ndarray):
            raise ValueError(f"{where} has no readable class and mask: copy the file again.")
        mask = entry["mask"] > 0
        fine_parts = []
        for part in entry.get("parts") or []:
            name, part_mask = part.get("part_name"), part.get("mask")
            if not isinstance(name, str) or not isinstance(part_mask, np.ndarray):
                raise ValueError(
                    f"{where} has a part without a readable part_name and mask: copy the file"
                    " again."
                )
            if part_mask.any():
                fine_parts.append((name, part_mask > 0))
        bbox = published = tight_box(mask)
        if bbox is not None and entry.get("bbox") is not None:
            published = _published_box(entry, where)
            if (published[:2] <= bbox[:2]).all() and (published[2:] >= bbox[2:]).all():
                bbox = published
        fits = bbox is published
        objects.append(_Object(number, category, mask, bbox, fits, fine_parts))
    return objects


def tight_box(mask: np.ndarray) -> np.ndarray | None:
    """The smallest box [ymin, xmin, ymax, xmax] around the pixels of a mask; None without any."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32)


def _published_box(entry: dict[str, Any], where: str) -> np.ndarray:
    """The box of a `bbox` field: xmin, ymin, xmax, ymax, 1-based and inclusive as all of VOC's.

    Cut at the border. Copies with this field may have other conventions: their boxes do not hold
    the mask.
    """
    numbers = np.asarray(entry["bbox"])
    if numbers.size != 4 or numbers.dtype.kind not in "iuf":
        raise ValueError(f"{where} has a bbox that is not four numbers: copy the file again.")
    left, top, right, bottom = numbers.ravel()
    box = np.array([top - 1.0, left - 1.0, bottom, right], np.float32)
    return np.clip(box, 0, [*entry["mask"].shape] * 2).astype(np.float32)


def _check_sizes(found: _Object, size: tuple[int, int], where: str) -> None:
    for mask in (found.mask, *(mask for _, mask in found.fine_parts)):
        if mask.shape != size:
            raise ValueError(
                f"{where} has a mask of {mask.shape} pixels, its photo has {size}: photos and"
                " annotations do not belong together."
            )


def _merged(found: _Object) -> list[tuple[str, np.ndarray]]:
    """The paper's parts of the object's category, and the neck, a landmark of its own."""
    wanted = {name: MERGED[name] for name in PARTS[found.category]} | {"neck": ("neck",)}
    result = []
    for name, fine in wanted.items():
        masks = [mask for part, mask in found.fine_parts if part in fine]
        if masks:
            result.append((name, np.logical_or.reduce(masks)))
    return result


def _encoded(name: str, mask: np.ndarray) -> dict[str, Any]:
    """A part as it is stored: the centre is that of the box, the mask 0 and 255 as PNG."""
    box = tight_box(mask)
    assert box is not None  # parts without a pixel were left out
    png = io.BytesIO()
    # Masks are small at any level, and the lowest is the quickest by far.
    Image.fromarray(mask.astype(np.uint8) * 255).save(png, "PNG", compress_level=1)
    center = (box[:2] + box[2:]) / 2
    return {"name": name, "center": center, "box": box, "mask": png.getvalue()}
