"""Typical filters of networks side by side, as one picture."""

import functools
import os
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from interp_cnn.report.sheet import Sheet
from interp_cnn.report.typical_filters import TypicalFilter

_LEAST_COLUMNS = 3  # which the longest label needs
# Lengths in inches.
_PANEL, _GAP, _BETWEEN_NETWORKS, _MARGIN = 1.5, 0.05, 0.35, 0.15
_TITLE_LINE, _HEADING, _LABEL, _BETWEEN_ROWS, _GUTTER = 0.28, 0.4, 0.26, 0.1, 0.75
_TITLE_CHARACTER, _NOTE_CHARACTER, _NOTE_LINE = 0.125, 0.09, 0.2  # a little more than the mean

_NOTE = (
    "Rows: the same place in the ranking of each network's filters{of} by {by}; 10 % means that"
    " 10 % of them do better. Bright: the filter's region, around the highest 0.5 % of its"
    " activations, or its peak where the image has none of them."
)


def draw_filters(
    path: str | os.PathLike[str],
    rows: Sequence[Sequence[TypicalFilter]],
    *,
    title: str,
) -> None:
    """Writes a PNG: a row for each quantile, in it a filter of each network on the same images.

    Args:
      path: file to write.
      rows: see `typical_filters`; all rows have the same networks.
      title: heading of the picture.

    Raises:
      ValueError: no rows, a row without filters, or rows of different networks.
    """
    if not rows or not rows[0]:
        raise ValueError("rows is empty; give at least one row with a filter.")
    networks = [[one.network for one in row] for row in rows]
    if any(row != networks[0] for row in networks):
        raise ValueError(f"rows are of the networks {networks}; give all rows the same ones.")
    columns = max(_LEAST_COLUMNS, *(len(one.photos) for row in rows for one in row))
    block = columns * (_PANEL + _GAP) - _GAP
    lefts = [_GUTTER + i * (block + _BETWEEN_NETWORKS) for i in range(len(rows[0]))]
    width = lefts[-1] + block + _MARGIN
    title_lines = textwrap.wrap(title, int((width - 2 * _MARGIN) / _TITLE_CHARACTER))
    first = rows[0][0]
    note = _NOTE.format(of=f" of {first.category}" if first.category else "", by=first.by)
    notes = textwrap.wrap(note, int((width - 2 * _MARGIN) / _NOTE_CHARACTER))
    top = _MARGIN + _TITLE_LINE * len(title_lines) + _HEADING
    step = _LABEL + _PANEL + _BETWEEN_ROWS
    bottom = top + step * len(rows)
    sheet = Sheet(width, bottom + _NOTE_LINE * len(notes) + _MARGIN)
    text = functools.partial(sheet.text, linespacing=1.2)

    text(_MARGIN, _MARGIN, "\n".join(title_lines), 15, va="top")
    for left, one in zip(lefts, rows[0], strict=True):
        text(left + block / 2, top - 0.1, one.network, 16, ha="center", fontweight="bold")
    for index, row in enumerate(rows):
        y = top + step * index
        quantile = f"{100 * row[0].quantile:.0f} %"
        text(_GUTTER / 2, y + _LABEL + _PANEL / 2, quantile, 14, ha="center", va="center")
        for left, one in zip(lefts, row, strict=True):
            label = f"filter {one.unit} {one.text}"
            label = textwrap.shorten(label, int(block / _NOTE_CHARACTER), placeholder=" …")
            text(left, y + _LABEL - 0.07, label, 12)
            for column, photo in enumerate(one.photos):
                x = left + column * (_PANEL + _GAP)
                _show(sheet.axes(x, y + _LABEL, _PANEL, _PANEL), photo)
    text(_MARGIN, bottom, "\n".join(notes), 11, va="top")
    sheet.figure.savefig(path, format="png")


def _show(panel: Axes, photo: np.ndarray) -> None:
    panel.imshow(photo)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
