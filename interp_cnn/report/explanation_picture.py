"""One explained prediction as a picture: where filters look, and a bar per part."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from interp_cnn.report.colours import COLOURS, NO_PART

_FEWEST_SHOWN = 0.005  # a smaller share is 0 % in text, and needs no bar


class Highlight(NamedTuple):
    """A filter to show.

    Attributes:
      label: written beside its region.
      part: index of the part it stands for, -1 for none.
      center: (y, x) of its region in pixels, [2].
    """

    label: str
    part: int
    center: NDArray[np.floating]


def _colour(part: int) -> str:
    return NO_PART if part < 0 else COLOURS[part % len(COLOURS)]


def draw_explanation(
    path: str | os.PathLike[str],
    image: NDArray[np.uint8],
    *,
    title: str,
    shares: Mapping[str, float],
    yes: bool = True,
    names: Sequence[str],
    highlights: Sequence[Highlight],
    radius: float,
) -> None:
    """Writes a PNG: the image with the regions of some filters, and the share of each part.

    Args:
      path: file to write.
      image: what the network saw, uint8 [S, S, 3].
      title: heading.
      shares: part -> share, the first on top, see `shares_of_answer`.
      yes: whether they speak for the category, or against it.
      names: of the parts; their order decides the colours. Other keys of shares are grey.
      highlights: filters, strongest first.
      radius: of their regions in pixels.
    """
    figure = Figure(figsize=(10, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # attaches itself
    # A dollar sign in a name is no formula.
    figure.suptitle(title, fontsize=14, parse_math=False, wrap=True)
    picture, bars = figure.subplots(1, 2)
    size = len(image)
    picture.imshow(image, extent=(0, size, size, 0))
    dark: list[patheffects.AbstractPathEffect] = [
        patheffects.withStroke(linewidth=4, foreground="black")
    ]
    for number, highlight in reversed(list(enumerate(highlights))):  # the strongest on top
        y, x = (float(value) for value in highlight.center)
        # Filters of one part look at one place: their names stand around their circles.
        angle = 2 * math.pi * number / len(highlights)
        edge = 0.12 * size
        beside = (
            min(max(x + radius * math.sin(angle), edge), size - edge),
            min(max(y - radius * math.cos(angle), 0.03 * size), 0.97 * size),
        )
        circle = Circle((x, y), radius, fill=False, linewidth=2, color=_colour(highlight.part))
        circle.set_path_effects(dark)
        picture.add_patch(circle)
        text = picture.text(
            *beside, highlight.label, color="white", ha="center", va="center", fontsize=9,
            parse_math=False, clip_on=True,
        )  # fmt: skip
        text.set_path_effects(dark)
    picture.set(xlim=(0, size), ylim=(size, 0), xticks=[], yticks=[])
    did = "added most to" if yes else "took most from"
    picture.set_xlabel(f"filters that {did} the logit, and where they look")

    shown = {name: share for name, share in shares.items() if share >= _FEWEST_SHOWN}
    order = {name: index for index, name in enumerate(names)}
    found = bars.barh(
        range(len(shown)),
        list(shown.values()),
        color=[_colour(order.get(name, -1)) for name in shown],
    )
    bars.bar_label(found, [f"{100 * share:.0f} %" for share in shown.values()], padding=4)
    bars.set_yticks(range(len(shown)), list(shown), parse_math=False)
    bars.set(xlim=(0, 1.12 * max(shown.values(), default=1)), xticks=[])
    bars.invert_yaxis()
    bars.spines[["top", "right", "bottom"]].set_visible(False)
    side = "for" if yes else "against"
    bars.set_xlabel(f"share in what speaks {side} it, by the part that filters stand for")
    figure.savefig(path, format="png")
