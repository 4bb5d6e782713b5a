"""Keras' VGG-16 weights: layouts, features, refusals, downloading, and the real file."""

import functools
import hashlib
import http.server
import threading

import h5py
import numpy as np
import pytest
from weight_files import Quiet, features, run_vgg16, vgg16_weights

from interp_cnn.models import VGG_16
from interp_cnn.models.pretrained import download_keras_vgg16, keras, load_weights
from interp_cnn.models.pretrained.keras import IMAGENET_MEAN_RGB, KERAS_VGG16_FILE

SHAPES = {
    "block1_conv1": (3, 64),
    "block1_conv2": (64, 64),
    "block2_conv1": (64, 128),
    "block2_conv2": (128, 128),
    "block3_conv1": (128, 256),
    "block3_conv2": (256, 256),
    "block3_conv3": (256, 256),
    "block4_conv1": (256, 512),
    "block4_conv2": (512, 512),
    "block4_conv3": (512, 512),
    "block5_conv1": (512, 512),
    "block5_conv2": (512, 512),
    "block5_conv3": (512, 512),
}


def write(path, spelling="{layer}_W_1:0 {layer}_b_1:0", extra=(), kernels=None, leave_out=()):
    """A file in Keras' layout; all values of a layer are its number but block1_conv1 counts up.

    Constant, chunked datasets keep the file small: of `fillvalue` nothing is stored.
    """
    with h5py.File(path, "w") as file:
        for number, (layer, (inputs, outputs)) in enumerate(SHAPES.items()):
            if layer in leave_out:
                continue
            names = spelling.format(layer=layer).split()
            group = file.create_group(layer)
            group.attrs["weight_names"] = [n.encode() for n in names]
            kernel = (kernels or {}).get(layer, (3, 3, inputs, outputs))
            chunked = {"chunks": True, "fillvalue": number}
            group.create_dataset(names[0], kernel, "f4", **chunked)
            group.create_dataset(names[1], (outputs,), "f4", **chunked)
            if layer == "block1_conv1" and kernel[0] == 3:
                group[names[0]][...] = np.arange(27 * 64, dtype="f4").reshape(3, 3, 3, 64)
        for layer in ("block1_pool", *extra):
            file.create_group(layer).attrs["weight_names"] = np.zeros(0, "S1")
    return path


@pytest.mark.parametrize(
    "spelling",
    [
        "{layer}_W_1:0 {layer}_b_1:0",  # the published file: block1_conv1/block1_conv1_W_1:0
        "{layer}/kernel:0 {layer}/bias:0",  # Keras 2: block1_conv1/block1_conv1/kernel:0
    ],
)
def test_layers_get_our_names_and_rgb_input(tmp_path, spelling):
    # The fully connected layers of a file with top do not matter.
    weights = load_weights(
        write(tmp_path / "w.h5", spelling, extra=("fc1", "predictions")), VGG_16
    ).layers
    assert list(weights) == [k.replace("block", "conv").replace("_conv", "_") for k in SHAPES]
    for number, (layer, (inputs, outputs)) in enumerate(zip(weights, SHAPES.values(), strict=True)):
        kernel, bias = weights[layer]["kernel"], weights[layer]["bias"]
        assert (kernel.shape, bias.shape) == ((3, 3, inputs, outputs), (outputs,))
        assert kernel.dtype == bias.dtype == np.float32
        assert (bias == number).all()
        if layer != "conv1_1":
            assert (kernel == number).all()
    stored = np.arange(27 * 64, dtype="f4").reshape(3, 3, 3, 64)
    for rgb, bgr in enumerate((2, 1, 0)):
        np.testing.assert_array_equal(weights["conv1_1"]["kernel"][:, :, rgb], stored[:, :, bgr])


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_features_are_those_of_an_independent_forward_pass(tmp_path, library):
    if library == "torch":
        pytest.importorskip("torch")
    path = write(tmp_path / "w.h5")
    with h5py.File(path, "a") as file:
        for layer, (filters, biases) in zip(SHAPES, vgg16_weights(), strict=True):
            del file[layer][f"{layer}_W_1:0"], file[layer][f"{layer}_b_1:0"]
            file[layer][f"{layer}_W_1:0"], file[layer][f"{layer}_b_1:0"] = filters, biases
    rgb = np.random.default_rng(1).uniform(0, 255, (1, 32, 48, 3)).astype(np.float32)
    # Keras' documentation: BGR, minus [103.939, 116.779, 123.68].
    expected = run_vgg16(vgg16_weights(), rgb[..., ::-1] - [103.939, 116.779, 123.68], library)
    pretrained = load_weights(path, VGG_16)
    assert pretrained.mean == IMAGENET_MEAN_RGB
    found = features(VGG_16, pretrained, rgb)
    assert found.shape == (1, 2, 3, 512)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


def resnet(path):
    with h5py.File(path, "w") as file:
        for layer in ("conv1", "bn_conv1", "res2a_branch2a"):
            file.create_group(layer)


