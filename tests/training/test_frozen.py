"""The output of the frozen layers: computed once for each image, and nothing else changes."""

import dataclasses
import errno
import os
import re
import shutil
import types

import jax
import numpy as np
import pytest
from tiny import (
    Killed,
    killed_in_call,
    leaves,
    tiny_builder,
    tiny_config,
)

from interp_cnn import commands, preflight
from interp_cnn.data import prepare
from interp_cnn.data.pipeline import Crop
from interp_cnn.training import build, parallel
from interp_cnn.training.frozen_cache import FrozenCache, output_bytes, output_shape
from interp_cnn.training.steps import normalise
from interp_cnn.training.trainer import train
from interp_cnn.workdir import frozen_features_folder

NAME = "interpretable"


def frozen_config():
    config = tiny_config()
    config.model.frozen_through = "conv2"
    config.train.epochs = 1
    return config


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with FrozenCache(frozen_config(), folder / "cache") as cache:
        state = train(frozen_config(), NAME, data, folder / NAME, cache)
        assert [file.suffix for file in cache.folder.iterdir()] == [".bin"]
    assert not cache.folder.exists()
    return state


def start(config=None):
    """Network and variables before training."""
    config = config or frozen_config()
    network = build.make_network(config, NAME)
    return network, build.starting_variables(config, network)


def assert_same(state, expected):
    for a, b in zip(leaves(state), leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def count_images(monkeypatch):
    """Batches that go to the devices: the names of their arrays and their length."""
    shard, seen = parallel.shard, []

    def noted(batch):
        seen.append((set(batch), len(next(iter(batch.values())))))
        return shard(batch)

    monkeypatch.setattr(parallel, "shard", noted)
    return seen


def test_parameters_are_those_of_training_without_it(data, uninterrupted, tmp_path):
    plain = train(frozen_config(), NAME, data, tmp_path)
    assert int(plain.step) == len(data.train) // 8 >= 3
    _, before = start()
    learned = 0
    for first, a, b in zip(
        leaves(before), leaves(uninterrupted.params), leaves(plain.params), strict=True
    ):
        largest = np.abs(b - first).max()
        learned += largest > 0
        # What the steps changed is held to be equal, not the parameters alone.
        np.testing.assert_allclose(a - first, b - first, rtol=0, atol=1e-3 * largest)
    assert learned == len(leaves(before)) - 4  # two layers are frozen


def test_features_are_those_of_each_image_plain_and_mirrored(data, tmp_path):
    config = frozen_config()
    network, variables = start()
    attached = FrozenCache(config, tmp_path / "cache").attach(data, network, variables)

    @jax.jit
    def compute(image):
        images = normalise(image[None], tuple(config.data.mean), config.data.std)
        return network.apply(variables, images, method="frozen_features")[0]

    crop = Crop(network.input_size, config.data.crop)
    for split, position in ((attached.train, 3), (attached.train, 19), (attached.test, 7)):
        image = crop.map(split[position])["image"]
        rows = split.features.rows[position]
        assert len(rows) == (2 if split is attached.train else 1)
        for row, view in zip(rows, (image, image[:, ::-1]), strict=False):
            features = split.features.array[row]
            assert features.std() > 0
            np.testing.assert_allclose(features, compute(view), rtol=1e-4, atol=1e-3)


def test_killed_in_training_and_while_it_is_filled(data, uninterrupted, tmp_path, monkeypatch):
    config, folder = frozen_config(), tmp_path / "cache"
    seen = count_images(monkeypatch)
    make_frozen_step = killed_in_call(build.make_frozen_step, 3)
    with monkeypatch.context() as patch:
        patch.setattr(build, "make_frozen_step", make_frozen_step)
        with pytest.raises(Killed), FrozenCache(config, folder) as cache:
            train(config, NAME, data, tmp_path / NAME, cache)
    (partial,) = folder.iterdir()
    assert partial.suffix == ".partial" and partial.stat().st_size > 0

    parallel_step = killed_in_call(parallel.parallel_step, 4)
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "parallel_step", parallel_step)
        with pytest.raises(Killed), FrozenCache(config, folder) as cache:
            train(config, NAME, data, tmp_path / NAME, cache)
    (file,) = folder.iterdir()
    network, _ = start()
    assert file.stat().st_size == output_bytes(network, train=len(data.train), test=len(data.test))
    seen.clear()
    with FrozenCache(config, folder) as cache:
        state = train(config, NAME, data, tmp_path / NAME, cache)
    assert {frozenset(names) for names, _ in seen} == {frozenset({"features", "label"})}
    assert_same(state, uninterrupted)


def test_a_half_written_file_and_one_of_other_parameters_are_made_anew(data, tmp_path, monkeypatch):
    network, variables = start()
    cache = FrozenCache(frozen_config(), tmp_path / "cache")
    first = cache.attach(data, network, variables).train.features.array.copy()
    (file,) = cache.folder.iterdir()
    with file.open("r+b") as content:
        content.truncate(file.stat().st_size - 4)
    assert cache.attach(data, network, variables, fill=False) is data
    np.testing.assert_array_equal(
        cache.attach(data, network, variables).train.features.array, first
    )

    params = variables["params"]

    def changed(**layers):
        return {"params": params | layers}

    doubled = changed(conv1=jax.tree.map(lambda x: 2 * x, params["conv1"]))
    other = cache.attach(data, network, doubled).train.features.array
    assert not np.allclose(other, first)
    assert len(list(cache.folder.iterdir())) == 1  # the other one is gone
    # Trained layers do not matter, nor does -0.
    trained = changed(fc8=jax.tree.map(lambda x: x + 1, params["fc8"]))
    negative = changed(conv2=params["conv2"] | {"bias": -params["conv2"]["bias"]})
    cache.attach(data, network, variables)
    seen = count_images(monkeypatch)
    cache.attach(data, network, trained)
    cache.attach(data, network, negative)
    assert not params["conv2"]["bias"].any() and not seen
    # As many images, in another order.
    turned = dataclasses.replace(data, train=data.train.take(np.arange(len(data.train))[::-1]))
    assert cache.attach(turned, network, variables, fill=False) is turned


