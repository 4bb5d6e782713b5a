"""From a configuration to the objects that training and evaluation share."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import optax
from etils import epath

from interp_cnn import hosts
from interp_cnn.config import default_config, is_interpretable
from interp_cnn.models import AnyNetwork, Backbone, Network, create_model
from interp_cnn.models.own_module import is_own, own_network
from interp_cnn.models.pretrained import (
    Pretrained,
    check_download,
    download_weights,
    load_weights,
    merge_pretrained,
)
from interp_cnn.training import parallel
from interp_cnn.training.objective import SOFTMAX, Objective, balanced_class_weights
from interp_cnn.training.state import first_other_shape, init_variables
from interp_cnn.training.steps import frozen_step, train_step

# Fields of `config.model` for a network of one's own alone, and those that it has as well. Of the
# others it has none; `_DIFFERENT` are not refused, for configurations set them.
_OWN_FIELDS = ("masks", "options")
_COMMON_FIELDS = ("name", "input_size", "top_conv_mask", "new_conv_mask", "dtype")
_DIFFERENT = ("dropout", "new_init_std", "second_layer")


def make_network(
    config: ml_collections.ConfigDict, variant: str, outputs: int | None = 1
) -> AnyNetwork:
    """The ordinary or the interpretable network of a configuration.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      variant: `"ordinary"` or `"interpretable"`.
      outputs: number of categories; None where it is not known yet.

    Raises:
      ValueError: for a field of `config.model` that is out of range or that the network does not
        have, or a network of one's own that is none.
    """
    model, interpretable = config.model, is_interpretable(variant)
    own = is_own(model.name)
    _check_model_fields(model, own)
    if own:
        return own_network(
            model.name,
            num_outputs=outputs,
            interpretable=interpretable,
            input_size=model.input_size,
            options=model.options,
            masks=model.masks,
            last_mask=model.new_conv_mask,
            other_masks=model.top_conv_mask,
            dtype=model.dtype,
        )
    given = {name: value for name, value in model.items() if name not in _OWN_FIELDS}
    return create_model(num_outputs=outputs or 1, interpretable=interpretable, **given)


def _check_model_fields(model: ml_collections.ConfigDict, own: bool) -> None:
    """Raise a ValueError for a field that is set and that the network does not have."""
    other = _OWN_FIELDS
    if own:
        other = tuple(set(model) - {*_OWN_FIELDS, *_COMMON_FIELDS, *_DIFFERENT})
    defaults = default_config().model
    for name in sorted(other):
        if model[name] != defaults[name]:
            where = "of the package" if own else "of your own"
            instead = "leave it out and say it in your module" if own else "leave it out"
            raise ValueError(
                f"config.model.{name}={model[name]!r} is for a network {where}, and"
                f" config.model.name={model.name!r}; {instead}"
            )


def make_objective(
    config: ml_collections.ConfigDict, labels: np.ndarray, *, categories: int, steps_per_epoch: int
) -> Objective:
    """What the networks of a configuration are trained for.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      labels: the labels of all training images, 0 for "other".
      categories: number of categories.
      steps_per_epoch: the number of steps of an epoch.

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
    balanced = weights == "balanced"
    start, loss = config.interpretable, config.filter_loss
    return Objective(
        task=task,
        class_weights=balanced_class_weights(labels, categories=categories, task=task)
        if balanced
        else None,
        weighting=loss.weighting,
        weight=loss.weight,
        top_conv_weight=loss.top_conv_weight,
        growth_weight=loss.growth_weight,
        sharpness=loss.sharpness,
        images=loss.images,
        gradient=loss.gradient,
        alpha=loss.alpha,
        category_rule=loss.category_rule,
        start_epoch=start.start_epoch,
        ramp_epochs=start.ramp_epochs,
        fade_epochs=loss.fade_epochs,
        epochs=config.train.epochs,
        steps_per_epoch=steps_per_epoch,
    )


