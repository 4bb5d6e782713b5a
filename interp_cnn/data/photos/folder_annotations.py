"""Annotations of photos in folders: boxes of objects, and their parts, from CSV or COCO JSON.

Positions are (y, x) in continuous pixels of the upright photo, as viewers show it: pixel i covers
[i, i + 1). What does not fit the photos is left out and counted.
"""

import contextlib
import csv
import dataclasses
import functools
import hashlib
import io
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

HEADERS = (("file", "part", "x", "y"), ("file", "part", "x", "y", "x2", "y2"))
OBJECT = "object"  # the part that stands for the whole object; so does none
_FORMS = "a CSV with the header file,part,x,y or file,part,x,y,x2,y2, or COCO JSON"
_SHOWN = 3  # wrong annotations that are named for each reason
_NO_BOX = np.full(4, np.nan)

NOT_THERE = "files that are not in the folder"
SEVERAL = "names that several photos have"
OUTSIDE = "points outside the photo"
NO_AREA = "boxes of no area"
UNKNOWN = "unknown parts"
ONCE = "parts that one photo alone has"
TWICE = "parts given twice"
IN_NONE = "parts in none of several objects"
UNREADABLE = "rows that cannot be read"
OTHER_CLASS = "objects of another class than the photo's"
OTHER_SIZE = "annotations of a photo of another size"
CROWD = "crowds"


@dataclasses.dataclass(frozen=True)
class Mark:
    """One annotation of a photo, as a file has it.

    Attributes:
        file: the photo.
        where: its place in the file of annotations, for messages.
        part: the name of the part, "" for the object.
        point: the part's (y, x); None where a box gives it.
        box: its ymin, xmin, ymax, xmax; None for a point.
        mask: what makes its mask, bool [height, width]; None where it has none.
        category: the COCO category, which says with the photo's class what is annotated, of a
            keypoint that of its object; None in a CSV.
        group: the number of the object that the part belongs to, None where its place decides.
        size: the height and width that the photo has according to the file, None where it says
            nothing.
    """

    file: str
    where: str
    part: str
    point: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    mask: Callable[[], np.ndarray] | None = None
    category: Mapping[str, Any] | None = None
    group: int | None = None
    size: tuple[int, int] | None = None


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
class Annotations:
    """What a file of annotations says.

    Attributes:
        path: the file.
        digest: a hash of its content.
        marks: its annotations.
        unreadable: those that cannot be read, each named.
        has_regions: whether any part has a box or a mask.
        has_masks: whether any part has a mask.
    """

    path: Path
    digest: str
    marks: tuple[Mark, ...]
    unreadable: tuple[tuple[str, str], ...]
    has_regions: bool
    has_masks: bool


