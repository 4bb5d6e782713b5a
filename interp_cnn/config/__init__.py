"""The configuration of a run: every field with its default, and what makes two runs the same."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from interp_cnn.config.fields import (
    FIELDS,
    INTERPRETABLE,
    ORDINARY,
    RENAMED_FIELDS,
    Field,
    check_fields,
    field_of,
    renamed,
)
from interp_cnn.config.kinds import Flag, Number

__all__ = ["INTERPRETABLE", "ORDINARY", "default_config"]


def default_config() -> ml_collections.ConfigDict:
    """Fields of a run with the paper's values; the files in configs/ start from it."""
    config = ml_collections.ConfigDict()
    for field in FIELDS:
        *groups, name = field.name.split(".")
        inner = config
        for group in groups:
            if group not in inner:
                inner[group] = ml_collections.ConfigDict()
            inner = inner[group]
        inner[name] = _unset(field) if field.default is None else field.default
    return config


def _unset(field: Field) -> Any:
    """A value that may be given later, of the right type."""
    return config_dict.placeholder(float if isinstance(field.kind, Number) else str)


def check_config(config: Mapping[str, Any], source: str = "config") -> None:
    """Check every field of a configuration by itself.

    Args:
      config: as `default_config` makes it, or as read from a config.json.
      source: what the message calls it by.

    Raises:
      ValueError: for a field that is unknown, missing, of another type or out of range.
    """
    check_fields(renamed(flatten(config)), source)


def set_field(config: ml_collections.ConfigDict, name: str, text: str) -> None:
    """Set a field to what a text on the command line stands for.

    Raises:
      ValueError: for an unknown field, or a value that it cannot have.
    """
    ((name, text),) = renamed({name: text}).items()
    value = field_of(name).parse(text)
    with config.ignore_type():  # that of the value is checked; the file may have a list for a tuple
        config.update_from_flattened_dict({name: value})


def with_present_names(config: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A configuration whose fields have their present names and values, see `renamed`."""
    result = ml_collections.ConfigDict(config)
    flat = flatten(config)
    present = renamed(flat)
    with result.unlocked(), result.ignore_type():
        for former in flat.keys() & RENAMED_FIELDS.keys():
            group, _, name = former.rpartition(".")
            del result[group][name]
            group, _, name = RENAMED_FIELDS[former][0].rpartition(".")
            result[group][name] = present[RENAMED_FIELDS[former][0]]
    return result


# Fields that may differ when a run is taken up again: they change no result beyond rounding.
_FREE_PREFIXES = (
    *("networks", "data.data_dir", "data.manual_dir", "data.threads", "data.cache_gib"),
    *("log_every_steps", "eval.", "checkpoint."),
)


def parse_arguments(text: str | None, **defaults: Any) -> Any:
    """The part of `--config=FILE.py:name=value,...` behind the colon.

    Args:
      text: `"name=value,..."`, or None.
      **defaults: the names that are allowed, with default values whose type is kept. A type in
        place of a value stands for None.

    Returns:
      The values as attributes.

    Raises:
      ValueError: for an unknown name or a value of another type.
    """
    kinds = {
        name: default if isinstance(default, type) else type(default)
        for name, default in defaults.items()
    }
    values = {
        name: None if isinstance(default, type) else default for name, default in defaults.items()
    }
    for item in filter(None, (text or "").split(",")):
        name, separator, value = item.partition("=")
        if not separator or name not in defaults:
            raise ValueError(
                f"config argument {item!r} is unknown; write name=value with one of"
                f" {', '.join(defaults)}"
            )
        kind = kinds[name]
        try:
            values[name] = Flag().parse(value) if kind is bool else kind(value)
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
    old, new = renamed(flatten(saved)), renamed(flatten(config))
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
