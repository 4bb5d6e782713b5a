# ruff: noqa: D103
"""Damaged and random files of every kind: a sentence, or what can be used; no crash, no hang."""

import dataclasses
import io
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from common import DAMAGES, HEAD_DAMAGES, cases, damaged, limited, refused
from hypothesis import strategies as st
from PIL import Image

sys.path.append(str(Path(__file__).parent.parent / "tests" / "helpers"))
import animal_part_folder
import cub_folder
import voc_part_folder
import weight_files

from interp_cnn.config import default_config, set_field
from interp_cnn.config.fields import FIELDS
from interp_cnn.data.photos import animal_part_files, cub_files, voc_part_files
from interp_cnn.evaluation.explanations import read_image
from interp_cnn.evaluation.filter_files import (
    FilterFigures,
    FilterParts,
    read_filter_figures,
    read_filter_parts,
    write_filter_parts,
)
from interp_cnn.matlab import read_structs
from interp_cnn.models import SMALL
from interp_cnn.models.pretrained import Pretrained, load_weights, save_weights
from interp_cnn.models.pretrained.pretrained import kernel_shapes
from interp_cnn.training import build
from interp_cnn.workdir import read_config

ANY_DAMAGE = st.one_of(DAMAGES, HEAD_DAMAGES)
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 17, 4)).astype(np.uint8)


def write(folder, name, content):
    file = folder / name
    file.write_bytes(content)
    return file


# Images


def encoded(mode, kind):
    image, file = Image.fromarray(PIXELS).convert(mode), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(file, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}))
    return file.getvalue()


