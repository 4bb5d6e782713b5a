"""Markdown: tables that can be read as plain text too, lists, and text that is no markup."""

import re
from collections.abc import Collection, Iterable, Sequence


def pipe_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[int] | None = None
) -> str:
    """A table whose columns are as wide as their longest cell.

    Args:
      header: the titles of the columns.
      rows: a text for each column, without line breaks.
      right: the indices of the columns that are aligned to the right, those of numbers; None aligns
        all but the first to the right.

    Raises:
      ValueError: for a row with more or fewer cells than the header.

    >>> print(pipe_table(["layer", "images"], [["new conv", "100"]]))
    | layer    | images |
    | -------- | -----: |
    | new conv |    100 |
    """
    lines = [list(header), *map(list, rows)]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f"a row has {len(line)} cells and the header {len(header)}: {line}")
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    numbers = range(1, len(header)) if right is None else right
    rule = ["-" * (w - 1) + ":" if i in numbers else "-" * w for i, w in enumerate(widths)]

    def written(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |"

    return "\n".join(map(written, [lines[0], rule, *lines[1:]]))


def bullets(lines: Iterable[str]) -> str:
    """A list with an entry for each text."""
    return "\n".join(f"- {one_line(line)}" for line in lines)


def one_line(text: str) -> str:
    r"""A text on one line that Markdown shows as it is.

    >>> one_line("a_b *c*")
    'a_b \\*c\\*'
    """
    escaped = re.sub(r"([\\`*\[\]<>|~])", r"\\\1", " ".join(text.split()))
    # GitHub's Markdown leaves an underscore inside a word alone.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)
