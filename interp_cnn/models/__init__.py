"""The paper's four networks, and a small one for the embedded data: name -> model."""

from typing import Any

from interp_cnn.layers import FEATURE_MAPS
from interp_cnn.models.alexnet import ALEXNET
from interp_cnn.models.interface import AnyNetwork, Templates
from interp_cnn.models.network import NEW_CONV, TOP_CONV, Backbone, Network
from interp_cnn.models.own import OwnLayer, OwnNetwork
from interp_cnn.models.own_module import own_network
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

BACKBONES = {backbone.name: backbone for backbone in (ALEXNET, VGG_M, VGG_S, VGG_16, SMALL)}


def create_model(name: str, **options: Any) -> Network:
    """Network of a name.

    Args:
      name: `"alexnet"`, `"vgg_m"`, `"vgg_s"`, `"vgg16"` or `"small"`.
      **options: the attributes of `Network`.

    Raises:
      ValueError: for an unknown name or an option out of range.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown network {name!r}; choose one of {', '.join(BACKBONES)}")
    return Network(BACKBONES[name], **options)
