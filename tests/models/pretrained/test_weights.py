"""Any weights file: our own format, the converter, merging, and what a run checks."""

import ast
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from tiny import tiny_config
from weight_files import simplenn, write_matlab5

from interp_cnn.models import ALEXNET, BACKBONES, SMALL, VGG_16
from interp_cnn.models.pretrained import (
    Pretrained,
    checksum,
    load_weights,
    merge_pretrained,
    save_weights,
)
from interp_cnn.models.pretrained.__main__ import main, summary
from interp_cnn.models.pretrained.pretrained import kernel_shapes
from interp_cnn.training import build
from interp_cnn.training.build import make_network, starting_variables
from interp_cnn.training.state import init_variables


@pytest.fixture(scope="module")
def pretrained():
    """Random weights of the small network."""
    rng = np.random.default_rng(0)
    layers = {
        name: {
            "kernel": rng.standard_normal(shape, np.float32),
            "bias": rng.standard_normal(shape[-1], np.float32),
        }
        for name, shape in kernel_shapes(SMALL).items()
    }
    return Pretrained("small", layers, (120.5, 110.25, 1 / 3), "w.bin (made up)")


def assert_same(found, wanted):
    assert (found.network, *found[2:]) == (wanted.network, *wanted[2:])
    assert list(found.layers) == list(wanted.layers)
    for layer, arrays in wanted.layers.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.layers[layer][name], array)
            assert found.layers[layer][name].dtype == np.float32


# Our own file


def test_what_is_saved_is_loaded(tmp_path, pretrained):
    path = tmp_path / "small.safetensors"
    save_weights(path, pretrained)
    assert_same(load_weights(path), pretrained)
    assert_same(load_weights(str(path), SMALL), pretrained)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {
            "format": "interp_cnn weights 1",
            "network": "small",
            "mean": "[120.5, 110.25, 0.3333333333333333]",
            "source": "w.bin (made up)",
            "sha256": checksum(pretrained.layers),
        }
        assert "conv5/kernel" in file.keys()


def rewritten(pretrained, change, **metadata):
    """A writer of the file with other arrays or metadata."""

    def write(path):
        save_weights(path, pretrained)
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}
            meta = file.metadata()
        change(arrays)
        save_file(arrays, path, {**meta, **metadata})

    return write


def bend(arrays):
    arrays["conv3/kernel"][0, 0, 0, 0] += 1


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        (bend, {}, "is damaged .*checksum"),
        (lambda arrays: arrays.pop("conv1/bias"), {}, "is damaged .*checksum"),
        (dict, {"network": "resnet"}, "is damaged .*network"),
        (dict, {"mean": "[1, 2]"}, "is damaged .*mean"),
        (dict, {"mean": "[1, 2"}, "is damaged .*mean"),
        (dict, {"mean": "3"}, "is damaged .*mean"),
        (dict, {"format": "interp_cnn weights 2"}, "format 'interp_cnn weights 2' where"),
        (
            dict,
            {"network": "alexnet"},
            "has the layers conv1, .*where alexnet|kernel of layer conv1",
        ),
    ],
)
def test_damaged_files_of_our_own_are_refused(tmp_path, pretrained, change, metadata, message):
    path = tmp_path / "small.safetensors"
    rewritten(pretrained, change, **metadata)(path)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_folder(tmp_path, pretrained):
    with pytest.raises(FileNotFoundError, match=r"The folder .*nowhere is missing"):
        save_weights(tmp_path / "nowhere" / "small.safetensors", pretrained)


def test_checksum_tells_values_names_and_shapes_apart(pretrained):
    sums = {checksum(pretrained.layers)}
    reordered = {
        layer: dict(reversed(arrays.items()))
        for layer, arrays in reversed(pretrained.layers.items())
    }
    assert checksum(reordered) in sums
    kernel = np.arange(6, dtype="f4").reshape(2, 3)
    for other in (kernel, kernel.T, kernel.reshape(3, 2), kernel + 1):
        sums.add(checksum({"conv1": {"kernel": other}}))
    sums.add(checksum({"conv2": {"kernel": kernel}}))
    assert len(sums) == 6


