"""From an evaluation to what the pictures and the page show."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_collections
import numpy as np

from interp_cnn.data.pipeline import Crop
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.evaluator import Evaluation
from interp_cnn.evaluation.explanations import Explained, explain_pixels
from interp_cnn.evaluation.filter_parts import FilterParts
from interp_cnn.evaluation.sampled_images import (
    Sample,
    caption,
    evenly,
    label_name,
    sample_images,
    sampled_maps,
)
from interp_cnn.models import NEW_CONV, Network
from interp_cnn.report import pictures
from interp_cnn.report.colours import NO_PART, part_colour
from interp_cnn.report.network_filters import LayerFilters, NetworkFilters
from interp_cnn.report.page import Answer, Contribution, ExplainedPrediction
from interp_cnn.templates import template_mask
from interp_cnn.training.objective import SOFTMAX

_SIDE = 320  # pixels of the picture of a prediction


class MeasuredNetwork(NamedTuple):
    """A network and what was measured of it.

    Attributes:
      variant: what it is called in pictures and pages.
      network: itself.
      params: its parameters.
      evaluation: what was measured.
      parts: what the filters of its new convolution stand for.
    """

    variant: str
    network: Network
    params: Any
    evaluation: Evaluation
    parts: FilterParts


def all_filters(
    config: ml_collections.ConfigDict, networks: Sequence[MeasuredNetwork], data: Data
) -> list[NetworkFilters]:
    """What the pictures show of the filters of some networks, all on the same sampled images.

    Args:
      config: that the networks were trained with.
      networks: with what was measured of them.
      data: that they were evaluated on.
    """
    sample = sample_images(config, data, networks[0].network.input_size)
    return [network_filters(config, one, data, sample) for one in networks]


def network_filters(
    config: ml_collections.ConfigDict, measured: MeasuredNetwork, data: Data, sample: Sample
) -> NetworkFilters:
    """What the pictures show of the filters of one network.

    Args:
      config: that it was trained with.
      measured: the network, and what was measured of it.
      data: that it was evaluated on.
      sample: images that it is shown besides the strongest ones.
    """
    network, evaluation = measured.network, measured.evaluation
    gallery, fields = evaluation.gallery, network.receptive_fields()
    sampled = sampled_maps(config, network, measured.params, sample)
    layers = [
        LayerFilters(
            name=name,
            categories=[data.categories[of] for of in evaluation.categories[name]],
            parts=data.parts,
            shares=evaluation.interpretability[name],
            landmarks=data.landmarks,
            tracking=evaluation.ratios[name],
            instability=_mean_known(evaluation.instability[name]),
            terms=evaluation.terms[name],
            thresholds=evaluation.thresholds[name],
            centers_y=fields[name].centers(top.maps.shape[2]),
            centers_x=fields[name].centers(top.maps.shape[3]),
            radius=_radius(evaluation, name),
            image_size=network.input_size,
            masks=_masks(network, top.maps),
            sampled=sampled[name],
        )
        for name, top in ((name, gallery.layers[name]) for name in network.map_filters)
    ]
    captions = [
        caption(data.categories, evaluation.objects, int(number)) for number in gallery.numbers
    ]
    return NetworkFilters(measured.variant, gallery, captions, sample, layers)


def _radius(evaluation: Evaluation, layer: str) -> float:
    """Of the discs of which a region is made, in pixels of the input."""
    return float(evaluation.result["layers"][layer]["part_interpretability"]["radius"])


def _masks(network: Network, maps: np.ndarray) -> np.ndarray | None:
    """Masks of maps [filters, images, height, width]; an ordinary network has none."""
    if not network.interpretable:
        return None
    masks = template_mask(
        jnp.asarray(maps.reshape(-1, *maps.shape[2:], 1)),  # as images of one filter
        norm=network.norm,
        beta=network.beta,
        position=network.position,
    )
    return np.asarray(masks).reshape(maps.shape)


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Mean over the landmarks that are known, [filters, landmarks] -> [filters]."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


# Predictions.


def explained_predictions(
    config: ml_collections.ConfigDict, networks: Sequence[MeasuredNetwork], data: Data
) -> list[ExplainedPrediction]:
    """What all networks say about some test images, and why.

    The images are two objects, one without an object, and one that a network answers wrongly, the
    last network first, where there is such an image.

    Args:
      config: that the networks were trained with.
      networks: with what was measured of them.
      data: that they were evaluated on.
    """
    crop = Crop(networks[0].network.input_size, config.data.crop)
    result = []
    for place in _chosen(config, networks, data.test.labels):
        pixels = crop.map(data.test[place])["image"]
        label = int(data.test.labels[place])
        answers = []
        for one in networks:
            found = explain_pixels(config, one.network, one.params, one.parts, pixels)
            radius = _radius(one.evaluation, NEW_CONV)
            answers.append(_answer(one, found, label, pixels, radius))
        result.append(ExplainedPrediction(caption(data.categories, data.test, place), answers))
    return result


def _answer(
    measured: MeasuredNetwork, found: Explained, label: int, pixels: np.ndarray, radius: float
) -> Answer:
    parts = measured.parts
    category = label_name(parts.categories, found.output + 1)
    shown = {name: share for name, share in found.shares.items() if share >= 0.005}
    names = [name.replace("_", " ") for name in parts.names]
    colours = {name: part_colour(index) for index, name in enumerate(names)}
    looked = [(int(parts.part[one.unit]), one.position) for one in found.filters]
    return Answer(
        network=measured.variant,
        sentence=found.sentence,
        logit=found.logit,
        probability=found.probability,
        category=category,
        right=label == (found.output + 1) if found.yes else label == 0,
        picture=pictures.looks_at(pixels, looked, radius, side=_SIDE),
        side=f"what speaks {'for' if found.yes else 'against'} {category}",
        shares=shown,
        colours={name: colours.get(name, NO_PART) for name in shown},
        filters=[
            Contribution(measured.variant, NEW_CONV, one.unit, one.part, one.value)
            for one in found.filters
        ],
    )


def _chosen(
    config: ml_collections.ConfigDict, networks: Sequence[MeasuredNetwork], labels: np.ndarray
) -> list[int]:
    """Places in the test split of the images whose predictions are explained."""
    objects, others = np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)
    wrong = [
        place
        for one in reversed(networks)
        for place in _wrong(labels, one.evaluation.test_logits, config.train.task)
    ]
    right = [places[~np.isin(places, wrong)] for places in (objects, others)]
    chosen = [
        *right[0][evenly(len(right[0]), 2)].tolist(),
        *right[1][evenly(len(right[1]), 1)].tolist(),
        *wrong[:1],
    ]
    return [int(place) for place in chosen]


def _wrong(labels: np.ndarray, logits: np.ndarray, task: str) -> list[int]:
    """Places in the test split of wrong answers, the most confident one first.

    Args:
      labels: of the split, [images], 0 for other images.
      logits: [images, outputs], of the objects first, see `Evaluation.test_logits`.
      task: see `config.train.task`.
    """
    places = np.concatenate([np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)])
    answer, label = logits.argmax(axis=1) + 1, labels[places]
    confidence = logits.max(axis=1)
    if task != SOFTMAX:
        answer = np.where(confidence > 0, answer, 0)
    order = np.argsort(-np.abs(confidence), kind="stable")
    return [int(places[index]) for index in order if answer[index] != label[index]]
