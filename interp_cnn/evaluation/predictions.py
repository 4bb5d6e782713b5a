"""What all networks say about a few test images, and why."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from numpy.typing import NDArray

from interp_cnn.data.pipeline import Crop
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.evaluator import Evaluation
from interp_cnn.evaluation.explanations import Explained, explain_pixels
from interp_cnn.evaluation.filter_files import FilterParts
from interp_cnn.evaluation.sampled_images import caption, evenly
from interp_cnn.models import AnyNetwork
from interp_cnn.training.objective import SOFTMAX


class MeasuredNetwork(NamedTuple):
    """A network and what was measured of it.

    Attributes:
      variant: what it is called in pictures and pages.
      network: itself.
      variables: its variables.
      evaluation: what was measured.
      parts: what the filters of its last interpretable layer stand for.
    """

    variant: str
    network: AnyNetwork
    variables: Any
    evaluation: Evaluation
    parts: FilterParts


class ExplainedImage(NamedTuple):
    """A test image and what each network says about it.

    Attributes:
      caption: its category and photo id.
      label: of the image, 0 for one without any category.
      pixels: what the networks saw, uint8 [size, size, 3].
      explained: of each network what its highest logit rests on.
    """

    caption: str
    label: int
    pixels: NDArray[np.uint8]
    explained: Sequence[Explained]


def explain_images(
    config: ml_collections.ConfigDict, data: Data, networks: Sequence[MeasuredNetwork]
) -> list[ExplainedImage]:
    """Explain what all networks say about some test images.

    Args:
      config: the configuration that the networks were trained with.
      data: the data that they were evaluated on.
      networks: the networks with what was measured of them.
    """
    crop = Crop(networks[0].network.input_size, config.data.crop)
    result = []
    for place in chosen_places(networks, data.test.labels, config.train.task):
        pixels = crop.map(data.test[place])["image"]
        explained = [
            explain_pixels(config, one.network, one.variables, one.parts, pixels)
            for one in networks
        ]
        label = int(data.test.labels[place])
        text = caption(data.categories, data.test, place)
        result.append(ExplainedImage(text, label, pixels, explained))
    return result


def chosen_places(networks: Sequence[MeasuredNetwork], labels: np.ndarray, task: str) -> list[int]:
    """Places in the test split of the images whose predictions are explained.

    Two objects and one without an object, or three objects where all images have one, from the
    first category to the last; and one that a network answers wrongly, the last network first,
    where there is such an image.

    Args:
      networks: the networks with what was measured of them.
      labels: of the split, [images], 0 for other images.
      task: see `config.train.task`.
    """
    by_label = np.argsort(labels, kind="stable")
    objects, others = by_label[labels[by_label] > 0], by_label[labels[by_label] == 0]
    wrong = [
        place
        for one in reversed(networks)
        for place in _wrong(labels, one.evaluation.test_logits, task)
    ]
    right = [places[~np.isin(places, wrong)] for places in (objects, others)]
    chosen = [
        *right[0][evenly(len(right[0]), 2 if len(others) else 3)].tolist(),
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
