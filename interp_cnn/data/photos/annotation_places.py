"""Puts annotations on photos: objects with their parts; what does not fit is left out."""

import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from interp_cnn.data.photos.annotation_files import (
    UNKNOWN,
    UNREADABLE,
    Annotations,
    Mark,
    part_of_category,
)
from interp_cnn.data.photos.folder_layout import composed

_SHOWN = 3  # wrong annotations that are named for each reason
_NO_BOX = np.full(4, np.nan)

# Why an annotation is left out; the reasons of the file itself are in `annotation_files`.
NOT_THERE = "files that are not in the folder"
SEVERAL = "names that several photos have"
OUTSIDE = "points outside the photo"
NO_AREA = "boxes of no area"
THIN = "objects under a pixel high or wide"
EMPTY = "masks of no area"
ONCE = "parts that one photo alone has"
TWICE = "parts given twice"
SAME_OBJECT = "objects given again with the same box"
IN_NONE = "parts in no object"
OF_NONE = "keypoints of objects that are left out"
OTHER_CLASS = "objects of another class than the photo's"
OTHER_SIZE = "annotations of a photo of another size"
LEFT_OUT = "annotations of photos that are left out"


class Wrong:
    """Annotations that are left out, by the reason."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def add(self, reason: str, what: str) -> None:
        """Count an annotation; `what` names it."""
        self.found.setdefault(reason, []).append(what)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(map(len, self.found.values()))

    def lines(self) -> list[str]:
        """One line for each reason: how many, and the first of them by name."""
        return [
            f"{reason} {len(found)}: {'; '.join(found[:_SHOWN])}{'; ...' * (len(found) > _SHOWN)}"
            for reason, found in self.found.items()
        ]


@dataclasses.dataclass(frozen=True)
class PlacedObject:
    """An object in a photo.

    Attributes:
        box: float32 [4]: ymin, xmin, ymax, xmax.
        parts: of each its name, center [2], box [4], NaN for a point, and mask, the bytes of a PNG,
            or None.
    """

    box: np.ndarray
    parts: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Placed:
    """The objects of each photo by its name, at least one, and the annotations left out."""

    objects: dict[str, list[PlacedObject]]
    wrong: Wrong


def place(
    annotations: Annotations | None,
    *,
    known: Iterable[str],
    categories: Mapping[str, str],
    sizes: Mapping[str, tuple[int, int]],
) -> Placed:
    """Put annotations on the photos; a photo without the box of an object is one as a whole.

    Args:
        annotations: what the file says; None where there is none.
        known: the names of all photos.
        categories: the class of each photo that is used, by its name.
        sizes: their height and width.

    Raises:
        ValueError: if no annotation is of any photo.
    """
    wrong = Wrong()
    marks: dict[str, list[Mark]] = {}
    if annotations is not None:
        for reason, what in annotations.unreadable:
            wrong.add(reason, what)
        marks = _by_photo(annotations, _Names(known), wrong)
    classes = set(categories.values())
    objects = {}
    for name, category in categories.items():
        checked = [
            _checked(mark, category, classes, sizes[name], wrong) for mark in marks.get(name, [])
        ]
        kept = [mark for mark in checked if mark is not None]
        objects[name] = _objects(kept, sizes[name], wrong)
    for name in sorted(marks.keys() - categories.keys()):
        for mark in marks[name]:
            wrong.add(LEFT_OUT, f"{mark.where} ({name})")
    return Placed(_without_single_parts(objects, wrong), wrong)


class _Names:
    """Finds photos by the names that files of annotations use."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, list[str]] = {}
        self._last: dict[str, list[str]] = {}
        every = set(names)
        self.example = min(every, default="CLASS/PHOTO.jpg")  # the path of a photo
        for name in every:
            self._names.setdefault(composed(name), []).append(name)
            self._last.setdefault(composed(PurePosixPath(name).name), []).append(name)

    def find(self, file: str) -> list[str]:
        """The photo with this path in the folder, or those whose path ends with it."""
        path = composed(PurePosixPath(file.replace("\\", "/")).as_posix())
        if path in self._names:
            return self._names[path]
        return [
            name
            for name in self._last.get(PurePosixPath(path).name, [])
            # A path in the folder of a split or class, or one that begins above the folder.
            if composed(name).endswith(f"/{path}") or path.endswith(f"/{composed(name)}")
        ]


