"""The filters of a trained network as a table."""

import dataclasses
import html
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from interp_cnn.evaluation.filter_files import FilterFigures

_SHOWN = 20  # rows of what is printed; more would hide the rest of a session
# What fits a line; `to_pandas` has the other columns.
_COLUMNS = (
    *("layer", "filter", "category", "part", "location_instability", "tracking_ratio"),
    *("part_interpretability", "fired_share", "dead"),
)


@dataclasses.dataclass(frozen=True, repr=False)
class FilterTable(Sequence[FilterFigures]):
    """The figures of all filters, row by row, layer by layer.

    Attributes:
      rows: one for each filter.
    """

    rows: tuple[FilterFigures, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> FilterFigures: ...
    @overload
    def __getitem__(self, index: slice) -> "FilterTable": ...
    def __getitem__(self, index: int | slice) -> "FilterFigures | FilterTable":
        return FilterTable(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def of_layer(self, layer: str) -> "FilterTable":
        """The filters of one layer.

        Raises:
          ValueError: for an unknown layer.
        """
        found = tuple(row for row in self.rows if row.layer == layer)
        if not found:
            known = ", ".join(dict.fromkeys(row.layer for row in self.rows))
            raise ValueError(f"layer is {layer!r}; give one of {known}")
        return FilterTable(found)

    def to_pandas(self) -> Any:
        """The table as a `pandas.DataFrame`, NaN for what could not be measured.

        Raises:
          ImportError: where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_pandas needs the package pandas; pip install pandas, or iterate over the rows"
            ) from error
        return pandas.DataFrame(
            {
                field.name: _column([getattr(row, field.name) for row in self.rows])
                for field in dataclasses.fields(FilterFigures)
            }
        )

    def __repr__(self) -> str:
        lines = [list(_COLUMNS), *map(_cells, self.rows[:_SHOWN])]
        widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
        text = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
        return "\n".join([*text, *self._rest()])

    def _repr_html_(self) -> str:
        """The table, which notebooks show."""

        def line(cells: Sequence[str], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        rows = [line(_cells(row), "td") for row in self.rows[:_SHOWN]]
        rest = "".join(f"<p>{html.escape(text)}</p>" for text in self._rest())
        return f"<table>{line(_COLUMNS, 'th')}{''.join(rows)}</table>{rest}"

    def _rest(self) -> list[str]:
        """What is said of the rows that are not shown."""
        more = len(self.rows) - _SHOWN
        return [f"... and {more} more filters"] if more > 0 else []


def _cells(row: FilterFigures) -> list[str]:
    """A row in text."""
    values = (getattr(row, name) for name in _COLUMNS)
    return [
        "-" if value in (None, "") else f"{value:.3f}" if isinstance(value, float) else str(value)
        for value in values
    ]


def _column(values: list[Any]) -> Any:
    """A column without None: numbers where all are numbers or unknown."""
    if any(value is None or isinstance(value, float) for value in values):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return values
