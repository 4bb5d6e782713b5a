"""The tables as Markdown, CSV, JSON and a page."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from interp_cnn import storage
from interp_cnn.report.markdown import bullets, one_line, pipe_table
from interp_cnn.reproduce import layout
from interp_cnn.reproduce.execute import Outcomes
from interp_cnn.reproduce.layout import Cell, Cells, Grid, TableText
from interp_cnn.reproduce.numbers import measurements_of
from interp_cnn.reproduce.overview import write_overview
from interp_cnn.reproduce.plan import Run
from interp_cnn.reproduce.request import Request
from interp_cnn.workdir import PAGE, REPORT, RUNS, TABLES_CSV, TABLES_JSON, TABLES_MARKDOWN


def write_tables(
    request: Request, planned: Sequence[Run], outcomes: Outcomes, workdir: epath.Path
) -> list[epath.Path]:
    """Write tables.md, tables.csv, tables.json and report/index.html; returns their paths.

    Raises:
      OSError: where they cannot be written; the page comes last.
    """
    tables = [
        (table, measurements_of(table, request, planned, outcomes))
        for table in request.chosen_tables()
    ]
    texts = {
        TABLES_MARKDOWN: markdown(tables, planned, outcomes),
        TABLES_CSV: as_csv(tables),
        TABLES_JSON: as_json(tables, planned, outcomes),
    }
    storage.make_folder(workdir)
    for name, text in texts.items():
        storage.write(workdir / name, text)
    page = write_overview(tables, request, planned, outcomes, workdir)
    return [*(workdir / name for name in texts), page]


# For programs.


def as_csv(tables: Sequence[Cells]) -> str:
    """One line for each cell; shares in [0, 1], numbers that differ over seeds as `510-512`."""
    names = (
        *("table", "metric", "network", "variant", "layer", "dataset", "task", "column"),
        *("mean", "spread", "seeds", "filters", "images", "paper", "paper_scope"),
        *("differences", "missing"),
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for _, measurements in tables:
        for measurement in measurements:
            written: dict[str, Any] = {
                "seeds": len(measurement.seeds),
                "filters": layout.number_range(measurement.filters),
                "images": layout.number_range(measurement.images),
                "differences": " | ".join(measurement.differences),
                "missing": " | ".join(layout.reasons([measurement])),
            }
            writer.writerow(
                ["" if (v := written.get(n, getattr(measurement, n))) is None else v for n in names]
            )
    return text.getvalue()


def as_json(tables: Sequence[Cells], planned: Sequence[Run], outcomes: Outcomes) -> str:
    """All cells with the values of each seed, and the runs with their configurations."""
    content = {
        "tables": [
            {
                "name": table.name,
                "title": table.title,
                "cells": [
                    vars(measurement)
                    | {"mean": measurement.mean, "spread": measurement.spread}
                    | {"missing": [one._asdict() for one in measurement.missing]}
                    for measurement in measurements
                ],
            }
            for table, measurements in tables
        ],
        "runs": [
            {
                "name": run.name,
                "done": (outcome := outcomes[run.experiment, run.seed]).results is not None,
                "reason": outcome.reason,
                "experiment": (outcome.results or {}).get("experiment"),
                "config": json.loads(run.config.to_json_best_effort()),
            }
            for run in planned
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


# For people.


def markdown(tables: Sequence[Cells], planned: Sequence[Run], outcomes: Outcomes) -> str:
    """The tables in the paper's form, and links to the report of each run."""
    letters = layout.assign_letters(tables)
    blocks = [f"# {layout.TITLE}", layout.ABOUT]
    for table, measurements in tables:
        blocks += _one_table(layout.lay_out(table, measurements, letters))
    if letters:
        lines = (f"{letter}: {text}" for text, letter in letters.items())
        blocks += ["## What the letters mark", bullets(lines)]
    done = [run.name for run in planned if outcomes[run.experiment, run.seed].results is not None]
    if done:
        links = "\n".join(f"- [{name}]({RUNS}/{name}/{REPORT}/{PAGE})" for name in done)
        blocks += ["## Reports of the runs", links]
    return "\n\n".join(blocks) + "\n"


def _one_table(table: TableText) -> list[str]:
    blocks = [f"## {table.title}", *table.notes]
    blocks += [_pipe_table(grid, _values) for grid in table.grids]
    blocks.append(f"Behind each cell: filters / images / seeds. {table.behind}".rstrip())
    blocks += [_pipe_table(grid, _behind) for grid in table.grids]
    if table.reasons:
        blocks += ["Left empty, in whole or in part:", bullets(table.reasons)]
    return blocks


def _pipe_table(grid: Grid, text_of: Callable[[Cell], str]) -> str:
    header = [grid.title, *map(one_line, grid.columns)]
    return pipe_table(header, [[name, *map(text_of, cells)] for name, cells in grid.rows])


def _values(cell: Cell) -> str:
    paper = f"({cell.paper})" if cell.paper else ""
    return " ".join(filter(None, (cell.ours, paper, ",".join(cell.letters))))


def _behind(cell: Cell) -> str:
    return f"{cell.filters or '—'} / {cell.images} / {cell.seeds}" if cell.seeds else "—"
