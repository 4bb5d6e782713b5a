"""From a configuration to the objects that training and evaluation share."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from etils import epath

from interp_cnn import hosts, storage
from interp_cnn.config import (
    check_config,
    first_difference,
    is_interpretable,
    with_present_names,
)
from interp_cnn.models import Network, create_model
from interp_cnn.models.pretrained import (
    Pretrained,
    download_keras_vgg16,
    load_weights,
    merge_pretrained,
)
from interp_cnn.training import parallel
from interp_cnn.training.objective import SOFTMAX, Objective, balanced_class_weights
from interp_cnn.training.state import first_other_shape, init_params
from interp_cnn.training.steps import frozen_step, train_step


def make_network(config: ml_collections.ConfigDict, variant: str, outputs: int = 1) -> Network:
    """The ordinary or the interpretable network of a configuration.

    Args:
      config: see `interp_cnn.config`.
      variant: `"ordinary"` or `"interpretable"`.
      outputs: number of categories.

    Raises:
      ValueError: for a field of `config.model` that is out of range.
    """
    return create_model(
        num_outputs=outputs, interpretable=is_interpretable(variant), **config.model
    )


def make_objective(
    config: ml_collections.ConfigDict, labels: np.ndarray, *, categories: int, steps_per_epoch: int
) -> Objective:
    """What the networks of a configuration are trained for.

    Args:
      config: see `interp_cnn.config`.
      labels: of all training images, 0 for "other".
      categories: number of categories.
      steps_per_epoch: to count epochs.

    Raises:
      ValueError: for a field out of range, or a task that the labels do not fit.
    """
    task, weights = config.train.task, config.train.class_weights
    if weights not in ("none", "balanced"):
        raise ValueError(f"train.class_weights must be 'none' or 'balanced', got {weights!r}")
    if task == SOFTMAX and (categories < 2 or not labels.all()):
        raise ValueError(
            f"train.task='softmax' needs several categories and no negatives, got {categories}"
            f" and {int((labels == 0).sum())}; set config.data.negatives='none' and name several"
            " categories in config.data.category, or set config.train.task='logistic'"
        )
    return Objective(
        task=task,
        class_weights=balanced_class_weights(labels, categories=categories, task=task)
        if weights == "balanced"
        else None,
        steps_per_epoch=steps_per_epoch,
        **config.interpretable,
        **config.filter_loss,
    )


def make_step(
    config: ml_collections.ConfigDict,
    network: Network,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    *,
    devices: Sequence[jax.Device] | None = None,
) -> Callable[..., Any]:
    """`step(state, sharded batch)` of a configuration on all devices, see `train_step`.

    Args:
      config: see `interp_cnn.config`.
      network: to train.
      optimizer: that made the state.
      objective: the losses.
      devices: see `parallel_step`.
    """
    return parallel.parallel_step(
        functools.partial(
            train_step,
            network=network,
            optimizer=optimizer,
            objective=objective,
            mean=tuple(config.data.mean),
            std=config.data.std,
            seed=config.seed,
            axis_name=parallel.AXIS,
        ),
        devices=devices,
    )


def make_frozen_step(config: ml_collections.ConfigDict, network: Network) -> Callable[..., Any]:
    """`(params, sharded batch) -> ` see `frozen_step`, on all local devices.

    Args:
      config: see `interp_cnn.config`.
      network: with frozen layers.
    """
    return parallel.parallel_map(
        functools.partial(
            frozen_step, network=network, mean=tuple(config.data.mean), std=config.data.std
        )
    )


def starting_params(config: ml_collections.ConfigDict, network: Network) -> Any:
    """Parameters before training: fresh, or with the pretrained weights of `config.weights`.

    The first of several hosts reads them for all.

    Raises:
      ValueError: where the weights are damaged, of another network, or for another input than
        `config.data` prepares.
      FileNotFoundError: where they are missing.
    """
    params = init_params(network, config.seed)
    if config.weights and hosts.is_first():
        params = _with_pretrained(config, network, params)
    return hosts.broadcast(params)


def _with_pretrained(config: ml_collections.ConfigDict, network: Network, params: Any) -> Any:
    _check_published(config, network)
    path = config.weights
    if path == "download":
        path = download_keras_vgg16(Path("~/.cache/interp_cnn").expanduser())
    pretrained = load_weights(path, network.backbone)
    _check_input(config.data, pretrained)
    return merge_pretrained(params, pretrained.layers)


def check_weights(config: ml_collections.ConfigDict, network: Network) -> None:
    """Check that the weights of a configuration can be read and fit it; downloads nothing.

    Raises:
      ValueError, FileNotFoundError: as `starting_params`.
    """
    _check_published(config, network)
    if config.weights not in ("", "download"):
        _check_input(config.data, load_weights(config.weights, network.backbone))


def _check_published(config: ml_collections.ConfigDict, network: Network) -> None:
    if config.weights == "download" and network.backbone.name != "vgg16":
        raise ValueError(
            "only the weights of vgg16 can be downloaded; set config.weights to a file of"
            f' {network.backbone.name}, or to ""'
        )


def _check_input(data: ml_collections.ConfigDict, pretrained: Pretrained) -> None:
    """Check that images are prepared as the weights want them."""
    # Published means of the same photos differ by less than one grey level.
    if any(abs(a - b) > 1 for a, b in zip(data.mean, pretrained.mean, strict=True)):
        mean = tuple(round(value, 3) for value in pretrained.mean)
        raise ValueError(
            f"config.data.mean is {tuple(data.mean)} but the weights of {pretrained.source} want"
            f" {mean}; set --config.data.mean='{mean}'"
        )
    if data.std != 1:
        raise ValueError(
            f"config.data.std is {data.std} but the weights of {pretrained.source} want 1; set"
            " --config.data.std=1"
        )


def check_params(network: Network, params: Any, source: epath.Path) -> None:
    """Check that parameters are those of a network.

    Args:
      network: that they should fit.
      params: from a checkpoint.
      source: what the message calls them by.

    Raises:
      ValueError: where one is missing, superfluous or of another shape.
    """
    image = jax.ShapeDtypeStruct((1, network.input_size, network.input_size, 3), jnp.float32)
    wanted = jax.eval_shape(network.init, jax.random.key(0), image)["params"]
    if difference := first_other_shape(params, wanted):
        raise ValueError(
            f"the checkpoint in {source} is of another network: {difference} in"
            f" {network.backbone.name}; use the config it was trained with"
        )


def claim_workdir(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
    """Make the work directory of a configuration, or check that it is its own.

    Raises:
      ValueError: where the directory belongs to another configuration.
      OSError: where it cannot be written.
    """
    file = workdir / "config.json"
    with storage.reaching(file):
        claimed = file.exists()
    if claimed:
        difference = first_difference(_saved_config(file), config.to_dict())
        if difference:
            raise ValueError(
                f"{workdir} belongs to a run of another config ({difference});"
                " choose another --workdir, or delete that one"
            )
    storage.make_folder(workdir)
    storage.write(file, config.to_json_best_effort(indent=2) + "\n")


def read_config(workdir: epath.Path) -> ml_collections.ConfigDict:
    """The configuration of a work directory.

    Raises:
      FileNotFoundError: where it holds none.
      ValueError: where it is damaged, or has a field that is unknown or out of range.
    """
    file = workdir / "config.json"
    try:
        saved = _saved_config(file)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{file} is missing; is {workdir} the --workdir of a training run?"
        ) from None
    check_config(saved, source=f"{file}: config")
    return with_present_names(saved)


def _saved_config(file: epath.Path) -> dict[str, Any]:
    """The content of a config.json.

    Raises:
      FileNotFoundError: where it is missing.
      ValueError: where it is damaged.
    """
    try:
        saved = json.loads(storage.read(file).decode())
        if not isinstance(saved, dict):
            raise ValueError(f"it holds a {type(saved).__name__}")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); write the config of the run there, or train it again"
            " in another --workdir"
        ) from error
    return saved


def read_config_everywhere(workdir: epath.Path) -> ml_collections.ConfigDict:
    """`read_config` by the first of several hosts, for all."""
    text = hosts.from_first(lambda: read_config(workdir).to_json_best_effort())
    return ml_collections.ConfigDict(json.loads(text))
