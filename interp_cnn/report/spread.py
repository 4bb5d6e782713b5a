"""How the filters of networks are spread: over the parts, and over the tracking ratio."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from interp_cnn.evaluation.network_filters import LayerFilters
from interp_cnn.metrics.followed_parts import FOLLOWS_BELOW, parts_followed
from interp_cnn.report.curves import STYLES, svg_of

_BINS = np.linspace(0, 1.5, 31)  # what lies above counts in the last one
_NO_PART, _UNKNOWN = "no part", "not known"


class PartBar(NamedTuple):
    """A part and the filters that follow it: network, their number, their share of all."""

    part: str
    filters: Sequence[tuple[str, int, float]]


def part_bars(layers: Mapping[str, LayerFilters]) -> list[PartBar]:
    """How many filters of each network follow each part, how many none, how many are unknown.

    Landmarks that no object has are left out; those that no filter follows share one bar.

    Args:
      layers: a layer of each network.
    """
    counts = {name: parts_followed(layer.tracking) for name, layer in layers.items()}
    totals = {name: len(layer.tracking) for name, layer in layers.items()}

    def bar(part: str, numbers: Mapping[str, int]) -> PartBar:
        of = [(name, int(n), n / max(totals[name], 1)) for name, n in numbers.items()]
        return PartBar(part.replace("_", " "), of)

    landmarks = next(iter(layers.values())).landmarks if layers else ()
    bars, without = [], []
    for index, landmark in enumerate(landmarks):
        if all(np.isnan(layer.tracking[:, index]).all() for layer in layers.values()):
            continue
        numbers = {name: int(of.filters[index]) for name, of in counts.items()}
        if any(numbers.values()):
            bars.append(bar(landmark, numbers))
        else:
            without.append(landmark)
    if without:
        bars.append(bar(", ".join(without), dict.fromkeys(counts, 0)))
    if not bars:
        return []
    unknown = {name: int(np.isnan(of.tracking).all(axis=1).sum()) for name, of in layers.items()}
    bars.append(bar(_NO_PART, {name: of.none - unknown[name] for name, of in counts.items()}))
    return [*bars, bar(_UNKNOWN, unknown)] if any(unknown.values()) else bars


class Histogram(NamedTuple):
    """A drawn histogram: the name of its file, what it shows in words, and the SVG."""

    file: str
    text: str
    svg: str


def tracking_histogram(layers: Mapping[str, LayerFilters]) -> Histogram | None:
    """How many filters of each network have which tracking ratio; None where none is known.

    Args:
      layers: a layer of each network.
    """
    values = {name: _known_ratios(layer) for name, layer in layers.items()}
    if not any(len(of) for of in values.values()):
        return None
    shown = {name: np.minimum(of, _BINS[-1]) for name, of in values.items()}
    figure = _histogram(shown, _BINS, "tracking ratio, lower is better")
    figure.axes[0].axvline(FOLLOWS_BELOW, color="0.4", linestyle=":", linewidth=1.2)
    words = [
        f"{name}: {(of < FOLLOWS_BELOW).sum()} of {len(of)} filters below {FOLLOWS_BELOW}"
        for name, of in values.items()
    ]
    text = f"Tracking ratio of the filters. {'; '.join(words)}."
    return Histogram("tracking.svg", text, svg_of(figure))


def information_histogram(layers: Mapping[str, LayerFilters]) -> Histogram | None:
    """How many filters of each network have which mutual information; None where none is known.

    Args:
      layers: a layer of each network.
    """
    key = "mutual_information"
    found = {name: of.terms[key] for name, of in layers.items() if key in of.terms}
    values = {name: of[np.isfinite(of)] for name, of in found.items()}
    if not any(len(of) for of in values.values()):
        return None
    every = np.concatenate(list(values.values()))
    low, high = float(every.min()), float(every.max())
    bins = np.linspace(low, high if high > low else low + 1, 31)
    figure = _histogram(values, bins, "mutual information in nats, higher is better")
    words = [f"{name}: mean {of.mean():.2f}" for name, of in values.items() if len(of)]
    text = f"Mutual information of the filters. {'; '.join(words)}."
    return Histogram("information.svg", text, svg_of(figure))


def _histogram(
    values: Mapping[str, NDArray[np.floating]], bins: NDArray[np.floating], title: str
) -> Figure:
    figure = Figure(figsize=(4.4, 2.3), layout="constrained")
    axes = figure.add_subplot()
    for (name, of), (colour, _) in zip(values.items(), STYLES, strict=False):
        axes.hist(of, bins.tolist(), color=colour, alpha=0.65, label=name)
    axes.set(xlabel=title, ylabel="filters", xlim=(bins[0], bins[-1]))
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is no formula
    return figure


def _known_ratios(layer: LayerFilters) -> NDArray[np.float64]:
    _, ratios = layer.best_landmarks()
    return ratios[~np.isnan(ratios)]
