"""Reads pretrained weights of any of the known formats, told apart by how the file begins."""

import importlib.util
from pathlib import Path

from safetensors import SafetensorError, safe_open

from interp_cnn.models import Backbone
from interp_cnn.models.pretrained.batch_norm import (
    TORCHVISION_FILES,
    TORCHVISION_URL,
    download_torchvision,
)
from interp_cnn.models.pretrained.keras import (
    KERAS_VGG16_FILE,
    KERAS_VGG16_URL,
    download_keras_vgg16,
    read_keras,
)
from interp_cnn.models.pretrained.matconvnet import (
    MATCONVNET_FILES,
    MATCONVNET_URL,
    read_matconvnet,
)
from interp_cnn.models.pretrained.pretrained import Pretrained, wrong_network
from interp_cnn.models.pretrained.store import read_own
from interp_cnn.models.pretrained.torchvision import WITHOUT_TORCH, read_pth, read_state_dict


def load_weights(path: str | Path, backbone: Backbone | None = None) -> Pretrained:
    """The layers of a pretrained network below its head.

    Reads MatConvNet's files of the paper's four networks, of VGG-16 also Keras' (HDF5) and
    torchvision's (.pth, safetensors), torchvision's and timm's ResNets and DenseNets (.pth,
    safetensors), and what `save_weights` wrote.

    Args:
      path: the file; its name does not matter.
      backbone: the network that is wanted, `Network.backbone`; None takes the file's.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, in another format or of another network.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"The weights file {path} is missing: {where_to_get(backbone)}.")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"MATLAB"):
        return read_matconvnet(path, backbone)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        pretrained = read_keras(path)
    elif start.startswith((b"PK\x03\x04", b"\x80\x02")):  # zip, or a pickle as before PyTorch 1.6
        pretrained = read_pth(path)
    elif start.endswith(b"{") and len(start) == 9:  # the header's length, then JSON
        pretrained = _read_safetensors(path)
    else:
        raise ValueError(
            f"{path} is no weights file (of Keras, MatConvNet, torchvision, or one converted by"
            f" interp-cnn weights): {where_to_get(backbone)}."
        )
    if backbone is not None and pretrained.network != backbone.name:
        raise ValueError(wrong_network(path, pretrained.network, backbone))
    return pretrained


def check_download(backbone: Backbone) -> None:
    """Check that the published weights of a network can be downloaded and read; downloads nothing.

    Raises:
      ValueError: if none are published where no hand is needed, or PyTorch is needed and missing.
    """
    if backbone.name in TORCHVISION_FILES and importlib.util.find_spec("torch") is None:
        raise ValueError(
            f"the published weights of {backbone.name} can be read by PyTorch alone:"
            f" {WITHOUT_TORCH}."
        )
    if backbone.name not in ("vgg16", *TORCHVISION_FILES):
        raise ValueError(
            "only the weights of vgg16 and of residual and dense networks can be downloaded; set"
            f" config.weights to a file of {backbone.name}"
        )


def download_weights(backbone: Backbone, cache_dir: str | Path) -> Path:
    """The published weights file of a network in a folder, downloaded if it is not there yet.

    Args:
      backbone: the network, `Network.backbone`.
      cache_dir: folder for the file; it is made if necessary.

    Raises:
      FileNotFoundError: if the download fails.
      ValueError: if there is none, or what was downloaded is not the published file.
    """
    check_download(backbone)
    if backbone.name == "vgg16":
        return download_keras_vgg16(cache_dir)
    return download_torchvision(backbone.name, cache_dir)


def _read_safetensors(path: Path) -> Pretrained:
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("format", "").startswith("interp_cnn"):
                return read_own(file, path)
            return read_state_dict(file.keys(), file.get_tensor, path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is truncated or damaged ({error}): copy or download it again."
        ) from error


def where_to_get(backbone: Backbone | None) -> str:
    """What to do for want of a network's weights."""
    keras = f"{KERAS_VGG16_FILE} from {KERAS_VGG16_URL}"
    if backbone is None:
        return f"give {keras}, or one of {', '.join(MATCONVNET_FILES.values())}"
    if backbone.name == "vgg16":
        return f"put {keras} there"
    if backbone.name in MATCONVNET_FILES:
        return f"put {MATCONVNET_FILES[backbone.name]} from {MATCONVNET_URL} there"
    if backbone.name in TORCHVISION_FILES:
        return f"put {TORCHVISION_FILES[backbone.name]} from {TORCHVISION_URL} there"
    return f'none are published for {backbone.name}, set config.weights=""'
