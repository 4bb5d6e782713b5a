"""Writes photos in folders, a folder for each class, and annotations of them."""

import csv
import io
import json
import shutil

import numpy as np
from PIL import Image

SIZE = (60, 80)  # height, width


def pixels(seed, size=SIZE):
    """Blocks of colour, no two alike."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.kron(small, np.ones((size[0] // 6, size[1] // 8, 1), np.uint8))


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def write_photos(root, classes=("cat", "dog"), number=6, first=0):
    """PNG photos 0.png, 1.png, ... of each class."""
    for index, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            data = encoded(pixels(1000 * index + first + i))
            (root / name / f"{first + i}.png").write_bytes(data)
    return root


def write_csv(path, rows, header="file,part,x,y,x2,y2"):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


def write_coco(path, images, annotations, categories):
    tree = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(tree))
    return path


def export_published(examples, categories, target):
    """The examples of a published data set as photos in folders with a CSV beside them.

    Names of the classes are those of `categories`; photos of other things go to other/.
    """
    rows = []
    for example in examples:
        name = ("other", *categories)[example.label]
        file = target / "photos" / name / f"{example.key.replace('/', '_')}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(example.path, file)
        if not example.label:
            continue
        place = file.relative_to(target / "photos").as_posix()
        rows.append((place, "object", *_corners(example.bbox)))
        rows += [(place, part["name"], *_corners(part["box"])) for part in example.parts]
    return target / "photos", write_csv(target / "parts.csv", rows)


def _corners(box):
    top, left, bottom, right = (float(edge) for edge in box)
    return left, top, right, bottom
