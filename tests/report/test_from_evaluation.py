"""From networks that were measured to their typical filters and explained predictions."""

import numpy as np
import pytest
from tiny import tiny_config, tiny_data

from interp_cnn.evaluation.evaluator import Evaluator
from interp_cnn.evaluation.filter_parts import filter_parts_of
from interp_cnn.evaluation.predictions import MeasuredNetwork, explain_images
from interp_cnn.evaluation.sampled_images import evenly, label_name
from interp_cnn.models import NEW_CONV
from interp_cnn.report.from_evaluation import explained_predictions
from interp_cnn.training.build import make_network, starting_variables

VARIANTS = ("ordinary", "interpretable")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Both networks untrained, so that they answer some images wrongly."""
    config, data = tiny_config(), tiny_data(tmp_path_factory.mktemp("data"))
    found = []
    for variant in VARIANTS:
        network = make_network(config, variant, 1)
        variables = starting_variables(config, network)
        evaluation = Evaluator(config, data).evaluate(network, variables, 0)
        parts = filter_parts_of(evaluation, data)
        found.append(MeasuredNetwork(variant, network, variables, evaluation, parts))
    return config, data, found


def test_the_same_images_for_all_networks(measured):
    _, data, networks = measured
    found = [one.evaluation.filters_of(one.variant) for one in networks]
    assert [one.network for one in found] == list(VARIANTS)
    sample = found[0].sample
    np.testing.assert_array_equal(found[1].sample.images, sample.images)
    assert len(sample.images) == len(data.test)  # there are fewer than a sample would take
    assert sample.categories == tuple("cat" if label else "" for label in data.test.labels)
    for one, network in zip(networks, found, strict=True):
        assert [layer.name for layer in network.layers] == list(one.network.map_filters)
        for layer in network.layers:
            cats = data.test.labels > 0
            strongest = network.gallery.layers[layer.name].peaks[:, 0]
            np.testing.assert_allclose(
                layer.sampled.peaks[cats].max(axis=0), strongest, rtol=1e-4, atol=1e-6
            )
            highest = layer.sampled.maps.max(axis=(1, 2))
            np.testing.assert_array_equal(highest, layer.sampled.peaks)
            assert (layer.masks is not None) == one.network.interpretable
            if layer.masks is not None:  # there is none of an image that is not there
                there = network.gallery.layers[layer.name].image >= 0
                assert layer.masks[there].any() and not layer.masks[~there].any()


def test_predictions_of_all_networks_one_of_them_wrong(measured):
    config, data, networks = measured
    images = explain_images(config, data, networks)
    found = explained_predictions(networks, images, layer=NEW_CONV)
    captions = [one.caption.split(",")[0] for one in found]
    assert set(captions) <= {"cat", "no cat"}
    for prediction in found:
        assert [answer.network for answer in prediction.answers] == list(VARIANTS)
        for answer in prediction.answers:
            yes = answer.logit > 0
            assert answer.probability == pytest.approx(1 / (1 + np.exp(-answer.logit)))
            assert answer.right == (yes == prediction.caption.startswith("cat"))
            assert answer.side == f"what speaks {'for' if yes else 'against'} cat"
            assert set(answer.colours) == set(answer.shares)
            assert answer.picture.shape == (320, 320, 3)
    logits = networks[1].evaluation.test_logits[:, 0]
    labels = np.sort(data.test.labels)[::-1]  # objects first
    wrong = (logits > 0) != (labels > 0)
    assert wrong.any() and not found[-1].answers[1].right
    assert found[-1].answers[1].logit == pytest.approx(
        max(logits[wrong], key=abs), rel=1e-3, abs=1e-6
    )


def test_places_evenly_spaced():
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 8).tolist() == [0, 1, 2]
    assert evenly(0, 8).tolist() == [] and evenly(5, 1).tolist() == [0]


def test_labels_in_words():
    assert label_name(["red_fox"], 1) == "red fox" and label_name(["red_fox"], 0) == "no red fox"
    assert label_name(["cat", "dog"], 0) == "another image"
