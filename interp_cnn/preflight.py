"""Checks a whole configuration before anything is prepared or computed: what fits what."""

from pathlib import Path
from typing import Any

import jax
import ml_collections
from absl import logging

from interp_cnn.config import INTERPRETABLE, check_config
from interp_cnn.data.categories import ALL, named_categories
from interp_cnn.data.embedded.drawing import CATEGORIES as DRAWN
from interp_cnn.data.photos.annotation_files import read_annotations
from interp_cnn.data.photos.folder_layout import OTHER, read_folder
from interp_cnn.data.pipeline import CATEGORIES, NONE, PHOTOS
from interp_cnn.data.prepare import EMBEDDED, FOLDER, TFDS, open_builder
from interp_cnn.data.tfds_examples import categories_of, open_tfds
from interp_cnn.models import AnyNetwork
from interp_cnn.training import build
from interp_cnn.training.objective import SOFTMAX
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_variables


def check_run(
    config: ml_collections.ConfigDict, *, training: bool = True, read_weights: bool = True
) -> None:
    """Refuse a configuration that would fail, or do nothing of what it says, later on.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      training: whether the networks are trained, not just evaluated.
      read_weights: whether to read the file of pretrained weights.

    Raises:
      ValueError: for a field out of range, or fields that do not fit each other.
      FileNotFoundError: where the file or folder of a field is missing.
    """
    check_config(config)
    _check_source_fields(config.data)
    categories = _check_categories(config)
    _check_folder(config.data)
    networks = {
        variant: build.make_network(config, variant, categories) for variant in config.networks
    }
    network = networks[config.networks[-1]]  # any: their parameters are alike
    _check_weights(config, network, read_weights)
    if training:
        _check_frozen(config)
        if INTERPRETABLE in networks:
            _check_interpretable(config, networks[INTERPRETABLE])
        _check_rate_factors(config, network)


def _check_source_fields(data: ml_collections.ConfigDict) -> None:
    """The fields that say where the data are fit the data set; each of them has a use."""
    wants = {"manual_dir": FOLDER, "dataset": TFDS}
    asks = {"manual_dir": "the folder with the photos", "dataset": "the name of the tfds data set"}
    for field, name in wants.items():
        if data.name == name and not data[field]:
            raise ValueError(
                f"config.data.{field} is empty; give {asks[field]}, --config"
                f" {name}:{'path' if name == FOLDER else 'name'}=..."
            )
    for field, name in {"dataset": TFDS, "annotations": FOLDER}.items():
        if data[field] and data.name != name:
            raise ValueError(
                f"config.data.{field}={data[field]!r} has no use with {data.name}; leave it out, or"
                f" set config.data.name={name!r}"
            )


def _all_classes(data: ml_collections.ConfigDict) -> tuple[str, ...]:
    """All classes of data of one's own."""
    if data.name == TFDS:
        return categories_of(open_tfds(data.dataset, data_dir=data.data_dir or None))
    return read_folder(Path(data.manual_dir).expanduser()).classes


def _check_categories(config: ml_collections.ConfigDict) -> int | None:
    """The categories are known, and task and negatives fit their number.

    Returns:
      The number of categories, None where only the data will tell.
    """
    data = config.data
    if data.name in (FOLDER, TFDS):
        known = _all_classes(data)
        names = named_categories(data.category, known)
        all_named = len(names) == len(known)
    else:
        # () where the data will tell
        names = _builder(data, data.category).builder_config.categories
        all_named = _are_all(data, names)
    softmax = config.train.task == SOFTMAX
    if softmax and data.negatives != NONE:
        raise ValueError(
            f"config.train.task={SOFTMAX!r} tells categories from each other alone, and"
            f" config.data.negatives is {data.negatives!r}; set it to {NONE!r}, or the task to"
            " 'logistic'"
        )
    if len(names) == 1 and (softmax or data.negatives == NONE):
        raise ValueError(
            f"config.data.category={data.category!r} is one category, and"
            f" config.train.task={config.train.task!r} with"
            f" config.data.negatives={data.negatives!r} has nothing to tell it from; name several,"
            " or take the task 'logistic' with negatives 'photos' or 'categories'"
        )
    if data.negatives == CATEGORIES and all_named:
        raise ValueError(
            f"config.data.negatives={CATEGORIES!r} needs a category beside"
            f" config.data.category={data.category!r}, which are all of {data.name}; name fewer, or"
            " set negatives to 'photos' or 'none'"
        )
    if data.negatives == NONE and data.negatives_per_positive is not None:
        raise ValueError(
            f"config.data.negatives_per_positive={data.negatives_per_positive} needs negatives, and"
            f" config.data.negatives is {NONE!r}; leave one of them out"
        )
    return len(names) or None


def _builder(data: ml_collections.ConfigDict, category: str) -> Any:
    """The builder of the data set, not prepared; what tfds has to say of it, it says later."""
    folder, verbosity = data.data_dir or None, logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        return open_builder(data.name, category, data_dir=folder, skip_damaged=data.skip_damaged)
    finally:
        logging.set_verbosity(verbosity)


