"""Writes small weights files in the published layouts, and runs them with NumPy or PyTorch.

Both forward passes follow the file's own description, and know nothing of the networks tested.
"""

import dataclasses
import functools
import http.server

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
from safetensors.numpy import save_file

from interp_cnn.models import TOP_CONV, Network
from interp_cnn.models.stages import Conv

# The published networks from the image to the last ReLU. A convolution is name, side, stride, pad,
# filters, groups; `lrn` is size, kappa, alpha, beta; `pool` is side, stride, padding at the end.
_SAME = (3, 1, 1)
_VGG_TOP = [("conv3", *_SAME, 512, 1), ("conv4", *_SAME, 512, 1), ("conv5", *_SAME, 512, 1)]
_CAFFE, _OXFORD = ("lrn", 5, 1, 2e-5, 0.75), ("lrn", 5, 2, 1e-4, 0.75)
PUBLISHED = {
    "alexnet": [
        *[("conv1", 11, 4, 0, 96, 1), _CAFFE, ("pool", 3, 2, 0)],
        *[("conv2", 5, 1, 2, 256, 2), _CAFFE, ("pool", 3, 2, 0)],
        ("conv3", *_SAME, 384, 1),
        ("conv4", *_SAME, 384, 2),
        ("conv5", *_SAME, 256, 2),
    ],
    "vgg_m": [
        *[("conv1", 7, 2, 0, 96, 1), _OXFORD, ("pool", 3, 2, 0)],
        *[("conv2", 5, 2, 1, 256, 1), _OXFORD, ("pool", 3, 2, 1)],
        *_VGG_TOP,
    ],
    "vgg_s": [
        *[("conv1", 7, 2, 0, 96, 1), _OXFORD, ("pool", 3, 3, 2)],
        *[("conv2", 5, 1, 0, 256, 1), ("pool", 2, 2, 1)],
        *_VGG_TOP,
    ],
    "vgg16": [
        *[("conv1_1", *_SAME, 64, 1), ("conv1_2", *_SAME, 64, 1), ("pool", 2, 2, 0)],
        *[("conv2_1", *_SAME, 128, 1), ("conv2_2", *_SAME, 128, 1), ("pool", 2, 2, 0)],
        *[(f"conv3_{i}", *_SAME, 256, 1) for i in (1, 2, 3)],
        ("pool", 2, 2, 0),
        *[(f"conv4_{i}", *_SAME, 512, 1) for i in (1, 2, 3)],
        ("pool", 2, 2, 0),
        *[(f"conv5_{i}", *_SAME, 512, 1) for i in (1, 2, 3)],
    ],
}
MEAN = np.array([122.7, 116.7, 104.0])


def random_weights(rng, side, inputs, outputs):
    """He's standard deviation keeps activations of the size of the input; float32."""
    filters = rng.standard_normal((side, side, inputs, outputs), np.float32)
    return filters * np.float32((2 / (side * side * inputs)) ** 0.5), rng.standard_normal(
        outputs, np.float32
    )


@functools.cache
def vgg16_weights():
    """13 pairs of filters [3, 3, in, out] and biases [out] of VGG-16 at full width."""
    rng = np.random.default_rng(0)
    sizes = [stage[4] for stage in PUBLISHED["vgg16"] if stage[0] != "pool"]
    return [
        random_weights(rng, 3, inputs, outputs)
        for inputs, outputs in zip([3, *sizes[:-1]], sizes, strict=True)
    ]


