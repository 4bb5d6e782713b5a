"""The two jobs from start to end on tiny data, and what they refuse."""

import collections
import dataclasses
import shutil

import numpy as np
import pytest
from tiny import tiny_builder, tiny_config, write_begun

import interp_cnn
from interp_cnn import commands
from interp_cnn.data import prepare
from interp_cnn.evaluation.restore import Restored
from interp_cnn.evaluation.results import read_results
from interp_cnn.training.build import make_network, starting_variables
from interp_cnn.workdir import claim_workdir, read_config


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return tiny_builder(tmp_path_factory.mktemp("data"))


@pytest.fixture
def tiny(builder, monkeypatch):
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: builder)


def check_filters(workdir, result):
    """The figures of the filters are those behind the means of the table."""
    trained = interp_cnn.load(workdir)
    table = trained.filters
    assert trained.categories == ("cat",) and {row.category for row in table} == {"cat"}
    for name, layer in result.layers.items():
        rows = table.of_layer(name)
        assert [row.filter for row in rows] == list(range(layer.filters_of_category["cat"]))
        for figure, mean in (
            ("location_instability", layer.location_instability.value),
            ("tracking_ratio", layer.tracking_ratio.value),
            ("part_interpretability", layer.part_interpretability.value),
            ("part_interpretability_fired", layer.part_interpretability_fired.value),
            ("fired_share", layer.fired_share),
            ("mutual_information", layer.mutual_information),
            ("purity", layer.related.purity.value),
            ("inconsistency", layer.related.patterns.inconsistency),
            ("category_information", layer.related.category_information.value),
        ):
            values = [value for row in rows if (value := getattr(row, figure)) is not None]
            assert np.mean(values) == pytest.approx(mean)
        assert sum(row.dead for row in rows) == layer.dead
        assert sum(row.collapsed for row in rows) == layer.collapsed
    parts = trained.explain(np.zeros((8, 8, 3), np.uint8)).parts
    names = [parts.names[k] if k >= 0 else "" for k in parts.part]
    assert [row.part for row in table.of_layer(trained.layers[-1])] == names
    followed = collections.Counter(
        row.landmark for row in table.of_layer("new_conv") if (row.tracking_ratio or 1) < 0.8
    )
    counts = result.layers["new_conv"].parts_followed.filters
    assert followed == {name: count for name, count in counts.items() if count}


