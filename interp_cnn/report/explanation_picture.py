"""One explained prediction as a picture: where filters look, the share of each part."""

import functools
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from interp_cnn.report.colours import part_colour
from interp_cnn.report.pictures import looks_at
from interp_cnn.report.sheet import DPI, Sheet

_FEWEST_SHOWN = 0.005  # a smaller share is 0 % in text, and needs no bar
# Lengths in inches: the image to the left, bars and filters to the right of it, line by line.
_WIDTH, _IMAGE, _MARGIN, _LINE, _TITLE_LINE = 9.6, 4.8, 0.2, 0.3, 0.32
_TITLE_CHARACTER, _NAME_CHARACTERS = 0.13, 16
_NAME, _BAR = 1.45, 2.0  # widths


class Highlight(NamedTuple):
    """A filter to show.

    Attributes:
      unit: its number.
      value: what it added to the logit.
      part: index of the part it stands for, -1 for none; where no parts are known the number of
        its place, for its colour.
      center: (y, x) of its peak in pixels of the image, [2].
    """

    unit: int
    value: float
    part: int
    center: NDArray[np.floating]


def explanation_figure(
    image: NDArray[np.uint8],
    *,
    title: str,
    shares: Mapping[str, float],
    yes: bool = True,
    names: Sequence[str],
    highlights: Sequence[Highlight],
    radius: float,
) -> Figure:
    """The image with the regions of some filters, and the share of each part.

    Args:
      image: what the network saw, uint8 [S, S, 3].
      title: heading.
      shares: part -> share, the first on top, see `shares_of_answer`; none where no parts are
        known.
      yes: whether they speak for the category, or against it.
      names: of the parts; their order decides the colours. Other keys of shares are grey.
      highlights: filters, strongest first.
      radius: of their regions in pixels of the image.
    """
    shown = {name: share for name, share in shares.items() if share >= _FEWEST_SHOWN}
    titles = textwrap.wrap(title, int((_WIDTH - 2 * _MARGIN) / _TITLE_CHARACTER))
    top = _MARGIN + _TITLE_LINE * len(titles) + 0.1
    lines = len(shown) + len(highlights) + 3  # two headings and the space between
    height = top + max(_IMAGE + _LINE, _LINE * lines) + _MARGIN
    sheet = Sheet(_WIDTH, height)
    text = functools.partial(sheet.text, size=11, va="center")

    text(_MARGIN, _MARGIN, "\n".join(titles), size=14, va="top")
    panel = sheet.axes(_MARGIN, top, _IMAGE, _IMAGE)
    looked = [(one.part, one.center) for one in highlights]
    panel.imshow(looks_at(image, looked, radius, side=round(_IMAGE * DPI)))
    panel.set_axis_off()
    text(_MARGIN, top + _IMAGE + _LINE / 2, "outlined: where the filters named here peak", size=10)

    order = {name: index for index, name in enumerate(names)}
    left, y = _MARGIN + _IMAGE + 0.25, top + _LINE / 2
    side = "for" if yes else "against"
    if shown:
        text(left, y, f"share of each part in what speaks {side} it")
    for name, share in shown.items():
        y += _LINE
        text(left, y, _shortened(name))
        bar = sheet.axes(left + _NAME, y - 0.09, _BAR, 0.18, xlim=(0, 1), ylim=(0, 1))
        bar.fill_between([0, share], 0, 1, color=part_colour(order.get(name, -1)), linewidth=0)
        bar.set_axis_off()
        text(left + _NAME + _BAR * share + 0.07, y, f"{100 * share:.0f} %")
    if highlights:
        y += 2 * _LINE * bool(shown)
        text(left, y, f"filters that {'added most to' if yes else 'took most from'} the logit")
    for one in highlights:
        y += _LINE
        part = names[one.part] if names and one.part >= 0 else "no part" * bool(names)
        text(left, y, "■", color=part_colour(one.part))
        text(left + 0.25, y, f"filter {one.unit}")
        text(left + 1.9, y, f"{one.value:+.2f}", ha="right")
        text(left + 2.1, y, _shortened(part))
    return sheet.figure


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1].rstrip()}…"