def normalisation(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Mean and deviation of a configuration, as the steps take them."""
    mean, std = config.data.mean, config.data.std
    return {
        "mean": tuple(mean),
        "std": tuple(std) if isinstance(std, list | tuple) else std,
    }


def make_step(
    config: ml_collections.ConfigDict,
    network: AnyNetwork,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    *,
    devices: Sequence[jax.Device] | None = None,
) -> Callable[..., Any]:
    """`step(state, sharded batch)` of a configuration on all devices, see `train_step`.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      network: the network to train.
      optimizer: the optimiser that made the state.
      objective: the losses.
      devices: the devices to compile for, see `parallel_step`.
    """
    return parallel.parallel_step(
        functools.partial(
            train_step,
            network=network,
            optimizer=optimizer,
            objective=objective,
            **normalisation(config),
            seed=config.seed,
            axis_name=parallel.AXIS,
        ),
        devices=devices,
    )


def make_frozen_step(config: ml_collections.ConfigDict, network: AnyNetwork) -> Callable[..., Any]:
    """`(variables, sharded batch) -> ` see `frozen_step`, on all local devices.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      network: a network with frozen layers.
    """
    return parallel.parallel_map(
        functools.partial(frozen_step, network=network, **normalisation(config))
    )


def starting_variables(config: ml_collections.ConfigDict, network: AnyNetwork) -> dict[str, Any]:
    """Variables before training: fresh, or with the pretrained weights of `config.weights`.

    The first of several hosts reads them for all.

    Raises:
      ValueError: where the weights are damaged, of another network, or for another input than
        `config.data` prepares.
      FileNotFoundError: where they are missing.
    """
    variables = init_variables(network, config.seed)
    if config.weights and hosts.is_first():
        variables = _with_pretrained(config, network, variables)
    result: dict[str, Any] = hosts.broadcast(variables)
    return result


def _with_pretrained(
    config: ml_collections.ConfigDict, network: AnyNetwork, variables: dict[str, Any]
) -> dict[str, Any]:
    backbone = _published(config, network)
    path = config.weights
    if path == "download":
        path = download_weights(backbone, Path("~/.cache/interp_cnn").expanduser())
    pretrained = _read_weights(path, backbone)
    _check_input(config.data, pretrained)
    return merge_pretrained(variables, pretrained.layers)


def check_weights(config: ml_collections.ConfigDict, network: AnyNetwork) -> None:
    """Check that the weights that a configuration names fit it, and can be read if they are here.

    Raises:
      ValueError, FileNotFoundError: as `starting_variables`.
    """
    backbone = _published(config, network)
    if config.weights != "download":
        _check_input(config.data, _read_weights(config.weights, backbone))


def _read_weights(path: str | Path, backbone: Backbone) -> Pretrained:
    """`load_weights`, which reads a file once for all networks as long as it stays the same."""
    file = Path(path).expanduser()
    if not file.is_file():
        return load_weights(file, backbone)  # which says what is missing
    state = file.stat()
    return _read_once(file, backbone, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1)
def _read_once(file: Path, backbone: Backbone, changed: int, size: int) -> Pretrained:
    return load_weights(file, backbone)


def _published(config: ml_collections.ConfigDict, network: AnyNetwork) -> Backbone:
    """The backbone that the weights of a configuration should be of."""
    if not isinstance(network, Network):
        raise ValueError(
            f"config.weights={config.weights!r} are those of a network of the package, and"
            f" config.model.name={network.architecture!r} is one of your own;"
            ' set config.weights to ""'
        )
    if config.model.stem != "imagenet":
        raise ValueError(
            f"config.model.stem={config.model.stem!r} has no pretrained weights; set"
            " config.model.stem='imagenet', or config.weights=\"\""
        )
    if config.weights == "download":
        check_download(network.backbone)
    return network.backbone


def _check_input(data: ml_collections.ConfigDict, pretrained: Pretrained) -> None:
    """Check that images are prepared as the weights want them."""
    # Published means of the same photos differ by less than one grey level.
    if any(abs(a - b) > 1 for a, b in zip(data.mean, pretrained.mean, strict=True)):
        mean = tuple(round(value, 3) for value in pretrained.mean)
        raise ValueError(
            f"config.data.mean is {tuple(data.mean)} but the weights of {pretrained.source} want"
            f" {mean}; set --config.data.mean='{mean}'"
        )
    if not np.allclose(data.std, pretrained.std, rtol=0.01):
        alike = len(set(pretrained.std)) == 1
        std = f"{pretrained.std[0]:g}" if alike else f"'{pretrained.std}'"
        raise ValueError(
            f"config.data.std is {data.std} but the weights of {pretrained.source} want"
            f" {std}; set --config.data.std={std}"
        )


def check_variables(network: AnyNetwork, variables: Any, source: epath.Path) -> None:
    """Check that variables are those of a network.

    Args:
      network: the network that they should fit.
      variables: the variables of a checkpoint.
      source: the folder that the message names.

    Raises:
      ValueError: where one is missing, superfluous or of another shape.
    """
    wanted = jax.eval_shape(lambda: init_variables(network, 0))
    if difference := first_other_shape(variables, wanted):
        raise ValueError(
            f"the checkpoint in {source} is of another network: {difference} in"
            f" {network.architecture}; use the config it was trained with"
        )
