"""The published files of ILSVRC Animal-Part: where they are, what they say, whether they are whole.

Needs neither tfds nor the network; the builder is in `ilsvrc_animal_part`.
"""

import dataclasses
import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from interp_cnn.data import matlab

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

MIN_AREA = 50 * 50  # pixels; smaller objects are left out, as the authors do
_FRAME = 224.0  # parts are given in the object's crop stretched to 224 x 224

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
    (re.compile(r"[^/]+/data/neg/(\d{5}\.JPEG)"), "neg"),
)


@dataclasses.dataclass(frozen=True)
class Example:
    """One object, or one photo of something else.

    Attributes:
        key: unique.
        path: the photo.
        photo_id: of identical photos the same.
        in_test: whether the photo belongs to the test split.
        label: 0, or the number of the category from 1.
        bbox: [4] float32.
        parts: name, center [2] and box [4] of each annotated part.
    """

    key: str
    path: Path
    photo_id: str
    in_test: bool
    label: int
    bbox: np.ndarray
    parts: list[dict[str, Any]]


def scan(
    source: Path, categories: tuple[str, ...], skip_damaged: bool
) -> tuple[list[Example], dict[str, Any]]:
    """Read and check a whole folder.

    Args:
        source: folder with detanimalpart/, truth/ and neg/.
        categories: WordNet ids, in the order of their labels.
        skip_damaged: leave damaged images out instead of stopping.

    Returns:
        All examples, and by category (and `other`) the number of examples, of different photos,
        of each part, and of what was left out and why.

    Raises:
        FileNotFoundError: if a folder, an annotation file or an image is missing.
        ValueError: if a file is damaged or does not fit the others.
    """
    reader = _Reader(source, skip_damaged)
    summary = {NAMES.get(c, c): reader.category(c, k) for k, c in enumerate(categories, start=1)}
    summary["other"] = reader.others()
    return reader.examples, summary


class _Reader:
    def __init__(self, source: Path, skip_damaged: bool) -> None:
        self.source = source
        self.skip_damaged = skip_damaged
        self.photo_ids: dict[bytes, str] = {}
        self.examples: list[Example] = []

    def category(self, category: str, label: int) -> dict[str, Any]:
        boxes, parts, images = _category_files(self.source, category)
        samples = matlab.read_structs(boxes, "samples")
        truths = {}
        for name, path in parts.items():
            truths[name] = matlab.read_structs(path, "truth")
            if len(truths[name]) != len(samples):
                raise ValueError(
                    f"{path} has {len(truths[name])} entries but {boxes} has {len(samples)}: "
                    "copy both from the same release."
                )
        found = dict.fromkeys(parts, 0)
        left_out: dict[str, int] = {}
        before = len(self.examples)
        for i, sample in enumerate(samples, start=1):
            path = images / f"{i:05d}.jpg"
            photo = self._photo(path, f"{category}/{i:05d}")
            if photo is None:
                _count(left_out, "damaged images")
                continue
            photo_id, in_test, size = photo
            bbox = _object_box(sample, f"entry {i} of {boxes}", size)
            if (bbox[2] - bbox[0]) * (bbox[3] - bbox[1]) < MIN_AREA:
                _count(left_out, f"objects under {MIN_AREA} pixels")
                continue
            placed = []
            for name, truth in truths.items():
                boxes_drawn = _part_boxes(truth[i - 1], bbox, f"entry {i} of {parts[name]}")
                if len(boxes_drawn) > 1:
                    _count(left_out, f"{name} with several boxes")
                elif boxes_drawn:
                    placed.append({"name": name, **boxes_drawn[0]})
                    found[name] += 1
            self.examples.append(
                Example(f"{category}/{i:05d}", path, photo_id, in_test, label, bbox, placed)
            )
        return self._counts(before, found, left_out)

    def others(self) -> dict[str, Any]:
        left_out: dict[str, int] = {}
        before = len(self.examples)
        for path in _negatives(self.source):
            photo = self._photo(path, f"neg/{path.stem}")
            if photo is None:
                _count(left_out, "damaged images")
                continue
            photo_id, in_test, (height, width) = photo
            bbox = np.array([0, 0, height, width], np.float32)
            self.examples.append(Example(f"neg/{path.stem}", path, photo_id, in_test, 0, bbox, []))
        return self._counts(before, {}, left_out)

    def _counts(
        self, before: int, parts: dict[str, int], left_out: dict[str, int]
    ) -> dict[str, Any]:
        new = self.examples[before:]
        photos = len({e.photo_id for e in new})
        return {"examples": len(new), "photos": photos, "parts": parts, "left_out": left_out}

    def _photo(self, path: Path, name: str) -> tuple[str, bool, tuple[int, int]] | None:
        """Photo id, whether it is for testing, and (height, width); None for a damaged one."""
        if not path.is_file():
            raise FileNotFoundError(f"The image {path} is missing: copy it there.")
        data = path.read_bytes()
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()  # decodes all of it: a truncated file shows only here
                size = image.height, image.width
        except (OSError, SyntaxError, ValueError) as error:
            if self.skip_damaged:
                logging.warning("Left out the damaged image %s (%s).", path, error)
                return None
            raise ValueError(
                f"The image {path} is damaged ({error}): copy it again, or leave such images out "
                "with skip_damaged=True."
            ) from error
        # One photo of several animals is there once per animal, under different numbers; the
        # bytes tell. The split hangs on them alone, so it is the same in every config.
        digest = hashlib.sha256(data).digest()
        in_test = int.from_bytes(digest[:8], "big") % 3 == 0
        return self.photo_ids.setdefault(digest, name), in_test, size


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


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


