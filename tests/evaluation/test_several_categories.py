"""Several categories: controls are those of each, and one without an object has no figures."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_config, tiny_data

from interp_cnn import metrics
from interp_cnn.data.pipeline import CropWithParts
from interp_cnn.evaluation.evaluator import Evaluator
from interp_cnn.training.build import make_network
from interp_cnn.training.state import init_variables

CATEGORIES = ("cat", "rabbit")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """`evaluate(data)` of an untrained network of two categories, and their data."""
    data = tiny_data(tmp_path_factory.mktemp("data"), CATEGORIES)
    config = tiny_config()
    network = make_network(config, "interpretable", len(CATEGORIES))
    variables = init_variables(network, 0)

    def evaluate(data):
        return Evaluator(config, data).evaluate(network, variables, 0)

    return evaluate, data


def test_units_that_ignore_the_image_are_measured_on_each_category(evaluated):
    evaluate, data = evaluated
    found = evaluate(data)
    photos = [
        CropWithParts(64, "image", tuple(data.landmarks), tuple(data.parts)).map(found.objects[i])
        for i in range(len(found.objects))
    ]
    landmarks = np.stack([photo["landmarks"] for photo in photos])
    masks = np.stack([photo["masks"] for photo in photos])
    labels = found.objects.labels
    center, parts_center = [], []
    for label in (1, 2):
        own = labels == label
        # A unit that always looks at the centre, as any other filter of the category.
        positions = np.full((own.sum(), 1, 2), 32.0)
        summary = metrics.summarize_location(
            positions, np.ones((own.sum(), 1)), landmarks[own], image_size=(64, 64)
        )
        center.append(summary.instability)
        counts = metrics.PartControlCounts((64, 64), radius=0.2 * 64)
        counts.update(masks[own])
        parts_center.append(counts.result().center)
    assert found.controls.center == pytest.approx(np.mean(center))
    pooled = metrics.instability_controls(landmarks, image_size=(64, 64))
    assert found.controls.center != pytest.approx(pooled.center, rel=0.01)
    assert found.controls.images == pooled.images
    assert found.part_controls.center == pytest.approx(np.mean(parts_center))


def test_a_category_without_an_object_has_no_figures(evaluated):
    evaluate, data = evaluated
    cats = data.test.take(np.flatnonzero(data.test.labels != 2))
    found = evaluate(dataclasses.replace(data, test=cats))
    layer = found.result.layers["top_conv"]
    of_cats = [row for row in found.filters if (row.layer, row.category) == ("top_conv", "cat")]
    others = [row for row in found.filters if (row.layer, row.category) == ("top_conv", "rabbit")]
    assert of_cats and not any(row.dead for row in others)
    assert all(row.mutual_information is None for row in others)
    assert layer.mutual_information == pytest.approx(
        np.mean([row.mutual_information for row in of_cats])
    )
    assert layer.mutual_information_fewest == layer.mutual_information_images > 0
