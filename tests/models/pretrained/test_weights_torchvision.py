"""torchvision's VGG-16 as .pth and safetensors: features, the change of input, what is refused."""

import sys

import numpy as np
import pytest
from weight_files import features, run_vgg16, vgg16_weights, write_pth, write_safetensors

from interp_cnn.models import VGG_16
from interp_cnn.models.pretrained import load_weights

POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def state_dict(weights, positions=POSITIONS):
    """torchvision's names and order of axes: [out, in, height, width]; a stub of the classifier."""
    state = {"classifier.6.weight": np.zeros((4, 3), "f4")}
    for position, (filters, biases) in zip(positions, weights, strict=True):
        state[f"features.{position}.weight"] = np.ascontiguousarray(filters.transpose(3, 2, 0, 1))
        state[f"features.{position}.bias"] = biases
    return state


def write_legacy_pth(path, state):
    """As before PyTorch 1.6, like the published file."""
    return write_pth(path, state, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [write_safetensors, write_pth, write_legacy_pth])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_features_are_those_of_an_independent_forward_pass(tmp_path, write, library):
    if library == "torch":
        pytest.importorskip("torch")
    path = write(tmp_path / "vgg16.bin", state_dict(vgg16_weights()))
    rgb = np.random.default_rng(1).uniform(0, 255, (1, 48, 32, 3)).astype(np.float32)
    # torchvision's documentation: RGB in 0..1, minus the mean, by the standard deviation.
    inputs = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = run_vgg16(vgg16_weights(), inputs, library)
    pretrained = load_weights(path, VGG_16)
    assert pretrained.network == "vgg16" and pretrained.source == "vgg16.bin (torchvision)"
    np.testing.assert_allclose(pretrained.mean, (123.675, 116.28, 103.53), rtol=1e-12)
    found = features(VGG_16, pretrained, rgb)
    assert found.shape == (1, 3, 2, 512)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


def zeros(positions, side=3, first=64):
    """Tiny convolutions at these positions."""
    weights = [(np.zeros((side, side, 3, first), "f4"), np.zeros(first, "f4"))]
    weights += [(np.zeros((1, 1, 1, 1), "f4"), np.zeros(1, "f4"))] * (len(positions) - 1)
    return state_dict(weights, positions)


VGG19 = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
REFUSED = {
    "AlexNet": (zeros((0, 3, 6, 8, 10), side=11), r"torchvision's AlexNet: .*imagenet-caffe-alex"),
    "VGG-19": (zeros(VGG19), r"torchvision's VGG-19: give its vgg16-397923af.pth"),
    "batch norm": (
        {**zeros((0, 3)), "features.1.running_mean": np.zeros(64, "f4")},
        r"batch normalisation",
    ),
    "ResNet": (
        {"conv1.weight": np.zeros((64, 3, 7, 7), "f4")},
        r"another network than torchvision's VGG-16: it has conv1.weight, \.\.\. where features",
    ),
    "lacks": (
        {k: v for k, v in zeros(POSITIONS).items() if k != "features.0.bias"},
        r"lacks features\.0\.bias",
    ),
    "narrow": (
        zeros(POSITIONS, first=32),
        r"kernel of layer conv1_1 has shape \(3, 3, 3, 32\) where vgg16 has \(3, 3, 3, 64\)",
    ),
}


@pytest.mark.parametrize("write", [write_safetensors, write_pth])
@pytest.mark.parametrize("case", REFUSED)
def test_other_networks_are_refused_in_one_sentence(tmp_path, case, write):
    state, message = REFUSED[case]
    path = write(tmp_path / "net.bin", state)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("channel", [0, 2])
def test_caffes_values_in_this_layout_are_refused(tmp_path, channel):
    state = state_dict(vgg16_weights())
    first = state["features.0.weight"].copy()
    first[0, channel, 0, 0] = 0.4800154
    path = write_safetensors(tmp_path / "net.safetensors", {**state, "features.0.weight": first})
    with pytest.raises(ValueError, match=r"holds Caffe's VGG-16 .*IMAGENET1K_FEATURES"):
        load_weights(path)


def test_truncated_files(tmp_path):
    for write in (write_safetensors, write_pth):
        path = write(tmp_path / "net.bin", zeros(POSITIONS))
        content = path.read_bytes()
        for share in (0.1, 0.9):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(ValueError, match=r"net\.bin is truncated or damaged") as error:
                load_weights(path)
            assert "\n" not in str(error.value)


def test_pth_without_torch_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for number, start in enumerate((b"PK\x03\x04", b"\x80\x02\x8a\x0a")):
        path = tmp_path / f"{number}.pth"
        path.write_bytes(start + bytes(100))
        with pytest.raises(ValueError, match=r"pip install torch, or give .* as safetensors"):
            load_weights(path)


class Other:
    pass


def test_nothing_but_tensors_is_unpickled(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"features.0.weight": Other()}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="other things than tensors") as error:
        load_weights(tmp_path / "net.pth")
    assert "\n" not in str(error.value)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        load_weights(tmp_path / "list.pth")
