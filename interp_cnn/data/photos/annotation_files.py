"""Files of annotations of one's own photos, as they are: CSV and COCO JSON.

Positions are (y, x) in continuous pixels of the upright photo, as viewers show it: pixel i covers
[i, i + 1).
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
from pathlib import Path
from typing import Any

import numpy as np

HEADERS = (("file", "part", "x", "y"), ("file", "part", "x", "y", "x2", "y2"))
OBJECT = "object"  # the part that stands for the whole object; so does none
_FORMS = "a CSV with the header file,part,x,y or file,part,x,y,x2,y2, or COCO JSON"
_FAR = 10  # widths or heights of the image, how far a polygon may go
_IDS = 3  # that a message names

# Why an annotation is left out.
UNKNOWN = "unknown parts"
UNREADABLE = "rows that cannot be read"
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
        mask: what makes its mask, bool [height, width], from the photo's height and width; None
            where it has none.
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
    mask: Callable[[tuple[int, int]], np.ndarray] | None = None
    category: Mapping[str, Any] | None = None
    group: int | None = None
    size: tuple[int, int] | None = None


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
        ValueError: if the file as a whole is neither, its positions are no pixels, or COCO
            annotations have no image, or several.
    """
    if not path.is_file():
        wrong_path = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"The file of annotations {path} {wrong_path}: give {_FORMS}.")
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
    if not marks:
        why = f" ({wrong[0][0]}: {wrong[0][1]})" if wrong else ""
        raise ValueError(f"{path} has no annotation that can be read{why}: give {_FORMS}.")
    if all(max(mark.box or mark.point or ()) <= 1 for mark in marks):
        raise ValueError(
            f"{path} has no position above 1: give them in pixels of the photo, not in shares of"
            " its height and width."
        )
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
    return any(part_of_category(mark.category, own, classes) for own in classes)


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
    for kind in ("images", "categories"):
        numbers = Counter(one["id"] for one in coco.dataset[kind])
        if several := [str(id_) for id_, number in numbers.items() if number > 1]:
            raise ValueError(
                f"{path} has several {kind} of the same id ({', '.join(several[:_IDS])}), so that"
                " which of them an annotation means is unknown: give each its own."
            )
    lost = [a["image_id"] for a in coco.dataset["annotations"] if a["image_id"] not in images]
    if lost:
        ids = ", ".join(map(str, dict.fromkeys(lost[:_IDS])))
        raise ValueError(
            f"{path} has {len(lost)} annotations whose image_id is that of no image ({ids}):"
            " export it again."
        )
    marks: list[Mark] = []
    for group, annotation in enumerate(coco.dataset["annotations"]):
        where = f"annotation {annotation.get('id')}"
        file = images[annotation["image_id"]]
        try:
            marks += _coco_marks(coco, annotation, file, where, group, wrong)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            wrong.append((UNREADABLE, f"{where} ({type(error).__name__}: {error})"))
    return marks


def _coco_marks(
    coco: Any,
    annotation: Mapping[str, Any],
    file: str,
    where: str,
    group: int,
    wrong: list[tuple[str, str]],
) -> list[Mark]:
    """The object or part of an annotation, and the parts that its keypoints are.

    They share `group`, since ids are not unique where files were merged.
    """
    category = coco.cats.get(annotation.get("category_id"))
    if category is None:
        wrong.append((UNKNOWN, f"{where} (category_id {annotation.get('category_id')})"))
        return []
    if annotation.get("iscrowd"):
        wrong.append((CROWD, where))
        return []
    image = coco.imgs[annotation["image_id"]]
    sized = image.get("height") and image.get("width")  # 0 or null where it is not known
    size = (int(image["height"]), int(image["width"])) if sized else None
    common: dict[str, Any] = {"where": where, "size": size, "group": group}
    x, y, width, height = (float(value) for value in annotation["bbox"])
    segmentation = annotation.get("segmentation")
    marks = [
        Mark(
            file,
            part="",
            box=(y, x, y + height, x + width),
            mask=functools.partial(_mask_of, coco, annotation) if segmentation else None,
            category=category,
            **common,
        )
    ]
    names, points = category.get("keypoints") or [], annotation.get("keypoints") or []
    if points and len(points) != 3 * len(names):
        raise ValueError(f"{len(points)} numbers for {len(names)} keypoints")
    if "" in names:
        raise ValueError("a keypoint has no name")
    for index, name in enumerate(names if points else ()):
        x, y, visible = points[3 * index : 3 * index + 3]
        if visible:
            point = (float(y), float(x))
            marks.append(Mark(file, part=str(name), point=point, category=category, **common))
    return marks


def _mask_of(coco: Any, annotation: Mapping[str, Any], photo: tuple[int, int]) -> np.ndarray:
    """The segmentation of an annotation, bool [height, width], those of the photo.

    Raises:
        Exception: whatever pycocotools does, and ValueError for what it would not come back from.
    """
    segmentation, size = annotation["segmentation"], list(photo)
    # Where the file does not say it, and pycocotools asks for it.
    coco.imgs[annotation["image_id"]].update(height=size[0], width=size[1])
    if isinstance(segmentation, Mapping):
        counts = segmentation["counts"]
        if segmentation["size"] != size:
            raise ValueError(f"it is of the size {segmentation['size']}, the image {size}")
        if isinstance(counts, list) and (min(counts) < 0 or sum(counts) != size[0] * size[1]):
            raise ValueError("its counts are not as many pixels as the image has")
    else:
        for polygon in segmentation:
            points = np.asarray(polygon, np.float64)
            # Each pixel of an outline takes memory, also of one that is far away or without end.
            if points.ndim != 1 or not (np.abs(points) < _FAR * max(size)).all():
                raise ValueError("a polygon goes far beyond the image, or is no list of numbers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools is older than NumPy 2
        mask: np.ndarray = coco.annToMask(annotation) > 0
    return mask


def part_of_category(category: Mapping[str, Any], own: str, classes: Iterable[str]) -> str | None:
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