def read_annotations(path: Path, classes: Sequence[str]) -> Annotations:
    """Read a file of annotations.

    Args:
        path: a CSV with the header `file,part,x,y` or `file,part,x,y,x2,y2`, or COCO JSON.
        classes: the names of the classes of the photos.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file as a whole is neither, or COCO annotations have no image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The file of annotations {path} does not exist: give {_FORMS}.")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason}): give {_FORMS}.") from error
    wrong: list[tuple[str, str]] = []
    if path.suffix.lower() == ".json" or text.lstrip().startswith("{"):
        marks = _read_coco(path, text, wrong)
    else:
        marks = _read_csv(path, text, wrong)
    parts = [mark for mark in marks if _is_part(mark, classes)]
    return Annotations(
        path,
        hashlib.sha256(data).hexdigest(),
        tuple(marks),
        tuple(wrong),
        has_regions=any(mark.box is not None for mark in parts),
        has_masks=any(mark.mask is not None for mark in parts),
    )


def _is_part(mark: Mark, classes: Sequence[str]) -> bool:
    """Whether a mark is a part of any class."""
    if mark.category is None or mark.part:
        return bool(mark.part)
    return any(_coco_part(mark.category, own, classes) for own in classes)


# CSV.


def _read_csv(path: Path, text: str, wrong: list[tuple[str, str]]) -> list[Mark]:
    rows = csv.reader(io.StringIO(text))
    try:
        header = tuple(name.strip().lower() for name in next(rows, []))
        if header not in HEADERS:
            raise ValueError(f"{path} has the header {','.join(header)[:200]!r}: give {_FORMS}.")
        marks = []
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            where = f"row {rows.line_num}"
            mark = _row_mark(row, where, len(header))
            if mark is None:
                wrong.append((UNREADABLE, f"{where} ({','.join(row)[:80]})"))
            else:
                marks.append(mark)
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV ({error}): give {_FORMS}.") from error
    return marks


def _row_mark(row: Sequence[str], where: str, columns: int) -> Mark | None:
    """What a row says; None for one that cannot be read."""
    cells = [cell.strip() for cell in row]
    if not 4 <= len(cells) <= columns or not cells[0]:
        return None
    file, part, *numbers = cells
    try:
        values = [float(number) for number in numbers if number]
    except ValueError:
        return None
    if len(values) != (2 if not any(numbers[2:]) else 4) or not np.isfinite(values).all():
        return None
    part = "" if part.lower() == OBJECT else part
    if len(values) == 4:
        x, y, x2, y2 = values
        return Mark(file, where, part, box=(y, x, y2, x2))
    if not part:
        return None  # an object needs a box
    return Mark(file, where, part, point=(values[1], values[0]))


# COCO.


def _read_coco(path: Path, text: str, wrong: list[tuple[str, str]]) -> list[Mark]:
    try:
        from pycocotools.coco import COCO
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path} is COCO JSON, which the package pycocotools reads: pip install"
            " 'interp_cnn[coco]'."
        ) from error
    coco = COCO()
    try:
        coco.dataset = json.loads(text)
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        for key in ("images", "annotations", "categories"):
            if not isinstance(coco.dataset[key], list):
                raise TypeError(f"{key} is no list")
        images = {image["id"]: str(image["file_name"]) for image in coco.dataset["images"]}
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise ValueError(
            f"{path} is no COCO JSON with images, annotations and categories"
            f" ({type(error).__name__}: {error}): export it again."
        ) from error
    lost = [a["image_id"] for a in coco.dataset["annotations"] if a["image_id"] not in images]
    if lost:
        ids = ", ".join(map(str, dict.fromkeys(lost[:_SHOWN])))
        raise ValueError(
            f"{path} has {len(lost)} annotations whose image_id is that of no image ({ids}):"
            " export it again."
        )
    marks: list[Mark] = []
    for annotation in coco.dataset["annotations"]:
        where = f"annotation {annotation.get('id')}"
        try:
            marks += _coco_marks(coco, annotation, images[annotation["image_id"]], where, wrong)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            wrong.append((UNREADABLE, f"{where} ({type(error).__name__}: {error})"))
    return marks


def _coco_marks(
    coco: Any, annotation: Mapping[str, Any], file: str, where: str, wrong: list[tuple[str, str]]
) -> list[Mark]:
    """The object or part of an annotation, and the parts that its keypoints are."""
    category = coco.cats.get(annotation.get("category_id"))
    if category is None:
        wrong.append((UNKNOWN, f"{where} (category_id {annotation.get('category_id')})"))
        return []
    if annotation.get("iscrowd"):
        wrong.append((CROWD, where))
        return []
    image = coco.imgs[annotation["image_id"]]
    size = (int(image["height"]), int(image["width"])) if "height" in image else None
    group = int(annotation["id"])
    common: dict[str, Any] = {"where": where, "size": size, "group": group}
    x, y, width, height = (float(value) for value in annotation["bbox"])
    segmentation = annotation.get("segmentation")
    marks = [
        Mark(
            file,
            part="",
            box=(y, x, y + height, x + width),
            mask=functools.partial(_mask_of, coco, annotation) if segmentation and size else None,
            category=category,
            **common,
        )
    ]
    names, points = category.get("keypoints") or [], annotation.get("keypoints") or []
    if points and len(points) != 3 * len(names):
        raise ValueError(f"{len(points)} numbers for {len(names)} keypoints")
    for index, name in enumerate(names if points else ()):
        x, y, visible = points[3 * index : 3 * index + 3]
        if visible:
            point = (float(y), float(x))
            marks.append(Mark(file, part=str(name), point=point, category=category, **common))
    return marks


def _mask_of(coco: Any, annotation: Mapping[str, Any]) -> np.ndarray:
    """The segmentation of an annotation, bool [height, width]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools is older than NumPy 2
        mask: np.ndarray = coco.annToMask(annotation) > 0
    return mask


