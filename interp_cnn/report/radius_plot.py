"""How part interpretability moves with the radius, as a plot."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import IO, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interp_cnn.report.colours import COLOURS
from interp_cnn.report.page import ExtraFigure

_MARKERS = "osD^vPX"


def radius_figures(results: Mapping[str, Any]) -> list[ExtraFigure]:
    """The plot for the report, of all networks and layers; none where there are no part regions.

    Args:
      results: the content of `metrics.json`.
    """
    curves: dict[str, Sequence[float]] = {}
    for network, found in results["networks"].items():
        for layer, figures in found["layers"].items():
            radii, values = zip(*figures["part_interpretability"]["by_radius"], strict=True)
            if None not in values:
                curves[f"{network}, {layer}"] = values
            used = figures["part_interpretability"]["radius"]
    if not curves:
        return []
    data = io.BytesIO()
    draw_radius_sensitivity(data, radii, curves, used=used)
    texts = [
        f"{name}: "
        + ", ".join(f"{value:.3f} at {radius:.1f}" for radius, value in zip(radii, of, strict=True))
        for name, of in curves.items()
    ]
    title = "Part interpretability over the radius of a unit's image region"
    return [ExtraFigure(title, f"{title} in pixels. {'; '.join(texts)}.", data.getvalue())]


def draw_radius_sensitivity(
    path: str | os.PathLike[str] | IO[bytes],
    radii: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    used: float,
) -> None:
    """Writes a PNG: part interpretability of several networks over the radius of the discs.

    Args:
      path: file to write, or an open one.
      radii: in pixels.
      curves: network -> its part interpretability at each radius.
      used: radius of the reported figures, marked by a line.

    Raises:
      ValueError: a curve of another length than the radii.
    """
    figure = Figure(figsize=(4.8, 3.2), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)  # attaches itself
    axes = figure.add_subplot()
    axes.axvline(used, color="0.6", linestyle=":", linewidth=1.5, label=f"radius used, {used:.1f}")
    for index, (name, values) in enumerate(curves.items()):
        if len(values) != len(radii):
            raise ValueError(f"{name!r} has {len(values)} values for {len(radii)} radii.")
        # Networks differ by marker as well as by colour.
        axes.plot(
            radii, values, color=COLOURS[index % len(COLOURS)],
            marker=_MARKERS[index % len(_MARKERS)], label=name,
        )  # fmt: skip
    axes.set(xlabel="radius of a unit's image region (pixels)", ylabel="part interpretability")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")