def _are_all(data: ml_collections.ConfigDict, names: tuple[str, ...]) -> bool:
    return data.category == ALL or (data.name == EMBEDDED and len(names) == len(DRAWN))


def _check_folder(data: ml_collections.ConfigDict) -> None:
    """The folder has the files that the data are made from."""
    if data.name == FOLDER:
        _check_own_folder(data)
        return
    if not data.manual_dir:
        return
    folder = Path(data.manual_dir).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"config.data.manual_dir={data.manual_dir!r} is no folder; give the one with the"
            f" published files of {data.name}"
        )
    if data.name in (EMBEDDED, TFDS):
        which = "which are drawn" if data.name == EMBEDDED else "which are in config.data.data_dir"
        raise ValueError(
            f"config.data.manual_dir={data.manual_dir!r} has no use with {data.name}, {which};"
            " leave it out, or set config.data.name to the data set that the folder holds"
        )
    builder = _builder(data, ALL if data.negatives == CATEGORIES else data.category)
    builder.check_source(folder)
    if data.negatives == CATEGORIES and data.category != ALL:
        _builder(data, data.category).check_source(folder)  # before all others are prepared
    if data.negatives == PHOTOS:
        builder.check_others(folder)


def _check_own_folder(data: ml_collections.ConfigDict) -> None:
    """Photos in folders have what the task needs, and annotations that can be read."""
    folder = read_folder(Path(data.manual_dir).expanduser())
    if data.negatives == PHOTOS and not folder.has_others:
        raise ValueError(
            f"config.data.negatives={PHOTOS!r} needs photos of other things, and {data.manual_dir}"
            f" has no folder {OTHER[0]}/; add it, or set negatives to {CATEGORIES!r} (one class"
            f" against the others) or {NONE!r} (all of them against each other)"
        )
    if data.annotations:
        read_annotations(Path(data.annotations).expanduser(), folder.classes)


def _check_weights(config: ml_collections.ConfigDict, network: AnyNetwork, read: bool) -> None:
    if not config.weights:
        return
    if config.model.width != 1:
        raise ValueError(
            f"config.model.width={config.model.width:g} does not fit pretrained weights, which are"
            " those of width 1; set one of them to its default"
        )
    if read or config.weights == "download":
        build.check_weights(config, network)


def _check_frozen(config: ml_collections.ConfigDict) -> None:
    """Layers that are not trained have weights."""
    frozen = config.model.frozen_through
    if frozen is not None and not config.weights:
        raise ValueError(
            f"config.model.frozen_through={frozen!r} freezes layers without weights, as"
            " config.weights is empty: name a file there, or train all layers from scratch,"
            " --config.model.frozen_through=none --config.model.new_init_std=none"
        )


def _check_interpretable(config: ml_collections.ConfigDict, network: AnyNetwork) -> None:
    """There is a filter loss or a mask, and they reach their strength before training ends."""
    start, epochs = config.interpretable.start_epoch, config.train.epochs
    if start >= epochs:
        raise ValueError(
            f"config.interpretable.start_epoch={start:g} is not before the end of the training,"
            f" config.train.epochs={epochs}: neither filter loss nor masks would ever set in;"
            " lower it"
        )
    loss = config.filter_loss
    strengths = network.mask_strengths
    weights = [loss.weight]
    if len(strengths) > 1 and loss.top_conv_weight is not None:
        weights.append(loss.top_conv_weight)
    ramp, fade = config.interpretable.ramp_epochs, loss.fade_epochs if any(weights) else 0
    if start + ramp + fade > epochs:
        raise ValueError(
            f"config.interpretable.start_epoch={start:g}, config.interpretable.ramp_epochs={ramp:g}"
            f" and config.filter_loss.fade_epochs={fade:g} are together more than"
            f" config.train.epochs={epochs}: filter loss and masks would not reach their strength;"
            f" give the epochs to the configuration, --config NAME:epochs={epochs}, which sets all"
            " of them, or lower these"
        )
    if not loss.weight and any(weights):
        logging.warning(
            "config.filter_loss.weight=0 leaves the filter loss out of the last layer alone; the"
            " others have config.filter_loss.top_conv_weight=%g",
            loss.top_conv_weight,
        )
    if not any(weights) and not any(strengths.values()):
        raise ValueError(
            f"config.filter_loss.weight={loss.weight:g} without any mask leaves nothing that makes"
            " the network interpretable; set it above 0, or the strength of a mask, such as"
            " config.model.new_conv_mask"
        )


def _check_rate_factors(config: ml_collections.ConfigDict, network: AnyNetwork) -> None:
    """Every expression matches a parameter that is trained."""
    factors = dict(config.train.rate_factors)
    if not factors:
        return
    params = jax.eval_shape(lambda: init_variables(network, 0))["params"]
    optimizer = make_optimizer(lambda step: 0.0, frozen=network.frozen_layers, rate_factors=factors)
    jax.eval_shape(optimizer.init, params)
