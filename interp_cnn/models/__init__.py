"""The paper's networks, a small one for the embedded data, and those of today: name -> model."""

import dataclasses
from typing import Any

from interp_cnn.layers import FEATURE_MAPS
from interp_cnn.models.alexnet import ALEXNET
from interp_cnn.models.densenet import DENSENETS
from interp_cnn.models.interface import AnyNetwork, Templates
from interp_cnn.models.network import NEW_CONV, TOP_CONV, Backbone, Network
from interp_cnn.models.own import OwnLayer, OwnNetwork
from interp_cnn.models.own_module import own_network
from interp_cnn.models.resnet import RESNETS
from interp_cnn.models.small import SMALL
from interp_cnn.models.vgg import VGG_16, VGG_M, VGG_S

__all__ = [
    "BACKBONES",
    "FEATURE_MAPS",
    "NEW_CONV",
    "TOP_CONV",
    "AnyNetwork",
    "Backbone",
    "Network",
    "OwnLayer",
    "OwnNetwork",
    "Templates",
    "create_model",
    "own_network",
]

BACKBONES = {
    backbone.name: backbone
    for backbone in (ALEXNET, VGG_M, VGG_S, VGG_16, SMALL, *RESNETS, *DENSENETS)
}


def create_model(name: str, *, stem: str = "imagenet", **options: Any) -> Network:
    """Network of a name.

    Args:
      name: `"alexnet"`, `"vgg_m"`, `"vgg_s"`, `"vgg16"`, `"small"`, `"resnet18"`, `"resnet34"`,
        `"resnet50"`, `"resnet101"`, `"resnet152"`, `"densenet121"`, `"densenet161"` or
        `"densenet169"`.
      stem: first layers of a residual or dense network. `"imagenet"`: a 7x7 convolution and a
        pooling, which make maps of a 32nd of the input's side; `"small"`: a 3x3 convolution alone,
        which makes maps of an eighth of it, for images of about 100 pixels and less.
      **options: the attributes of `Network`.

    Raises:
      ValueError: for an unknown name or an option out of range.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown network {name!r}; choose one of {', '.join(BACKBONES)}")
    backbone = BACKBONES[name]
    if stem not in ("imagenet", "small"):
        raise ValueError(f"stem must be 'imagenet' or 'small', got {stem!r}")
    if stem == "small":
        if not backbone.small_stages:
            raise ValueError(
                f"stem='small' is for residual and dense networks, not for {name}; set"
                " stem='imagenet'"
            )
        backbone = dataclasses.replace(backbone, stages=backbone.small_stages)
    return Network(backbone, **options)
