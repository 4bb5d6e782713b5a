"""How figures are written in a table, and what the paper gives beside them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from interp_cnn.evaluation.results import ExperimentRecord, Results
from interp_cnn.report.paper_numbers import DATASETS, NETWORKS, PaperNumber, paper_number

# Reads one figure out of a network's or a layer's results.
Get = Callable[[Any], Any]

DASH = "—"


def number(value: float | None) -> str:
    """A figure with three decimals, or a dash."""
    return DASH if value is None or math.isnan(value) else f"{value:.3f}"


def decimal(value: float | None) -> str:
    """A figure with one decimal, none where it is whole, or a dash."""
    return DASH if value is None or math.isnan(value) else f"{value:.1f}".removesuffix(".0")


def percent(value: float | None) -> str:
    """A share in percent, or a dash."""
    return DASH if value is None or math.isnan(value) else f"{100 * value:.2f} %"


def integer(value: int | None) -> str:
    """A number of things, or a dash."""
    return DASH if value is None else str(value)


def counts(known: Sequence[Any], get: Get, noun: str, write: Callable[[Any], str] = str) -> str:
    """`512 filters`, or `510 / 512 filters` where the networks differ."""
    return f"{' / '.join(dict.fromkeys(write(get(figures)) for figures in known))} {noun}"


def paper_number_of(results: Results, metric: str) -> PaperNumber | None:
    """What the paper gives for this network, data and task; None where it gives nothing."""
    experiment = results.experiment
    return paper_number(
        metric,
        network=experiment.network,
        dataset=experiment.dataset,
        category=experiment.category,
        task=experiment.task,
    )


def paper_figures(results: Results, metric: str, write: Callable[[float], str]) -> str:
    """The two figures of the paper and what they are the mean of, or the empty text."""
    figure = paper_number_of(results, metric)
    if figure is None:
        return ""
    return f"{write(figure.ordinary)} → {write(figure.interpretable)} ({figure.scope})"


def paper_ratio(results: Results) -> str:
    """Location instability of the paper's interpretable network over its ordinary one."""
    figure = paper_number_of(results, "location_instability")
    return "" if figure is None else number(figure.interpretable / figure.ordinary)


def paper_title(experiment: ExperimentRecord) -> str:
    """Title of the paper's column, the empty text where the paper has no such network."""
    dataset, network = experiment.dataset, experiment.network
    if dataset not in DATASETS or network not in NETWORKS:
        return ""
    return f"paper ({DATASETS[dataset]}, {NETWORKS[network]})"