def _coco_part(category: Mapping[str, Any], own: str, classes: Iterable[str]) -> str | None:
    """The part that a category stands for in a photo of the class `own`, "" for the object.

    None where it is nothing of this class: another class or its part, or an unknown one.
    """
    name, above = str(category.get("name")), str(category.get("supercategory", ""))
    if name in (own, OBJECT):
        return ""
    if name in classes:
        return None
    if name.startswith(f"{own}."):
        return name[len(own) + 1 :]
    return name if above in (own, OBJECT) else None


# From marks to objects.


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
    return Placed(_without_single_parts(objects, wrong), wrong)


class _Names:
    """Finds photos by the names that files of annotations use."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._last: dict[str, list[str]] = {}
        for name in self._names:
            self._last.setdefault(PurePosixPath(name).name, []).append(name)

    def find(self, file: str) -> list[str]:
        """The photo with this path in the folder, or those whose path ends with it."""
        path = PurePosixPath(file.replace("\\", "/")).as_posix()
        if path in self._names:
            return [path]
        return [
            name
            for name in self._last.get(PurePosixPath(path).name, [])
            # A path in the folder of a split or class, or one that begins above the folder.
            if name.endswith(f"/{path}") or path.endswith(f"/{name}")
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
        raise ValueError(
            f"{annotations.path} names none of the photos (its first one is"
            f" {annotations.marks[0].file!r}): give paths in the folder, such as CLASS/PHOTO.jpg."
        )
    return found


def _checked(
    mark: Mark, category: str, classes: Iterable[str], size: tuple[int, int], wrong: Wrong
) -> Mark | None:
    """An annotation with the name of its part, None for one that is left out."""
    what = f"{mark.where} ({mark.file}{', ' * bool(mark.part)}{mark.part})"
    if mark.category is not None and mark.part:  # a keypoint of an object
        if _coco_part(mark.category, category, classes) != "":
            return None  # its object is counted
    elif mark.category is not None:
        part = _coco_part(mark.category, category, classes)
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
    y, x = _center(mark)
    if not (0 <= y <= size[0] and 0 <= x <= size[1]):
        wrong.add(OUTSIDE, what)
        return None
    return mark


def _center(mark: Mark) -> tuple[float, float]:
    if mark.point is not None:
        return mark.point
    assert mark.box is not None
    return ((mark.box[0] + mark.box[2]) / 2, (mark.box[1] + mark.box[3]) / 2)


def _objects(marks: Sequence[Mark], size: tuple[int, int], wrong: Wrong) -> list[PlacedObject]:
    """The objects of a photo with their parts."""
    boxes = [mark for mark in marks if not mark.part]
    whole = np.array([0, 0, *size], np.float32)
    if not boxes:
        boxes = [Mark("", "", "", box=(0, 0, *size))]
    of: list[list[Mark]] = [[] for _ in boxes]
    for mark in marks:
        if not mark.part:
            continue
        index = _object_of(mark, boxes)
        if index is None:
            wrong.add(IN_NONE, f"{mark.where} ({mark.file}, {mark.part})")
        else:
            of[index].append(mark)
    return [
        PlacedObject(np.asarray(box.box, np.float32) if box.file else whole, _parts(own, wrong))
        for box, own in zip(boxes, of, strict=True)
    ]


def _object_of(mark: Mark, boxes: Sequence[Mark]) -> int | None:
    """Which of the objects a part belongs to: its own, the only one, or the smallest around it."""
    if mark.group is not None:
        for index, box in enumerate(boxes):
            if box.group == mark.group:
                return index
    if len(boxes) == 1:
        return 0
    y, x = _center(mark)
    around = []
    for index, one in enumerate(boxes):
        assert one.box is not None
        top, left, bottom, right = one.box
        if top <= y <= bottom and left <= x <= right:
            around.append(((bottom - top) * (right - left), index))
    return min(around)[1] if around else None


def _parts(marks: Sequence[Mark], wrong: Wrong) -> list[dict[str, Any]]:
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
                "mask": None if mark.mask is None else mask_png(mark.mask()),
            }
        )
    return parts


def mask_png(mask: np.ndarray) -> bytes:
    """A mask, bool [height, width], as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    return file.getvalue()


def box_mask(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A filled box as a mask of a photo, bool [height, width]; empty for a box of NaN."""
    y, x = np.arange(size[0])[:, None] + 0.5, np.arange(size[1])[None] + 0.5
    top, left, bottom, right = box
    result: np.ndarray = (top <= y) & (y < bottom) & (left <= x) & (x < right)
    return result


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
