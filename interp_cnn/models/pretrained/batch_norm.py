"""ResNets and DenseNets of torchvision and timm, which have the same names in their state dicts."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from interp_cnn.models import Backbone
from interp_cnn.models.densenet import DENSENETS, Dense
from interp_cnn.models.pretrained.download import download
from interp_cnn.models.pretrained.pretrained import (
    Layers,
    Pretrained,
    check_layers,
    layer_shapes,
)
from interp_cnn.models.resnet import RESNETS, Residual

# Their input is (RGB - MEAN) / STD, RGB in 0..255.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

TORCHVISION_URL = "https://download.pytorch.org/models/"
# Behind the dash the first digits of the SHA-256 of the file.
TORCHVISION_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet152": "resnet152-394f9c45.pth",
    "densenet121": "densenet121-a639ec97.pth",
    "densenet161": "densenet161-8d451a50.pth",
    "densenet169": "densenet169-b2777c0a.pth",
}

_ARRAYS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_UNUSED = re.compile(r".*\.num_batches_tracked|(fc|classifier|head)\..*")
# Files of old releases have a dot in the names of dense layers, as the published ones do.
_OLD_NAME = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.(\d\.)")

# Bottleneck blocks, or not, or dense ones; and how many there are in each stage.
_Blocks = tuple[str, tuple[int, ...]]


def _blocks(backbone: Backbone) -> _Blocks:
    residual = [stage for stage in backbone.stages if isinstance(stage, Residual)]
    if residual:
        kind = "bottleneck" if residual[0].bottleneck else "basic"
        return kind, tuple(stage.blocks for stage in residual)
    dense = [stage for stage in backbone.stages if isinstance(stage, Dense)]
    return "dense", tuple(stage.count for stage in dense)


_NETWORKS = {_blocks(backbone): backbone for backbone in (*RESNETS, *DENSENETS)}


def blocks_of(names: Sequence[str]) -> _Blocks | None:
    """Which blocks a state dict has, by its names; None where it is no ResNet or DenseNet."""
    for kind, pattern in (
        ("dense", r"features\.denseblock(\d+)\.denselayer(\d+)\."),
        ("bottleneck" if "layer1.0.conv3.weight" in names else "basic", r"layer(\d+)\.(\d+)\."),
    ):
        found = {match.groups() for name in names if (match := re.match(pattern, name))}
        stages = sorted({int(stage) for stage, _ in found})
        if found:
            counts = tuple(sum(int(stage) == of for stage, _ in found) for of in stages)
            return kind, counts
    return None


def read_blocks(
    blocks: _Blocks, names: Sequence[str], tensor: Callable[[str], np.ndarray], path: Path
) -> Pretrained:
    """A ResNet or DenseNet of a state dict, without its last layer.

    Args:
      blocks: what `blocks_of` found.
      names: torchvision's names, such as `layer1.0.conv1.weight`.
      tensor: the values of a name.
      path: the file, for messages.

    Raises:
      ValueError: if they are of another network.
    """
    kind, counts = blocks
    backbone = _NETWORKS.get(blocks)
    if backbone is None:
        raise ValueError(
            f"{path} holds another network, of {', '.join(map(str, counts))} {kind} blocks: give"
            f" weights of one of {', '.join(TORCHVISION_FILES)}."
        )
    stored = {_OLD_NAME.sub(r"\1\2", name): name for name in names if not _UNUSED.fullmatch(name)}
    layers: Layers = {}
    for layer, shapes in layer_shapes(backbone).items():
        layers[layer] = {}
        for array in shapes:
            name = f"{_torch_layer(layer, kind)}.{_ARRAYS[array]}"
            if name not in stored:
                raise ValueError(
                    f"{path} holds no {backbone.name} as torchvision and timm have it: it lacks"
                    f" {name}; give the whole state dict of {backbone.name}."
                )
            values = np.asarray(tensor(stored.pop(name)), np.float32)
            if array == "kernel" and values.ndim == 4:
                values = values.transpose(2, 3, 1, 0)
            layers[layer][array] = np.ascontiguousarray(values)
    if stored:
        raise ValueError(
            f"{path} holds no {backbone.name} as torchvision and timm have it: it has"
            f" {min(stored.values())} too; give the state dict of {backbone.name}."
        )
    check_layers(layers, backbone, path)
    return Pretrained(backbone.name, layers, MEAN, f"{path.name} (torchvision, timm)", STD)


def _torch_layer(layer: str, kind: str) -> str:
    """The name of a layer in a state dict: `layer1/0/downsample_0` is `layer1.0.downsample.0`."""
    name = layer.replace("/", ".").replace("downsample_", "downsample.")
    return f"features.{name}" if kind == "dense" else name


def download_torchvision(network: str, cache_dir: str | Path) -> Path:
    """Torchvision's published weights of a ResNet or DenseNet, downloaded if they are not there.

    Args:
      network: name of the network, of `TORCHVISION_FILES`.
      cache_dir: folder for the file; it is made if necessary.

    Raises:
      FileNotFoundError: if the download fails.
      ValueError: if what was downloaded is not the published file.
    """
    file = TORCHVISION_FILES[network]
    digest = file.rpartition("-")[2].removesuffix(".pth")
    target = Path(cache_dir).expanduser() / file
    return download(TORCHVISION_URL + file, target, algorithm="sha256", digest=digest)
