"""What single filters do on single images: region, feature map, mask and masked map."""

import os
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Both can be told apart with any kind of colour vision.
_ACTIVATIONS, _MASK = "viridis", "RdBu_r"
_OUTLINE = "#ffd92f"
_HEADINGS = ("region", "feature map", "mask", "masked map")
_DIMMED = 0.55  # brightness outside the region
_DPI = 100
# Lengths in inches. Every panel has its exact place, so that nothing can overlap or shift.
_PANEL, _GAP, _BETWEEN_FILTERS, _BETWEEN_IMAGES, _MARGIN = 1.5, 0.07, 0.14, 0.22, 0.1
_TITLE_LINE, _HEADING, _LABEL_LINE, _SCALES = 0.28, 0.28, 0.22, 0.65
_TITLE_CHARACTER, _LABEL_CHARACTER = 0.125, 0.094  # a little more than the mean width of one
_LABEL_LINES = 4  # at most, for a filter


class FilterRow(NamedTuple):
    """One filter on one image; maps and mask belong to the same layer.

    Args:
      label: which filter; rows of equal label stand together as one filter.
      image: uint8 [S, S, 3].
      raw_map: feature map after ReLU, float [h, w].
      mask: template mask, float [h, w] in [-1, 1]; None for a filter without one.
      masked_map: float [h, w]; None as well then.
      region: bool [S, S], what the filter covers in the image.
    """

    label: str
    image: NDArray[np.uint8]
    raw_map: NDArray[np.floating]
    mask: NDArray[np.floating] | None
    masked_map: NDArray[np.floating] | None
    region: NDArray[np.bool_]


