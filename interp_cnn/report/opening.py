"""The first sentences of a report: what was trained on what, what came out, what the terms mean."""

from collections.abc import Sequence

from interp_cnn.evaluation.results import DataRecord, NetworkResult, Results
from interp_cnn.report.paper_numbers import NETWORKS
from interp_cnn.report.table_notes import dataset_name

_WHAT = {
    "ordinary": "as usual (ordinary)",
    "interpretable": "with the filter loss, so that each filter follows one part (interpretable)",
}

_LAYERS = {
    "new_conv": "the 3 x 3 convolution that the method adds behind the last one of the backbone.",
    "top_conv": "the last convolution of the backbone.",
}
_ANY_LAYER = "maps of the network that the filter loss acts on."


def opening(results: Results, layer: str) -> str:
    """One sentence: what was trained on what, the accuracy and tracking ratio of each network.

    Without annotated parts there is the mutual information in place of the tracking ratio.

    Args:
      results: the results of the networks.
      layer: whose tracking ratio is given, such as "new_conv".
    """
    experiment, data, networks = results.experiment, results.data, results.networks
    network = NETWORKS.get(experiment.network, f"The network {experiment.network}")
    trained = all(found.step for found in networks.values())
    how = f"trained on {data.train_images} images" if trained else "measured without training"
    kinds = [f"once {_WHAT.get(name, name)}" for name in networks]
    if len(kinds) == 1:
        kinds = [kinds[0].removeprefix("once ")]
    accuracies = [_percent(found.accuracy.value) for found in networks.values()]
    if data.has_parts:
        ratios = [_ratio(found, layer) for found in networks.values()]
        measured = f"mean tracking ratio {' and '.join(ratios)}"
    else:
        values = [_number(found.layers[layer].mutual_information) for found in networks.values()]
        measured = f"mean mutual information {' and '.join(values)} nats"
    dataset = dataset_name(experiment)
    return (
        f"{network} was {how} of {dataset} to recognise {_listed(_categories(data))},"
        f" {' and '.join(kinds)}: accuracy {' and '.join(accuracies)},"
        f" {measured}."
    )


def terms(results: Results, layer: str) -> list[tuple[str, str]]:
    """The terms of the first screen and what they mean, `layer` first of the layers.

    Args:
      results: the results of the networks.
      layer: the layer that the first screen shows.
    """
    layers = dict.fromkeys(name for found in results.networks.values() for name in found.layers)
    names = sorted(layers, key=lambda name: name != layer)
    return [
        _TRACKING_RATIO if results.data.has_parts else _MUTUAL_INFORMATION,
        *((name.replace("_", " "), _LAYERS.get(name, _ANY_LAYER)) for name in names),
    ]


_TRACKING_RATIO = (
    "tracking ratio",
    "how far a filter's peak strays from a part, over how far the part itself moves from image to"
    " image: 0 where the peak moves with the part, 1 where it stays in one place. A filter follows"
    " the part of its lowest ratio, if that is below 0.8.",
)
_MUTUAL_INFORMATION = (
    "mutual information",
    "how much a filter's map tells about the one place that it fires at: high where it has one peak"
    " on images of its category, at places that differ; low where it fires at many places at once,"
    " or always at the same one.",
)


def _ratio(network: NetworkResult, layer: str) -> str:
    return _number(network.layers[layer].tracking_ratio.value)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _categories(data: DataRecord) -> list[str]:
    names = [name.replace("_", " ") for name in data.categories]
    return names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more categories"]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