def rgb_bytes(data: bytes) -> bytes:
    """The file's bytes as published if it is RGB, else (grey ones) an RGB PNG."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "RGB":
            return data
        png = io.BytesIO()
        image.convert("RGB").save(png, "PNG")
    return png.getvalue()


def _folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(
            f"The folder {path} ({what}) is missing: manual_dir must hold detanimalpart/, truth/ "
            "and neg/ as the authors publish them."
        )
    return path


def _category_files(source: Path, category: str) -> tuple[Path, dict[str, Path], Path]:
    """A category's object boxes, its part files by part, and its folder of images."""
    name = NAMES.get(category, category)
    photos = _folder(_folder(source, "manual_dir") / "detanimalpart", "photos and object boxes")
    folder = _folder(photos / f"{category}_obj", f"photos of {name}") / "img"
    truth = _folder(_folder(source / "truth", "part boxes") / category, f"part boxes of {name}")
    parts = {part: truth / f"truth_part{k:02d}.mat" for k, part in enumerate(PARTS, start=1)}
    # A known category must be complete; of another one only the head is certain.
    optional = category == _HEAD_ONLY or category not in NAMES
    if optional and not parts["front_legs"].exists():
        del parts["front_legs"]
    return folder / "data.mat", parts, _folder(folder / "img", f"photos of {name}")


def _negatives(source: Path) -> list[Path]:
    folder = _folder(source / "neg", "photos of other things")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpeg", ".jpg"))
    if not paths:
        raise FileNotFoundError(f"The folder {folder} has no .JPEG image: copy the photos there.")
    return paths


def fingerprint(source: Path, categories: tuple[str, ...], skip_damaged: bool) -> str:
    """A hash of every file that a copy is made from, to tell one source from another."""
    paths = []
    for category in categories:
        boxes, parts, images = _category_files(source, category)
        paths += [boxes, *parts.values(), *sorted(images.glob("*.jpg"))]
    total = hashlib.sha256(str(skip_damaged).encode())
    for path in paths + _negatives(source):
        if not path.is_file():
            raise FileNotFoundError(f"The annotation file {path} is missing: copy it there.")
        total.update(str(path.relative_to(source)).encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def unpack(archive: Path, target: Path, categories: tuple[str, ...]) -> None:
    """Unpack what is needed of one of the authors' archives into the layout of `manual_dir`.

    tfds' own extraction needs TensorFlow, and would unpack all 30 categories.
    """
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            for pattern, folder in _ARCHIVE_MEMBERS:
                match = pattern.fullmatch(member.filename)
                if match and (folder == "neg" or match[1][:9] in categories):
                    path = target / folder / match[1]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(file.read(member))
