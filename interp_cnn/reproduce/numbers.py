"""From the outcomes of the runs to the numbers of a table: mean, spread, and what is behind."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from interp_cnn.config import INTERPRETABLE, ORDINARY
from interp_cnn.evaluation.results import Results
from interp_cnn.models import NEW_CONV, TOP_CONV
from interp_cnn.report.paper_numbers import paper_number
from interp_cnn.reproduce.differences import differences
from interp_cnn.reproduce.execute import NOT_YET, Outcomes
from interp_cnn.reproduce.plan import Run
from interp_cnn.reproduce.request import Request
from interp_cnn.reproduce.tables import (
    ACCURACY,
    CATEGORIES,
    FIRED,
    IN_PAPER,
    INSTABILITY,
    INTERPRETABILITY_FIRED,
    SINGLE,
    Column,
    Experiment,
    Table,
    columns,
    networks,
)

CONTROLS = {"center": "control: always at the centre", "random": "control: random positions"}


class Missing(NamedTuple):
    """What a measurement lacks: a run, given by category and seed, or all (empty and None)."""

    category: str
    seed: int | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One cell of a table.

    Attributes:
      table: the name of the table.
      metric: what was measured.
      network: the name of the architecture.
      variant: `"ordinary"`, `"interpretable"`, or a key of `CONTROLS`.
      layer: the name of the maps, or "".
      dataset: the data set of the column.
      task: the task of the column.
      column: the title of the column.
      seeds: the seeds that were measured.
      values: a value for each seed.
      filters: the number of filters for each seed; 0 where the metric has none.
      images: the number of images for each seed.
      paper: the paper's number, or None.
      paper_scope: what the paper's number covers.
      differences: where data, split, weights or training differ from the paper's.
      missing: why the cell, or a part of it, is empty.
    """

    table: str
    metric: str
    network: str
    variant: str
    layer: str
    dataset: str
    task: str
    column: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    filters: tuple[int, ...]
    images: tuple[int, ...]
    paper: float | None
    paper_scope: str
    differences: tuple[str, ...]
    missing: tuple[Missing, ...]

    @property
    def mean(self) -> float | None:
        """Mean over the seeds."""
        return statistics.mean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (ddof = 1); None of fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


_OLDER = "not in the results of an older release; evaluate the run again"


class _Read(NamedTuple):
    value: float
    filters: int
    images: int


def measurements_of(
    table: Table, request: Request, planned: Sequence[Run], outcomes: Outcomes
) -> list[Measurement]:
    """The cells of a table, row by row."""
    runs = {(run.experiment, run.seed): run for run in planned}
    return [
        _measurement(table, request, column, network, row, runs, outcomes)
        for network in networks(table, request.nets)
        for row in _rows(table)
        for column in columns(table, request.categories)
    ]


class _Row(NamedTuple):
    metric: str
    variant: str
    layer: str


def _rows(table: Table) -> list[_Row]:
    """Rows of one network: the authors' code measures the new conv, so that comes first."""
    rows = []
    variants = (ORDINARY, INTERPRETABLE)
    for metric in table.metrics:
        layers = ("",) if metric == ACCURACY else (NEW_CONV, TOP_CONV)
        rows += [_Row(metric, variant, layer) for layer in layers for variant in variants]
        if metric in (INSTABILITY, INTERPRETABILITY_FIRED):
            rows += [_Row(metric, control, "") for control in CONTROLS]
    return rows


def _measurement(
    table: Table,
    request: Request,
    column: Column,
    network: str,
    row: _Row,
    runs: Mapping[tuple[Experiment, int], Run],
    outcomes: Outcomes,
) -> Measurement:
    found: dict[str, dict[int, _Read]] = {}  # category -> seed -> value
    different: dict[str, None] = {}  # a set that keeps its order
    missing = [Missing("", None, column.reason)] if column.reason else []
    for category in column.categories:
        experiment = Experiment(column.dataset, column.task, category, network)
        for seed in range(request.seeds):
            outcome = outcomes.get((experiment, seed), NOT_YET)
            if outcome.results is None:
                missing.append(Missing(category, seed, outcome.reason))
                continue
            read = _read(outcome.results, row)
            if isinstance(read, str):
                what = " ".join(filter(None, (row.metric, row.variant, row.layer)))
                missing.append(Missing(category, seed, f"{what}: {read}"))
                continue
            found.setdefault(category, {})[seed] = read
            if row.variant not in CONTROLS:
                run = runs[experiment, seed]
                new = differences(run, outcome.results, row.metric, row.variant)
                different |= dict.fromkeys(new)
    # Each seed has to have the same categories, or the spread would be one of categories.
    seeds = sorted(set.intersection(*map(set, found.values()))) if found else []
    if found and not seeds:
        missing.append(Missing("", None, "no seed has all of the categories that are there"))
    paper = _paper(column, network, row)
    whole = CATEGORIES[column.dataset]
    if seeds and column.task == SINGLE and not column.one and len(found) < len(whole):
        different[f"mean over {len(found)} of {len(whole)} categories ({', '.join(found)})"] = None
    reads = [[by_seed[seed] for by_seed in found.values()] for seed in seeds]
    return Measurement(
        table=table.name,
        metric=row.metric,
        network=network,
        variant=row.variant,
        layer=row.layer,
        dataset=column.dataset,
        task=column.task,
        column=column.title,
        seeds=tuple(seeds),
        values=tuple(statistics.mean(read.value for read in of) for of in reads),
        filters=tuple(sum(read.filters for read in of) for of in reads),
        images=tuple(sum(read.images for read in of) for of in reads),
        paper=paper[0],
        paper_scope=paper[1],
        differences=tuple(different) if seeds else (),
        missing=tuple(missing),
    )


def _read(results: Results, row: _Row) -> _Read | str:
    """One value of the results of a run, or why it is not in them."""
    if row.variant in CONTROLS:
        controls = results.controls if row.metric == INSTABILITY else results.part_controls
        if controls is None:
            return _OLDER
        return _known(getattr(controls, row.variant), 0, controls.images)
    network = results.networks.get(row.variant)
    if network is None:
        return "network not trained"
    if row.metric == ACCURACY:
        return _known(network.accuracy.value, 0, network.accuracy.images)
    layer = network.layers[row.layer]
    measured = getattr(layer, row.metric)
    if measured is None:
        return _OLDER
    if row.metric == FIRED:
        filters = sum(layer.filters_of_category.values())
        return _known(measured, filters, results.data.location_images)
    return _known(measured.value, measured.filters, results.data.location_images)


def _known(value: float | None, filters: int, images: int) -> _Read | str:
    return "no filter could be measured" if value is None else _Read(value, filters, images)


def _paper(column: Column, network: str, row: _Row) -> tuple[float | None, str]:
    """The paper's number for a cell and what it covers, or None and ""."""
    if row.variant in CONTROLS or row.metric not in IN_PAPER:
        return None, ""
    category = column.categories[0] if column.one else None
    number = paper_number(
        IN_PAPER[row.metric],
        network=network,
        dataset=column.dataset,
        category=category,
        task=column.task,
    )
    # A mean does not stand beside one category.
    if number is None or (column.one and number.scope != category):
        return None, ""
    return getattr(number, row.variant), number.scope
