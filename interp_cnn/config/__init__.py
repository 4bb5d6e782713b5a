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

__all__ = ["INTERPRETABLE", "ORDINARY", "default_config", "parse_arguments"]


def default_config() -> ml_collections.ConfigDict:
    """Fields of a run with the paper's values; every configuration starts from it."""
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
      config: the nested fields, as `default_config` makes them or as read from a config.json.
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


# Beginnings of the names of fields that may differ when a run is taken up again: they change no
# result of training beyond rounding. That files of data elsewhere are the same, data.json knows.
FREE_FIELDS = (
    *("networks", "data.data_dir", "data.manual_dir", "data.annotations"),
    *("data.threads", "data.cache_gib"),
    *("log_every_steps", "eval.", "checkpoint."),
)


def parse_arguments(text: str | None, **defaults: Any) -> Any:
    """The part of `--config=NAME:name=value,...` behind the colon.

    Args:
      text: `"name=value,..."`, or None.
      **defaults: the names that are allowed, with default values whose type is kept; a type in
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
    given: set[str] = set()
    for item in filter(None, (text or "").split(",")):
        name, separator, value = item.partition("=")
        if name in given:
            raise ValueError(
                f"config argument {name!r} is given twice; several categories are joined by +"
            )
        given.add(name)
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


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields as one level of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            flat |= flatten(value, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def merge_with_defaults(
    saved: Mapping[str, Any], source: str = "config"
) -> ml_collections.ConfigDict:
    """A saved configuration, perhaps of an older release, with the defaults of what it lacks.

    A field that is added later needs a default with which nothing changes.

    Args:
      saved: the nested fields, as read from a config.json.
      source: what the message calls them by.

    Raises:
      ValueError: for a field that is unknown, of another type or out of range.
    """
    flat = _complete(saved)
    check_fields(flat, source)
    config = default_config()
    with config.ignore_type():  # JSON has lists for tuples
        config.update_from_flattened_dict(flat)
    return config


def _complete(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a saved configuration by dotted name, with the defaults of those it lacks."""
    return flatten(default_config()) | renamed(flatten(saved))


def first_difference(
    saved: Mapping[str, Any], config: Mapping[str, Any], free: tuple[str, ...] = FREE_FIELDS
) -> str | None:
    """A sentence on the first field that makes two runs different, or None.

    Args:
      saved: the fields of a run that is there; those that it lacks count as their defaults.
      config: the fields of another run.
      free: beginnings of the names of fields that may differ.
    """
    old, new = _complete(saved), _complete(config)
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
