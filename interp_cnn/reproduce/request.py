"""What is asked for: tables, networks, categories and settings, checked."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from interp_cnn.config.fields import field_of, renamed
from interp_cnn.report.paper_numbers import NETWORKS
from interp_cnn.reproduce.tables import CATEGORIES, TABLES, Table

# Fields that have a flag of their own.
_FLAGS = {
    "seed": "--seeds",
    "model.name": "--nets",
    "weights": "--weights",
    "data.name": "--tables",
    "data.category": "--categories",
    "data.manual_dir": "--manual_dir",
    "train.task": "--tables",
}


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
      tables: keys of `TABLES`.
      nets: keys of `NETWORKS`.
      categories: names, or None for all.
      seeds: number of seeds, 0, 1, ...
      manual_dir: folder with the published files of all data sets; "" downloads them.
      weights: network -> file; without one the published file is downloaded where that is possible.
      settings: dotted fields of the configuration -> values, for every run.
    """

    tables: tuple[str, ...]
    nets: tuple[str, ...]
    categories: tuple[str, ...] | None
    seeds: int
    manual_dir: str
    weights: Mapping[str, str]
    settings: Mapping[str, Any]

    def chosen_tables(self) -> list[Table]:
        """The tables in the order of the paper."""
        return [table for name, group in TABLES.items() if name in self.tables for table in group]


def read_request(
    *,
    tables: Sequence[str],
    nets: Sequence[str] = (),
    categories: Sequence[str] = (),
    seeds: int = 3,
    manual_dir: str = "",
    weights: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> Request:
    """Check what the command line says.

    Args:
      tables: names.
      nets: names; empty for the paper's four.
      categories: names; empty for all.
      seeds: number of seeds.
      manual_dir: folder, or "".
      weights: `NET=FILE`, or `FILE` alone where there is one network.
      settings: `FIELD=VALUE`.

    Raises:
      ValueError: for anything unknown or out of range.
    """
    _known("--tables", tables, list(TABLES))
    _known("--nets", nets, list(NETWORKS))
    chosen = [group for name in tables for group in TABLES[name]]
    datasets = dict.fromkeys(dataset for table in chosen for dataset, _ in table.tasks)
    _known(
        "--categories",
        categories,
        list(dict.fromkeys(name for dataset in datasets for name in CATEGORIES[dataset])),
    )
    if not tables:
        raise ValueError(f"--tables is empty; name some of {', '.join(TABLES)}")
    if seeds < 1:
        raise ValueError(f"--seeds={seeds} must be at least 1")
    nets = tuple(nets) or tuple(NETWORKS)
    return Request(
        tables=tuple(tables),
        nets=nets,
        categories=tuple(categories) or None,
        seeds=seeds,
        manual_dir=manual_dir,
        weights=_weights(weights, nets),
        settings=dict(_setting(text) for text in settings),
    )


def _known(flag: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{flag} has no {name!r}; choose from {', '.join(known)}")


def _weights(texts: Sequence[str], nets: Sequence[str]) -> dict[str, str]:
    result = {}
    for text in texts:
        network, separator, file = text.partition("=")
        if not separator:
            if len(nets) > 1:
                raise ValueError(
                    f"--weights={text} does not say of which network; write NET=FILE with one of"
                    f" {', '.join(nets)}"
                )
            network, file = nets[0], text
        _known("--weights", [network], nets)
        result[network] = file
    return result


def _setting(text: str) -> tuple[str, Any]:
    """Field and value of `FIELD=VALUE`."""
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"--set {text!r} has no value; write FIELD=VALUE, such as train.epochs=4")
    try:
        field = field_of(name)
        if name in _FLAGS:
            raise ValueError(f"config.{name} has a flag of its own; use {_FLAGS[name]}")
        ((name, value),) = renamed({name: value}).items()
        return name, field.parse(value)
    except ValueError as error:
        raise ValueError(f"--set {text!r}: {error}") from None
