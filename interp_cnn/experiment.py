"""From a configuration to the objects that training and evaluation share."""

import json
from pathlib import Path
from typing import Any

import ml_collections

from interp_cnn.config import first_difference, is_interpretable
from interp_cnn.models import Network, create_model
from interp_cnn.models.pretrained import download_keras_vgg16, load_keras_vgg16, merge_pretrained
from interp_cnn.state import init_params


def make_network(config: ml_collections.ConfigDict, variant: str) -> Network:
    """The ordinary or the interpretable network of a configuration.

    Raises:
      ValueError: for a field of `config.model` that is out of range.
    """
    return create_model(interpretable=is_interpretable(variant), **config.model)


def starting_params(config: ml_collections.ConfigDict, network: Network) -> Any:
    """Parameters before training: fresh, or with the pretrained weights of `config.weights`.

    Raises:
      ValueError: where the weights are of another network or damaged.
      FileNotFoundError: where they are missing.
    """
    params = init_params(network, config.seed)
    if not config.weights:
        return params
    if config.model.name != "vgg16":
        raise ValueError(
            f"pretrained weights can be read for vgg16 alone, not for {config.model.name};"
            ' set config.weights=""'
        )
    path = config.weights
    if path == "download":
        path = download_keras_vgg16(Path("~/.cache/interp_cnn").expanduser())
    return merge_pretrained(params, load_keras_vgg16(path))


def claim_workdir(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Make the work directory of a configuration, or check that it is its own.

    Raises:
      ValueError: where the directory belongs to another configuration.
      OSError: where it cannot be written.
    """
    file = workdir / "config.json"
    if file.exists():
        difference = first_difference(json.loads(file.read_text()), config.to_dict())
        if difference:
            raise ValueError(
                f"{workdir} belongs to a run of another config ({difference});"
                " choose another --workdir, or delete that one"
            )
    workdir.mkdir(parents=True, exist_ok=True)
    file.write_text(config.to_json_best_effort(indent=2) + "\n")


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """The configuration of a work directory.

    Raises:
      FileNotFoundError: where it holds none.
    """
    file = workdir / "config.json"
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing; is {workdir} the --workdir of a training run?")
    return ml_collections.ConfigDict(json.loads(file.read_text()))
