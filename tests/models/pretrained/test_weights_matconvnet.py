"""MatConvNet's files: every layout, features against NumPy and PyTorch, and what is refused."""

import numpy as np
import pytest
import scipy.io
from weight_files import (
    MEAN,
    PUBLISHED,
    cell,
    features,
    narrow,
    old_release,
    run_simplenn,
    simplenn,
    write_matlab5,
    write_matlab73,
)

from interp_cnn.models import BACKBONES
from interp_cnn.models.pretrained import load_weights

NARROW = {name: narrow(BACKBONES[name], 8) for name in PUBLISHED}
MAPS = {"alexnet": (13, 13, 32), "vgg_m": (13, 13, 64), "vgg_s": (17, 17, 64)}
MAPS["vgg16"] = (14, 14, 64)
LAYOUTS = {
    "matlab 5": write_matlab5,
    "matlab 5, compressed": lambda path, net: write_matlab5(path, net, compress=True),
    "matlab 5, old release": lambda path, net: write_matlab5(path, old_release(net)),
    "matlab 7.3": write_matlab73,
    "matlab 7.3, old release": lambda path, net: write_matlab73(path, old_release(net)),
}


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_features_are_those_of_an_independent_forward_pass(tmp_path, name, library):
    if library == "torch":
        pytest.importorskip("torch")
    net = simplenn(name, divide=8)
    pretrained = load_weights(write_matlab5(tmp_path / "net.mat", net), NARROW[name])
    assert pretrained.network == name and pretrained.source == "net.mat (MatConvNet)"
    np.testing.assert_allclose(pretrained.mean, MEAN, rtol=1e-12)
    size = BACKBONES[name].input_size
    images = np.random.default_rng(1).uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    expected = run_simplenn(net, images, library)
    assert expected.shape == (1, *MAPS[name])
    found = features(NARROW[name], pretrained, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_read_alike(tmp_path, layout):
    net = simplenn("vgg_m", divide=8)
    pretrained = load_weights(LAYOUTS[layout](tmp_path / "net.mat", net), NARROW["vgg_m"])
    convolutions = [layer for layer in net["layers"] if layer["name"].startswith("conv")]
    assert list(pretrained.layers) == [layer["name"] for layer in convolutions]
    for layer in convolutions:
        filters, biases = layer["weights"].ravel()
        read = pretrained.layers[layer["name"]]
        np.testing.assert_array_equal(read["kernel"], filters)
        np.testing.assert_array_equal(read["bias"], biases.ravel())
        assert {array.dtype for array in read.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(pretrained.mean, MEAN, rtol=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_is_found_by_its_layers(tmp_path, name):
    # Empty convolutions at full width; those of VGG-M and VGG-S have the same shapes.
    net = simplenn(name, divide=8)
    channels = 3
    for layer, (_, side, _, _, filters, groups) in zip(
        (layer for layer in net["layers"] if layer["name"].startswith("conv")),
        (stage for stage in PUBLISHED[name] if stage[0].startswith("conv")),
        strict=True,
    ):
        shape = (side, side, channels // groups, filters)
        layer["weights"] = cell([np.zeros(shape, "f4"), np.zeros((filters, 1), "f4")])
        channels = filters
    pretrained = load_weights(write_matlab5(tmp_path / "net.mat", net, compress=True))
    assert pretrained.network == name


def test_padding_that_no_window_reaches_is_no_difference(tmp_path):
    # A later importer pads every pooling by stride - 1 at the end.
    net = simplenn("alexnet", divide=8)
    for layer in net["layers"]:
        if layer["type"] == "pool":
            layer["pad"] = np.array([[0.0, 1, 0, 1]])
    assert load_weights(write_matlab5(tmp_path / "net.mat", net), NARROW["alexnet"])


def changed(name, layer, **fields):
    """A network with other fields of one layer."""
    net = simplenn(name, divide=8)
    found = next(entry for entry in net["layers"] if entry["name"] == layer)
    found |= fields
    return net


def swapped():
    """CaffeNet: pooling before normalisation."""
    net = simplenn("alexnet", divide=8)
    layers = net["layers"]
    layers[2], layers[3] = layers[3], layers[2]
    return net


def vgg19():
    net = simplenn("vgg16", divide=8)
    at = next(i for i, layer in enumerate(net["layers"]) if layer["name"] == "pool3")
    net["layers"][at:at] = [{**net["layers"][at - 2], "name": "conv3_4"}, net["layers"][at - 1]]
    return net


def not_finite():
    net = simplenn("alexnet", divide=8)
    net["layers"][0]["weights"][0, 0][0, 0, 0, 0] = np.nan
    return net


def with_average(image):
    net = simplenn("alexnet", divide=8)
    return net | {"meta": {"normalization": {"averageImage": image}}}


UNGROUPED = cell([np.zeros((5, 5, 12, 32), "f4"), np.zeros((1, 32), "f4")])
REFUSED = {
    "lrn": (
        lambda: changed("alexnet", "norm1", param=np.array([[5, 1, 1e-4, 0.75]])),
        r"layer norm1 has alpha 0.0001 where alexnet has 2e-05; give imagenet-caffe-alex.mat",
    ),
    "kappa": (
        lambda: changed("alexnet", "norm2", param=np.array([[5, 2, 2e-5, 0.75]])),
        r"layer norm2 has kappa 2.0 where alexnet has 1.0",
    ),
    "stride": (
        lambda: changed("alexnet", "conv1", stride=np.array([[2.0, 2]])),
        r"layer conv1 has stride \(2, 2\) where alexnet has \(4, 4\)",
    ),
    "pad": (
        lambda: changed("alexnet", "conv2", pad=np.array([[2.0, 2, 2, 1]])),
        r"conv2 has pad \(top, bottom, left, right\) \(2, 2, 2, 1\) where .* \(2, 2, 2, 2\)",
    ),
    "pool pad": (
        lambda: changed("alexnet", "pool1", pad=1.0),
        r"pool1 has pad .* \(1, 1, 1, 1\) where alexnet has \(0, 0, 0, 0\)",
    ),
    "average pooling": (
        lambda: changed("alexnet", "pool2", method="avg"),
        r"layer pool2 has method avg where alexnet has max",
    ),
    "two differences": (
        lambda: changed("alexnet", "pool2", method="avg", pool=np.array([[2.0, 2]])),
        r"layer pool2 has method avg where alexnet has max \(and 1 more\);",
    ),
    "no groups": (
        lambda: changed("alexnet", "conv2", weights=UNGROUPED),
        r"conv2 has filters .* \(5, 5, 12, 32\) where alexnet has \(5, 5, 6, 32\)",
    ),
    "leak": (
        lambda: changed("alexnet", "relu3", leak=0.1),
        r"layer relu3 has leak 0.1 where alexnet has 0.0",
    ),
    "dilation": (
        lambda: changed("alexnet", "conv3", dilate=2.0),
        r"layer conv3 has dilation \(2, 2\) where alexnet has \(1, 1\)",
    ),
    "CaffeNet": (swapped, r"layer pool1 is of type pool where alexnet has lrn"),
    "VGG-M": (lambda: simplenn("vgg_m", 8), r"not hold alexnet: layer conv1 has stride"),
    "short": (
        lambda: {"layers": simplenn("alexnet", 8)["layers"][:8]},
        r"it ends where alexnet has conv3",
    ),
    "not finite": (not_finite, r"kernel of layer conv1 has values that are not finite"),
    "no biases": (
        lambda: changed("alexnet", "conv2", weights=cell([np.zeros((5, 5, 6, 32), "f4")])),
        r"layer conv2 should have filters and biases",
    ),
    "odd pad": (
        lambda: changed("alexnet", "conv2", pad=np.zeros((1, 3))),
        r"layer conv2 \(conv\) is not as MatConvNet writes it \(3 numbers where 1 or 4",
    ),
    "endless stride": (
        lambda: changed("alexnet", "conv2", stride=np.inf),
        r"layer conv2 \(conv\) is not as MatConvNet writes it \(cannot convert float infinity",
    ),
    "no average image": (
        lambda: {"layers": simplenn("alexnet", 8)["layers"]},
        r"no average image of three channels",
    ),
    "average of zeros": (lambda: with_average(np.zeros((1, 2))), r"no average image of three"),
    "grey average": (lambda: with_average(np.zeros((4, 4))), r"no average image of three"),
    "DagNN": (
        lambda: {"layers": [], "params": {"name": "conv1f", "value": np.zeros((3, 3))}},
        r"holds a DagNN network",
    ),
    "no layers": (lambda: {"layers": [1.0, 2.0]}, r"holds no MatConvNet network .*imagenet-vgg-m"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_networks_are_refused_in_one_sentence(tmp_path, case):
    make, message = REFUSED[case]
    path = write_matlab5(tmp_path / "net.mat", make())
    with pytest.raises(ValueError, match=message) as error:
        load_weights(path, NARROW["alexnet"])
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_vgg19_is_refused(tmp_path):
    path = write_matlab5(tmp_path / "net.mat", vgg19())
    with pytest.raises(ValueError, match="layer conv3_4 is of type conv where vgg16 has pool"):
        load_weights(path, NARROW["vgg16"])


def test_a_network_that_is_none_of_ours(tmp_path):
    path = write_matlab5(tmp_path / "net.mat", simplenn("vgg_m", divide=8))
    with pytest.raises(ValueError, match=r"holds another network .*conv1 7x7x3x12, conv2 5x5x12x"):
        load_weights(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncated_files(tmp_path, layout):
    path = LAYOUTS[layout](tmp_path / "net.mat", simplenn("alexnet", divide=8))
    content = path.read_bytes()
    for share in (0.01, 0.5, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"net\.mat is truncated or damaged"):
            load_weights(path, NARROW["alexnet"])


def test_a_file_of_other_variables(tmp_path):
    scipy.io.savemat(tmp_path / "net.mat", {"images": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="holds no MatConvNet network"):
        load_weights(tmp_path / "net.mat")
