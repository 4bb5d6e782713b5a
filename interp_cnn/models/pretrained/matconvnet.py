"""MatConvNet's published networks: its simplenn struct, compared with our network layer by layer.

The fields and their variations are those of MatConvNet's own `utils/import-caffe.py` and
`vl_simplenn_tidy.m`, which brings old files up to date.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interp_cnn.matlab import read_variables
from interp_cnn.models import BACKBONES, Backbone
from interp_cnn.models.pretrained.pretrained import Layers, Pretrained, check_layers, kernel_shapes
from interp_cnn.models.pretrained.simplenn import Layer, differences, read_layer

MATCONVNET_URL = "https://www.vlfeat.org/matconvnet/models/"
MATCONVNET_FILES = {
    "alexnet": "imagenet-caffe-alex.mat",
    "vgg_m": "imagenet-vgg-m.mat",
    "vgg_s": "imagenet-vgg-s.mat",
    "vgg16": "imagenet-vgg-verydeep-16.mat",
}


def read_matconvnet(path: Path, backbone: Backbone | None = None) -> Pretrained:
    """The convolutions of a MatConvNet network.

    Pads, strides, groups and normalisation of the file are compared with those of our network. What
    is above the last convolution is not used. MatConvNet's images and filters are RGB already.

    Args:
      path: MATLAB file with the struct's fields `layers` and `meta` (or `normalization`).
      backbone: the network that is wanted; None takes the one that the filters belong to.

    Raises:
      ValueError: if the file is damaged, of another kind or of another network, with the first
        difference.
    """
    variables = read_variables(path, ("layers", "meta", "normalization", "params"))
    if "params" in variables:
        raise ValueError(
            f"{path} holds a DagNN network of MatConvNet: give one of the simplenn files"
            f" {', '.join(MATCONVNET_FILES.values())}."
        )
    raw = variables.get("layers")
    if not isinstance(raw, list) or not all(isinstance(r, dict) and "type" in r for r in raw):
        raise ValueError(
            f"{path} holds no MatConvNet network (a cell array `layers`): give one of"
            f" {', '.join(MATCONVNET_FILES.values())} from {MATCONVNET_URL}."
        )
    found, arrays = [], []
    for number, fields in enumerate(raw, start=1):
        # Layers that no network here has, such as the softmax at the end, have no settings.
        name = fields.get("name") or f"number {number}"
        shape: tuple[int, ...] = ()
        if fields["type"] == "conv":
            arrays.append(_filters_and_biases(fields, name, path))
            shape = arrays[-1][0].shape
        try:
            found.append(read_layer(fields, name, shape))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}: layer {name} ({fields['type']}) is not as MatConvNet writes it"
                f" ({error}): download the file again from {MATCONVNET_URL}."
            ) from error
    if backbone is None:
        backbone = _most_similar(found, [filters.shape for filters, _ in arrays], path)
    different = differences(found, backbone)
    if different:
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        file = MATCONVNET_FILES.get(backbone.name, f"a file of {backbone.name}")
        raise ValueError(
            f"{path} does not hold {backbone.name}: {different[0]}{more}; give {file}."
        )
    layers: Layers = {
        name: {
            "kernel": np.ascontiguousarray(filters, np.float32),
            "bias": np.ascontiguousarray(biases, np.float32),
        }
        for name, (filters, biases) in zip(backbone.layer_names, arrays, strict=False)
    }
    check_layers(layers, backbone, path)
    return Pretrained(backbone.name, layers, _mean(variables, path), f"{path.name} (MatConvNet)")


def _filters_and_biases(
    fields: dict[str, Any], name: str, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Filters [height, width, in, out] and biases [out] of a convolution."""
    # Before release beta17 there were two fields in place of the cell array.
    weights = fields.get("weights", [fields.get("filters"), fields.get("biases")])
    if len(weights) != 2 or not all(isinstance(w, np.ndarray) and w.size for w in weights):
        raise ValueError(
            f"{path}: layer {name} should have filters and biases: download the file again from"
            f" {MATCONVNET_URL}."
        )
    filters, biases = weights
    # MATLAB leaves trailing axes of length one out.
    return filters.reshape(filters.shape + (1,) * (4 - filters.ndim)), biases.ravel()


def _most_similar(found: Sequence[Layer], shapes: list[tuple[int, ...]], path: Path) -> Backbone:
    """The network whose filters the file has; VGG-M and VGG-S differ in strides and pads alone."""
    candidates = []
    for backbone in (BACKBONES[name] for name in (*MATCONVNET_FILES, "small")):
        wanted = list(kernel_shapes(backbone).values())
        if shapes[: len(wanted)] == wanted:
            candidates.append(backbone)
    if not candidates:
        convolutions = [
            f"{layer.name} {'x'.join(map(str, shape))}"
            for layer, shape in zip((f for f in found if f.kind == "conv"), shapes, strict=True)
        ]
        raise ValueError(
            f"{path} holds another network (its convolutions are {', '.join(convolutions[:5])},"
            f" ...): give one of {', '.join(MATCONVNET_FILES.values())}."
        )
    return min(candidates, key=lambda backbone: len(differences(found, backbone)))


def _mean(variables: dict[str, Any], path: Path) -> tuple[float, float, float]:
    """RGB mean of the average image: three numbers, or a whole image [height, width, 3]."""
    meta = variables.get("meta")
    # Older files have it at the top.
    holder = meta if isinstance(meta, dict) and "normalization" in meta else variables
    normalization = holder.get("normalization")
    image = normalization.get("averageImage") if isinstance(normalization, dict) else None
    image = np.asarray(image, np.float64) if isinstance(image, np.ndarray) else np.zeros(0)
    if image.size != 3 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(
            f"{path} has no average image of three channels (meta.normalization.averageImage):"
            f" download the file again from {MATCONVNET_URL}."
        )
    red, green, blue = image.reshape(-1, 3).mean(axis=0)
    return float(red), float(green), float(blue)
