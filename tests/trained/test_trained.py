"""A trained network in Python: predictions, maps, explanations, filters, and an exported file."""

import dataclasses
import io
import json
import math
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from etils import epath
from PIL import Image
from repository import ROOT
from tiny import tiny_config
from xla_flags import quick_xla_flags

import interp_cnn
from interp_cnn import trained as trained_module
from interp_cnn.data.pipeline import Crop, Split
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.filter_files import (
    FilterFigures,
    FilterParts,
    read_filter_figures,
    write_filter_figures,
    write_filter_parts,
)
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.models import own_network
from interp_cnn.training.build import make_network
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.training.state import init_state, init_variables
from interp_cnn.workdir import claim_workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A work directory of two categories, as if a network had been trained and evaluated."""
    folder = epath.Path(tmp_path_factory.mktemp("run"))
    config = tiny_config()
    config.data.category = "cat+rabbit"
    claim_workdir(folder, config)
    network = make_network(config, "interpretable", 2)
    state = init_state(init_variables(network, 0), optax.sgd(0.1), network)
    checkpoints = Checkpoints(folder / "interpretable" / "checkpoints")
    checkpoints.save(state.replace(step=jnp.int32(6)), config.to_dict())
    checkpoints.close()
    last = list(network.map_filters.values())[-1]
    parts = FilterParts(np.arange(last) % 3 - 1, ("head", "front_legs"), ("cat", "rabbit"))
    write_filter_parts(folder / "interpretable" / "filters.npz", 6, parts)
    rows = [
        made_row(unit, layer=name) for name, n in network.map_filters.items() for unit in range(n)
    ]
    write_filter_figures(folder / "interpretable" / "filters.csv", 6, rows)
    return folder


def made_row(unit, **figures):
    """The figures of a filter of which next to nothing is known."""
    unknown = dict.fromkeys(field.name for field in dataclasses.fields(FilterFigures))
    known = {"layer": "a<b", "filter": unit, "category": "cat", "part": "", "landmark": "head"}
    return FilterFigures(**unknown | known | {"dead": False, "collapsed": True} | figures)


@pytest.fixture(scope="module")
def trained(run):
    return interp_cnn.load(run)


@pytest.fixture(scope="module")
def encoded():
    """Five images of blurred colours as the bytes of PNG files."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
    files = [io.BytesIO() for _ in coarse]
    for file, colours in zip(files, coarse, strict=True):
        Image.fromarray(colours).resize((64, 64)).save(file, format="PNG")
    return [file.getvalue() for file in files]


@pytest.fixture(scope="module")
def split(encoded):
    """The same as examples of a data set."""
    examples = [{"image": data, "label": 1} for data in encoded]
    return Split(examples, np.arange(5), np.ones(5, int))


@pytest.fixture(scope="module")
def pixels(trained, split):
    """The same as the evaluation's pipeline hands them to the network."""
    crop = Crop(trained.size, "image")
    return np.stack([crop.map(split[index])["image"] for index in range(5)])


def opened(data):
    return Image.open(io.BytesIO(data))


def test_the_probabilities_are_those_of_the_evaluation(trained, split, pixels):
    data = Data(split, split, ("cat", "rabbit"), (), (), False)
    restored = trained.restored
    predict = Predictor(trained.config, data, restored.network, restored.variables)
    (batch,) = predict.batches(split, annotated=False)
    logits = predict(batch, "logits")["logits"]
    found = trained.predict(pixels)
    assert found.shape == (5, 2) and found.dtype == np.float32 and type(found) is np.ndarray
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert trained.categories == ("cat", "rabbit")


def test_images_of_every_kind(trained, encoded, pixels, tmp_path):
    expected = trained.predict(pixels)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file, data in zip(files, encoded, strict=True):
        file.write_bytes(data)
    photos = [np.asarray(opened(data)) for data in encoded]
    for images in (
        files,
        [str(file) for file in files],
        [opened(data) for data in encoded],
        photos,
        np.stack(photos),
        jax.numpy.asarray(np.stack(photos)),
        (opened(data) for data in encoded),
        [files[0], photos[1], opened(encoded[2]), files[3], photos[4]],
    ):
        np.testing.assert_array_equal(trained.predict(images), expected)
    assert trained.predict([]).shape == (0, 2)


def test_any_batch_size_gives_the_same(trained, pixels):
    expected = trained.predict(pixels, batch_size=5)
    for size in (1, np.int64(2)):
        np.testing.assert_allclose(trained.predict(pixels, batch_size=size), expected, atol=1e-6)


def test_an_image_is_turned_upright_and_made_rgb(trained, encoded, tmp_path):
    upright = opened(encoded[0])
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees to show it
    turned.save(tmp_path / "turned.png", exif=exif)
    expected = trained.predict([upright])
    np.testing.assert_array_equal(trained.predict([tmp_path / "turned.png"]), expected)
    np.testing.assert_array_equal(trained.predict([opened((tmp_path / "turned.png").read_bytes())]),
                                  expected)  # fmt: skip
    np.testing.assert_array_equal(trained.predict([upright.convert("RGBA")]), expected)


