"""What every reader of weights returns, and how it gets into a network's parameters."""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from interp_cnn.models import Backbone, Network
from interp_cnn.models.stages import Conv

Layers = dict[str, dict[str, np.ndarray]]


class Pretrained(NamedTuple):
    """Layers of a published network below its head, for the input that our networks take.

    Attributes:
      network: name of the network, such as `"vgg16"`.
      layers: `{"conv1_1": {"kernel": [height, width, in, out], "bias": [out]}, ...}`, float32; `in`
        is the number of input channels of one filter, fewer than the input has in a grouped
        convolution. Batch normalisation has `scale`, `bias`, `mean` and `var`, each [out]. Layers
        in blocks are called by their path, such as `layer1/0/conv1`.
      mean: RGB, 0..255; the input is RGB, 0..255, minus this.
      source: name and kind of the file they are from.
      std: of red, green and blue; the input is divided by it then.
    """

    network: str
    layers: Layers
    mean: tuple[float, float, float]
    source: str
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@functools.cache
def layer_shapes(backbone: Backbone) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shape of every array of the layers of a backbone at full width, as `Pretrained.layers`."""
    image = jax.ShapeDtypeStruct((1, backbone.input_size, backbone.input_size, 3), jnp.float32)
    # The key is made inside: outside, it would be made on a device, and start that.
    variables = jax.eval_shape(lambda x: Network(backbone).init(jax.random.key(0), x), image)
    names = {name for stage in backbone.stages for name in stage.layers}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for collection in ("params", "batch_stats"):
        for path, leaf in flatten_dict(variables.get(collection, {})).items():
            if path[0] in names:
                shapes.setdefault("/".join(path[:-1]), {})[path[-1]] = leaf.shape
    return shapes


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
    shapes = layer_shapes(backbone)
    if set(layers) != set(shapes):
        raise ValueError(
            f"{path} has the layers {_some(layers)} where {backbone.name} has"
            f" {_some(shapes)}: give the weights of {backbone.name}."
        )
    for layer, arrays in shapes.items():
        for name, wanted in reversed(arrays.items()):  # the kernel before the bias
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


def _some(names: Iterable[str], most: int = 20) -> str:
    """Names, not all of them where they are many; or "none"."""
    some = list(names)
    return ", ".join(some[:most]) + (", ..." if len(some) > most else "") or "none"


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
    variables: Mapping[str, Any], weights: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Variables with some layers replaced by pretrained ones.

    Args:
      variables: a network's variables, `{"params": ..., "batch_stats": ...}`.
      weights: the pretrained layers, `Pretrained.layers`.

    Returns:
      A new dict; arrays that are not in `weights` are the same objects as before, the others have
      the pretrained values in the dtype of `variables`.

    Raises:
      ValueError: if a pretrained layer is not in `variables` or has another shape there.
    """
    merged = flatten_dict(variables)
    for layer, arrays in weights.items():
        path = tuple(layer.split("/"))
        if not any(key[1 : len(path) + 1] == path for key in merged):
            raise ValueError(
                f"the variables have no layer {layer!r} for the pretrained weights, only"
                f" {_some(variables['params'])}: give those of the network they belong to."
            )
        for name, array in arrays.items():
            key = ("batch_stats" if name in ("mean", "var") else "params", *path, name)
            shape = tuple(merged[key].shape) if key in merged else None
            if shape != array.shape:
                raise ValueError(
                    f"The {name} of layer {layer!r} has shape {shape} in the network but"
                    f" {array.shape} in the pretrained weights: they fit the network of full width"
                    " only."
                )
            merged[key] = jnp.asarray(array, merged[key].dtype)
    result: dict[str, Any] = unflatten_dict(merged)
    return result
