"""Writes a small folder in the published layout of PASCAL VOC 2010 and PASCAL-Part."""

import numpy as np
from animal_part_folder import jpeg, write_matlab5, write_matlab73

HEIGHT, WIDTH = 120, 180
BOX = (20, 30, 84, 94)  # ymin, xmin, ymax, xmax of a mask: 64 x 64 pixels


def rectangle(top, left, bottom, right, shape=(HEIGHT, WIDTH)):
    mask = np.zeros(shape, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def part(name, *box):
    return {"part_name": name, "mask": rectangle(*box)}


def entry(name, parts=(), box=BOX, **more):
    """One of `anno.objects`; without parts an empty array, with one a 1x1 struct."""
    return {"class": name, "class_ind": 1.0, "mask": rectangle(*box), "parts": list(parts), **more}


CAT = entry(
    "cat",
    [
        part("head", 20, 30, 40, 50),
        part("lear", 20, 50, 24, 54),
        part("neck", 40, 30, 50, 50),
        part("torso", 50, 30, 70, 94),
        part("lfleg", 70, 30, 80, 40),
        part("lfpa", 80, 30, 84, 40),
        part("rbleg", 70, 84, 84, 94),
        part("tail", 40, 90, 50, 94),
    ],
)
HORSE = entry(
    "horse",
    [
        part("muzzle", 20, 30, 30, 40),
        part("lfuleg", 60, 30, 70, 40),
        part("lfho", 80, 30, 84, 40),
        part("rbho", 80, 84, 84, 94),
        part("tail", 40, 90, 50, 94),
    ],
)
BIRD = entry(
    "bird",
    [
        part("beak", 20, 30, 24, 34),
        part("lwing", 30, 40, 60, 60),
        part("rfoot", 80, 50, 84, 60),
        part("tail", 40, 90, 50, 94),
    ],
)
SMALL = (0, 0, 49, 51)  # 2499 pixels
LARGE_ENOUGH = (0, 0, 50, 50)


def write_annotation(root, name, objects, write=write_matlab5):
    folder = root / "Annotations_Part"
    folder.mkdir(exist_ok=True)
    write(folder / f"{name}.mat", "anno", [{"imname": name, "objects": objects}])


def write_photo(root, name, seed, size=(WIDTH, HEIGHT)):
    folder = root / "VOCdevkit" / "VOC2010" / "JPEGImages"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jpg").write_bytes(jpeg(seed, size=size))


def write_published(root):
    """Each category at least once, with the oddities of the real files."""
    photos = {
        # Several objects of several classes, of which some do not count; no parts.
        "2008_000001": [CAT, entry("person"), entry("dog"), entry("cat", box=SMALL)],
        # Parts in a single struct, one that is empty, and a published box.
        "2008_000002": [entry("cow", [part("head", 20, 30, 30, 40)], bbox=[21.0, 11, 100, 90])],
        "2008_000003": [HORSE, entry("cat", box=LARGE_ENOUGH)],
        "2008_000004": [BIRD],
        "2008_000005": [
            entry("sheep", [part("head", 0, 0, 0, 0), part("lhorn", 20, 30, 22, 32)]),
            entry("sheep", box=(0, 0, 0, 0)),
        ],
    }
    photos |= {f"2009_{k:06d}": [CAT, entry("dog")] for k in range(8)}
    for seed, (name, objects) in enumerate(photos.items()):
        write = write_matlab73 if name == "2008_000003" else write_matlab5
        write_annotation(root, name, objects, write)
        write_photo(root, name, seed)
    # The same photo under another name.
    write_annotation(root, "2010_000001", [entry("dog")])
    write_photo(root, "2010_000001", 0)
    # People alone: this photo need not be there.
    write_annotation(root, "2010_000002", [entry("person")])
    (root / "neg").mkdir()
    for i in range(1, 9):
        (root / "neg" / f"{i:05d}.JPEG").write_bytes(jpeg(300 + i, size=(60, 40)))
