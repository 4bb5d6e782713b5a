"""Where data, split, weights or training of a run differ from the paper's, in words."""

from pathlib import Path

import ml_collections

from interp_cnn.config import default_config, flatten, is_interpretable
from interp_cnn.evaluation.results import DataRecord, Results
from interp_cnn.reproduce.plan import Run, weights_facts
from interp_cnn.reproduce.tables import (
    ACCURACY,
    BATCH_AND_FACTOR,
    CATEGORIES,
    CUB,
    EMBEDDED,
    SINGLE,
)

_CUB_TEST_BIRDS = 5794
_EPOCHS = {True: 50, False: 80}
_DROPOUT = (0.5, 0.9)  # "0.5 to 0.9"
_NEW_INIT_STD = 0.01
# Fields whose defaults are the paper's, without words of their own below.
_AS_BY_DEFAULT = (
    *("data.crop", "data.std", "model.input_size", "model.head", "model.second_layer"),
    *("train.class_weights", "train.momentum", "train.weight_decay", "train.rate_factors"),
)
_OF_FILTERS = (
    *("model.norm", "model.beta", "model.position"),
    *("filter_loss.category_rule", "filter_loss.images", "filter_loss.alpha"),
)


def differences(run: Run, results: Results, metric: str, variant: str) -> list[str]:
    """What differs from the paper in one number of a run; nothing where the paper has no data.

    Args:
      run: the run that was done.
      results: the results of the run, as in its metrics.json.
      metric: the metric of the number.
      variant: `"ordinary"` or `"interpretable"`.
    """
    if run.experiment.dataset == EMBEDDED:
        return []
    config, data = run.config, results.data
    found = [
        _weights(config),
        *_training(run),
        *_others(config, _AS_BY_DEFAULT),
        *((*_loss(config), *_others(config, _OF_FILTERS)) if is_interpretable(variant) else ()),
        _split(run),
        _objects(run, data),
        "" if metric == ACCURACY else _measured_on(run, data),
        _negatives(run),
    ]
    return [text for text in found if text]


def _weights(config: ml_collections.ConfigDict) -> str:
    ours = "; the paper has the authors' MatConvNet files"
    if not config.weights:
        return "trained from scratch; the paper starts from ImageNet weights"
    if config.weights == "download":
        return "Keras' ImageNet weights" + ours
    facts = weights_facts(config.weights, config.model.name)
    if facts is None:
        return f"weights of {Path(config.weights).name}, which cannot be read now" + ours
    return "" if "MatConvNet" in facts["source"] else f"weights {facts['source']}" + ours


def _training(run: Run) -> list[str]:
    model, train = run.config.model, run.config.train
    epochs = _EPOCHS[run.experiment.task == SINGLE]
    batch, factor = BATCH_AND_FACTOR[run.experiment.network]
    found = []
    if model.frozen_through:
        found.append(f"layers up to {model.frozen_through} not trained; the paper trains all")
    if model.width != 1:
        found.append(f"all layers at {model.width:g} of the paper's width")
    if not _DROPOUT[0] <= model.dropout <= _DROPOUT[1]:
        found.append(f"dropout of {model.dropout:g}; the paper has .5 to .9")
    if model.new_init_std != _NEW_INIT_STD:
        std = "He initialisation" if model.new_init_std is None else f"{model.new_init_std:g}"
        found.append(f"new layers begin with {std}; the paper's with a deviation of .01")
    if train.epochs != epochs:
        found.append(f"{train.epochs} epochs; the paper has {epochs}")
    paper_rate = train.schedule == "paper" and train.paper_factor == factor
    # The schedule of several categories falls over all of its 80 epochs and has their number in k.
    if not paper_rate or run.experiment.task != SINGLE:
        rate = f"{train.learning_rate:g}, {train.schedule}"
        if train.schedule == "paper":
            rate = f"the paper's for one category, k = {train.paper_factor:g}"
        times = "" if run.experiment.task == SINGLE else " times the number of categories"
        found.append(
            f"learning rate {rate}; the paper's falls from k 1e-4 to k 1e-5, k = {factor:g}{times}"
        )
    if train.start_epochs:
        found.append(
            f"both networks begin from an ordinary one, trained for {train.start_epochs} epochs;"
            " the paper has no such start"
        )
    if train.clip_norm is not None:
        found.append(
            f"gradients clipped to a norm of {train.clip_norm:g}; the paper has no clipping"
        )
    if train.batch_size != batch:
        found.append(f"batches of {train.batch_size}; the paper has {batch}")
    return found