def draw_filters(path: str | os.PathLike[str], rows: Sequence[FilterRow], *, title: str) -> None:
    """Writes a PNG: region in the image, feature map, mask and masked map of every row.

    A line of the figure holds up to two images of one filter. Feature maps and masked maps of a
    filter share one scale, from 0 to the highest activation in its rows.

    Args:
      path: file to write.
      rows: filters and images; a filter's rows have the same label.
      title: heading of the figure.

    Raises:
      ValueError: no rows, or arrays of another shape, type or range than `FilterRow` says.
    """
    if not rows:
        raise ValueError("rows is empty; give at least one FilterRow.")
    filters: dict[str, list[FilterRow]] = {}
    for index, row in enumerate(rows):
        filters.setdefault(row.label, []).append(_checked(index, row))
    across = min(2, max(map(len, filters.values())))
    spans = [-(-len(group) // across) for group in filters.values()]  # lines of each filter
    heights = [span * (_PANEL + _GAP) - _GAP for span in spans]

    labels = [
        textwrap.wrap(
            label, int(height / _LABEL_CHARACTER), max_lines=_LABEL_LINES, placeholder=" …"
        )
        for label, height in zip(filters, heights, strict=True)
    ]
    gutter = 2 * _MARGIN + _LABEL_LINE * max(map(len, labels))
    block = 4 * _PANEL + 3 * _GAP
    width = gutter + across * (block + _BETWEEN_IMAGES) - _BETWEEN_IMAGES + _MARGIN
    title_lines = textwrap.wrap(title, int((width - 2 * _MARGIN) / _TITLE_CHARACTER))
    top = _MARGIN + _TITLE_LINE * len(title_lines) + _HEADING
    height = top + sum(heights) + _BETWEEN_FILTERS * (len(heights) - 1) + _SCALES
    sheet = _Sheet(width, height)

    sheet.text(width / 2, _MARGIN, "\n".join(title_lines), size=15, va="top")
    lefts = [gutter + i * (block + _BETWEEN_IMAGES) for i in range(across)]
    for left in lefts:
        for i, heading in enumerate(_HEADINGS):
            x = left + i * (_PANEL + _GAP) + _PANEL / 2
            sheet.text(x, top - 0.1, heading, va="baseline")

    y = top
    for label, span, group in zip(labels, heights, filters.values(), strict=True):
        sheet.text(gutter / 2, y + span / 2, "\n".join(label), rotation=90, va="center")
        highest = max(float(np.max(row.raw_map)) for row in group)
        scale = Normalize(0, highest if highest > 0 else 1)
        for index, row in enumerate(group):
            left, upper = lefts[index % across], y + index // across * (_PANEL + _GAP)
            panels = [
                sheet.axes(left + i * (_PANEL + _GAP), upper, _PANEL, _PANEL) for i in range(4)
            ]
            _draw_row(panels, row, scale)
        y += span + _BETWEEN_FILTERS
    _draw_scales(sheet, height - _SCALES + 0.12, lefts[0] + _PANEL + _GAP, lefts[-1])
    sheet.figure.savefig(path, format="png")


class _Sheet:
    """A figure whose things are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), dpi=_DPI)
        FigureCanvasAgg(self.figure)  # attaches itself
        self._width, self._height = width, height

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        bottom = 1 - (y + height) / self._height
        return self.figure.add_axes(
            (x / self._width, bottom, width / self._width, height / self._height)
        )

    def text(
        self, x: float, y: float, text: str, *, va: str, size: float = 12, rotation: float = 0
    ) -> None:
        # A dollar sign in a name is no formula.
        self.figure.text(
            x / self._width, 1 - y / self._height, text, ha="center", va=va, fontsize=size,
            rotation=rotation, parse_math=False, linespacing=1.1,
        )  # fmt: skip


def _draw_scales(sheet: _Sheet, y: float, x: float, last: float) -> None:
    """Two colour bars: of the activations at x, of the masks under the last block's masks."""
    inset = 0.15  # keeps the numbers at the ends of neighbouring bars apart
    for left, colours, norm, ticks, label in (
        (x, _ACTIVATIONS, Normalize(0, 1), (0, 1), "share of filter's peak"),
        (last + 2 * (_PANEL + _GAP), _MASK, Normalize(-1, 1), (-1, 0, 1), "mask"),
    ):
        bar = sheet.figure.colorbar(
            ScalarMappable(norm, colours),
            cax=sheet.axes(left + inset, y, _PANEL - 2 * inset, 0.12),
            orientation="horizontal",
            ticks=ticks,
        )
        bar.set_label(label, fontsize=11, labelpad=1)
        bar.ax.tick_params(labelsize=11, pad=2)


def _draw_row(panels: Sequence[Axes], row: FilterRow, scale: Normalize) -> None:
    size = len(row.image)
    extent = (0, size, size, 0)
    outside = np.where(row.region[..., None], 1.0, _DIMMED)
    panels[0].imshow((row.image * outside).astype(np.uint8), extent=extent)
    if row.region.any():
        # A margin of False closes the outline at the image's border.
        centers = np.arange(-1, size + 1) + 0.5
        outline = panels[0].contour(
            centers, centers, np.pad(row.region, 1).astype(float), [0.5], colors=_OUTLINE
        )
        outline.set(path_effects=[patheffects.withStroke(linewidth=3, foreground="black")])
    for panel, values, colours, norm in (
        (panels[1], row.raw_map, _ACTIVATIONS, scale),
        (panels[2], row.mask, _MASK, Normalize(-1, 1)),
        (panels[3], row.masked_map, _ACTIVATIONS, scale),
    ):
        if values is None:
            panel.text(0.5, 0.5, "none", transform=panel.transAxes, ha="center", va="center")
            continue
        panel.imshow(values, cmap=colours, norm=norm, extent=extent, interpolation="nearest")
    for panel in panels:
        panel.set(xlim=(0, size), ylim=(size, 0), xticks=[], yticks=[])
        panel.spines[:].set(color="0.4", linewidth=0.6)


def _checked(index: int, row: FilterRow) -> FilterRow:
    """Returns a row with float32 maps, after a check that it is what `FilterRow` says."""

    def refuse(name: str, array: Any, wanted: str) -> None:
        raise ValueError(
            f"{name} of rows[{index}] ({row.label!r}) is {array.dtype} of shape {array.shape}; "
            f"give {wanted}."
        )

    image, region = np.asarray(row.image), np.asarray(row.region)
    size = image.shape[0] if image.ndim else 0
    if size == 0 or image.shape != (size, size, 3) or image.dtype != np.uint8:
        refuse("image", image, "uint8 [S, S, 3]")
    if region.shape != (size, size) or region.dtype != np.bool_:
        refuse("region", region, f"bool [S, S] = {(size, size)}")
    shape = np.shape(row.raw_map)
    maps: dict[str, Any] = {}
    for name in ("raw_map", "mask", "masked_map"):
        if name != "raw_map" and getattr(row, name) is None:
            maps[name] = None
            continue
        values = np.asarray(getattr(row, name))
        floating = values.dtype.kind == "f" or values.dtype.name == "bfloat16"
        if len(shape) != 2 or 0 in shape or values.shape != shape or not floating:
            refuse(name, values, "float [h, w], the same for raw_map, mask and masked_map")
        maps[name] = values.astype(np.float32)
        if not np.isfinite(maps[name]).all():
            raise ValueError(
                f"{name} of rows[{index}] ({row.label!r}) is not finite; give finite values."
            )
    mask = np.zeros(1) if maps["mask"] is None else maps["mask"]
    lowest, highest = float(mask.min()), float(mask.max())
    if lowest < -1 - 1e-3 or highest > 1 + 1e-3:
        raise ValueError(
            f"mask of rows[{index}] ({row.label!r}) goes from {lowest:g} to {highest:g}; "
            "give the mask with its peak at 1, within [-1, 1]."
        )
    return FilterRow(row.label, image, maps["raw_map"], maps["mask"], maps["masked_map"], region)