def test_boxes_are_cut_out(trained, encoded):
    photos = [opened(data) for data in encoded[:3]]
    boxes = [(5, 10, 40, 50), None, (0.5, 0.5, 20.5, 30.5)]
    found = trained.predict(photos, boxes=boxes)
    sides = (trained.size, trained.size)
    part = photos[0].resize(sides, Image.Resampling.BILINEAR, box=(10, 5, 50, 40))
    np.testing.assert_allclose(found[:1], trained.predict([part]), rtol=1e-6)
    np.testing.assert_array_equal(found[1:2], trained.predict(photos[1:2]))
    assert trained.explain(photos[0], box=boxes[0]).probability == pytest.approx(found[0].max())
    for wrong in (boxes[:2], [*boxes, None]):
        with pytest.raises(ValueError, match="boxes are not as many as images; give one for each"):
            trained.predict(photos, boxes=wrong)
    with pytest.raises(ValueError, match=r"box is 0,0,0\.5,0\.5 for .*, one pixel at"):
        trained.predict(photos[:1], boxes=[(0, 0, 0.5, 0.5)])
    with pytest.raises(ValueError, match=r"box is 5,5,5,9, images\[1\] is 64 pixels high"):
        trained.predict(photos[:2], boxes=[None, (5, 5, 5, 9)])
    for wrong, shown in (((5, 5, 40), r"\(5, 5, 40\)"), (5, "5"), ("abcd", "'abcd'")):
        message = rf"box is {shown} for images\[0\]; give four numbers, \(ymin, xmin, ymax, xmax\)"
        with pytest.raises(ValueError, match=message):
            trained.predict(photos[:1], boxes=[wrong])
    with pytest.raises(ValueError, match=r"box is \[\(5, 5, 9, 9\)\] for the image; give four num"):
        trained.explain(photos[0], box=[(5, 5, 9, 9)])


def test_the_maps_are_those_of_the_network(trained, pixels):
    found = trained.maps(pixels[:3], batch_size=2)
    assert tuple(found) == trained.layers
    mean = np.array(trained.config.data.mean, np.float32)
    images = (pixels[:3] - mean) / trained.config.data.std
    _, expected = trained.network.apply(trained.restored.variables, images)
    for name, maps in found.items():
        assert maps.shape[0] == 3 and maps.shape[3] == trained.network.map_filters[name]
        np.testing.assert_allclose(maps, expected[name], rtol=1e-4, atol=1e-5)
    assert all(len(maps) == 0 for maps in trained.maps(pixels[:0]).values())


def test_an_explanation(trained, encoded, tmp_path):
    found = trained.explain(opened(encoded[0]))
    probability = trained.predict([opened(encoded[0])])[0]
    assert found.category == trained.categories[int(probability.argmax())]
    assert found.probability == pytest.approx(probability.max(), abs=1e-6)
    assert found.text.startswith(found.sentence) and repr(found) == found.text
    assert set(found.shares) == {"head", "front legs", "no part"}
    for one in found.filters:
        part = found.parts.part[one.unit]
        assert one.part == (["head", "front legs"][part] if part >= 0 else "no part")
    found.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes() == found._repr_png_()
    assert found.figure().axes
    assert len(trained.explain(opened(encoded[0]), filters=1).filters) <= 1
    part = trained.explain(opened(encoded[0]), box=(5, 5, 40, 50))
    assert not np.array_equal(part.pixels, found.pixels)


def test_the_table_of_filters(trained):
    table = trained.filters
    counts = trained.network.map_filters
    assert [(row.layer, row.filter) for row in table] == [
        (name, unit) for name, count in counts.items() for unit in range(count)
    ]
    assert len(table.of_layer(trained.layers[-1])) == counts[trained.layers[-1]]
    assert table[0] == table.rows[0] and len(table[2:5]) == 3 and len(table) == sum(counts.values())
    with pytest.raises(ValueError, match=r"layer is 'conv9'; give one of "):
        table.of_layer("conv9")


