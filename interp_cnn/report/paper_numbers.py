"""The numbers of the paper (CVPR 2018, arXiv 1710.00935), ordinary and interpretable network."""

from typing import NamedTuple

NETWORKS = {"alexnet": "AlexNet", "vgg_m": "VGG-M", "vgg_s": "VGG-S", "vgg16": "VGG-16"}
DATASETS = {"ilsvrc_animal_part": "ILSVRC", "pascal_voc_part": "VOC", "cub_200_2011": "CUB"}
METRICS = ("accuracy", "location_instability", "part_interpretability")
TASKS = ("single", "multi_logistic", "multi_softmax")
VOC_CATEGORIES = ("bird", "cat", "cow", "dog", "horse", "sheep")

Pair = tuple[float, float]

# (metric, data set, task): (ordinary, interpretable) of AlexNet, VGG-M, VGG-S, VGG-16.
_MEANS: dict[tuple[str, str, str], tuple[Pair | None, ...]] = {
    ("part_interpretability", "pascal_voc_part", "single"): (
        (0.348, 0.654),
        (0.357, 0.708),
        (0.257, 0.390),
        (0.495, 0.770),
    ),
    ("part_interpretability", "pascal_voc_part", "multi_logistic"): (
        None,
        (0.478, 0.770),
        (0.479, 0.572),
        (0.710, 0.938),
    ),
    ("part_interpretability", "pascal_voc_part", "multi_softmax"): (
        None,
        (0.502, 0.734),
        (0.435, 0.601),
        (0.723, 0.897),
    ),
    ("location_instability", "pascal_voc_part", "single"): (
        (0.140, 0.088),
        (0.141, 0.088),
        (0.139, 0.089),
        (0.139, 0.096),
    ),
    ("location_instability", "ilsvrc_animal_part", "single"): (
        (0.146, 0.091),
        (0.147, 0.090),
        (0.145, 0.090),
        (0.144, 0.085),
    ),
    ("location_instability", "cub_200_2011", "single"): (
        (0.150, 0.070),
        (0.148, 0.065),
        (0.148, 0.073),
        (0.137, 0.076),
    ),
    ("accuracy", "ilsvrc_animal_part", "single"): (
        (0.9628, 0.9538),
        (0.9734, 0.9577),
        (0.9762, 0.9564),
        (0.9858, 0.9667),
    ),
    ("accuracy", "pascal_voc_part", "single"): (
        (0.9540, 0.9393),
        (0.9682, 0.9417),
        (0.9774, 0.9547),
        (0.9866, 0.9539),
    ),
    ("accuracy", "cub_200_2011", "single"): (
        (0.9559, 0.9535),
        (0.9734, 0.9603),
        (0.9724, 0.9582),
        (0.9891, 0.9651),
    ),
    ("accuracy", "pascal_voc_part", "multi_logistic"): (
        None,
        (0.9388, 0.9619),
        (0.9405, 0.9678),
        (0.9797, 0.9850),
    ),
    ("accuracy", "pascal_voc_part", "multi_softmax"): (
        None,
        (0.8193, 0.8803),
        (0.7815, 0.8613),
        (0.8971, 0.9160),
    ),
    ("accuracy", "ilsvrc_animal_part", "multi_logistic"): (
        None,
        (0.9673, 0.9799),
        (0.9698, 0.9872),
        None,
    ),
}

# VOC, single category: the numbers of the categories in the order of VOC_CATEGORIES.
_VOC_SINGLE: dict[tuple[str, str], tuple[tuple[float, ...], tuple[float, ...]]] = {
    ("location_instability", "alexnet"): (
        (0.153, 0.131, 0.141, 0.128, 0.145, 0.140),
        (0.090, 0.089, 0.090, 0.088, 0.087, 0.088),
    ),
    ("location_instability", "vgg_m"): (
        (0.152, 0.132, 0.143, 0.130, 0.145, 0.141),
        (0.086, 0.094, 0.090, 0.087, 0.084, 0.084),
    ),
    ("location_instability", "vgg_s"): (
        (0.152, 0.131, 0.141, 0.128, 0.144, 0.141),
        (0.089, 0.092, 0.092, 0.087, 0.086, 0.088),
    ),
    ("location_instability", "vgg16"): (
        (0.145, 0.133, 0.146, 0.127, 0.143, 0.143),
        (0.101, 0.098, 0.105, 0.074, 0.097, 0.100),
    ),
    ("part_interpretability", "alexnet"): (
        (0.332, 0.363, 0.340, 0.374, 0.308, 0.373),
        (0.770, 0.565, 0.618, 0.571, 0.729, 0.669),
    ),
    ("part_interpretability", "vgg_m"): (
        (0.357, 0.365, 0.347, 0.368, 0.331, 0.373),
        (0.821, 0.632, 0.634, 0.669, 0.736, 0.756),
    ),
    ("part_interpretability", "vgg_s"): (
        (0.251, 0.269, 0.235, 0.275, 0.223, 0.287),
        (0.526, 0.366, 0.291, 0.432, 0.478, 0.251),
    ),
    ("part_interpretability", "vgg16"): (
        (0.519, 0.458, 0.479, 0.534, 0.440, 0.542),
        (0.818, 0.653, 0.683, 0.900, 0.795, 0.772),
    ),
}

_SINGLE_SCOPES = {
    "ilsvrc_animal_part": "mean of 30",
    "pascal_voc_part": "mean of 6",
    "cub_200_2011": "all birds",
}


class PaperNumber(NamedTuple):
    """One number of the paper for both networks, and what it covers."""

    ordinary: float
    interpretable: float
    scope: str  # the category, or "mean of 30" categories, "all birds", "all categories"


def paper_number(
    metric: str,
    *,
    network: str,
    dataset: str,
    category: str | None = None,
    task: str = "single",
) -> PaperNumber | None:
    """The paper's number for a network and a data set: of the category where the paper has it.

    Args:
      metric: one of `METRICS`; the accuracy is a share in [0, 1], as the others are.
      network: a key of `NETWORKS`; there are no numbers for another one.
      dataset: a key of `DATASETS`; there are no numbers for another one.
      category: name of the category; the mean over categories where it is None or has no number
        of its own.
      task: one of `TASKS`.

    Returns:
      The number, or None where the paper has none.

    Raises:
      ValueError: for an unknown metric or task.

    >>> paper_number(
    ...     "location_instability", network="vgg16", dataset="pascal_voc_part", category="cat"
    ... )
    PaperNumber(ordinary=0.133, interpretable=0.098, scope='cat')
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}.")
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; choose one of {', '.join(TASKS)}.")
    means = _MEANS.get((metric, dataset, task))
    if means is None or network not in NETWORKS:
        return None
    own = _VOC_SINGLE.get((metric, network))
    if own and category in VOC_CATEGORIES and (dataset, task) == ("pascal_voc_part", "single"):
        index = VOC_CATEGORIES.index(category)
        return PaperNumber(own[0][index], own[1][index], category)
    pair = means[list(NETWORKS).index(network)]
    scope = _SINGLE_SCOPES[dataset] if task == "single" else "all categories"
    return None if pair is None else PaperNumber(*pair, scope)
