"""The results of an evaluation as Markdown: readable as it is in a terminal, and rendered."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from interp_cnn.evaluation.results import Results
from interp_cnn.report.markdown import one_line, pipe_table
from interp_cnn.report.table_figures import paper_title
from interp_cnn.report.table_notes import about_run, notes_on, title_of
from interp_cnn.report.table_rows import LayerRows, accuracy_rows

_ORDER = ("ordinary", "interpretable")
_WIDTH = 100  # of the prose; the table is as wide as its columns need


class SummaryRow(NamedTuple):
    """A line of the table; a heading names the layer of the lines below it and has no figures."""

    name: str
    cells: Sequence[str]
    heading: bool


class Summary(NamedTuple):
    """An evaluation in plain text, not yet in any markup.

    Args:
      title: network, data set and category.
      about: paragraphs on the run and its data.
      networks: how many columns after the first are networks.
      header: titles of the columns that hold anything; the first, of the names, is empty.
      rows: of the table, cells as in `header[1:]`.
      notes: what the figures mean.
    """

    title: str
    about: Sequence[str]
    networks: int
    header: Sequence[str]
    rows: Sequence[SummaryRow]
    notes: Sequence[str]


def summarize(results: Results) -> Summary:
    """Text and table of an evaluation: the networks side by side, and what the figures mean.

    Args:
      results: figures of `"ordinary"`, of `"interpretable"`, or of both; one that could not be
        measured shows as a dash.

    Raises:
      ValueError: if there are no networks, or others than those two.
    """
    given = results.networks
    if not given or not set(given) <= set(_ORDER):
        raise ValueError(
            f"results.networks has {', '.join(map(repr, given)) or 'nothing'}; "
            "give the results of 'ordinary', 'interpretable' or both."
        )
    names = [name for name in _ORDER if name in given]
    networks = [given[name] for name in names]
    layers = list(dict.fromkeys(layer for network in networks for layer in network.layers))

    rows = accuracy_rows(results, networks)
    for layer in layers:
        found = [network.layers.get(layer) for network in networks]
        rows += LayerRows(results, layer, found).all()
    header = ["", *names, paper_title(results.experiment), "behind the figures"]
    lines = [[row.name, *row.cells, row.paper, row.behind] for row in rows]
    keep = [i for i in range(len(header)) if i == 0 or any(line[i] for line in lines)]
    return Summary(
        title=title_of(results.experiment),
        about=about_run(results),
        networks=len(names),
        header=[header[i] for i in keep],
        rows=[
            SummaryRow(row.name, [line[i] for i in keep[1:]], row.heading)
            for row, line in zip(rows, lines, strict=True)
        ],
        notes=notes_on(results, networks, layers),
    )


def markdown_table(results: Results) -> str:
    """Report of an evaluation as Markdown, see `summarize`; the text ends with a newline."""
    summary = summarize(results)
    blocks = [
        f"# {one_line(summary.title)}",
        _wrapped(summary.about, bullet=""),
        _table(summary),
        _wrapped(summary.notes),
    ]
    return "\n\n".join(blocks) + "\n"


def _table(summary: Summary) -> str:
    header = [one_line(title) for title in summary.header]
    rows = [
        [
            f"**{one_line(row.name)}**" if row.heading else one_line(row.name),
            *map(one_line, row.cells),
        ]
        for row in summary.rows
    ]
    return pipe_table(header, rows, right=range(1, 1 + summary.networks))


def _wrapped(paragraphs: Sequence[str], bullet: str = "- ") -> str:
    indent = " " * len(bullet)
    return ("\n" if bullet else "\n\n").join(
        textwrap.fill(
            one_line(text),
            _WIDTH,
            initial_indent=bullet,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for text in paragraphs
    )