def test_a_table_to_look_at_and_for_pandas(monkeypatch):
    rows = [made_row(0, tracking_ratio=0.25, dead=True), *(made_row(n) for n in range(1, 30))]
    table = trained_module.FilterTable(tuple(rows))
    lines = repr(table).splitlines()
    assert lines[0].split()[:3] == ["layer", "filter", "category"]
    assert lines[1].split() == ["a<b", "0", "cat", "-", "-", "0.250", "-", "-", "True"]
    assert len(lines) == 22 and lines[-1] == "... and 10 more filters"
    page = table._repr_html_()
    assert "a&lt;b" in page and "a<b" not in page and page.count("<tr>") == 21
    assert "more filters" not in repr(table[:3]) + table[:3]._repr_html_()

    frame = table.to_pandas()
    assert list(frame.columns) == [field.name for field in dataclasses.fields(FilterFigures)]
    assert frame.shape[0] == 30 and frame["tracking_ratio"].dtype == float
    assert frame["tracking_ratio"][0] == 0.25 and math.isnan(frame["tracking_ratio"][1])
    assert frame["dead"].dtype == bool and frame["filter"].tolist() == list(range(30))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs the package pandas; pip install"):
        table.to_pandas()


def test_the_file_of_figures(tmp_path):
    file = tmp_path / "filters.csv"
    assert read_filter_figures(file, 3) is None
    rows = (made_row(0, part='a "b", c', tracking_ratio=1 / 3), made_row(1, fired_share=0.0))
    write_filter_figures(file, 3, rows)
    assert read_filter_figures(file, 3) == rows
    assert read_filter_figures(file, 4) is None
    for damage in ("step,layer\n3,x\n", file.read_text().replace("True", "yes"), 'step,a\n3,"b'):
        file.write_text(damage)
        with pytest.raises(ValueError, match=r"filters.csv is damaged .* evaluate the run"):
            read_filter_figures(file, 3)
    file.write_bytes(b"step\n\xff\n")
    with pytest.raises(ValueError, match=r"filters.csv is damaged"):
        read_filter_figures(file, 3)


PREDICT_ELSEWHERE = """
import json, sys
import numpy as np
import interp_cnn
assert "jax" not in sys.modules  # importing the package is light
trained = interp_cnn.load(sys.argv[1])
images = np.load(sys.argv[2])
found = trained.predict(images).tolist()
trained.filters
import interp_cnn.report.explanation_picture  # which draws explanations
heavy = sorted({"grain", "tensorflow_datasets", "tensorflow"} & set(sys.modules))
import jax
print(json.dumps([found, heavy, jax.device_count()]))
"""

CALL_EXPORTED = """
import sys
import numpy as np
from jax import export
predict = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
found = predict.call(np.load(sys.argv[2]))
one = predict.call(np.load(sys.argv[2])[:1])
assert not {"interp_cnn", "flax", "orbax"} & set(sys.modules)
np.savez(sys.argv[3], one=one["probabilities"], probabilities=found["probabilities"],
         **{f"peaks_{name}": peaks for name, peaks in found["peaks"].items()})
"""


