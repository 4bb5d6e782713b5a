"""What every reader of weights returns, and how it gets into a network's parameters."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from interp_cnn.models import Backbone
from interp_cnn.models.network import Conv

Layers = dict[str, dict[str, np.ndarray]]


class Pretrained(NamedTuple):
    """Convolutions of a published network, for the input that our networks take.

    Attributes:
      network: name of the network, such as `"vgg16"`.
      layers: `{"conv1_1": {"kernel": [height, width, in, out], "bias": [out]}, ...}`, float32; `in`
        is the number of input channels of one filter, fewer than the input has in a grouped
        convolution.
      mean: RGB, 0..255; the input is RGB, 0..255, minus this.
      source: name and kind of the file they are from.
    """

    network: str
    layers: Layers
    mean: tuple[float, float, float]
    source: str


def kernel_shapes(backbone: Backbone) -> dict[str, tuple[int, int, int, int]]:
    """Shape [height, width, in, out] of each convolution's kernel at full width."""
    shapes = {}
    channels = 3
    for stage in backbone.stages:
        if isinstance(stage, Conv):
            inputs = channels // stage.groups
            shapes[stage.name] = (stage.kernel, stage.kernel, inputs, stage.features)
            channels = stage.features
    return shapes


def wrong_network(path: Path, found: str, wanted: Backbone) -> str:
    """A sentence on a file of another network than the one that is wanted."""
    return (
        f"{path} holds {found}, but weights of {wanted.name} are wanted: give such a file, or set"
        f" config.model.name to {found}."
    )


def check_layers(layers: Layers, backbone: Backbone, path: Path) -> None:
    """Check that the layers of a file are those of a network.

    Raises:
      ValueError: for another set of layers, another shape, or values that are not finite.
    """
    shapes = kernel_shapes(backbone)
    if set(layers) != set(shapes):
        raise ValueError(
            f"{path} has the layers {', '.join(layers) or 'none'} where {backbone.name} has"
            f" {', '.join(shapes)}: give the weights of {backbone.name}."
        )
    for layer, shape in shapes.items():
        for name, wanted in (("kernel", shape), ("bias", shape[-1:])):
            array = layers[layer].get(name)
            found = None if array is None else array.shape
            if array is None or found != wanted:
                raise ValueError(
                    f"{path}: the {name} of layer {layer} has shape {found} where {backbone.name}"
                    f" has {wanted}: give the weights of {backbone.name}."
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{path}: the {name} of layer {layer} has values that are not finite: copy or"
                    " download the file again."
                )


def checksum(layers: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """SHA-256 of all values, the same whatever file they were read from.

    Layers and their arrays in alphabetical order; of each the text `layer/name shape`, then its
    values in C order as little-endian float32.
    """
    digest = hashlib.sha256()
    for layer in sorted(layers):
        for name, array in sorted(layers[layer].items()):
            digest.update(f"{layer}/{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()


def merge_pretrained(
    params: Mapping[str, Any], weights: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Parameters with some layers replaced by pretrained ones.

    Args:
        params: a network's parameters, `{layer: {"kernel": ..., "bias": ...}}`.
        weights: the pretrained layers, `Pretrained.layers`.

    Returns:
        A new dict; layers that are not in `weights` are the same objects as before, the others
        have the pretrained values in the dtype of `params`.

    Raises:
        ValueError: if a pretrained layer is not in `params` or has another shape there.
    """
    merged = dict(params)
    for layer, arrays in weights.items():
        if layer not in params:
            raise ValueError(
                f"params has no layer {layer!r} for the pretrained weights, only "
                f"{', '.join(map(str, params))}: give the params of the network they belong to."
            )
        merged[layer] = dict(params[layer])
        for name, array in arrays.items():
            old = params[layer].get(name)
            shape = None if old is None else tuple(old.shape)
            if old is None or shape != array.shape:
                raise ValueError(
                    f"The {name} of layer {layer!r} has shape {shape} in params but {array.shape} "
                    "in the pretrained weights: they fit the network of full width only."
                )
            merged[layer][name] = jnp.asarray(array, old.dtype)
    return merged
