"""Layers of a MatConvNet network (simplenn) beside those of ours: what differs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from interp_cnn.models import Backbone
from interp_cnn.models.pretrained.pretrained import kernel_shapes
from interp_cnn.models.stages import LRN, Conv, Pool

# Two settings as an error names them.
PAD = "pad (top, bottom, left, right)"
FILTERS = "filters (height, width, inputs of each, number)"


class Layer(NamedTuple):
    """One layer as the file, or as our network, has it: all that decides what it computes."""

    name: str
    kind: str
    settings: dict[str, Any]


def _numbers(value: Any, length: int) -> tuple[int, ...]:
    """A setting such as stride or pad: one number for all sides, or `length` numbers."""
    numbers = [int(number) for number in np.asarray(value).ravel()]
    if len(numbers) not in (1, length):
        raise ValueError(f"{len(numbers)} numbers where 1 or {length} are usual")
    return tuple(numbers * (length // len(numbers)))


def read_layer(fields: dict[str, Any], name: str, shape: tuple[int, ...]) -> Layer:
    """A layer of the file; the defaults are those of vl_simplenn_tidy.m."""
    kind = "lrn" if fields["type"] == "normalize" else fields["type"]  # its older name
    settings: dict[str, Any] = {}
    if kind in ("conv", "pool"):
        settings["stride"] = _numbers(fields.get("stride", 1), 2)
        settings[PAD] = _numbers(fields.get("pad", 0), 4)
    if kind == "conv":
        settings[FILTERS] = shape
        settings["dilation"] = _numbers(fields.get("dilate", 1), 2)
    elif kind == "pool":
        settings["method"] = fields["method"]
        settings["size"] = _numbers(fields["pool"], 2)
    elif kind == "relu":
        settings["leak"] = float(np.asarray(fields.get("leak", 0)).item())
    elif kind == "lrn":
        param = np.asarray(fields.get("param", (5, 1, 1e-4 / 5, 0.75)), np.float64).ravel()
        names = ("size", "kappa", "alpha", "beta")
        settings |= dict(zip(names, map(float, param), strict=True))
    return Layer(name, kind, settings)


def _expected(backbone: Backbone) -> list[Layer]:
    """The layers of our network as MatConvNet writes them."""
    layers = []
    shapes = kernel_shapes(backbone)
    for stage in backbone.stages:
        if isinstance(stage, Conv):
            settings: dict[str, Any] = {
                "stride": (stage.stride,) * 2,
                PAD: (stage.pad,) * 4,
                FILTERS: shapes[stage.name],
                "dilation": (1, 1),
            }
            layers.append(Layer(stage.name, "conv", settings))
            layers.append(Layer(f"relu of {stage.name}", "relu", {"leak": 0.0}))
        elif isinstance(stage, LRN):
            settings = {"size": float(stage.size), "kappa": stage.bias}
            layers.append(
                Layer("lrn", "lrn", settings | {"alpha": stage.alpha, "beta": stage.beta})
            )
        elif isinstance(stage, Pool):
            settings = {
                "stride": (stage.stride,) * 2,
                PAD: (0, stage.pad_end) * 2,
                "method": "max",
                "size": (stage.kernel,) * 2,
            }
            layers.append(Layer("pool", "pool", settings))
    return layers


def differences(found: Sequence[Layer], backbone: Backbone) -> list[str]:
    """What the file has otherwise than the network, from the image to the last convolution."""
    different: list[str] = []
    size = backbone.input_size
    for i, wanted in enumerate(_expected(backbone)):
        if i >= len(found):
            return [*different, f"it ends where {backbone.name} has {wanted.name}"]
        name, kind, settings = found[i]
        if kind != wanted.kind:
            # From here on the two run beside each other.
            return [
                *different,
                f"layer {name} is of type {kind} where {backbone.name} has {wanted.name}",
            ]
        for key, value in wanted.settings.items():
            ours, theirs = value, settings[key]
            if kind == "pool" and key == PAD:
                ours = _used_padding(size, wanted.settings)
                theirs = _used_padding(size, wanted.settings | {key: theirs})
            # The file may hold single precision.
            is_number = isinstance(ours, float)
            if not (np.isclose(ours, theirs, rtol=1e-4) if is_number else ours == theirs):
                different.append(
                    f"layer {name} has {key} {settings[key]} where {backbone.name} has {value}"
                )
        size = _output_size(size, wanted.settings)
    return different


def _output_size(size: int, settings: dict[str, Any]) -> int:
    """Side of the output of a layer of our network, whose kernels are square."""
    if "stride" not in settings:
        return size
    kernel = settings["size"] if "size" in settings else settings[FILTERS]
    top, bottom, _, _ = settings[PAD]
    return (size + top + bottom - kernel[0]) // settings["stride"][0] + 1


def _used_padding(size: int, settings: dict[str, Any]) -> tuple[int, ...]:
    """The padding that a pooling really reads.

    Some releases pad the end by stride - 1 whatever the size; what no window reaches changes
    nothing.
    """
    (kernel, _), (stride, _) = settings["size"], settings["stride"]
    pads = settings[PAD]
    used: list[int] = []
    for start, end in (pads[:2], pads[2:]):
        windows = (size + start + end - kernel) // stride + 1
        used += (start, max((windows - 1) * stride + kernel - size - start, 0))
    return tuple(used)