def elsewhere(code, *arguments):
    """What code prints in a process of its own, with one device."""
    environment = os.environ | {"XLA_FLAGS": quick_xla_flags(devices=1), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_on_another_number_of_devices_and_without_readers_of_data(trained, run, pixels, tmp_path):
    np.save(tmp_path / "images.npy", pixels)
    found, heavy, devices = json.loads(elsewhere(PREDICT_ELSEWHERE, run, tmp_path / "images.npy"))
    assert heavy == [] and devices == 1 and jax.device_count() == 8
    np.testing.assert_allclose(found, trained.predict(pixels), rtol=1e-4)


def test_an_exported_file_predicts_without_this_package(trained, pixels, tmp_path):
    file = tmp_path / "cats.jaxexport"
    size = trained.export(file, peaks=True)
    assert size == file.stat().st_size
    bytes_of_params = sum(leaf.nbytes for leaf in jax.tree.leaves(trained.restored.variables))
    assert bytes_of_params < size < bytes_of_params + 200_000
    np.save(tmp_path / "images.npy", pixels)
    elsewhere(CALL_EXPORTED, file, tmp_path / "images.npy", tmp_path / "found.npz")
    expected = trained.predict(pixels)
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
        np.testing.assert_allclose(found["one"], expected[:1], rtol=1e-4)
        for name, maps in trained.maps(pixels).items():
            np.testing.assert_allclose(
                found[f"peaks_{name}"], maps.max(axis=(1, 2)), rtol=1e-4, atol=1e-5
            )


def test_an_exported_function_of_probabilities_alone(trained, pixels, tmp_path):
    trained.export(tmp_path / "cats.jaxexport", platforms=("cpu",))
    exported = jax.export.deserialize(bytearray((tmp_path / "cats.jaxexport").read_bytes()))
    assert exported.platforms == ("cpu",)
    np.testing.assert_allclose(exported.call(pixels), trained.predict(pixels), rtol=1e-5)
    for platforms in ("cpu", (), ("cpu", "abacus")):
        with pytest.raises(ValueError, match=r"platforms is .*; give some of 'cpu', 'cuda'"):
            trained.export(tmp_path / "no", platforms=platforms)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        trained.export(tmp_path / "nowhere" / "cats.jaxexport", platforms=("cpu",))


def test_a_network_of_ones_own_that_asks_for_the_number_of_images(trained, tmp_path):
    network = own_network("own_modules:Nested", input_size=16)
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    restored = trained.restored._replace(network=network, variables=variables)
    nested = dataclasses.replace(trained, restored=restored)
    with pytest.raises(ValueError, match=r"cannot be compiled for any number of images .*len\(x\)"):
        nested.export(tmp_path / "no", platforms=("cpu",))


def test_softmax_probabilities_sum_to_one(trained, pixels):
    config = trained.config.copy_and_resolve_references()
    config.train.task = "softmax"
    softmax = dataclasses.replace(trained, config=config)
    np.testing.assert_allclose(softmax.predict(pixels).sum(axis=1), 1, rtol=1e-6)
    logits = np.log(trained.predict(pixels) / (1 - trained.predict(pixels)))
    ratio = softmax.predict(pixels)[:, 0] / softmax.predict(pixels)[:, 1]
    np.testing.assert_allclose(np.log(ratio), logits[:, 0] - logits[:, 1], atol=1e-4)


def test_bad_images(trained, pixels, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    cases = [
        (text, r"images is one image, .*; give a list of images: \[image\]"),
        (str(text), "images is one image"),
        (Image.new("RGB", (3, 3)), "images is one image"),
        (pixels[0], r"images has shape \(96, 96, 3\); give \[batch, height, width, 3\]"),
        (pixels / 255, r"images\[0\] is float64 of shape \(96, 96, 3\); give uint8"),
        ([pixels[0], pixels[0][..., :1]], r"images\[1\] is uint8 of shape \(96, 96, 1\)"),
        ([np.zeros((0, 4, 3), np.uint8)], r"images\[0\] is uint8 of shape \(0, 4, 3\)"),
        ([3], r"images\[0\] is of type int; give an array uint8"),
        (3, "images is of type int; give an array uint8"),
        ([text], "text.png is no image that can be read"),
        ([Image.new("F", (3, 3))], r"images\[0\] cannot be shown: its pixels are floating-point"),
    ]
    for images, message in cases:
        with pytest.raises(ValueError, match=message):
            trained.predict(images)
    with pytest.raises(FileNotFoundError, match=r"none.png does not exist"):
        trained.predict([tmp_path / "none.png"])
    for size in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"batch_size is {size}; give a whole number"):
            trained.predict(pixels, batch_size=size)
    for filters in (-1, 2.5):
        with pytest.raises(ValueError, match=f"filters is {filters}; give a whole number"):
            trained.explain(pixels[0], filters=filters)
    with pytest.raises(ValueError, match="box is 0,0,99,20, the image is 96 pixels high and 96"):
        trained.explain(pixels[0], box=(0, 0, 99, 20))


def test_what_cannot_be_loaded(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json is missing; is .* the --workdir of"):
        interp_cnn.load(tmp_path)
    with pytest.raises(ValueError, match="network is 'best'; give 'interpretable' or 'ordinary'"):
        interp_cnn.load(run, "best")
    with pytest.raises(FileNotFoundError, match=r"ordinary/checkpoints is missing; train this"):
        interp_cnn.load(run, "ordinary")
    claim_workdir(tmp_path, tiny_config())
    (tmp_path / "interpretable" / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint; train the network first"):
        interp_cnn.load(tmp_path)


def test_a_run_that_was_not_evaluated(trained, tmp_path, pixels):
    fresh = dataclasses.replace(trained, workdir=type(trained.workdir)(tmp_path))
    step = trained.step
    for use in (lambda: fresh.filters, lambda: fresh.explain(pixels[0])):
        with pytest.raises(ValueError, match=rf"at step {step}; evaluate the run first \(eval"):
            use()
    assert fresh.categories == ("cat", "rabbit")  # which the configuration names
    config = trained.config.copy_and_resolve_references()
    config.data.category = "all"
    with pytest.raises(ValueError, match=r"which 2 categories data.category='all' stands for"):
        _ = dataclasses.replace(fresh, config=config).categories
    np.testing.assert_array_equal(fresh.predict(pixels), trained.predict(pixels))


def test_the_code_of_the_page_runs(run, encoded, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "embedded").symlink_to(run)
    for number in range(2):
        (tmp_path / f"cat{number}.png").write_bytes(encoded[number])
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names = {}
    exec("\n".join(blocks), names)
    assert names["probabilities"].shape == (2, 2)
    np.testing.assert_allclose(names["elsewhere"], names["probabilities"], rtol=1e-4)
    assert (tmp_path / "explained.png").read_bytes().startswith(b"\x89PNG")
    assert "location_instability" in capsys.readouterr().out


def test_it_says_what_it_is(trained):
    assert repr(trained).startswith("<interpretable small of ")
    assert f"at step {trained.step}, 96 x 96 pixels, 2 categories" in repr(trained)
