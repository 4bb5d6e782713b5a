"""The tables as plain text, cell by cell, not yet in any markup."""

import string
from collections.abc import Sequence
from typing import NamedTuple

from interp_cnn.report.paper_numbers import NETWORKS
from interp_cnn.reproduce.numbers import CONTROLS, Measurement
from interp_cnn.reproduce.tables import (
    ACCURACY,
    FIRED,
    INSTABILITY,
    INTERPRETABILITY,
    INTERPRETABILITY_FIRED,
    TITLES,
    TRACKING,
    Table,
)

Cells = tuple[Table, list[Measurement]]

TITLE = "The paper's tables"
ABOUT = (
    "Each cell: mean ± standard deviation over seeds, (the paper's number), and letters where"
    " data, split, weights or training differ from the paper's, explained at the end. ↑ higher"
    " is better, ↓ lower is better, — nothing measured. The paper has one number for a"
    " network: it stands beside both layers; the authors' code measures the new conv."
)
_METRICS = {
    ACCURACY: "accuracy, % ↑",
    INSTABILITY: "location instability ↓",
    TRACKING: "tracking ratio ↓",
    INTERPRETABILITY_FIRED: "part interpretability, images on which the filter fires ↑",
    FIRED: "images on which a filter fires, %",
    INTERPRETABILITY: "part interpretability, all images with the part ↑",
}
_NOTES = {
    INSTABILITY: "Location instability can be low for a unit that ignores the image: hence the two"
    " controls, from the landmarks alone, and the tracking ratio, which is 1 for any constant"
    " position and lower where a filter follows a part.",
    INTERPRETABILITY_FIRED: "The paper does not say whether an image on which a filter does not"
    " fire counts against it. Its numbers read as if it did not, so they stand beside the share of"
    " the images on which the filter fires, and beside two controls: units that ignore the image,"
    " with a region of one disc on every image. The share of all images with the part is our own"
    " measure: it does not reward a filter that fires on few images.",
    INTERPRETABILITY: "The regions' radius is not in the paper: ours is 0.2 of the image's side,"
    " with which its ordinary VGG-16 has its numbers, or config.eval.radius, the same for all"
    " networks. The report of each run shows how the number moves with it.",
}
_OF_THE_IMAGES = (
    "Of the images the strongest of each filter and landmark count for location instability and"
    " tracking ratio (config.eval.top)."
)
_DASH = "—"


class Cell(NamedTuple):
    """One cell; a text is empty where there is nothing to say.

    Attributes:
      ours: mean and spread, or a dash.
      paper: the paper's number.
      letters: the letters of what differs from the paper.
      filters: how many filters are behind the mean.
      images: how many images are behind it.
      seeds: how many seeds are behind it.
    """

    ours: str
    paper: str
    letters: tuple[str, ...]
    filters: str
    images: str
    seeds: int


class Grid(NamedTuple):
    """One metric: a column for each category or task, rows of networks and layers."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


class TableText(NamedTuple):
    """One table.

    Attributes:
      title: the title of the table, with its number.
      notes: what its numbers mean.
      behind: which of the images behind the numbers count, "" for all.
      grids: a grid for each metric.
      reasons: why something is empty.
    """

    title: str
    notes: list[str]
    behind: str
    grids: list[Grid]
    reasons: list[str]


def assign_letters(tables: Sequence[Cells]) -> dict[str, str]:
    """A letter for each difference from the paper that some cell has."""
    different = dict.fromkeys(
        text
        for _, measurements in tables
        for measurement in measurements
        for text in measurement.differences
    )
    return {text: _letter(number) for number, text in enumerate(different)}


def lay_out(
    table: Table, measurements: Sequence[Measurement], letters: dict[str, str]
) -> TableText:
    """The text of one table, with the letters of `assign_letters`."""
    title = f"Table {table.name}: {table.title}"
    if table.by_category:
        title += f", {TITLES[table.tasks[0][0]]}"
    return TableText(
        title=title,
        notes=[_NOTES[metric] for metric in table.metrics if metric in _NOTES],
        behind=_OF_THE_IMAGES if INSTABILITY in table.metrics else "",
        grids=[
            _grid(
                [measurement for measurement in measurements if measurement.metric == metric],
                metric,
                letters,
            )
            for metric in table.metrics
        ],
        reasons=reasons(measurements),
    )


def _grid(measurements: Sequence[Measurement], metric: str, letters: dict[str, str]) -> Grid:
    rows: dict[str, list[Cell]] = {}
    for measurement in measurements:
        rows.setdefault(_row_title(measurement), []).append(_cell(measurement, letters))
    columns = list(dict.fromkeys(measurement.column for measurement in measurements))
    return Grid(_METRICS[metric], columns, list(rows.items()))


def _row_title(measurement: Measurement) -> str:
    network = NETWORKS.get(measurement.network, measurement.network)
    what = CONTROLS.get(measurement.variant, measurement.variant)
    layer = measurement.layer.replace("_", " ")
    return ", ".join(filter(None, (network, what, layer)))


def _cell(measurement: Measurement, letters: dict[str, str]) -> Cell:
    ours = _DASH
    if measurement.mean is not None:
        ours = _number(measurement.mean, measurement.metric)
        if measurement.spread is not None:
            ours += f" ± {_number(measurement.spread, measurement.metric)}"
    order = list(letters)
    return Cell(
        ours=ours,
        paper="" if measurement.paper is None else _number(measurement.paper, measurement.metric),
        letters=tuple(letters[text] for text in sorted(measurement.differences, key=order.index)),
        filters=number_range(measurement.filters) if any(measurement.filters) else "",
        images=number_range(measurement.images),
        seeds=len(measurement.seeds),
    )


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.2f}" if metric in (ACCURACY, FIRED) else f"{value:.3f}"


def reasons(measurements: Sequence[Measurement]) -> list[str]:
    """Each reason once, with the networks, categories and seeds that it holds for."""
    found: dict[str, dict[tuple[str, str], set[int]]] = {}
    for measurement in measurements:
        network = NETWORKS.get(measurement.network, measurement.network)
        for category, seed, reason in measurement.missing:
            seeds = found.setdefault(reason, {}).setdefault((network, category), set())
            seeds |= set() if seed is None else {seed}
    lines = []
    for reason, places in found.items():
        together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for (network, category), of in places.items():
            together.setdefault((network, tuple(sorted(of))), []).append(category)
        where = []
        for (network, numbers), categories in together.items():
            text = " ".join(filter(None, (network, ", ".join(filter(None, categories)))))
            if numbers:
                text += f" (seed {', '.join(map(str, numbers))})"
            where.append(text)
        lines.append(f"{'; '.join(where)}: {reason}")
    return lines


def number_range(numbers: Sequence[int]) -> str:
    """`512`, or `510-512` where they differ; "" of none."""
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def _letter(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    alphabet = string.ascii_lowercase
    rest = number // len(alphabet)
    return (_letter(rest - 1) if rest else "") + alphabet[number % len(alphabet)]
