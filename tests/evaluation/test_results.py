"""Results of an evaluation in metrics.json: written, read again, and of an earlier layout."""

import copy
import dataclasses
import json

import pytest
from etils import epath
from made_filters import made_results

from interp_cnn.evaluation.results import (
    VERSION,
    EmpiricalRadius,
    MeasuredRadius,
    Results,
    read_results,
    write_results,
)
from interp_cnn.receptive_field import ReceptiveField

# What the evaluation wrote before its layout had a version: one network, one layer.
WITHOUT_VERSION = {
    "networks": {
        "interpretable": {
            "step": 6,
            "layers": {
                "new_conv": {
                    "location_instability": {
                        "value": 0.12121038982309772,
                        "filters": 13,
                        "filters_left_out": 0,
                        "images_per_value": 5.0,
                    },
                    "tracking_ratio": {
                        "value": 1.0622646260351083,
                        "filters": 13,
                        "below_1": 0.38461538461538464,
                        "below_0.8": 0.15384615384615385,
                    },
                    "part_interpretability": {
                        "value": None,
                        "filters": 0,
                        "images": 13,
                        "radius": 15.36,
                        "by_radius": [[7.68, None], [15.36, None], [30.72, None]],
                    },
                    "filters_of_category": {"cat": 12, "rabbit": 1},
                    "dead": 0,
                    "collapsed": 2,
                    "mutual_information": 0.40789926052093506,
                    "mutual_information_images": 13,
                    "receptive_field": {"offset": 3.5, "stride": 8.0, "size": 75.0},
                },
            },
            "accuracy": {"value": 0.5789473684210527, "images": 19},
        }
    },
    "controls": {"center": 0.05209404431027966, "random": 0.1394838259000593, "images": 13},
    "data": {
        "train_images": 53,
        "test_images": 19,
        "test_objects": 13,
        "location_images": 13,
        "location_split": "test",
        "parts": [],
        "landmarks": ["head", "torso"],
        "categories": ["cat", "rabbit"],
        "part_regions": "none",
    },
    "experiment": {
        "network": "small",
        "category": "cat+rabbit",
        "task": "multi_logistic",
        "dataset": "embedded_animals",
        "image_size": 96,
        "date": "2026-11-25T19:25:41+00:00",
        "device": "8 x cpu",
        "versions": {"jax": "0.10.2", "numpy": "2.4.6"},
    },
    "empirical_radius": {
        "images": 20,
        "networks": {"interpretable": {"mean": 15.4, "spread": 1.25, "filters": 13}},
    },
}


@pytest.fixture
def tree():
    return copy.deepcopy(WITHOUT_VERSION)


def test_a_file_without_version_is_read():
    results = Results.from_json(WITHOUT_VERSION)
    assert results.version == 0
    layer = results.networks["interpretable"].layers["new_conv"]
    assert layer.tracking_ratio.below_08 == 0.15384615384615385
    assert layer.part_interpretability.value is None
    assert layer.part_interpretability.by_radius[0] == (7.68, None)
    assert layer.receptive_field == ReceptiveField(3.5, 8.0, 75.0)
    assert layer.filters_of_category == {"cat": 12, "rabbit": 1}
    assert results.data.landmarks == ("head", "torso")
    assert results.empirical_radius == EmpiricalRadius(
        20, {"interpretable": MeasuredRadius(15.4, 1.25, 13)}
    )


def test_the_keys_of_the_file_are_those_of_before(tmp_path):
    file = epath.Path(tmp_path) / "metrics.json"
    write_results(file, dataclasses.replace(Results.from_json(WITHOUT_VERSION), version=VERSION))
    content = json.loads(file.read_text())
    assert next(iter(content)) == "version" and content.pop("version") == VERSION
    assert content == WITHOUT_VERSION


def test_written_and_read_again(tmp_path):
    file = epath.Path(tmp_path) / "metrics.json"
    results = made_results()
    write_results(file, results)
    assert "empirical_radius" not in json.loads(file.read_text())
    assert read_results(file) == dataclasses.replace(results, version=VERSION)
    nan = dataclasses.replace(results.controls, center=float("nan"))
    with pytest.raises(ValueError, match="Out of range float"):
        write_results(file, dataclasses.replace(results, controls=nan))


def test_what_an_older_evaluation_did_not_write(tree):
    del tree["networks"]["interpretable"]["layers"]["new_conv"]["mutual_information_images"]
    layer = Results.from_json(tree).networks["interpretable"].layers["new_conv"]
    assert layer.mutual_information_images is None


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("version",), VERSION + 1, f"version is {VERSION + 1}, this package reads up to"),
        (("version",), "1", "version is '1', not of type int"),
        (("controls",), None, "controls is None, not of type dict"),
        (("controls", "images"), True, "controls.images is True, not of type int"),
        (("controls", "center"), "0.1", "controls.center is '0.1', not of type float"),
        (("data", "parts"), "head", "data.parts is 'head', not of type list"),
        (("data", "parts"), ["head", 3], r"data.parts\[1\] is 3, not of type str"),
        (("networks", "interpretable", "layers"), [], r"networks.interpretable.layers is \[\]"),
    ],
)
def test_content_of_another_layout(tree, tmp_path, place, value, message):
    *groups, name = place
    inner = tree
    for group in groups:
        inner = inner[group]
    inner[name] = value
    with pytest.raises(ValueError, match=message):
        Results.from_json(tree)
    file = epath.Path(tmp_path) / "metrics.json"
    file.write_text(json.dumps(tree))
    with pytest.raises(ValueError, match=rf"metrics.json cannot be read \({message}"):
        read_results(file)


def test_pairs_and_fields_that_are_missing(tree):
    figures = tree["networks"]["interpretable"]["layers"]["new_conv"]["part_interpretability"]
    figures["by_radius"][1] = [15.36]
    with pytest.raises(ValueError, match=r"part_interpretability.by_radius\[1\] has 1 values, not"):
        Results.from_json(tree)
    del figures["radius"]
    with pytest.raises(ValueError, match=r"new_conv.part_interpretability.radius is missing"):
        Results.from_json(tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expecting value"),
        ("[]", "it holds a list"),
        ("[" * 100_000, "recursion"),
        ("{}", "networks is missing"),
    ],
)
def test_a_damaged_file(tmp_path, content, message):
    file = epath.Path(tmp_path) / "metrics.json"
    with pytest.raises(FileNotFoundError):
        read_results(file)
    file.write_text(content)
    with pytest.raises(ValueError, match=rf"cannot be read \(.*{message}.*evaluate the run again"):
        read_results(file)
