"""Writes a small folder in the published layout of CUB-200-2011, as a partial copy."""

import shutil

from animal_part_folder import jpeg

PART_NAMES = (
    *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg"),
    *("left wing", "nape", "right eye", "right leg", "right wing", "tail", "throat"),
)
CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "017.Cardinal", "200.Yellowthroat")
HEIGHT, WIDTH = 120, 180
BOX = (30.0, 20.0, 64.0, 64.0)  # x, y, width, height
# x, y of the visible parts; the others have 0.0 0.0 0.
POINTS = {"back": (50.0, 40.0), "forehead": (94.0, 84.0), "left eye": (30.5, 20.0)}


def write_published(root):
    """Images 1 to 6 of the first class, 7 to 12 of the second, one of the third, none of the last.

    Images 3, 6, 9 and 12 are for testing.
    """
    images, labels, boxes, split, places = [], [], [], [], []

    def add(image, label, *, box=BOX, points=POINTS):
        name = f"{CLASSES[label - 1]}/Bird_{image:04d}.jpg"
        path = root / "CUB_200_2011" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(image, size=(WIDTH, HEIGHT)))
        images.append(f"{image} {name}")
        labels.append(f"{image} {label}")
        boxes.append(f"{image} {' '.join(map(str, box))}")
        split.append(f"{image} {int(image % 3 > 0)}")
        for number, part in enumerate(PART_NAMES, start=1):
            x, y = points.get(part, (0.0, 0.0))
            places.append(f"{image} {number} {x} {y} {int(part in points)}")
        return path

    first = add(1, 1)
    add(2, 1, points={"tail": (29.9, 40.0), "back": (181.0, 40.0), "throat": (50.0, 120.5)})
    shutil.copy(first, add(3, 1))  # the photo of image 1, on the other side
    add(4, 1, points={})
    add(5, 1, box=(10.0, 10.0, 49.0, 51.0))  # 2499 pixels
    add(6, 1, box=(160.0, 10.0, 40.0, 125.0))  # sticks out of the image: 110 x 20 pixels remain
    for image in range(7, 13):
        add(image, 2)
    add(12 + 1, 3, box=(100.0, 60.0, 90.0, 70.0))  # sticks out: 60 x 80 pixels remain
    add(14, 4).unlink()
    root /= "CUB_200_2011"
    (root / "images" / CLASSES[3]).rmdir()
    (root / "parts").mkdir()
    tables = {
        "images.txt": images,
        "image_class_labels.txt": labels,
        "classes.txt": [f"{number} {name}" for number, name in enumerate(CLASSES, start=1)],
        "bounding_boxes.txt": boxes,
        "train_test_split.txt": split,
        "parts/parts.txt": [f"{number} {name}" for number, name in enumerate(PART_NAMES, start=1)],
        "parts/part_locs.txt": places,
    }
    for name, lines in tables.items():
        (root / name).write_text("\n".join(lines) + "\n")
    (root.parent / "neg").mkdir()
    for i in range(1, 9):
        (root.parent / "neg" / f"{i:05d}.JPEG").write_bytes(jpeg(300 + i, size=(60, 40)))
