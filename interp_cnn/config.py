"""The configuration of a run: every field with its default, and what makes two runs the same."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

ORDINARY, INTERPRETABLE = "ordinary", "interpretable"


def default_config() -> ml_collections.ConfigDict:
    """Fields of a run with the paper's values; the files in configs/ start from it."""
    return ml_collections.ConfigDict(
        {
            "seed": 0,
            # Which of the two networks are trained and evaluated, in this order.
            "networks": (ORDINARY, INTERPRETABLE),
            "model": {
                "name": "vgg16",
                "width": 1.0,
                "dropout": 0.8,
                "norm": "l1",
                "beta": 4.0,
                "position": "argmax",
                "second_layer": "before_pool",
                "new_init_std": config_dict.placeholder(float),
                "frozen_through": config_dict.placeholder(str),
                "dtype": "float32",
            },
            # File with pretrained weights, "download" for the published one, "" for none.
            "weights": "",
            "data": {
                "name": "embedded_animals",
                # One category, several joined by "+", or "all".
                "category": "cat",
                # What has label 0: "photos" of other things, the other "categories", or "none".
                "negatives": "photos",
                # Where prepared data sets are kept; "" is tfds' own default.
                "data_dir": "",
                # Folder with a copy of the published files; "" downloads them.
                "manual_dir": "",
                "skip_damaged": False,
                "crop": "object",
                "negatives_per_positive": config_dict.placeholder(float),
                # RGB, 0..255: what is subtracted, and what it is divided by then.
                "mean": (123.68, 116.779, 103.939),
                "std": 1.0,
                "threads": 4,
                # Disk that the output of the frozen layers may take in the work directory while the
                # run lasts, to be computed once for each image; 0 computes it at every step.
                "cache_gib": 16.0,
            },
            "train": {
                # "logistic" log loss with one output per category, or "softmax" without negatives.
                "task": "logistic",
                # "none", or "balanced": each category counts alike.
                "class_weights": "none",
                "batch_size": 32,
                "epochs": 50,
                "schedule": "paper",
                "learning_rate": 1e-3,
                "paper_factor": 1.0,
                "warmup_steps": 0,
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "clip_norm": config_dict.placeholder(float),
                # Learning-rate factors: pairs of a regular expression on parameter paths and a
                # number, such as (("fc8/.*", 10.0),).
                "rate_factors": (),
            },
            # Epochs before masks and filter loss set in, and until they are at full strength.
            "interpretable": {"start_epoch": 0.0, "ramp_epochs": 0.0},
            # See interp_cnn/objective.py.
            "filter_loss": {
                # "scale_free", "constant" or "paper".
                "weighting": "scale_free",
                "weight": 3.0,
                "sharpness": 60.0,
                # Images that it sees: "all", or those of the filter's "category".
                "images": "all",
                # "paper" is the gradient of Eq. 4, "mi" the exact one of Eq. 1.
                "estimator": "paper",
                "alpha": config_dict.placeholder(float),
                # Activity that decides on a filter's category: "sum" (paper) or "max" (code).
                "category_rule": "sum",
            },
            "checkpoint": {"every_steps": 200, "keep": 2},
            "log_every_steps": 20,
            "eval": {
                "batch_size": 32,
                # Images for instability and interpretability: "test", or "all" as the authors do.
                "images": "test",
                "top": 100,
                # Radius of a unit's image region in pixels, the same for all networks compared.
                # Unset is 0.16 of the image's side; eval.py --occlude measures and sets it.
                "radius": config_dict.placeholder(float),
            },
        }
    )


# Fields that may differ when a run is taken up again: they change no result beyond rounding.
_FREE_PREFIXES = (
    *("networks", "data.data_dir", "data.manual_dir", "data.threads", "data.cache_gib"),
    *("log_every_steps", "eval.", "checkpoint."),
)


def parse_arguments(text: str | None, **defaults: Any) -> Any:
    """The part of `--config=FILE.py:name=value,...` behind the colon.

    Args:
      text: `"name=value,..."`, or None.
      **defaults: the names that are allowed, with default values whose type is kept.

    Returns:
      The values as attributes.

    Raises:
      ValueError: for an unknown name or a value of another type.
    """
    values = dict(defaults)
    for item in filter(None, (text or "").split(",")):
        name, separator, value = item.partition("=")
        if not separator or name not in defaults:
            raise ValueError(
                f"config argument {item!r} is unknown; write name=value with one of"
                f" {', '.join(defaults)}"
            )
        kind = type(defaults[name])
        try:
            values[name] = value.lower() in ("1", "true") if kind is bool else kind(value)
        except ValueError:
            raise ValueError(
                f"config argument {name}={value!r} must be of the type {kind.__name__}"
            ) from None
    return ml_collections.FrozenConfigDict(values)


def default_negatives(task: str) -> str:
    """Of a task: the softmax tells categories from each other alone."""
    return "none" if task == "softmax" else "photos"


def photo_config(text: str | None, *, name: str, category: str) -> ml_collections.ConfigDict:
    """What the configurations of published photos share: VGG-16 from ImageNet weights.

    Args:
      text: of the arguments category, negatives, task, epochs, schedule, frozen_through and seed,
        see `parse_arguments`.
      name: of the data set.
      category: that is the default.
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
    config.seed = arguments.seed
    config.model.dropout = 0.5
    config.model.new_init_std = 0.01
    frozen = arguments.frozen_through
    config.model.frozen_through = None if frozen == "none" else frozen
    config.weights = "download"
    config.data.name = name
    config.data.category = arguments.category
    config.data.negatives = arguments.negatives or default_negatives(arguments.task)
    config.train.task = arguments.task
    config.train.epochs = arguments.epochs
    config.train.schedule = arguments.schedule
    if arguments.schedule != "paper":
        # The gradient of new layers on ImageNet maps is huge at first: unclipped it kills filters.
        config.train.learning_rate = 5e-3
        config.train.clip_norm = 5.0
    config.train.warmup_steps = 10
    config.interpretable.ramp_epochs = 1.0
    config.checkpoint.every_steps = 50
    config.log_every_steps = 5
    return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            flat |= flatten(value, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def first_difference(
    saved: Mapping[str, Any], config: Mapping[str, Any], free: tuple[str, ...] = _FREE_PREFIXES
) -> str | None:
    """A sentence on the first field that makes two runs different, or None.

    Args:
      saved: fields of a run that is there.
      config: fields of another one.
      free: beginnings of the names of fields that may differ.
    """
    old, new = flatten(saved), flatten(config)
    for name in sorted(old.keys() | new.keys()):
        if name.startswith(free):
            continue
        if _plain(old.get(name)) != _plain(new.get(name)):
            return f"config.{name} is {old.get(name)!r} there and {new.get(name)!r} here"
    return None


def _plain(value: Any) -> Any:
    """Values as JSON gives them back: sequences as lists."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def is_interpretable(name: str) -> bool:
    """Whether the network called so has masks and filter loss.

    Raises:
      ValueError: for another name.
    """
    if name not in (ORDINARY, INTERPRETABLE):
        raise ValueError(
            f"config.networks may hold {ORDINARY!r} and {INTERPRETABLE!r}, got {name!r}"
        )
    return name == INTERPRETABLE