def _others(config: ml_collections.ConfigDict, names: tuple[str, ...]) -> list[str]:
    """Which of these fields differ from their defaults, the paper's."""
    ours, paper = flatten(config.to_dict()), flatten(default_config().to_dict())
    return [
        f"config.{name} is {ours[name]!r}; the paper's: {paper[name]!r}"
        for name in names
        if ours[name] != paper[name]
    ]


def _loss(config: ml_collections.ConfigDict) -> list[str]:
    loss, begin = config.filter_loss, config.interpretable
    found = []
    if (loss.weighting, loss.gradient) != ("paper", "paper"):
        found.append(
            f"filter loss weighted by '{loss.weighting}', gradient '{loss.gradient}'; the paper"
            " has Eq. 4 and a weight of (1/t) mean max x"
        )
    if loss.top_conv_weight is not None:
        found.append(f"filter loss of the top conv weighted by {loss.top_conv_weight:g} instead")
    if loss.growth_weight:
        found.append(
            f"a penalty of weight {loss.growth_weight:g} on maps that grow; the paper has none"
        )
    if loss.fade_epochs:
        found.append(
            f"the filter loss falls to zero in the last {loss.fade_epochs:g} epochs; the paper's"
            " falls as 1/t"
        )
    model = config.model
    if (model.top_conv_mask, model.new_conv_mask) != (1, 1):
        found.append(
            f"masks of the strength {model.top_conv_mask:g} (top conv) and {model.new_conv_mask:g}"
            " (new conv); the paper has 1"
        )
    if begin.start_epoch or begin.ramp_epochs:
        what = "masks and filter loss set"
        if not (model.top_conv_mask or model.new_conv_mask):
            what = "the filter loss sets"
        found.append(
            f"{what} in after {begin.start_epoch:g} epochs, over {begin.ramp_epochs:g}; the paper"
            " has both from the start"
        )
    return found


def _split(run: Run) -> str:
    if run.experiment.dataset == CUB:
        return ""  # the official split
    if run.experiment.task == SINGLE:
        return "our own split by photo; the authors' is not published as a list"
    return (
        "our own split by photo; in the authors' one crops of a photo, or their mirror images, are"
        " on both sides"
    )


def _objects(run: Run, data: DataRecord) -> str:
    """Where a part of the data set is missing."""
    dataset, have = run.experiment.dataset, len(data.categories)
    if dataset == CUB:
        birds = data.test_objects
        if birds < _CUB_TEST_BIRDS:
            return f"{birds} of the {_CUB_TEST_BIRDS} official test birds"
        return ""
    if run.experiment.task != SINGLE and have < len(CATEGORIES[dataset]):
        return f"{have} of the paper's {len(CATEGORIES[dataset])} categories"
    return ""


def _measured_on(run: Run, data: DataRecord) -> str:
    authors = "test" if run.experiment.dataset == CUB else "all"
    if data.location_split == authors:
        return ""
    images = {"test": "test images", "all": "all annotated images"}
    return f"measured on {images[data.location_split]}; the authors took {images[authors]}"


def _negatives(run: Run) -> str:
    data = run.config.data
    found = data.negatives
    if data.negatives_per_positive is not None:
        found += f", {data.negatives_per_positive:g} for each object"
    paper = "photos" if run.experiment.task == SINGLE else "none"
    if found == paper:
        return ""
    return f"other images: {found}; the paper has: {paper}"
