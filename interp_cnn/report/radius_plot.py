"""How part interpretability moves with the radius, as a plot."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import IO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interp_cnn.evaluation.results import Results
from interp_cnn.report.colours import COLOURS
from interp_cnn.report.page import ExtraFigure

_MARKERS = "osD^vPX"


def radius_figures(results: Results) -> list[ExtraFigure]:
    """The plot for the report, of all networks and layers; none where there are no part regions.

    It shows the share over the images on which a filter fires, or of results of older evaluations
    the one over all images with the part.

    Args:
      results: figures of the networks.
    """
    layers = [layer for network in results.networks.values() for layer in network.layers.values()]
    fired = all(layer.part_interpretability_fired is not None for layer in layers)
    curves: dict[str, Sequence[float]] = {}
    for name, network in results.networks.items():
        for layer, figures in network.layers.items():
            parts = (fired and figures.part_interpretability_fired) or figures.part_interpretability
            values = [value for _, value in parts.by_radius if value is not None]
            if len(values) == len(parts.by_radius):
                curves[f"{name}, {layer}"] = values
            radii, used = [radius for radius, _ in parts.by_radius], parts.radius
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
    which = "on which the filter fires" if fired else "that have the part"
    return [
        ExtraFigure(
            title, f"{title} in pixels, images {which}. {'; '.join(texts)}.", data.getvalue()
        )
    ]


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
