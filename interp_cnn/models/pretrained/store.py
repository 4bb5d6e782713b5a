"""Our own weights file: safetensors with flat names, and metadata that says what they are."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from interp_cnn.models import BACKBONES
from interp_cnn.models.pretrained.pretrained import (
    Layers,
    Pretrained,
    check_layers,
    checksum,
    layer_shapes,
)

FORMAT = "interp_cnn weights 1"
_NO_STD = json.dumps((1.0, 1.0, 1.0))


def save_weights(path: str | Path, pretrained: Pretrained) -> None:
    """Write weights to a file that `load_weights` reads in milliseconds.

    The arrays are called `layer/kernel`, `layer/bias` and so on; the metadata are `format`,
    `network`, `mean` and, where it is not 1, `std` (three numbers each, as JSON), `source` and
    `sha256` (`checksum` of the layers).

    Raises:
      FileNotFoundError: if the folder is missing.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} is missing: make it, then try again.")
    arrays = {
        f"{layer}/{name}": array
        for layer, named in pretrained.layers.items()
        for name, array in named.items()
    }
    metadata = {
        "format": FORMAT,
        "network": pretrained.network,
        "mean": json.dumps(pretrained.mean),
        "source": pretrained.source,
        "sha256": checksum(pretrained.layers),
    }
    if (std := json.dumps(pretrained.std)) != _NO_STD:
        metadata["std"] = std
    path.write_bytes(save(arrays, metadata))


def read_own(file: Any, path: Path) -> Pretrained:
    """Weights that `save_weights` wrote.

    Args:
      file: the open file, of `safetensors.safe_open` for NumPy.
      path: its path, for messages.

    Raises:
      ValueError: if the file is damaged, or of another version.
    """
    metadata = file.metadata()
    if metadata["format"] != FORMAT:
        raise ValueError(
            f"{path} has the format {metadata['format']!r} where {FORMAT!r} can be read: convert"
            " the original file again."
        )
    layers: Layers = {}
    for key in file.keys():
        layer, _, name = key.rpartition("/")
        layers.setdefault(layer, {})[name] = file.get_tensor(key)
    found = BACKBONES.get(metadata.get("network"))
    mean, std = _colours(metadata.get("mean", "")), _colours(metadata.get("std", _NO_STD))
    whole = metadata.get("sha256") == checksum(layers)
    if found is None or mean is None or std is None or not whole:
        raise ValueError(
            f"{path} is damaged (its network, mean or checksum does not fit): convert the original"
            " file again."
        )
    check_layers(layers, found, path)
    # Files have their arrays in another order.
    layers = {name: layers[name] for name in layer_shapes(found)}
    return Pretrained(found.name, layers, mean, metadata.get("source", path.name), std)


def _colours(text: str) -> tuple[float, float, float] | None:
    try:
        red, green, blue = map(float, json.loads(text))
    except (TypeError, ValueError):
        return None
    return red, green, blue