IMAGES = [
    encoded(mode, kind)
    for mode, kind in (
        *(("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("L", "PNG"), ("1", "PNG")),
        *(("RGB", "JPEG"), ("CMYK", "JPEG"), ("L", "JPEG"), ("RGB", "TIFF"), ("RGB", "BMP")),
        *(("P", "GIF"), ("RGB", "WEBP"), ("RGB", "PPM")),
    )
]


@cases(0.08, content=st.sampled_from(IMAGES), damages=ANY_DAMAGE)
@pytest.mark.filterwarnings("ignore")
def test_images(folder, content, damages):
    file = write(folder, "image", damaged(content, damages))
    found = []
    if not refused(lambda: found.append(read_image(file))):
        assert found[0].mode == "RGB" and np.asarray(found[0]).dtype == np.uint8


# The data sets


@pytest.fixture(scope="session")
def animals(folder):
    root = folder / "animals"
    root.mkdir()
    boxes, parts = (
        [animal_part_folder.BOX] * 3,
        [animal_part_folder.part_entry(animal_part_folder.PART)] * 3,
    )
    animal_part_folder.write_category(root, animal_part_folder.CAT, 0, boxes, parts, parts)
    return root


@pytest.fixture(scope="session")
def voc(folder):
    root = folder / "voc"
    root.mkdir()
    for write_matlab, name in (
        (voc_part_folder.write_matlab5, "2008_000001"),
        (voc_part_folder.write_matlab73, "2008_000002"),
    ):
        objects = [voc_part_folder.CAT, voc_part_folder.HORSE]
        voc_part_folder.write_annotation(root, name, objects, write_matlab)
        voc_part_folder.write_photo(root, name, 0)
    return root


@pytest.fixture(scope="session")
def birds(folder):
    root = folder / "birds"
    root.mkdir()
    cub_folder.write_published(root)
    return root


def check_examples(examples):
    for example in examples:
        assert np.isfinite(example.bbox).all() and example.bbox.shape == (4,)
        for part in example.parts:
            assert np.isfinite(part["center"]).all() and part["center"].shape == (2,)


def scan_damaged(file, damages, scan):
    """Scan a folder of which one file is damaged, and repair it."""
    content = file.read_bytes()
    file.write_bytes(damaged(content, damages))
    try:
        found = []
        if not refused(lambda: found.append(scan())):
            check_examples(found[0][0])
    finally:
        file.write_bytes(content)


@cases(
    0.05,
    name=st.sampled_from(("data.mat", "truth_part01.mat", "truth_part02.mat", "00002.jpg")),
    damages=ANY_DAMAGE,
    skip=st.booleans(),
)
def test_ilsvrc_animal_part(animals, name, damages, skip):
    (file,) = animals.rglob(name)
    categories = (animal_part_folder.CAT,)
    scan_damaged(file, damages, lambda: animal_part_files.scan(animals, categories, skip))


@cases(
    0.05,
    name=st.sampled_from(("2008_000001.mat", "2008_000002.mat", "2008_000001.jpg")),
    damages=ANY_DAMAGE,
    skip=st.booleans(),
)
def test_pascal_voc_part(voc, name, damages, skip):
    (file,) = voc.rglob(name)
    scan_damaged(file, damages, lambda: voc_part_files.scan(voc, ("cat", "horse"), skip))


@cases(
    0.04,
    name=st.sampled_from(
        (
            *("images.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt"),
            *("train_test_split.txt", "parts.txt", "part_locs.txt", "Bird_0002.jpg"),
        )
    ),
    damages=ANY_DAMAGE,
    skip=st.booleans(),
)
def test_cub(birds, name, damages, skip):
    (file,) = birds.rglob(name)
    scan_damaged(file, damages, lambda: cub_files.scan(birds, ("bird",), skip))


# MATLAB's own formats, with structs of any content

_VALUES = st.recursive(
    st.one_of(st.text("ab0", max_size=3), st.floats(allow_nan=True), st.just([])),
    lambda inner: st.lists(
        st.dictionaries(st.sampled_from(("a", "bb")), inner, min_size=2, max_size=2), max_size=3
    ),
    max_leaves=8,
)


@cases(
    0.04,
    entries=st.lists(
        st.dictionaries(st.sampled_from(("class", "mask")), _VALUES, min_size=2, max_size=2),
        min_size=1,
        max_size=3,
    ),
    new=st.booleans(),
    damages=st.one_of(st.just([]), ANY_DAMAGE),
)
def test_matlab_structs(folder, entries, new, damages):
    file = folder / "any.mat"
    writer = animal_part_folder.write_matlab73 if new else animal_part_folder.write_matlab5
    file.unlink(missing_ok=True)
    writer(file, "anno", entries)
    file.write_bytes(damaged(file.read_bytes(), damages))
    found = []
    if not refused(lambda: found.append(read_structs(file, "anno"))):
        assert all(isinstance(entry, dict) for entry in found[0])


# Weights


@pytest.fixture(scope="session")
def weights(folder):
    """Small files of every format; of VGG-16 with layers of another size."""
    random = np.random.default_rng(0)
    files = {}
    layers = {
        name: {
            "kernel": random.random(shape, np.float32),
            "bias": random.random(shape[-1], np.float32),
        }
        for name, shape in kernel_shapes(SMALL).items()
    }
    save_weights(folder / "own", Pretrained("small", layers, (1.0, 2.0, 3.0), "made"))
    files["own"] = (folder / "own").read_bytes()
    with h5py.File(folder / "keras", "w") as file:
        for block, count in enumerate((2, 2, 3, 3, 3), start=1):
            for conv in range(1, count + 1):
                group = file.create_group(f"block{block}_conv{conv}")
                names = [f"block{block}_conv{conv}_{part}_1:0" for part in ("W", "b")]
                group.attrs["weight_names"] = [name.encode() for name in names]
                group[names[0]] = random.random((3, 3, 3, 4), np.float32)
                group[names[1]] = random.random(4, np.float32)
    files["keras"] = (folder / "keras").read_bytes()
    from safetensors.numpy import save

    files["torchvision"] = save(
        {
            f"features.{n}.{part}": random.random((4, 3, 3, 3) if part == "weight" else 4)
            for n in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
            for part in ("weight", "bias")
        }
    )
    net = weight_files.simplenn("vgg16", divide=32)
    files["matlab5"] = weight_files.write_matlab5(folder / "matlab5", net).read_bytes()
    weight_files.write_matlab73(folder / "matlab73", net)
    files["matlab73"] = (folder / "matlab73").read_bytes()
    return files


@cases(
    0.08,
    name=st.sampled_from(("own", "keras", "torchvision", "matlab5", "matlab73")),
    damages=ANY_DAMAGE,
)
def test_weights(folder, weights, name, damages):
    file = write(folder, "weights", damaged(weights[name], damages))
    found = []
    if not refused(lambda: found.append(load_weights(file))):
        for arrays in found[0].layers.values():
            assert all(np.isfinite(array).all() for array in arrays.values())


# What a work directory holds

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_SAVED = default_config().to_json_best_effort()


def read(folder):
    config = read_config(folder)
    for variant in config.networks:
        build.make_network(config, variant)


@cases(
    0.03,
    field=st.sampled_from([field.name for field in FIELDS]),
    value=_JSON,
    whole=st.booleans(),
)
def test_values_of_config_json(folder, field, value, whole):
    saved = json.loads(_SAVED)
    inner = saved
    *groups, name = field.split(".")
    for group in groups:
        inner = inner[group]
    if whole and groups:
        saved[groups[0]] = value
    else:
        inner[name] = value
    write(folder, "config.json", json.dumps(saved).encode())
    refused(read, folder)


@cases(0.03, damages=ANY_DAMAGE)
def test_damaged_config_json(folder, damages):
    write(folder, "config.json", damaged(_SAVED.encode(), damages))
    refused(read, folder)


@cases(0.03, field=st.sampled_from([field.name for field in FIELDS]), text=st.text(max_size=20))
def test_values_on_the_command_line(field, text):
    config = default_config()
    if not refused(set_field, config, field, text, errors=(ValueError,)):
        json.loads(config.to_json_best_effort())


@cases(0.03, damages=ANY_DAMAGE)
def test_filters_npz(folder, damages):
    file = folder / "filters.npz"
    parts = FilterParts(np.arange(-1, 5), ("head", "tail", "torso", "legs", "neck"), ("cat",))
    write_filter_parts(file, 3, parts)
    file.write_bytes(damaged(file.read_bytes(), damages))
    found = []
    if not refused(lambda: found.append(read_filter_parts(file, 3))) and found[0] is not None:
        assert found[0].part.dtype.kind == "i"


@cases(0.03, damages=ANY_DAMAGE)
def test_filters_csv(folder, damages):
    row = "new_conv,0,cat,head,head,0.1,0.2,0.3,,0.5,0.25,False,True,,,"
    names = ",".join(field.name for field in dataclasses.fields(FilterFigures))
    content = f"step,{names}\n3,{row}\n3,{row}\n".encode()
    file = write(folder, "filters.csv", damaged(content, damages))
    refused(lambda: read_filter_figures(file, 3))


@cases(0.02, content=st.binary(max_size=400))
def test_random_bytes(folder, content):
    file = write(folder, "random", content)
    for reader in (read_image, load_weights, lambda file: read_structs(file, "anno")):
        with limited():
            assert refused(reader, file)
