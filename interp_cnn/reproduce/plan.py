"""From what was asked for to the list of runs, each with its configuration."""

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from interp_cnn.config import check_config
from interp_cnn.config.fields import field_of, renamed
from interp_cnn.models import BACKBONES
from interp_cnn.models.pretrained import load_weights
from interp_cnn.report.paper_numbers import NETWORKS
from interp_cnn.reproduce.tables import (
    CATEGORIES,
    EMBEDDED,
    SINGLE,
    SOFTMAX,
    TABLES,
    Job,
    Table,
    jobs,
)

_CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_FILES = {EMBEDDED: "embedded"}  # of the other data sets the name is that of the file
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
class Wishes:
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
    nets: tuple[str, ...] = tuple(NETWORKS)
    categories: tuple[str, ...] | None = None
    seeds: int = 3
    manual_dir: str = ""
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def chosen_tables(self) -> list[Table]:
        """The tables in the order of the paper."""
        return [table for name, group in TABLES.items() if name in self.tables for table in group]


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of `train_and_evaluate`."""

    job: Job
    seed: int
    config: ml_collections.ConfigDict

    @property
    def name(self) -> str:
        """Of its folder."""
        job = self.job
        return f"{job.dataset}-{job.category}-{job.task}-{job.network}-seed{self.seed}"


def read_wishes(
    *,
    tables: Sequence[str],
    nets: Sequence[str] = (),
    categories: Sequence[str] = (),
    seeds: int = 3,
    manual_dir: str = "",
    weights: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> Wishes:
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
    return Wishes(
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


def plan(wishes: Wishes) -> list[Run]:
    """The runs behind the tables, each once, all of the first seed before those of the second."""
    wanted = dict.fromkeys(
        job
        for table in wishes.chosen_tables()
        for job in jobs(table, nets=wishes.nets, wanted=wishes.categories)
    )
    return [
        Run(job, seed, config_of(job, seed, wishes))
        for seed in range(wishes.seeds)
        for job in wanted
    ]


def config_of(job: Job, seed: int, wishes: Wishes) -> ml_collections.ConfigDict:
    """The configuration of one run: that of the file in configs/, for the task and the network."""
    arguments = f"category={job.category}"
    if "train.epochs" in wishes.settings:  # the file sets what hangs on their number
        arguments += f",epochs={wishes.settings['train.epochs']}"
    config = _get_config(_FILES.get(job.dataset, job.dataset))(arguments)
    config.seed = seed
    config.train.task = "softmax" if job.task == SOFTMAX else "logistic"
    # Several categories are told from each other, as in the paper.
    config.data.negatives = "photos" if job.task == SINGLE else "none"
    config.checkpoint.keep = 1
    if job.dataset != EMBEDDED:
        config.data.manual_dir = wishes.manual_dir
        config.model.name = job.network
        if config.model.frozen_through not in BACKBONES[job.network].convolutions:
            config.model.frozen_through = None
        file = wishes.weights.get(job.network)
        config.weights = file or "download"
        known = file and weights_facts(file, job.network)
        # The run would refuse a mean that is further from that of its weights.
        if known and any(
            abs(a - b) > 1 for a, b in zip(config.data.mean, known["mean"], strict=True)
        ):
            config.data.mean = known["mean"]
    config.update_from_flattened_dict(dict(wishes.settings))
    check_config(config)
    return config


@functools.cache
def _get_config(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, _CONFIGS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


@functools.cache
def weights_facts(file: str, network: str) -> dict[str, Any] | None:
    """Mean and source of a weights file, or None where it cannot be read."""
    try:
        pretrained = load_weights(file, BACKBONES[network])
    except (ValueError, OSError):
        return None  # the run will say why
    return {"mean": pretrained.mean, "source": pretrained.source}
