"""Keras' published VGG-16 weights (ImageNet): download, check, read."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from interp_cnn.models.pretrained.download import download
from interp_cnn.models.pretrained.pretrained import Layers, Pretrained

KERAS_VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_VGG16_URL = (
    f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{KERAS_VGG16_FILE}"
)
KERAS_VGG16_MD5 = "6d6bbae143d832006294945121d1f1fc"

# What goes with these weights: the input is RGB, 0..255, minus this.
IMAGENET_MEAN_RGB = (123.68, 116.779, 103.939)

# (input, output) channels of each 3x3 convolution, by block.
_BLOCKS = (
    ((3, 64), (64, 64)),
    ((64, 128), (128, 128)),
    ((128, 256), (256, 256), (256, 256)),
    ((256, 512), (512, 512), (512, 512)),
    ((512, 512), (512, 512), (512, 512)),
)
_CHANNELS = {
    (block, conv): channels
    for block, convs in enumerate(_BLOCKS, start=1)
    for conv, channels in enumerate(convs, start=1)
}


def read_keras(path: Path) -> Pretrained:
    """The 13 convolutions of a Keras VGG-16 weights file, for RGB input.

    Keras' network takes BGR; here the input channels of the first kernel are turned round, so that
    the network takes RGB minus `IMAGENET_MEAN_RGB`. The fully connected layers of a file that has
    them are ignored.

    Args:
        path: the file, in Keras' HDF5 layout with TensorFlow's kernel ordering.

    Returns:
        The weights of `vgg16`.

    Raises:
        ValueError: if the file is damaged, of another network or in Theano's ordering.
    """
    try:
        with h5py.File(path, "r") as file:
            _check_network(set(file), path)
            layers: Layers = {
                f"conv{block}_{conv}": _read_layer(file[f"block{block}_conv{conv}"], *io, path)
                for (block, conv), io in _CHANNELS.items()
            }
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"{path} is truncated or damaged ({error}): copy or download it again."
        ) from error
    first = layers["conv1_1"]
    first["kernel"] = np.ascontiguousarray(first["kernel"][:, :, ::-1, :])
    return Pretrained("vgg16", layers, IMAGENET_MEAN_RGB, f"{path.name} (Keras)")


def _check_network(layers: set[str], path: Path) -> None:
    if "block5_conv4" in layers:
        raise ValueError(f"{path} holds VGG-19 (it has block5_conv4): give Keras' VGG-16 weights.")
    expected = {f"block{block}_conv{conv}" for block, conv in _CHANNELS}
    missing = sorted(expected - layers)
    if missing == sorted(expected):
        raise ValueError(
            f"{path} holds another network than Keras' VGG-16: its layers are "
            f"{', '.join(sorted(layers)[:5]) or 'none'}, ... where block1_conv1, block1_conv2, ... "
            "were expected."
        )
    if missing:
        raise ValueError(
            f"{path} lacks the layers {', '.join(missing)}: give the whole VGG-16 weights file."
        )


def _is_of_numbers(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and np.issubdtype(item.dtype, np.number)


def _read_layer(group: h5py.Group, inputs: int, outputs: int, path: Path) -> dict[str, np.ndarray]:
    layer = group.name.strip("/")
    names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs.get("weight_names", [])]
    numbers = {name for name in names if name in group and _is_of_numbers(group[name])}
    if len(names) != 2 or numbers != set(names):
        raise ValueError(
            f"{path}: layer {layer} should have a kernel and a bias but its weight_names are "
            f"{names} and its content {sorted(group)}: give Keras' VGG-16 weights file."
        )
    kernel, bias = (group[name] for name in names)
    if kernel.shape == (outputs, inputs, 3, 3):
        raise ValueError(
            f"{path} is in Theano's ordering (kernel of {layer}: {kernel.shape}): give the file "
            f"with TensorFlow's, {KERAS_VGG16_FILE}."
        )
    result = {}
    shapes = {"kernel": (3, 3, inputs, outputs), "bias": (outputs,)}
    for (name, shape), dataset in zip(shapes.items(), (kernel, bias), strict=True):
        if dataset.shape != shape:
            raise ValueError(
                f"{path}: the {name} of layer {layer} has shape {dataset.shape} where VGG-16 has "
                f"{shape}: give Keras' VGG-16 weights file."
            )
        result[name] = np.asarray(dataset[()], np.float32)
        if not np.isfinite(result[name]).all():
            raise ValueError(
                f"{path}: the {name} of layer {layer} has values that are not finite: copy or "
                "download the file again."
            )
    return result


def download_keras_vgg16(cache_dir: str | Path) -> Path:
    """The published weights file in a folder, downloaded if it is not there yet.

    Args:
        cache_dir: folder for the file; it is made if necessary.

    Returns:
        The path of the file.

    Raises:
        FileNotFoundError: if the download fails.
        ValueError: if what was downloaded is not the published file (by its MD5).
    """
    target = Path(cache_dir).expanduser() / KERAS_VGG16_FILE
    return download(KERAS_VGG16_URL, target, algorithm="md5", digest=KERAS_VGG16_MD5)