def test_other_images_under_the_same_names_are_computed_anew(data, tmp_path):
    def stored(*changed):
        """The data with the images of two examples of the test exchanged, if asked for."""
        examples = [data.test.source[i] for i in range(len(data.test.source))]
        first, second = (examples[i]["image"] for i in changed) if changed else (None, None)
        for i, image in zip(changed, (second, first), strict=False):
            examples[i] = examples[i] | {"image": image}
        return dataclasses.replace(data, test=dataclasses.replace(data.test, source=examples))

    cache = FrozenCache(frozen_config(), tmp_path / "cache")
    cache.attach(data, *start())
    same, drawn_anew = stored(), stored(*data.test.indices[:2])
    assert cache.attach(same, *start(), fill=False).train.features is not None
    assert drawn_anew.content != same.content == data.content
    assert cache.attach(drawn_anew, *start(), fill=False) is drawn_anew


def test_bfloat16_is_kept_as_it_is(data, tmp_path):
    config = frozen_config()
    config.model.dtype = "bfloat16"
    network, variables = start(config)
    cache = FrozenCache(config, tmp_path / "cache")
    features = cache.attach(data, network, variables).test.features
    assert features.array.dtype == output_shape(network).dtype == jax.numpy.bfloat16
    exact = FrozenCache(frozen_config(), tmp_path / "exact").attach(data, *start()).test.features
    np.testing.assert_allclose(
        features.array.astype(np.float32), exact.array, atol=0.02 * exact.array.max()
    )


@pytest.mark.parametrize(
    ("free", "gib", "words"),
    [
        (10**5, 16.0, r"output takes 0\.00 GiB and the checkpoints .* are free"),
        (None, 1e-4, r"takes 0\.00 GiB, more than config\.data\.cache_gib=0\.0001"),
        (None, 0.0, ""),
    ],
)
def test_without_room_every_step_computes_them(
    data, tmp_path, monkeypatch, capsys, free, gib, words
):
    config = frozen_config()
    config.data.cache_gib = gib
    if free is not None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=free))
    cache = FrozenCache(config, tmp_path / "cache")
    assert cache.attach(data, *start()) is data
    assert cache.attach(data, *start()) is data
    assert not cache.folder.exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == bool(words)  # said once
    for line in lines:
        assert line.startswith("every step computes the frozen layers: ")
        assert re.search(words, line)


def test_a_disk_that_becomes_full(data, tmp_path, monkeypatch, capsys):
    cache = FrozenCache(frozen_config(), tmp_path / "cache")
    number = errno.EIO

    def full(_):
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):  # not this one
        cache.attach(data, *start())
    number = errno.ENOSPC
    assert cache.attach(data, *start()) is data
    assert "could not be written to" in capsys.readouterr().out
    assert not cache.folder.exists()


def test_networks_without_frozen_layers_have_none(data, tmp_path):
    cache = FrozenCache(tiny_config(), tmp_path / "cache")
    assert cache.attach(data, *start(tiny_config())) is data


@pytest.mark.thorough
def test_a_whole_run_sees_every_image_once_in_each_orientation(tmp_path, monkeypatch):
    builder = tiny_builder(tmp_path / "data")
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: builder)
    monkeypatch.setattr(preflight, "_check_frozen", lambda config: None)  # there is no file
    config = frozen_config()
    config.networks = ("ordinary", "interpretable")
    config.eval.images = "all"
    seen = count_images(monkeypatch)
    results = commands.train_and_evaluate(config, tmp_path / "cached")
    assert not (tmp_path / "cached" / "frozen_features").exists()
    train_images, test_images = (results.data.train_images, results.data.test_images)
    padded = 2 * -(-train_images // 8) * 8 + -(-test_images // 8) * 8
    assert sum(number for names, number in seen if "image" in names) == padded
    assert {frozenset(names) for names, _ in seen} == {
        frozenset({"image"}), frozenset({"features", "label"}), frozenset({"features"})
    }  # fmt: skip

    seen.clear()
    plain = commands.evaluate_workdir(config, tmp_path / "cached")
    assert not any("features" in names for names, _ in seen)
    for variant, figures in plain.networks.items():
        cached = results.networks[variant]
        assert cached.accuracy.images == figures.accuracy.images == test_images
        assert cached.accuracy.value == pytest.approx(figures.accuracy.value)
        for name, layer in figures.layers.items():
            assert cached.layers[name].location_instability.value == pytest.approx(
                layer.location_instability.value, abs=1e-3
            )

    # As a run leaves it that is stopped behind its last step.
    left = FrozenCache(config, frozen_features_folder(tmp_path / "cached"))
    one = commands.restore_network(config, tmp_path / "cached", "ordinary")
    left.attach(prepare.prepare(config.data, seed=config.seed), one.network, one.variables)
    seen.clear()
    again = commands.evaluate_workdir(config, tmp_path / "cached")
    assert not any("image" in names for names, _ in seen)
    assert again.networks["ordinary"].accuracy == results.networks["ordinary"].accuracy