def _by_photo(annotations: Annotations, names: _Names, wrong: Wrong) -> dict[str, list[Mark]]:
    found: dict[str, list[Mark]] = {}
    for mark in annotations.marks:
        of = names.find(mark.file)
        if len(of) == 1:
            found.setdefault(of[0], []).append(mark)
        else:
            wrong.add(SEVERAL if of else NOT_THERE, f"{mark.where} ({mark.file})")
    if annotations.marks and not found:
        first = annotations.marks[0].file
        of = names.find(first)
        why = "is none of them"
        if of:
            why = f"may be {' or '.join(map(repr, sorted(of)[:_SHOWN]))}"
        raise ValueError(
            f"{annotations.path} names none of the photos (its first one, {first!r}, {why}): give"
            f" paths in the folder, such as {names.example!r}."
        )
    return found


def _checked(
    mark: Mark, category: str, classes: Iterable[str], size: tuple[int, int], wrong: Wrong
) -> Mark | None:
    """An annotation with the name of its part, None for one that is left out."""
    what = f"{mark.where} ({mark.file}{', ' * bool(mark.part)}{mark.part})"
    if mark.category is not None and mark.part:  # a keypoint of an object
        if part_of_category(mark.category, category, classes) != "":
            return None  # its object is counted
    elif mark.category is not None:
        part = part_of_category(mark.category, category, classes)
        if part is None:
            name = str(mark.category.get("name"))
            other = name in classes or name.partition(".")[0] in classes
            wrong.add(OTHER_CLASS if other else UNKNOWN, f"{mark.where} ({mark.file}, {name})")
            return None
        mark = dataclasses.replace(mark, part=part, group=None if part else mark.group)
        what = f"{mark.where} ({mark.file}{', ' * bool(part)}{part})"
    if mark.size is not None and mark.size != size:
        wrong.add(OTHER_SIZE, f"{what}: {mark.size[0]} x {mark.size[1]}, is {size[0]} x {size[1]}")
        return None
    box = mark.box
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        wrong.add(NO_AREA, what)
        return None
    if box is not None and not mark.part:
        box = (max(box[0], 0), max(box[1], 0), min(box[2], size[0]), min(box[3], size[1]))
        mark = dataclasses.replace(mark, box=box)
        if not (box[0] < box[2] and box[1] < box[3]):
            wrong.add(OUTSIDE, what)
            return None
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            wrong.add(THIN, what)
            return None
    y, x = _center(mark)
    if not (0 <= y <= size[0] and 0 <= x <= size[1]):
        wrong.add(OUTSIDE, what)
        return None
    return _with_mask(mark, what, size, wrong) if mark.part and mark.mask else mark


def _with_mask(mark: Mark, what: str, size: tuple[int, int], wrong: Wrong) -> Mark | None:
    """A part whose mask is made, None where that is no mask of the photo."""
    assert mark.mask is not None
    try:
        mask = mark.mask(size)
    except Exception as error:  # pycocotools raises whatever a wrong segmentation leads it into
        reason = " ".join(str(error).split())
        wrong.add(UNREADABLE, f"{what}: its segmentation ({type(error).__name__}: {reason})")
        return None
    if not mask.any():
        wrong.add(EMPTY, what)
        return None
    return dataclasses.replace(mark, mask=lambda _: mask)