# Any file


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", bytes(100), b"ab{"])
def test_what_is_no_weights_file(tmp_path, content):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights.h5 is no weights file .*imagenet-vgg-s.mat"):
        load_weights(path)


def test_missing_files_say_where_to_get_them(tmp_path):
    for backbone, file in (
        (VGG_16, "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 from https"),
        (ALEXNET, "imagenet-caffe-alex.mat from https"),
        (BACKBONES["vgg_m"], "imagenet-vgg-m.mat from https"),
        (BACKBONES["vgg_s"], "imagenet-vgg-s.mat from https"),
        (SMALL, "none are published for small"),
        (None, "vgg16_weights.*imagenet-caffe-alex.mat"),
    ):
        with pytest.raises(FileNotFoundError, match=f"nothing.bin is missing: .*{file}"):
            load_weights(tmp_path / "nothing.bin", backbone)


def test_weights_of_another_network(tmp_path, pretrained):
    path = tmp_path / "small.safetensors"
    save_weights(path, pretrained)
    with pytest.raises(ValueError, match="holds small, but weights of alexnet are wanted"):
        load_weights(path, ALEXNET)


# The command


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alexnet")
    return write_matlab5(folder / "imagenet-caffe-alex.mat", simplenn("alexnet"))


def test_convert(alexnet_file, tmp_path, capsys):
    target = tmp_path / "alexnet.safetensors"
    main(["convert", str(alexnet_file), str(target)])
    original, converted = load_weights(alexnet_file), load_weights(target, ALEXNET)
    assert_same(converted, original)
    printed = capsys.readouterr().out
    assert summary(original) in printed and f"--config.weights={target}" in printed
    assert printed.startswith("alexnet, from imagenet-caffe-alex.mat (MatConvNet)\n")
    assert re.search(r"conv2 +kernel 5 x 5 x 48 x 256 +bias 256\n", printed)
    assert "5 convolutions, 2,334,080 values\n" in printed  # of Caffe's AlexNet
    assert "minus (122.700, 116.700, 104.000)" in printed
    assert checksum(original.layers) in printed


def test_the_command_ends_with_one_sentence(tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "interp_cnn.models.pretrained",
            "convert",
            "nothing.mat",
            tmp_path / "out",
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and not run.stdout
    assert run.stderr.startswith("error: The weights file nothing.mat is missing:")
    assert run.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


# Into a network


def small_config(weights, mean):
    config = tiny_config()
    config.model.width = 1.0
    config.weights = str(weights)
    config.data.mean = mean
    return config


def test_a_run_starts_from_the_weights(tmp_path, pretrained):
    path = tmp_path / "small.safetensors"
    save_weights(path, pretrained)
    config = small_config(path, pretrained.mean)
    network = make_network(config, "ordinary")
    variables = starting_variables(config, network), init_variables(network, config.seed)
    params, fresh = (one["params"] for one in variables)
    for name, arrays in pretrained.layers.items():
        np.testing.assert_array_equal(params[name]["kernel"], arrays["kernel"])
        np.testing.assert_array_equal(params[name]["bias"], arrays["bias"])
    for name in set(fresh) - set(pretrained.layers):
        assert all(
            jax.tree.leaves(jax.tree.map(lambda a, b: (a == b).all(), params[name], fresh[name]))
        )


def test_a_file_is_read_once_for_all_networks_unless_it_changes(tmp_path, pretrained, monkeypatch):
    path = tmp_path / "small.safetensors"
    save_weights(path, pretrained)
    read = []
    monkeypatch.setattr(build, "load_weights", lambda *a: read.append(a) or load_weights(*a))
    config = small_config(path, pretrained.mean)
    build.check_weights(config, make_network(config, "ordinary"))
    first = [starting_variables(config, make_network(config, name)) for name in config.networks]
    assert len(read) == 1
    layers = jax.tree.map(lambda array: array + 1, pretrained.layers)
    save_weights(path, pretrained._replace(layers=layers, source="another one"))
    again = starting_variables(config, make_network(config, "ordinary"))
    assert len(read) == 2
    name = next(iter(layers))
    assert not np.array_equal(again["params"][name]["kernel"], first[0]["params"][name]["kernel"])


def test_a_run_prepares_images_as_the_weights_want_them(tmp_path, pretrained):
    path = tmp_path / "small.safetensors"
    save_weights(path, pretrained)
    config = small_config(path, (123.68, 116.779, 103.939))
    network = make_network(config, "ordinary")
    with pytest.raises(ValueError, match=r"config.data.mean is .* want \(120.5, .*; set") as error:
        starting_variables(config, network)
    # What the message says to set, helps.
    config.data.mean = ast.literal_eval(str(error.value).split("'")[1])
    assert starting_variables(config, network)
    config.data.std = 64.0
    with pytest.raises(ValueError, match=r"config.data.std is 64.0 .* set --config.data.std=1"):
        starting_variables(config, network)


def test_nothing_to_download(pretrained):
    config = small_config("download", pretrained.mean)
    with pytest.raises(ValueError, match="only the weights of vgg16 and of"):
        starting_variables(config, make_network(config, "ordinary"))


def layer(inputs, outputs, value=0.0, dtype=jnp.float32):
    return {
        "kernel": jnp.full((3, 3, inputs, outputs), value, dtype),
        "bias": jnp.full((outputs,), value, dtype),
    }


def test_merge_replaces_the_pretrained_layers_only():
    params = {"conv1_1": layer(3, 4), "conv1_2": layer(4, 4, 7.0), "fc6": layer(4, 2, 8.0)}
    rng = np.random.default_rng(0)
    weights = {
        "conv1_1": {
            "kernel": rng.normal(size=(3, 3, 3, 4)).astype(np.float32),
            "bias": rng.normal(size=4).astype(np.float32),
        }
    }
    merged = merge_pretrained({"params": params}, weights)["params"]
    assert list(merged) == list(params)
    for name, array in weights["conv1_1"].items():
        np.testing.assert_array_equal(merged["conv1_1"][name], array)
    for name in ("conv1_2", "fc6"):
        assert all(merged[name][kind] is array for kind, array in params[name].items())
    assert not params["conv1_1"]["kernel"].any()  # the argument is as it was
    half = {"params": {"conv1_1": layer(3, 4, dtype=jnp.bfloat16)}}
    half = merge_pretrained(half, weights)["params"]
    assert half["conv1_1"]["kernel"].dtype == jnp.bfloat16


def test_merge_refuses_other_shapes_and_names():
    weights = {"conv1_1": {"kernel": np.zeros((3, 3, 3, 64), "f4"), "bias": np.zeros(64, "f4")}}
    with pytest.raises(
        ValueError, match=r"kernel of layer 'conv1_1' .*\(3, 3, 3, 16\).*\(3, 3, 3, 64\)"
    ):
        merge_pretrained({"params": {"conv1_1": layer(3, 16)}}, weights)
    no_bias = {"params": {"conv1_1": {"kernel": jnp.zeros((3, 3, 3, 64))}}}
    with pytest.raises(ValueError, match=r"bias of layer 'conv1_1' has shape None"):
        merge_pretrained(no_bias, weights)
    with pytest.raises(ValueError, match=r"have no layer 'conv1_1' .*only conv1, fc6"):
        merge_pretrained({"params": {"conv1": layer(3, 64), "fc6": layer(1, 1)}}, weights)
