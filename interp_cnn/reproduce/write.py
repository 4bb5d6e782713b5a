"""The tables as Markdown, CSV, JSON and a page."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from etils import epath

from interp_cnn import storage
from interp_cnn.reproduce import layout
from interp_cnn.reproduce.execute import Outcomes
from interp_cnn.reproduce.layout import Cell, Cells, Grid, LaidOut
from interp_cnn.reproduce.numbers import figures_of
from interp_cnn.reproduce.overview import write_overview
from interp_cnn.reproduce.plan import Run, Wishes


def write_tables(
    wishes: Wishes, planned: Sequence[Run], outcomes: Outcomes, workdir: epath.Path
) -> list[epath.Path]:
    """Write tables.md, tables.csv, tables.json and report/index.html; returns their paths.

    Raises:
      OSError: where they cannot be written; the page comes last.
    """
    tables = [
        (table, figures_of(table, wishes, planned, outcomes)) for table in wishes.chosen_tables()
    ]
    texts = {
        "tables.md": markdown(tables, planned, outcomes),
        "tables.csv": as_csv(tables),
        "tables.json": as_json(tables, planned, outcomes),
    }
    storage.make_folder(workdir)
    for name, text in texts.items():
        storage.write(workdir / name, text)
    page = write_overview(tables, wishes, planned, outcomes, workdir)
    return [*(workdir / name for name in texts), page]


# For programs.


def as_csv(tables: Sequence[Cells]) -> str:
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
                "filters": layout.number_range(figure.filters),
                "images": layout.number_range(figure.images),
                "marks": " | ".join(figure.marks),
                "missing": " | ".join(layout.reasons([figure])),
            }
            writer.writerow(
                ["" if (v := written.get(n, getattr(figure, n))) is None else v for n in names]
            )
    return text.getvalue()


def as_json(tables: Sequence[Cells], planned: Sequence[Run], outcomes: Outcomes) -> str:
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
                "experiment": None if outcome.results is None else vars(outcome.results.experiment),
                "config": json.loads(run.config.to_json_best_effort()),
            }
            for run in planned
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


# For people.


def markdown(tables: Sequence[Cells], planned: Sequence[Run], outcomes: Outcomes) -> str:
    """The tables in the paper's form, and links to the report of each run."""
    marks = layout.letters(tables)
    blocks = [f"# {layout.TITLE}", layout.ABOUT]
    for table, figures in tables:
        blocks += _one_table(layout.lay_out(table, figures, marks))
    if marks:
        lines = (f"{letter}: {text}" for text, letter in marks.items())
        blocks += ["## What the letters mark", _bullets(lines)]
    done = [run.name for run in planned if outcomes[run.job, run.seed].results is not None]
    if done:
        links = "\n".join(f"- [{name}](runs/{name}/report/index.html)" for name in done)
        blocks += ["## Reports of the runs", links]
    return "\n\n".join(blocks) + "\n"


def _one_table(table: LaidOut) -> list[str]:
    blocks = [f"## {table.title}", *table.notes]
    blocks += [_wide(grid, _figures) for grid in table.grids]
    blocks.append(f"Behind each cell: filters / images / seeds. {table.behind}".rstrip())
    blocks += [_wide(grid, _behind) for grid in table.grids]
    if table.reasons:
        blocks += ["Left empty, in whole or in part:", _bullets(table.reasons)]
    return blocks


def _wide(grid: Grid, text_of: Callable[[Cell], str]) -> str:
    header = [grid.title, *map(_plain, grid.columns)]
    lines = [header, *([name, *map(text_of, cells)] for name, cells in grid.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def written(line: Sequence[str]) -> str:
        first, *rest = zip(line, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in rest)]
        return f"| {' | '.join(cells)} |"

    return "\n".join([written(header), f"| {' | '.join(rule)} |", *map(written, lines[1:])])


def _figures(cell: Cell) -> str:
    paper = f"({cell.paper})" if cell.paper else ""
    return " ".join(filter(None, (cell.ours, paper, ",".join(cell.marks))))


def _behind(cell: Cell) -> str:
    return f"{cell.filters or '—'} / {cell.images} / {cell.seeds}" if cell.seeds else "—"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    return re.sub(r"([\\`*\[\]<>|~])", r"\\\1", " ".join(text.split()))
