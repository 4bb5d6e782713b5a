"""The tables as plain text, cell by cell, not yet in any markup."""

import string
from collections.abc import Sequence
from typing import NamedTuple

from interp_cnn.report.paper_numbers import NETWORKS
from interp_cnn.reproduce.numbers import CONTROLS, Figure
from interp_cnn.reproduce.tables import (
    ACCURACY,
    INSTABILITY,
    INTERPRETABILITY,
    TITLES,
    TRACKING,
    Table,
)

Cells = tuple[Table, list[Figure]]

TITLE = "The paper's tables"
ABOUT = (
    "Each cell: mean ± standard deviation over seeds, (the paper's figure), and letters where"
    " data, split, weights or training differ from the paper's, explained at the end. ↑ higher"
    " is better, ↓ lower is better, — nothing measured. The paper has one figure for a"
    " network: it stands beside both layers; the authors' code measures the new conv."
)
_METRICS = {
    ACCURACY: "accuracy, % ↑",
    INSTABILITY: "location instability ↓",
    TRACKING: "tracking ratio ↓",
    INTERPRETABILITY: "part interpretability ↑",
}
_NOTES = {
    INSTABILITY: "Location instability can be low for a unit that ignores the image: hence the two"
    " controls, from the landmarks alone, and the tracking ratio, which is 1 for any constant"
    " position and lower where a filter follows a part.",
    INTERPRETABILITY: "The regions' radius is not in the paper: ours is 0.16 of the image's side,"
    " or config.eval.radius, the same for all networks. The report of each run shows how the"
    " figure moves with it.",
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
      paper: the paper's figure.
      marks: letters.
      filters: their number behind the figure.
      images: alike.
      seeds: alike.
    """

    ours: str
    paper: str
    marks: tuple[str, ...]
    filters: str
    images: str
    seeds: int


class Grid(NamedTuple):
    """One metric: a column for each category or task, rows of networks and layers."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]


class LaidOut(NamedTuple):
    """One table.

    Attributes:
      title: with its number.
      notes: what its figures mean.
      behind: which of the images behind the figures count, "" for all.
      grids: one for each metric.
      reasons: why something is empty.
    """

    title: str
    notes: list[str]
    behind: str
    grids: list[Grid]
    reasons: list[str]


def letters(tables: Sequence[Cells]) -> dict[str, str]:
    """A letter for each difference from the paper that some cell has."""
    marks = dict.fromkeys(m for _, figures in tables for figure in figures for m in figure.marks)
    return {text: _letter(number) for number, text in enumerate(marks)}


def lay_out(table: Table, figures: Sequence[Figure], marks: dict[str, str]) -> LaidOut:
    """The text of one table, with the letters of `letters`."""
    title = f"Table {table.name}: {table.title}"
    if table.by_category:
        title += f", {TITLES[table.tasks[0][0]]}"
    return LaidOut(
        title=title,
        notes=[_NOTES[metric] for metric in table.metrics if metric in _NOTES],
        behind=_OF_THE_IMAGES if INSTABILITY in table.metrics else "",
        grids=[
            _grid([figure for figure in figures if figure.metric == metric], metric, marks)
            for metric in table.metrics
        ],
        reasons=reasons(figures),
    )


def _grid(figures: Sequence[Figure], metric: str, marks: dict[str, str]) -> Grid:
    rows: dict[str, list[Cell]] = {}
    for figure in figures:
        rows.setdefault(_row_title(figure), []).append(_cell(figure, marks))
    columns = list(dict.fromkeys(figure.column for figure in figures))
    return Grid(_METRICS[metric], columns, list(rows.items()))


def _row_title(figure: Figure) -> str:
    network = NETWORKS.get(figure.network, figure.network)
    what = CONTROLS.get(figure.variant, figure.variant)
    layer = figure.layer.replace("_", " ")
    return ", ".join(filter(None, (network, what, layer)))


def _cell(figure: Figure, marks: dict[str, str]) -> Cell:
    ours = _DASH
    if figure.mean is not None:
        ours = _number(figure.mean, figure.metric)
        if figure.spread is not None:
            ours += f" ± {_number(figure.spread, figure.metric)}"
    order = list(marks)
    return Cell(
        ours=ours,
        paper="" if figure.paper is None else _number(figure.paper, figure.metric),
        marks=tuple(marks[mark] for mark in sorted(figure.marks, key=order.index)),
        filters=number_range(figure.filters) if any(figure.filters) else "",
        images=number_range(figure.images),
        seeds=len(figure.seeds),
    )


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.2f}" if metric == ACCURACY else f"{value:.3f}"


def reasons(figures: Sequence[Figure]) -> list[str]:
    """Each reason once, with the networks, categories and seeds that it holds for."""
    found: dict[str, dict[tuple[str, str], set[int]]] = {}
    for figure in figures:
        network = NETWORKS.get(figure.network, figure.network)
        for category, seed, reason in figure.missing:
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
