"""torchvision's state dicts, as .pth or as safetensors: VGG-16 (`vgg16-397923af.pth`) and others.

ResNets and DenseNets are read by `batch_norm.py`.
"""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from interp_cnn.models import VGG_16
from interp_cnn.models.pretrained.batch_norm import blocks_of, read_blocks
from interp_cnn.models.pretrained.pretrained import Layers, Pretrained, check_layers

# torchvision's networks take (RGB / 255 - MEAN) / STD.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Position of each convolution in `features`.
_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_OTHER_NETWORKS = {
    (0, 3, 6, 8, 10): "AlexNet",
    (0, 3, 6, 8, 11, 13, 16, 18): "VGG-11",
    (0, 2, 5, 7, 10, 12, 15, 17, 20, 22): "VGG-13",
    (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34): "VGG-19",
}
# In the corner of the first filter of Caffe's VGG-16, which is also to be had in this layout.
_CAFFES_FIRST = 0.4800154

WITHOUT_TORCH = (
    "pip install torch, or give the same weights as safetensors, such as model.safetensors of"
    " huggingface.co/timm/vgg16.tv_in1k or huggingface.co/timm/resnet50.tv_in1k"
)


def read_pth(path: Path) -> Pretrained:
    """The network of a .pth file, read by `torch.load(weights_only=True)`: nothing but tensors.

    Args:
      path: the state dict as `torch.save` wrote it.

    Raises:
      ValueError: if torch is not installed, or the file is damaged or of another network.
    """
    try:
        import torch
    except ImportError:
        raise ValueError(f"{path} can be read by PyTorch alone: {WITHOUT_TORCH}.") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file leads torch into, over many lines
        reason = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{path} is truncated or damaged, or holds other things than tensors ({reason}): copy"
            " or download it again."
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds no state dict: give a file that torchvision published.")
    tensors = {name: x for name, x in state.items() if isinstance(x, torch.Tensor)}
    dicts = {name: x for name, x in state.items() if isinstance(x, dict)}
    with_tensors = (any(isinstance(x, torch.Tensor) for x in of.values()) for of in dicts.values())
    inner = next(itertools.compress(dicts, with_tensors), None)
    if inner is not None:
        raise ValueError(
            f"{path} holds more than a state dict, the one of {inner!r} among it: save that alone,"
            f" torch.save(torch.load(FILE)[{inner!r}], OTHER)."
        )
    return read_state_dict(tensors, lambda name: tensors[name].detach().float().numpy(), path)


def read_state_dict(
    keys: Iterable[Any], tensor: Callable[[str], np.ndarray], path: Path
) -> Pretrained:
    """The network of a state dict: VGG-16, or a ResNet or DenseNet.

    Args:
      keys: torchvision's names, such as `features.0.weight`; those of the last layers are not used.
      tensor: the values of a name.
      path: the file, for messages.

    Raises:
      ValueError: if they are of another network, or of one of these for another input.
    """
    names = [key for key in keys if isinstance(key, str)]
    blocks = blocks_of(names)
    if blocks is not None:
        return read_blocks(blocks, names, tensor, path)
    prefixes = {name.partition(".")[0] for name in names}
    if len(prefixes) == 1 and blocks_of([name.partition(".")[2] for name in names]) is not None:
        raise ValueError(
            f"{path} has names that all begin with {min(prefixes)}., such as {names[0]}: save the"
            " state dict of the network itself, whose names are torchvision's."
        )
    return _read_vgg16(names, tensor, path)


def _read_vgg16(names: list[str], tensor: Callable[[str], np.ndarray], path: Path) -> Pretrained:
    """VGG-16, for RGB, 0..255, minus 255 * MEAN.

    ((RGB / 255 - MEAN) / STD) * W is (RGB - 255 MEAN) * (W / (255 STD)); padding is zero in both.
    """
    _check_network(names, path)
    layers: Layers = {}
    for layer, position in zip(VGG_16.layer_names, _POSITIONS, strict=True):
        missing = {f"features.{position}.{part}" for part in ("weight", "bias")} - set(names)
        if missing:
            raise ValueError(f"{path} lacks {missing.pop()}: give the whole state dict.")
        weight = np.asarray(tensor(f"features.{position}.weight"), np.float32)
        kernel = np.ascontiguousarray(weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight)
        bias = np.asarray(tensor(f"features.{position}.bias"), np.float32)
        layers[layer] = {"kernel": kernel, "bias": bias}
    check_layers(layers, VGG_16, path)
    first = layers["conv1_1"]["kernel"]
    if np.isclose(first[0, 0, :, 0], _CAFFES_FIRST, rtol=0, atol=1e-5).any():
        raise ValueError(
            f"{path} holds Caffe's VGG-16 in torchvision's layout, which takes another input (such"
            " as IMAGENET1K_FEATURES): give vgg16-397923af.pth (IMAGENET1K_V1), or Keras' file,"
            " which has Caffe's values."
        )
    scale = 1 / (255 * np.asarray(STD))
    layers["conv1_1"]["kernel"] = (first * scale[:, np.newaxis]).astype(np.float32)
    red, green, blue = (255 * value for value in MEAN)
    return Pretrained("vgg16", layers, (red, green, blue), f"{path.name} (torchvision)")


def _check_network(names: list[str], path: Path) -> None:
    parts = [name.split(".") for name in names if name.startswith("features.")]
    positions = {int(p[1]) for p in parts if len(p) == 3 and p[1].isdigit() and p[2] == "weight"}
    give = "give its vgg16-397923af.pth"
    if any(name.endswith("running_mean") for name in names):
        raise ValueError(f"{path} holds a network with batch normalisation of torchvision: {give}.")
    other = _OTHER_NETWORKS.get(tuple(sorted(positions)))
    if other == "AlexNet":
        give = "not the paper's one: give MatConvNet's imagenet-caffe-alex.mat"
    if other:
        raise ValueError(f"{path} holds torchvision's {other}: {give}.")
    if not positions & set(_POSITIONS):
        raise ValueError(
            f"{path} holds another network than torchvision's VGG-16: it has"
            f" {', '.join(names[:3]) or 'nothing'}, ... where features.0.weight, features.0.bias,"
            " ... were expected."
        )