def truncated(path):
    write(path)
    path.write_bytes(path.read_bytes()[:5000])


def no_bias(path):
    write(path, "{layer}/kernel:0 {layer}/bias:0")
    with h5py.File(path, "a") as file:
        del file["block2_conv2/block2_conv2/bias:0"]


def no_names(path):
    write(path)
    with h5py.File(path, "a") as file:
        del file["block4_conv1"].attrs["weight_names"]


def groups(path):
    no_names(path)
    with h5py.File(path, "a") as file:
        layer = file["block4_conv1"]
        layer.attrs["weight_names"] = [str(layer.create_group(name).name) for name in "ab"]


def words(path):
    write(path)
    with h5py.File(path, "a") as file:
        layer = file["block1_conv1"]
        bias = layer.attrs["weight_names"][1]
        del layer[bias]
        layer[bias] = ["no number"] * 64


def not_finite(path):
    write(path)
    with h5py.File(path, "a") as file:
        file["block1_conv2/block1_conv2_W_1:0"][1, 1, 5, 5] = np.nan


THEANO = {layer: (outputs, inputs, 3, 3) for layer, (inputs, outputs) in SHAPES.items()}

REFUSED = {
    "vgg19": (lambda p: write(p, extra=("block5_conv4",)), r"VGG-19 \(it has block5_conv4\)"),
    "theano": (lambda p: write(p, kernels=THEANO), r"Theano's ordering .*\(64, 3, 3, 3\)"),
    "resnet": (resnet, r"another network .* bn_conv1, conv1, res2a_branch2a"),
    "no layers": (lambda p: h5py.File(p, "w").close(), r"another network .* none"),
    "lacks layers": (lambda p: write(p, leave_out=("block5_conv3",)), r"lacks .*block5_conv3:"),
    "narrow": (
        lambda p: write(p, kernels={"block3_conv2": (3, 3, 256, 128)}),
        r"kernel of layer block3_conv2 has shape \(3, 3, 256, 128\) .* \(3, 3, 256, 256\)",
    ),
    "no bias": (no_bias, r"block2_conv2 should have a kernel and a bias"),
    "no weight_names": (no_names, r"block4_conv1 should have a kernel and a bias"),
    "groups": (groups, r"block4_conv1 should have a kernel and a bias"),
    "words": (words, r"block1_conv1 should have a kernel and a bias"),
    "not finite": (not_finite, r"kernel of layer block1_conv2 has values that are not finite"),
    "truncated": (truncated, r"truncated or damaged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_files_are_refused_in_one_sentence(tmp_path, case):
    path = tmp_path / "weights.h5"
    make, message = REFUSED[case]
    make(path)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A server of this machine with a file under the published name, whose MD5 is expected."""
    folder = tmp_path / "www"
    folder.mkdir()
    content = b"weights" * 1000
    (folder / KERAS_VGG16_FILE).write_bytes(content)
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/{KERAS_VGG16_FILE}"
        monkeypatch.setattr(keras, "KERAS_VGG16_URL", url)
        monkeypatch.setattr(keras, "KERAS_VGG16_MD5", hashlib.md5(content).hexdigest())
        yield folder / KERAS_VGG16_FILE
        server.shutdown()
        thread.join()


def test_download_once_and_check(published, tmp_path):
    cache = tmp_path / "a" / "cache"
    path = download_keras_vgg16(cache)
    assert path.read_bytes() == published.read_bytes()
    published.unlink()
    assert download_keras_vgg16(cache) == path  # no second download
    assert sorted(cache.iterdir()) == sorted([path, cache / f".{path.name}.lock"])


def test_failed_download_says_where_to_put_the_file(published, tmp_path):
    cache = tmp_path / "cache"
    target = cache / KERAS_VGG16_FILE
    published.write_bytes(b"<html>")
    with pytest.raises(ValueError, match=rf"MD5 .* expected.* by hand at {target}"):
        download_keras_vgg16(cache)
    published.unlink()
    with pytest.raises(FileNotFoundError, match=rf"404.* by hand at {target}"):
        download_keras_vgg16(cache)
    assert [file.suffix for file in cache.iterdir()] == [".lock"]  # nothing half done is left


def test_download_without_network(tmp_path, monkeypatch):
    monkeypatch.setattr(keras, "KERAS_VGG16_URL", "http://127.0.0.1:1/weights.h5")
    with pytest.raises(FileNotFoundError, match=r"refused.* by hand at"):
        download_keras_vgg16(tmp_path)


def test_real_weights(real_data):
    weights = load_weights(real_data / "weights" / KERAS_VGG16_FILE).layers
    assert sum(a.size for arrays in weights.values() for a in arrays.values()) == 14_714_688
    # MatConvNet's file, whose channels are RGB, begins with this; Keras' (BGR) with the other.
    kernel = weights["conv1_1"]["kernel"]
    np.testing.assert_allclose(kernel[0, 0, :, 0][[0, 2]], [0.4800154, 0.42947057], rtol=1e-7)
