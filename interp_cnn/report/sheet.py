"""A picture whose things are placed in inches, so that nothing can overlap or shift."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 100


class Sheet:
    """A figure of so many inches; places are counted from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(self.figure)  # attaches itself
        self._width, self._height = width, height

    def axes(self, x: float, y: float, width: float, height: float, **how: Any) -> Axes:
        """A panel of this size; `how` are options of `Figure.add_axes`."""
        bottom = 1 - (y + height) / self._height
        place = (x / self._width, bottom, width / self._width, height / self._height)
        return self.figure.add_axes(place, **how)

    def text(self, x: float, y: float, text: str, size: float, **how: Any) -> None:
        """A text in points; `how` are options of `Figure.text`."""
        # A dollar sign in a name is no formula.
        how = {"fontsize": size, "parse_math": False, **how}
        self.figure.text(x / self._width, 1 - y / self._height, text, **how)
