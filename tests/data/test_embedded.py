import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from interp_cnn.data.embedded import builder as embedded_builder
from interp_cnn.data.embedded.builder import EmbeddedAnimals, EmbeddedConfig, in_test
from interp_cnn.data.embedded.drawing import (
    CATEGORIES,
    MIN_PIXELS,
    PARTS,
    Drawing,
    draw_example,
    encoded_example,
)

ALL = (*CATEGORIES, None)


def crop(drawing: Drawing, size: int) -> np.ndarray:
    top, left, bottom, right = (float(v) for v in drawing.bbox)
    photo = Image.fromarray(drawing.image)
    return np.asarray(
        photo.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    )


@pytest.fixture(scope="module")
def drawings():
    return {category: [draw_example(category, i) for i in range(24)] for category in ALL}


def test_same_bytes_again_in_any_order_and_in_another_process():
    jobs = [(category, index, 0, 64) for category in ALL for index in (0, 3)]
    there = {job: encoded_example(*job) for job in jobs}
    for job in reversed(jobs):
        again = encoded_example(*job)
        assert again["image"] == there[job]["image"]
        assert [p["mask"] for p in again["parts"]] == [p["mask"] for p in there[job]["parts"]]
    code = (
        "import sys; from interp_cnn.data.embedded.drawing import encoded_example; "
        "sys.stdout.buffer.write(encoded_example('cat', 3, 0, 64)['image'])"
    )
    environment = {"PYTHONPATH": ":".join(p for p in sys.path if p), "PYTHONHASHSEED": "7"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert other.stdout == there["cat", 3, 0, 64]["image"], other.stderr.decode()


def test_other_numbers_categories_and_seeds_give_other_pictures():
    pictures = [
        draw_example(category, index, seed=seed, size=32).image.tobytes()
        for category in ("cat", "bird", None)
        for index in (0, 1)
        for seed in (0, 1)
    ]
    assert len(set(pictures)) == len(pictures)


def test_the_scene_does_not_depend_on_the_size():
    small, large = (draw_example("rabbit", 5, size=size) for size in (64, 128))
    halved = np.asarray(Image.fromarray(large.image).reduce(2), float)
    assert np.abs(halved - small.image).mean() < 8
    np.testing.assert_allclose(small.bbox * 2, large.bbox, atol=4)


@pytest.mark.parametrize("category", CATEGORIES)
def test_masks_boxes_and_centres_agree(drawings, category):
    for drawing in drawings[category]:
        union = np.zeros(drawing.image.shape[:2], int)
        assert drawing.image.dtype == np.uint8 and drawing.image.shape == (128, 128, 3)
        assert set(drawing.masks) == set(drawing.boxes) == set(drawing.centers) <= set(PARTS)
        for part, mask in drawing.masks.items():
            points = [(y, x) for y in range(128) for x in range(128) if mask[y, x]]
            assert len(points) >= MIN_PIXELS
            ys, xs = zip(*points, strict=True)
            tight = [min(ys), min(xs), max(ys) + 1, max(xs) + 1]
            np.testing.assert_array_equal(drawing.boxes[part], tight)
            centre = [sum(ys) / len(ys) + 0.5, sum(xs) / len(xs) + 0.5]
            np.testing.assert_allclose(drawing.centers[part], centre, rtol=1e-5)
            union += mask
        assert union.max() == 1  # disjoint
        rows, cols = np.nonzero(union)
        tight = [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]
        np.testing.assert_array_equal(drawing.bbox, tight)
        longest = max(drawing.bbox[2:] - drawing.bbox[:2]) / 128
        assert 0.5 < longest < 0.95
        assert {"head", "torso"} <= set(drawing.masks)
        assert ("wings" in drawing.masks) <= (category == "bird")


def test_occlusion_takes_pixels_from_the_masks(drawings):
    """A part is sometimes cut or hidden by what is in front, so areas vary and tails go missing."""
    shares = [
        sum(m.sum() for m in d.masks.values()) / ((d.bbox[2] - d.bbox[0]) * (d.bbox[3] - d.bbox[1]))
        for d in drawings["elephant"]
    ]
    assert np.std(shares) > 0.02


def test_pictures_without_an_animal(drawings):
    for drawing in drawings[None]:
        np.testing.assert_array_equal(drawing.bbox, [0, 0, 128, 128])
        assert not drawing.masks and not drawing.boxes and not drawing.centers


def test_neither_paint_nor_colour_separates_animals_from_other(drawings):
    paint = {c: np.array([d.paint for d in ds]) for c, ds in drawings.items()}
    mean = {c: np.array([crop(d, 32).mean((0, 1)) for d in ds]) for c, ds in drawings.items()}
    for category in CATEGORIES:
        for values in (paint, mean):
            difference = values[category].mean(0) - values[None].mean(0)
            spread = np.sqrt((values[category].var(0) + values[None].var(0)) / 2)
            assert np.max(np.abs(difference / spread)) < 1.2


def test_a_linear_classifier_on_raw_pixels_does_badly():
    count = 90
    images = np.concatenate(
        [[crop(draw_example(c, i, size=64), 16) for i in range(count)] for c in ("cat", None)]
    )
    x = images.reshape(2 * count, -1) / 255.0
    y = np.repeat([1.0, -1.0], count)
    test = np.tile(np.arange(count) % 3 == 0, 2)
    x = x - x[~test].mean(0)
    kernel = x @ x[~test].T
    weights = np.linalg.solve(kernel[~test] + 30 * np.eye((~test).sum()), y[~test])
    accuracy = np.mean(np.sign(kernel[test] @ weights) == y[test])
    assert accuracy < 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dog", 0), "category is 'dog'"),
        (("cat", -1), "index is -1"),
    ],
)
def test_bad_arguments_of_a_drawing(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_example(*arguments)
    with pytest.raises(ValueError, match="size is 8"):
        draw_example("cat", 0, size=8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"categories": ("cat", "dog")}, "dog"),
        ({"categories": ()}, "categories"),
        ({"categories": ("cat", "cat")}, "each once"),
        ({"num_per_category": 0}, "num_per_category is 0"),
        ({"num_other": -1}, "num_other is -1"),
        ({"image_size": 16}, "image_size is 16"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_configs(fields, message):
    with pytest.raises(ValueError, match=message):
        EmbeddedConfig(**fields)


def test_configs():
    configs = {c.name: c for c in EmbeddedAnimals.BUILDER_CONFIGS}
    assert set(configs) == {"all", *CATEGORIES}
    for name, config in configs.items():
        assert config.num_per_category == (500 if name == "all" else 1500)
        assert config.num_other == 1500
        assert config.categories == (CATEGORIES if name == "all" else (name,))
    assert EmbeddedConfig(seed=1).name != EmbeddedConfig(seed=2).name


def test_builder_round_trip(tmp_path):
    config = EmbeddedConfig(
        categories=("turtle", "bird"), num_per_category=8, num_other=6, image_size=64, seed=3
    )
    builder = EmbeddedAnimals(config=config, data_dir=tmp_path)
    builder.download_and_prepare()
    assert "tensorflow" not in sys.modules
    assert builder.info.features["label"].names == ["other", "turtle", "bird"]
    assert builder.parts == PARTS and set(builder.landmarks) <= set(PARTS)
    assert EmbeddedAnimals(config="cat", data_dir=tmp_path).parts == PARTS[:-1]  # no wings

    source = builder.as_data_source()
    ids = {split: [e["photo_id"].decode() for e in source[split]] for split in source}
    assert not set(ids["train"]) & set(ids["test"])
    assert len(ids["train"]) + len(ids["test"]) == len({*ids["train"], *ids["test"]}) == 22
    for split, examples in source.items():
        for example in examples:
            name, seed, index = example["photo_id"].decode().split("_")
            category = None if name == "other" else name
            assert in_test(category, int(index), int(seed)) == (split == "test")
            drawing = draw_example(category, int(index), seed=int(seed), size=64)
            assert example["label"] == ["other", "turtle", "bird"].index(name)
            np.testing.assert_array_equal(example["image"], drawing.image)
            np.testing.assert_array_equal(example["bbox"], drawing.bbox)
            parts = example["parts"]
            assert [p.decode() for p in parts["name"]] == list(drawing.masks)
            for k, part in enumerate(drawing.masks):
                np.testing.assert_array_equal(parts["mask"][k][..., 0], drawing.masks[part] * 255)
                np.testing.assert_array_equal(parts["box"][k], drawing.boxes[part])
                np.testing.assert_array_equal(parts["center"][k], drawing.centers[part])
    assert "tensorflow" not in sys.modules


def test_an_empty_split_is_refused(tmp_path):
    config = EmbeddedConfig(categories=("cat",), num_per_category=1, num_other=0)
    with pytest.raises(ValueError, match="no pictures for the"):
        EmbeddedAnimals(config=config, data_dir=tmp_path).download_and_prepare()


def test_processes_draw_the_same(monkeypatch):
    jobs = [("cat" if k % 2 else None, k, 0, 32) for k in range(9)]
    alone = list(embedded_builder._drawn(jobs))
    monkeypatch.setattr(embedded_builder, "_PER_WORKER", 3)
    monkeypatch.setattr(embedded_builder.os, "cpu_count", lambda: 2)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(embedded_builder, "encoded_example", None)  # nothing is drawn here
        together = list(embedded_builder._drawn(jobs))
    assert [e["photo_id"] for e in together] == [e["photo_id"] for e in alone]
    assert [e["image"] for e in together] == [e["image"] for e in alone]
    # Where the processes cannot run the pictures are drawn in this one.
    monkeypatch.setattr(embedded_builder.sys, "executable", "/bin/true")
    alone_again = list(embedded_builder._drawn(jobs))
    assert [e["image"] for e in alone_again] == [e["image"] for e in alone]


def test_stopping_early_ends_the_processes(monkeypatch):
    monkeypatch.setattr(embedded_builder, "_PER_WORKER", 3)
    monkeypatch.setattr(embedded_builder.os, "cpu_count", lambda: 2)
    started = []
    popen = subprocess.Popen

    def record(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(embedded_builder.subprocess, "Popen", record)
    examples = embedded_builder._drawn([("cat", k, 0, 32) for k in range(300)])
    next(examples)
    examples.close()
    assert len(started) == 2 and all(p.poll() is not None for p in started)


def test_png_of_masks_is_grey_with_two_levels():
    for part in encoded_example("elephant", 0, 0, 64)["parts"]:
        with Image.open(io.BytesIO(part["mask"])) as mask:
            assert mask.mode == "L" and set(np.unique(np.asarray(mask))) == {0, 255}