def test_train_and_evaluate_then_evaluate_again(tiny, tmp_path):
    config = tiny_config()
    config.train.epochs = 1
    config.eval.related_measures = True
    results = commands.train_and_evaluate(config, tmp_path)
    assert read_results(tmp_path / "metrics.json") == results
    network = results.networks["interpretable"]
    assert network.step > 0 and set(network.layers) == {"top_conv", "new_conv"}
    assert network.accuracy.images == results.data.test_images
    assert 0 < results.data.test_objects < results.data.test_images
    check_filters(tmp_path, network)
    assert (tmp_path / "filters.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "report" / "index.html").exists()
    table = (tmp_path / "table.md").read_text()
    assert "interpretable" in table and "purity (PIP-Net)" in table
    for layer in network.layers.values():
        related = layer.related
        assert (
            related.purity.filters == related.patterns.filters <= layer.filters_of_category["cat"]
        )
        assert related.purity.patch == pytest.approx(96 / 7) and related.purity.top == 10
        assert related.patterns.regions == len(results.data.parts) + 1
        assert related.category_information.images == results.data.test_images

    for name in ("metrics.json", "table.md", "filters.png"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "report")
    (tmp_path / "report").write_text("")  # then all but the report is there
    with pytest.raises(OSError, match=r"report cannot be written to .*report \(File exists\); ch"):
        commands.evaluate_workdir(read_config(tmp_path), tmp_path)
    again = read_results(tmp_path / "metrics.json")
    assert dataclasses.replace(again, experiment=results.experiment) == results
    assert (tmp_path / "filters.png").exists() and (tmp_path / "table.md").exists()


@pytest.mark.parametrize("task", ["softmax", pytest.param("logistic", marks=pytest.mark.thorough)])
def test_several_categories(tmp_path, monkeypatch, task):
    builder = tiny_builder(tmp_path / "data", ("cat", "rabbit"))
    monkeypatch.setattr(type(builder), "parts", ())  # as where parts are points
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: builder)
    config = tiny_config()
    config.data.category = "cat+rabbit"
    config.train.epochs = 1
    config.train.task = task
    config.train.class_weights = "balanced"
    config.data.negatives = "none" if task == "softmax" else "photos"
    config.eval.related_measures = task == "logistic"
    results = commands.train_and_evaluate(config, tmp_path / "run")
    assert list(results.networks["interpretable"].layers) == ["top_conv", "new_conv"]
    for figures in results.networks["interpretable"].layers.values():
        assert set(figures.filters_of_category) == {"cat", "rabbit"}
        assert figures.part_interpretability.value is None
        assert (figures.related is None) == (task == "softmax")
        if figures.related is not None:  # there are no part regions
            assert figures.related.patterns is None and figures.related.purity.value is not None
    objects = results.data.test_objects
    assert (objects == results.data.test_images) == (task == "softmax")
    table = (tmp_path / "run" / "table.md").read_text()
    assert "points without regions" in table
    assert ("control: always no" in table) == (task == "logistic")
    found = interp_cnn.load(tmp_path / "run").explain(np.zeros((8, 8, 3), np.uint8))
    no = found.sentence.startswith("not ")
    assert (
        no
        == ("nor any of the others" in found.sentence)
        == (found.logit <= 0 and task != "softmax")
    )
    assert (tmp_path / "run" / "report" / "index.html").exists()
    # Before training the categories of the filters come from the objects at hand.
    assert commands.evaluate_weights(config, tmp_path / "start").networks
    trained = (tmp_path / "run" / "metrics.json").read_bytes()
    with pytest.raises(ValueError, match=r"run holds a run, whose results .* would replace"):
        commands.evaluate_weights(config, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.json").read_bytes() == trained
    if task == "softmax":
        config.data.negatives = "photos"
        with pytest.raises(ValueError, match=r"set it to 'none'"):
            commands.train_and_evaluate(config, tmp_path / "other")


def test_a_work_directory_of_another_config_is_refused(tmp_path):
    config = tiny_config()
    claim_workdir(tmp_path / "run", config)
    config.eval.top = 3  # changes no training
    claim_workdir(tmp_path / "run", config)
    write_begun(tmp_path / "run")
    config.train.momentum = 0.5
    with pytest.raises(ValueError, match=r"config.train.momentum is 0.9 there and 0.5 here"):
        claim_workdir(tmp_path / "run", config)
    with pytest.raises(ValueError, match=r"config.train.momentum"):
        commands.train_and_evaluate(config, tmp_path / "run")
    assert read_config(tmp_path / "run").train.momentum == 0.9


def test_nothing_to_evaluate(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json is missing"):
        read_config(tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoints is missing; train this network first"):
        commands.evaluate_workdir(tiny_config(), tmp_path)
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match=r"config.json is damaged \(Expecting value"):
        read_config(tmp_path)
    (tmp_path / "interpretable" / "checkpoints").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint; train the network first"):
        commands.evaluate_workdir(tiny_config(), tmp_path)


def test_a_checkpoint_of_other_categories_than_the_data(tiny, tmp_path, monkeypatch):
    network = make_network(tiny_config(), "interpretable", 2)
    monkeypatch.setattr(commands, "restore_network", lambda *_: Restored(network, None, 1, None))
    with pytest.raises(ValueError, match="tells 2 categories apart and the data have 1; use the"):
        commands.evaluate_workdir(tiny_config(), tmp_path)


def test_unknown_names(tmp_path):
    config = tiny_config()
    config.model.name = "resnet"
    with pytest.raises(ValueError, match=r"config.model.name='resnet' must be one of 'alexnet'"):
        commands.train_and_evaluate(config, tmp_path)
    config = tiny_config()
    config.networks = ("interpretable", "other")
    with pytest.raises(
        ValueError, match=r"config.networks=\[.interpretable., .other.\] must be some of"
    ):
        commands.train_and_evaluate(config, tmp_path)
    assert not any(tmp_path.iterdir())
    config = tiny_config()
    config.data.name = "imagenet"
    with pytest.raises(ValueError, match=r"config.data.name='imagenet' must be one of"):
        commands.train_and_evaluate(config, tmp_path)
    config = tiny_config()
    config.weights = "somewhere.h5"
    with pytest.raises(FileNotFoundError, match=r"somewhere\.h5 is missing: none are published"):
        starting_variables(config, make_network(config, "interpretable"))


def test_bad_images_of_the_evaluation(tiny, tmp_path):
    config = tiny_config()
    config.eval.images = "train"
    with pytest.raises(
        ValueError, match=r"config.eval.images='train' must be one of 'test', 'all'"
    ):
        commands.evaluate_weights(config, tmp_path)
