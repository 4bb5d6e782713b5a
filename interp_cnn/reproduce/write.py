"""The tables as Markdown, CSV and JSON."""

import csv
import io
import json
import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from interp_cnn.report.paper_figures import NETWORKS
from interp_cnn.reproduce.execute import Outcomes
from interp_cnn.reproduce.figures import CONTROLS, Figure, figures_of
from interp_cnn.reproduce.plan import Run, Wishes
from interp_cnn.reproduce.tables import (
    ACCURACY,
    INSTABILITY,
    INTERPRETABILITY,
    TITLES,
    TRACKING,
    Table,
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
    INTERPRETABILITY: "The regions' radius is not in the paper, and the figure moves with it: ours"
    " is config.eval.radius.",
}
_DASH = "—"
_Cells = tuple[Table, list[Figure]]


def write_tables(
    wishes: Wishes, planned: Sequence[Run], outcomes: Outcomes, workdir: Path
) -> list[Path]:
    """Write tables.md, tables.csv and tables.json; returns their paths.

    Raises:
      OSError: where they cannot be written.
    """
    tables = [
        (table, figures_of(table, wishes, planned, outcomes)) for table in wishes.chosen_tables()
    ]
    texts = {
        "tables.md": markdown(tables, planned, outcomes),
        "tables.csv": as_csv(tables),
        "tables.json": as_json(tables, planned, outcomes),
    }
    workdir.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (workdir / name).write_text(text, encoding="utf-8", newline="")
    return [workdir / name for name in texts]


# For programs.


def as_csv(tables: Sequence[_Cells]) -> str:
    """One line for each cell; shares in [0, 1], numbers that differ over seeds as `510-512`."""
    names = (
        *("table", "metric", "network", "variant", "layer", "dataset", "task", "column"),
        *("mean", "spread", "seeds", "filters", "images", "paper", "paper_scope"),
        *("marks", "missing"),
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for _, figures in tables:
        for figure in figures:
            written: dict[str, Any] = {
                "seeds": len(figure.seeds),
                "filters": _range(figure.filters),
                "images": _range(figure.images),
                "marks": " | ".join(figure.marks),
                "missing": " | ".join(_reasons([figure])),
            }
            writer.writerow(
                ["" if (v := written.get(n, getattr(figure, n))) is None else v for n in names]
            )
    return text.getvalue()


def as_json(tables: Sequence[_Cells], planned: Sequence[Run], outcomes: Outcomes) -> str:
    """All cells with the figures of each seed, and the runs with their configurations."""
    content = {
        "tables": [
            {
                "name": table.name,
                "title": table.title,
                "cells": [
                    vars(figure)
                    | {"mean": figure.mean, "spread": figure.spread}
                    | {"missing": [one._asdict() for one in figure.missing]}
                    for figure in figures
                ],
            }
            for table, figures in tables
        ],
        "runs": [
            {
                "name": run.name,
                "done": (outcome := outcomes[run.job, run.seed]).results is not None,
                "reason": outcome.reason,
                "experiment": (outcome.results or {}).get("experiment"),
                "config": json.loads(run.config.to_json_best_effort()),
            }
            for run in planned
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


# For people.


def markdown(tables: Sequence[_Cells], planned: Sequence[Run], outcomes: Outcomes) -> str:
    """The tables in the paper's form, and links to the report of each run."""
    marks = dict.fromkeys(m for _, figures in tables for figure in figures for m in figure.marks)
    letters = {text: _letter(number) for number, text in enumerate(marks)}
    blocks = [
        "# The paper's tables",
        "Each cell: mean ± standard deviation over seeds, (the paper's figure), and letters where"
        " data, split, weights or training differ from the paper's, explained at the end. ↑ higher"
        f" is better, ↓ lower is better, {_DASH} nothing measured. The paper has one figure for a"
        " network: it stands beside both layers; the authors' code measures the new conv.",
    ]
    for table, figures in tables:
        blocks += _one_table(table, figures, letters)
    if letters:
        blocks += ["## What the letters mark", _bullets(f"{letters[m]}: {m}" for m in marks)]
    done = [run.name for run in planned if outcomes[run.job, run.seed].results is not None]
    if done:
        links = "\n".join(f"- [{name}](runs/{name}/report/index.html)" for name in done)
        blocks += ["## Reports of the runs", links]
    return "\n\n".join(blocks) + "\n"


def _one_table(table: Table, figures: Sequence[Figure], letters: dict[str, str]) -> list[str]:
    heading = f"## Table {table.name}: {table.title}"
    if table.by_category:
        heading += f", {TITLES[table.tasks[0][0]]}"
    notes = [_NOTES[metric] for metric in table.metrics if metric in _NOTES]
    blocks = [heading, *notes]
    for metric in table.metrics:
        chosen = [figure for figure in figures if figure.metric == metric]
        blocks.append(_wide(chosen, _METRICS[metric], lambda figure: _cell(figure, letters)))
    behind = "Behind each cell: filters / images / seeds."
    if INSTABILITY in table.metrics:
        behind += (
            " Of the images the strongest of each filter and landmark count for location"
            " instability and tracking ratio (config.eval.top)."
        )
    blocks.append(behind)
    for metric in table.metrics:
        chosen = [figure for figure in figures if figure.metric == metric]
        blocks.append(_wide(chosen, _METRICS[metric], _behind))
    if reasons := _reasons(figures):
        blocks += ["Left empty, in whole or in part:", _bullets(reasons)]
    return blocks


def _wide(figures: Sequence[Figure], title: str, cell: Callable[[Figure], str]) -> str:
    """Rows of networks and layers, a column for each category or task."""
    header = [title, *dict.fromkeys(_plain(figure.column) for figure in figures)]
    rows: dict[str, list[str]] = {}
    for figure in figures:
        rows.setdefault(_row_title(figure), []).append(cell(figure))
    lines = [header, *([name, *cells] for name, cells in rows.items())]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def written(line: Sequence[str]) -> str:
        first, *rest = zip(line, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
        return f"| {' | '.join(cells)} |"

    return "\n".join([written(header), f"| {' | '.join(rule)} |", *map(written, lines[1:])])


def _row_title(figure: Figure) -> str:
    network = NETWORKS.get(figure.network, figure.network)
    what = CONTROLS.get(figure.variant, figure.variant)
    layer = figure.layer.replace("_", " ")
    return ", ".join(filter(None, (network, what, layer)))


def _cell(figure: Figure, letters: dict[str, str]) -> str:
    if figure.mean is None:
        text = _DASH
    else:
        text = _number(figure.mean, figure.metric)
        if figure.spread is not None:
            text += f" ± {_number(figure.spread, figure.metric)}"
    if figure.paper is not None:
        text += f" ({_number(figure.paper, figure.metric)})"
    order = list(letters)
    marks = sorted(figure.marks, key=order.index)
    return " ".join(filter(None, (text, ",".join(letters[mark] for mark in marks))))


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.2f}" if metric == ACCURACY else f"{value:.3f}"


def _behind(figure: Figure) -> str:
    if not figure.seeds:
        return _DASH
    filters = _range(figure.filters) if any(figure.filters) else _DASH
    return f"{filters} / {_range(figure.images)} / {len(figure.seeds)}"


def _reasons(figures: Sequence[Figure]) -> list[str]:
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


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def _letter(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    alphabet = string.ascii_lowercase
    rest = number // len(alphabet)
    return (_letter(rest - 1) if rest else "") + alphabet[number % len(alphabet)]


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|~])", r"\\\1", " ".join(text.split()))