def simplenn(name, divide=1, seed=0):
    """MatConvNet's struct of a published network, features divided, with random weights."""
    rng = np.random.default_rng(seed)
    layers, channels, pools, norms = [], 3, 0, 0
    for kind, *numbers in PUBLISHED[name]:
        if kind == "lrn":
            norms += 1
            param = np.array([numbers], float)
            layers.append({"name": f"norm{norms}", "type": "lrn", "param": param})
        elif kind == "pool":
            pools += 1
            side, stride, end = numbers
            layers.append(
                {
                    "name": f"pool{pools}",
                    "type": "pool",
                    "method": "max",
                    "pool": np.array([[side, side]], float),
                    "stride": np.array([[stride, stride]], float),
                    "pad": np.array([[0, end, 0, end]], float),
                }
            )
        else:
            side, stride, pad, filters, groups = numbers
            weights = random_weights(rng, side, channels // groups, filters // divide)
            layers.append(
                {
                    "name": kind,
                    "type": "conv",
                    "weights": cell([weights[0], weights[1][np.newaxis]]),
                    "pad": np.full((1, 4), pad, float),
                    "stride": np.full((1, 2), stride, float),
                }
            )
            layers.append({"name": kind.replace("conv", "relu"), "type": "relu", "leak": 0.0})
            channels = filters // divide
    layers += [
        {"name": "fc6", "type": "conv", "weights": cell([np.zeros((2, 2, channels, 3), "f4")] * 2)},
        {"name": "prob", "type": "softmax"},
    ]
    normalization = {"imageSize": np.array([[224.0, 224, 3]]), "averageImage": MEAN[None, None]}
    return {"layers": layers, "meta": {"normalization": normalization}}


def old_release(net):
    """The same network as MatConvNet before beta17 wrote it."""
    layers = []
    for layer in net["layers"]:
        layer = dict(layer)
        if layer["type"] == "conv":
            filters, biases = layer.pop("weights").ravel()
            layer |= {"filters": filters, "biases": biases.ravel()[:, np.newaxis]}
            # One number for all sides.
            layer |= {field: layer[field][:, :1] for field in ("pad", "stride") if field in layer}
        elif layer["type"] == "lrn":
            layer["type"] = "normalize"
        elif layer["type"] == "relu":
            del layer["leak"]
        layers.append(layer)
    # A whole image with that mean.
    ramp = np.linspace(-20, 20, 5)[:, None, None] + np.linspace(-3, 3, 4)[None, :, None]
    return {"layers": layers, "normalization": {"averageImage": (MEAN + ramp).astype("f4")}}


def cell(items):
    """A 1 x n cell array."""
    array = np.empty((1, len(items)), object)
    array[0] = items
    return array


def write_matlab5(path, net, compress=False):
    scipy.io.savemat(
        path, net | {"layers": cell(net["layers"])}, do_compression=compress, oned_as="row"
    )
    return path


def write_matlab73(path, net):
    """MATLAB's HDF5 layout: cells are references into #refs#, arrays are transposed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")

        def write(parent, name, value):
            if isinstance(value, dict):
                group = parent.create_group(name)
                group.attrs["MATLAB_class"] = np.bytes_("struct")
                for field, item in value.items():
                    write(group, field, item)
            elif isinstance(value, list) or getattr(value, "dtype", None) == np.dtype(object):
                nodes = [write(references, str(len(references)), v) for v in np.ravel(value)]
                data = np.array([[node.ref] for node in nodes], h5py.ref_dtype)
                node = parent.create_dataset(name, data=data)
                node.attrs["MATLAB_class"] = np.bytes_("cell")
            elif isinstance(value, str):
                data = np.array([[ord(letter)] for letter in value], np.uint16)
                node = parent.create_dataset(name, data=data)
                node.attrs["MATLAB_class"] = np.bytes_("char")
            else:
                node = parent.create_dataset(name, data=np.asarray(value).T)
                node.attrs["MATLAB_class"] = np.bytes_("single")
            return parent[name]

        for name, value in net.items():
            write(file, name, value)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def narrow(backbone, divide):
    """The backbone with every number of features divided."""
    stages = tuple(
        dataclasses.replace(stage, features=stage.features // divide)
        if isinstance(stage, Conv)
        else stage
        for stage in backbone.stages
    )
    return dataclasses.replace(backbone, stages=stages, fc_features=4)


def features(backbone, pretrained, images):
    """Maps of the top convolution of our network with pretrained layers."""
    from interp_cnn.models.pretrained import merge_pretrained

    network = Network(dataclasses.replace(backbone, fc_features=4))
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    variables = merge_pretrained(variables, pretrained.layers)
    inputs = (images - np.array(pretrained.mean)) / np.array(pretrained.std)
    inputs = jnp.asarray(inputs, jnp.float32)
    return np.asarray(jax.jit(network.apply)(variables, inputs)[1][TOP_CONV])


# Forward passes; images are [batch, height, width, channels].


def numpy_conv(x, filters, biases, stride=1, pads=(1, 1, 1, 1), relu=True):
    x = np.pad(x, ((0, 0), pads[:2], pads[2:], (0, 0)))
    height, width, inputs, _ = filters.shape
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), (1, 2))
    windows = windows[:, ::stride, ::stride]  # [batch, rows, columns, channels, height, width]
    groups = x.shape[-1] // inputs
    parts = [
        np.tensordot(part, kernel, ((4, 5, 3), (0, 1, 2)))
        for part, kernel in zip(
            np.split(windows, groups, 3), np.split(filters, groups, 3), strict=True
        )
    ]
    return np.maximum(np.concatenate(parts, -1) + np.ravel(biases), 0 if relu else -np.inf)


def numpy_pool(x, side, stride, pads):
    x = np.pad(x, ((0, 0), pads[:2], pads[2:], (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    return windows[:, ::stride, ::stride].max((-2, -1))


def numpy_lrn(x, size, kappa, alpha, beta):
    half = int(size) // 2
    total = np.zeros_like(x)
    for channel in range(x.shape[-1]):
        total[..., channel] = np.square(x[..., max(channel - half, 0) : channel + half + 1]).sum(-1)
    return x / (kappa + alpha * total) ** beta


def torch_conv(x, filters, biases, stride=1, pads=(1, 1, 1, 1)):
    import torch

    top, bottom, left, right = pads
    x = torch.nn.functional.pad(torch.from_numpy(x).permute(0, 3, 1, 2), (left, right, top, bottom))
    weight = torch.from_numpy(np.ascontiguousarray(filters.transpose(3, 2, 0, 1)))
    groups = x.shape[1] // weight.shape[1]
    bias = torch.from_numpy(np.ravel(biases))
    return torch.conv2d(x, weight, bias, stride, groups=groups).relu().permute(0, 2, 3, 1).numpy()


def torch_pool(x, side, stride, pads):
    import torch

    top, bottom, left, right = pads
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    x = torch.nn.functional.pad(x, (left, right, top, bottom), value=-torch.inf)
    return torch.max_pool2d(x, side, stride).permute(0, 2, 3, 1).numpy()


def torch_lrn(x, size, kappa, alpha, beta):
    import torch

    x = torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2)
    # PyTorch's alpha is Caffe's: that of the mean.
    x = torch.nn.functional.local_response_norm(x, int(size), alpha * size, beta, kappa)
    return x.permute(0, 2, 3, 1).numpy()


PASSES = {
    "numpy": (numpy_conv, numpy_pool, numpy_lrn),
    "torch": (torch_conv, torch_pool, torch_lrn),
}


def run_simplenn(net, images, library):
    """A MatConvNet network up to the ReLU below fc6, float32."""
    conv, pool, lrn = PASSES[library]
    x = (images - MEAN).astype(np.float32)
    for layer in net["layers"]:
        if layer["name"] == "fc6":
            return x
        pads = [int(p) for p in np.ravel(layer.get("pad", 0))]
        stride = int(np.ravel(layer.get("stride", 1))[0])
        if layer["type"] == "conv":
            x = conv(x, *layer["weights"].ravel(), stride, pads)  # with its ReLU
        elif layer["type"] == "pool":
            x = pool(x, int(layer["pool"].ravel()[0]), stride, pads)
        elif layer["type"] == "lrn":
            x = lrn(x, *layer["param"].ravel())
    raise AssertionError("no fc6")


def run_vgg16(weights, x, library):
    """VGG-16 at full width from 13 pairs of filters and biases, up to the last ReLU."""
    conv, pool, _ = PASSES[library]
    for i, (filters, biases) in enumerate(weights):
        if i in (2, 4, 7, 10):
            x = pool(x, 2, 2, (0, 0, 0, 0))
        x = conv(np.asarray(x, np.float32), filters, biases)
    return x


def write_safetensors(path, state):
    save_file(state, path, {"format": "pt"})
    return path


def write_pth(path, state, **options):
    torch = pytest.importorskip("torch")
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path, **options)
    return path


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder without a word."""

    def log_message(self, *args):
        pass
