"""From what was asked for to the list of runs, each with its configuration."""

import dataclasses
import functools
from typing import Any

import ml_collections

from interp_cnn import configs
from interp_cnn.config import check_config
from interp_cnn.models import BACKBONES
from interp_cnn.models.pretrained import load_weights
from interp_cnn.reproduce.request import Request
from interp_cnn.reproduce.tables import (
    BATCH_AND_FACTOR,
    EMBEDDED,
    SINGLE,
    SOFTMAX,
    Experiment,
    experiments,
)

_CONFIGS = {EMBEDDED: "embedded"}  # those of the other data sets are called as these are


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of `train_and_evaluate`."""

    experiment: Experiment
    seed: int
    config: ml_collections.ConfigDict

    @property
    def name(self) -> str:
        """The name of its folder."""
        what = self.experiment
        return f"{what.dataset}-{what.category}-{what.task}-{what.network}-seed{self.seed}"


def plan(request: Request) -> list[Run]:
    """The runs behind the tables, each once, all of the first seed before those of the second."""
    wanted = dict.fromkeys(
        experiment
        for table in request.chosen_tables()
        for experiment in experiments(table, nets=request.nets, wanted=request.categories)
    )
    return [
        Run(experiment, seed, config_of(experiment, seed, request))
        for seed in range(request.seeds)
        for experiment in wanted
    ]


def config_of(experiment: Experiment, seed: int, request: Request) -> ml_collections.ConfigDict:
    """The configuration of one run: that of the package, for the task and the network."""
    arguments = f"category={experiment.category}"
    if "train.epochs" in request.settings:  # it sets what hangs on their number
        arguments += f",epochs={request.settings['train.epochs']}"
    if "train.schedule" in request.settings and experiment.dataset != EMBEDDED:
        # That of the paper sets all else as in the paper, too.
        arguments += f",schedule={request.settings['train.schedule']}"
    config = configs.get_config(_CONFIGS.get(experiment.dataset, experiment.dataset), arguments)
    config.seed = seed
    config.train.task = "softmax" if experiment.task == SOFTMAX else "logistic"
    # Several categories are told from each other, as in the paper.
    config.data.negatives = "photos" if experiment.task == SINGLE else "none"
    config.checkpoint.keep = 1
    if experiment.dataset != EMBEDDED:
        config.data.manual_dir = request.manual_dir
        config.model.name = experiment.network
        if config.train.schedule == "paper":
            config.train.batch_size, config.train.paper_factor = BATCH_AND_FACTOR[
                experiment.network
            ]
        if config.model.frozen_through not in BACKBONES[experiment.network].layer_names:
            config.model.frozen_through = None
        file = request.weights.get(experiment.network)
        config.weights = file or "download"
        known = file and weights_facts(file, experiment.network)
        # The run would refuse a mean that is further from that of its weights.
        if known and any(
            abs(a - b) > 1 for a, b in zip(config.data.mean, known["mean"], strict=True)
        ):
            config.data.mean = known["mean"]
    with config.ignore_type():  # the values are checked; one number may stand for several
        config.update_from_flattened_dict(dict(request.settings))
    check_config(config)
    return config


@functools.cache
def weights_facts(file: str, network: str) -> dict[str, Any] | None:
    """Mean and source of a weights file, or None where it cannot be read."""
    try:
        pretrained = load_weights(file, BACKBONES[network])
    except (ValueError, OSError):
        return None  # the run will say why
    return {"mean": pretrained.mean, "source": pretrained.source}