def _center(mark: Mark) -> tuple[float, float]:
    if mark.point is not None:
        return mark.point
    assert mark.box is not None
    return ((mark.box[0] + mark.box[2]) / 2, (mark.box[1] + mark.box[3]) / 2)


def _objects(marks: Sequence[Mark], size: tuple[int, int], wrong: Wrong) -> list[PlacedObject]:
    """The objects of a photo with their parts."""
    boxes: list[Mark] = []
    again: dict[int | None, int] = {}  # group of an object that is there already -> its place
    for mark in marks:
        if mark.part:
            continue
        same = next((i for i, other in enumerate(boxes) if other.box == mark.box), None)
        if same is None:
            boxes.append(mark)
        else:
            wrong.add(SAME_OBJECT, f"{mark.where} ({mark.file})")
            again[mark.group] = same
    whole = np.array([0, 0, *size], np.float32)
    if not boxes:
        boxes = [Mark("", "", "", box=(0, 0, *size))]
    of: list[list[Mark]] = [[] for _ in boxes]
    for mark in marks:
        if not mark.part:
            continue
        if mark.group is not None and mark.group in again:
            own = of[again[mark.group]]
            if all(mark.part != one.part or _center(mark) != _center(one) for one in own):
                own.append(mark)
            continue
        index = _object_of(mark, boxes)
        if index is None:
            reason = IN_NONE if mark.group is None else OF_NONE
            wrong.add(reason, f"{mark.where} ({mark.file}, {mark.part})")
        else:
            of[index].append(mark)
    return [
        PlacedObject(
            np.asarray(box.box, np.float32) if box.file else whole, _parts(own, size, wrong)
        )
        for box, own in zip(boxes, of, strict=True)
    ]


def _object_of(mark: Mark, boxes: Sequence[Mark]) -> int | None:
    """Which of the objects a part belongs to: its own, the whole photo, or the smallest around it.

    Where the photo has boxes of others alone, a keypoint belongs to none of them.
    """
    if mark.group is not None and boxes[0].file:
        return next((i for i, box in enumerate(boxes) if box.group == mark.group), None)
    if not boxes[0].file:
        return 0
    y, x = _center(mark)
    around = []
    for index, one in enumerate(boxes):
        assert one.box is not None
        top, left, bottom, right = one.box
        if top <= y <= bottom and left <= x <= right:
            around.append(((bottom - top) * (right - left), index))
    return min(around)[1] if around else None


def _parts(marks: Sequence[Mark], size: tuple[int, int], wrong: Wrong) -> list[dict[str, Any]]:
    """The parts of an object; one that is given twice is left out, as which is meant is unknown."""
    counts = Counter(mark.part for mark in marks)
    parts = []
    for mark in marks:
        if counts[mark.part] > 1:
            wrong.add(TWICE, f"{mark.where} ({mark.file}, {mark.part})")
            continue
        parts.append(
            {
                "name": mark.part,
                "center": np.asarray(_center(mark), np.float32),
                "box": np.asarray(_NO_BOX if mark.box is None else mark.box, np.float32),
                "mask": None if mark.mask is None else mask_png(mark.mask(size)),
            }
        )
    return parts


def mask_png(mask: np.ndarray) -> bytes:
    """A mask, bool [height, width], as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return file.getvalue()


def _without_single_parts(
    objects: Mapping[str, Sequence[PlacedObject]], wrong: Wrong
) -> dict[str, list[PlacedObject]]:
    """The objects without parts that one photo alone has: no figure can be made from them."""
    photos: Counter[str] = Counter()
    for found in objects.values():
        photos.update({part["name"] for one in found for part in one.parts})
    single = {part for part, number in photos.items() if number == 1}
    result = {}
    for name, found in objects.items():
        result[name] = [
            PlacedObject(one.box, [part for part in one.parts if part["name"] not in single])
            for one in found
        ]
        for one in found:
            for part in one.parts:
                if part["name"] in single:
                    wrong.add(ONCE, f"{part['name']} ({name})")
    return result
