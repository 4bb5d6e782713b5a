"""What several configurations share."""

import math
from typing import Any

import ml_collections

from interp_cnn.config import default_config, parse_arguments
from interp_cnn.configs._networks import set_network, set_rates
from interp_cnn.data.categories import ALL, SEPARATOR

_LEAST_EPOCHS = 8  # of one's own data, however many images there are


def default_negatives(task: str) -> str:
    """What has label 0 in a task: nothing for the softmax, which tells categories apart."""
    return "none" if task == "softmax" else "photos"


def begin_from_ordinary(
    config: ml_collections.ConfigDict, epochs: int, *, several_of_photos: bool = False
) -> None:
    """Let both networks begin from an ordinary one, and leave the masks out.

    From scratch, the masks hide what the filters have not learned yet. From a trained network, the
    filter loss alone makes filters follow parts when it is strong enough: on photos and the drawn
    cat as closely as with masks, on the drawn deer nearly so, where masks cost three points of
    accuracy. Larger maps would serve the filter loss alone, and at the end, when filters know their
    part, the task has the word. docs/trials.md has the trials.

    Args:
      config: the configuration that is changed.
      epochs: the length of the training of that ordinary network.
      several_of_photos: whether several categories of photos are told from each other: there it is
        the new conv's loss that costs accuracy, and a third of it does where the top conv has more.
    """
    config.train.start_epochs = epochs
    config.model.top_conv_mask = 0.0
    config.model.new_conv_mask = 0.0
    config.filter_loss.weight = 3.0 if several_of_photos else 10.0
    config.filter_loss.top_conv_weight = 30.0 if several_of_photos else None
    config.filter_loss.growth_weight = 3.0
    config.interpretable.ramp_epochs = 0.4 * config.train.epochs
    config.filter_loss.fade_epochs = 0.4 * config.train.epochs


def photo_config(
    text: str | None, *, name: str, category: str, several: str = ALL
) -> ml_collections.ConfigDict:
    """The configuration of a data set of published photos: VGG-16 from ImageNet weights.

    Args:
      text: the arguments category, negatives, task, epochs, schedule, frozen_through and seed, as
        `parse_arguments` reads them; None for the defaults.
      name: the name of the data set, as in `config.data.name`.
      category: the category that is taken where the text names none.
      several: a category beside `all` that is several.

    Raises:
      ValueError: for an argument that is unknown or of another type.
    """
    arguments = parse_arguments(
        text,
        category=category,
        negatives="",
        task="logistic",
        epochs=8,
        schedule="cosine",
        frozen_through="conv4_3",
        seed=0,
    )
    config = default_config()
    start = set_network(config, "vgg16")
    config.seed = arguments.seed
    frozen = arguments.frozen_through
    config.model.frozen_through = None if frozen == "none" else frozen
    config.data.name = name
    config.data.category = arguments.category
    config.data.negatives = arguments.negatives or default_negatives(arguments.task)
    config.train.task = arguments.task
    config.train.epochs = arguments.epochs
    config.train.schedule = arguments.schedule
    if arguments.schedule != "paper":
        set_rates(config, start)
        begin_from_ordinary(
            config,
            epochs=math.ceil(0.5 * arguments.epochs),
            several_of_photos=arguments.category == several or names_several(arguments.category),
        )
    else:
        config.interpretable.ramp_epochs = 1.0
    config.train.warmup_steps = 10
    config.checkpoint.every_steps = 50
    config.log_every_steps = 5
    return config


def own_config(
    arguments: Any, *, name: str, images: int, task: str, negatives: str, several: bool
) -> ml_collections.ConfigDict:
    """The configuration of data of one's own, with each network's own start.

    Args:
      arguments: net, category, epochs and seed, as `parse_arguments` gives them; no epochs take as
        many as the network's number of steps needs.
      name: the name of the data set, as in `config.data.name`.
      images: the number of training images; 0 where it is not known.
      task: `"logistic"` or `"softmax"`.
      negatives: see `config.data.negatives`.
      several: whether these are several categories.

    Raises:
      ValueError: for an unknown network.
    """
    config = default_config()
    start = set_network(config, arguments.net)
    config.seed = arguments.seed
    config.data.name = name
    config.data.category = arguments.category
    config.data.negatives = negatives
    config.train.task = task
    config.train.batch_size = _batch_size(images)
    epochs = arguments.epochs
    if epochs is None:
        steps_per_epoch = max(images // config.train.batch_size, 1)
        epochs = max(_LEAST_EPOCHS, math.ceil(start.steps / steps_per_epoch)) if images else 8
    config.train.epochs = epochs
    config.train.schedule = "cosine"
    set_rates(config, start)
    config.train.warmup_steps = 10
    begin_from_ordinary(
        config,
        epochs=math.ceil(0.5 * epochs),
        several_of_photos=several,
    )
    config.checkpoint.every_steps = 50
    config.log_every_steps = 5
    return config


def names_several(category: str) -> bool:
    """Whether an argument `category` asks for several."""
    return category == ALL or SEPARATOR in category


def _batch_size(images: int) -> int:
    """Up to 32 that are surely there; 32 where nothing is known.

    The filter loss compares the images of a batch, and of few it learns little. How many of the
    photos train is an estimate.
    """
    if not images:
        return 32
    return next((size for size in (32, 16, 8, 4) if images >= 1.25 * size), max(images // 2, 1))
