"""Writes small folders in the published layout of ILSVRC Animal-Part, oddities included."""

import io
import shutil

import h5py
import numpy as np
import scipy.io
from PIL import Image

CAT, GOLDFISH = "n02121808", "n01443537"
HEIGHT, WIDTH = 120, 180
# ymin, xmin, ymax, xmax as published (1-based, inclusive): 100 x 140 pixels from (10, 20).
BOX = (11, 21, 110, 160)
PART = ([56.0, 112.0], [112.0, 56.0])  # centre and size, height first, in the 224 x 224 crop


def write_matlab73(path, variable, entries):
    """A struct array as MATLAB 7.3 writes it: transposed arrays, references, MATLAB_empty."""

    def struct(group, records, file):
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for name in records[0]:
            if len(records) == 1:
                value(group, name, records[0][name], file)
                continue
            references = [value(file["#refs#"], None, r[name], file).ref for r in records]
            column = group.create_dataset(name, (len(records), 1), h5py.ref_dtype)
            for i, reference in enumerate(references):
                column[i, 0] = reference

    def value(parent, name, content, file):
        if name is None:
            name = f"r{len(parent)}"
        if isinstance(content, list) and content and isinstance(content[0], dict):
            group = parent.create_group(name)
            struct(group, content, file)
            return group
        if isinstance(content, str):
            node = parent.create_dataset(name, data=np.array([[ord(c)] for c in content], "u2"))
            node.attrs["MATLAB_class"] = np.bytes_("char")
            return node
        array = np.asarray(content, np.float64)
        if array.size == 0:
            node = parent.create_dataset(name, data=np.zeros(2, "u8"))
            node.attrs["MATLAB_empty"] = np.uint8(1)
        else:
            node = parent.create_dataset(name, data=array.T)
        node.attrs["MATLAB_class"] = np.bytes_("double")
        return node

    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        struct(file.create_group(variable), entries, file)
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: test".ljust(124) + b"\x00\x02IM")


def write_matlab5(path, variable, entries):
    def convert(content):
        if isinstance(content, list) and content and isinstance(content[0], dict):
            array = np.zeros((1, len(content)), [(n, object) for n in content[0]])
            for i, record in enumerate(content):
                for name, item in record.items():
                    array[name][0, i] = convert(item)
            return array
        return content if isinstance(content, str) else np.asarray(content, np.float64)

    scipy.io.savemat(path, {variable: convert(entries)})


def sample(box):
    sides = dict(zip(("ymin", "xmin", "ymax", "xmax"), box, strict=True))
    bndbox = {side: [[float(sides[side])]] for side in ("ymin", "ymax", "xmin", "xmax")}
    return {"class": [[1.0]], "obj": [{"bndbox": [bndbox]}]}


def part_entry(*boxes, number=1):
    """An entry of truth_part0k.mat with any number of boxes, each (centre, size)."""
    if not boxes:
        return {"pHW_center": [], "pHW_scale": [], "obj": []}
    obj = {"filename": "n1_7", "bndbox": [{"xmin": "0", "ymin": "35"}], "ID": [[float(number)]]}
    return {
        "pHW_center": np.array([c for c, _ in boxes]).T,
        "pHW_scale": np.array([s for _, s in boxes]).T,
        "obj": [obj] * len(boxes),
    }


def jpeg(seed, mode="RGB", size=(WIDTH, HEIGHT)):
    small = np.random.default_rng(seed).integers(0, 256, (12, 18, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(small).resize(size).convert(mode).save(data, "JPEG")
    return data.getvalue()


def write_category(root, category, seed, boxes, heads, legs=None):
    images = root / "detanimalpart" / f"{category}_obj" / "img" / "img"
    truth = root / "truth" / category
    images.mkdir(parents=True)
    truth.mkdir(parents=True)
    for i in range(len(boxes)):
        (images / f"{i + 1:05d}.jpg").write_bytes(jpeg(seed + i))
    write_matlab73(images.parent / "data.mat", "samples", [sample(b) for b in boxes])
    write_matlab5(truth / "truth_part01.mat", "truth", heads)
    if legs is not None:
        write_matlab73(truth / "truth_part02.mat", "truth", legs)


def write_published(root):
    """Cat (16 objects) and goldfish (6, heads only) with one of each oddity of the real files."""
    count = 16
    boxes = [BOX] * count
    boxes[4] = (1, 1, 49, 50)  # 49 x 50 pixels: too small
    boxes[5] = (1, 1, 50, 50)  # 50 x 50: just large enough
    heads = [part_entry(PART) for _ in range(count)]
    heads[1] = part_entry()
    heads[2] = part_entry(PART, PART)
    legs = [part_entry() for _ in range(count)]
    legs[0] = part_entry(([220.0, 10.0], [20.0, 30.0]))  # sticks out of the crop
    legs[3] = part_entry(PART, PART)
    write_category(root, CAT, 100, boxes, heads, legs)
    images = root / "detanimalpart" / f"{CAT}_obj" / "img" / "img"
    for number in (8, 9):  # the photo of number 7 is there three times
        shutil.copy(images / "00007.jpg", images / f"{number:05d}.jpg")
    write_category(root, GOLDFISH, 200, [BOX] * 6, [part_entry(PART)] * 6)
    (root / "neg").mkdir()
    for i in range(1, 13):
        mode = "L" if i == 3 else "RGB"
        (root / "neg" / f"{i:05d}.JPEG").write_bytes(jpeg(300 + i, mode, (60, 40)))
