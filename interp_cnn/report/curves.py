"""Curves of training, one picture for each figure that training wrote."""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from etils import epath
from matplotlib.figure import Figure

from interp_cnn.workdir import TRAINING_METRICS, training_metrics

Curves = Mapping[str, Sequence[Mapping[str, float]]]  # of each network, a mapping each step

# Blue and vermilion of Okabe and Ito, which all kinds of colour vision tell apart; dashes too.
STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"))
_POINTS = 200  # of a curve at most
_TITLES = {
    "loss": "Loss of the task",
    "accuracy": "Accuracy on training batches",
    "learning_rate": "Learning rate",
    "mi": "Mutual information (nats)",
    "peak": "Mean peak of the maps",
}


class CurvePicture(NamedTuple):
    """A drawn curve.

    Attributes:
      name: of the figure, as in `metrics.jsonl`.
      title: what it is called.
      text: what it shows, in words.
      svg: itself.
      note: which networks lack it, "" where all have it.
    """

    name: str
    title: str
    text: str
    svg: str
    note: str


def read_curves(folders: Mapping[str, epath.Path]) -> dict[str, list[dict[str, float]]]:
    """What training wrote to `metrics.jsonl` in the folder of each network that has one."""
    curves = {}
    for network, folder in folders.items():
        file = folder / TRAINING_METRICS
        if file.is_file():
            curves[network] = training_metrics(file.read_bytes().decode(errors="replace"))
    return curves


def draw_curves(curves: Curves) -> list[CurvePicture]:
    """A picture for each figure, with a line for each network that has it."""
    names = dict.fromkeys(
        name for steps in curves.values() for step in steps for name in step if name != "step"
    )
    return [_draw(name, curves) for name in names]


def _draw(name: str, curves: Curves) -> CurvePicture:
    kind, _, layer = name.partition("/")
    title = _TITLES.get(kind, kind) + (f", {layer.replace('_', ' ')}" if layer else "")
    figure = Figure(figsize=(4.2, 2.7), layout="constrained")
    axes = figure.add_subplot()
    texts = []
    for (network, steps), (colour, dashes) in zip(
        curves.items(), itertools.cycle(STYLES), strict=False
    ):
        points = np.array([(step["step"], step[name]) for step in steps if name in step])
        if len(points):
            x, y = _thinned(points)
            axes.plot(x, y, dashes, color=colour, linewidth=1.8, label=network)
            texts.append(
                f"{network}: from {points[0, 1]:.3g} at step {points[0, 0]:.0f}"
                f" to {points[-1, 1]:.3g} at step {points[-1, 0]:.0f}"
            )
    axes.set_xlabel("step")
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is no formula
    lack = [network for network, steps in curves.items() if not any(name in of for of in steps)]
    note = f"It is not measured in the training of {' and '.join(lack)}." if lack else ""
    return CurvePicture(name, title, f"{title}. {'; '.join(texts)}.", svg_of(figure), note)


def _thinned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of neighbouring points, few enough for a small picture: steps and values."""
    groups = np.array_split(points, min(len(points), _POINTS))
    means = np.array([group.mean(axis=0) for group in groups])
    return means[:, 0], means[:, 1]


def svg_of(figure: Figure) -> str:
    """A figure as SVG, the same text for the same figure."""
    data = io.StringIO()
    # Two reports of the same figures are the same files.
    with matplotlib.rc_context({"svg.hashsalt": "interp_cnn"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()
