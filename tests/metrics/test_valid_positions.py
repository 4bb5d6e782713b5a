"""Valid positions of a stream: exact whatever the order of the images and the size of the batches.

The orders are made to hurt: the threshold of what was seen so far rises and falls on the way.
"""

import numpy as np
import pytest

from interp_cnn import metrics

IMAGES, FILTERS = 96, 6


def maps_of(rng, kind):
    maps = np.maximum(rng.standard_normal((IMAGES, 5, 7, FILTERS)), 0).astype(np.float32)
    strength = rng.lognormal(sigma=2.0, size=(IMAGES, 1, 1, FILTERS)).astype(np.float32)
    if kind == "alike":
        return maps
    if kind == "weakest first":
        strength = np.sort(strength, axis=0)
    if kind == "strongest first":
        strength = -np.sort(-strength, axis=0)
    if kind == "up and down":
        strength = np.sort(strength, axis=0)[np.r_[0:IMAGES:2, IMAGES - 1 : 0 : -2]]
    return maps * strength


def batches(size):
    return [(first, min(first + size, IMAGES)) for first in range(0, IMAGES, size)]


KINDS = ("alike", "varied", "weakest first", "strongest first", "up and down")


@pytest.mark.parametrize("size", [1, 7, 32, IMAGES])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantile", [0.005, 0.1])
def test_a_stream_keeps_all_and_only_the_valid_positions(rng, kind, size, quantile):
    maps = maps_of(rng, kind)
    where = rng.random((IMAGES, FILTERS)) < 0.6
    where[:, 0], where[:, 1] = True, False
    thresholds = metrics.activation_threshold(maps, quantile=quantile, where=where)
    expected = (maps > thresholds) & where[:, None, None]
    assert expected.sum() > 0

    stream = metrics.ValidPositions(IMAGES, quantile=quantile)
    for first, stop in batches(size):
        stream.update(first, maps[first:stop], where[first:stop])
    stream.finish()
    np.testing.assert_array_equal(stream.threshold.result(), thresholds)
    for first, stop in batches(11):
        found = stream.maps(first, stop - first)
        np.testing.assert_array_equal(found, expected[first:stop])


def test_what_can_still_matter_only_grows(rng):
    maps = maps_of(rng, "strongest first")
    threshold = metrics.ActivationThreshold(IMAGES)
    bounds, results = [], []
    for first, stop in batches(4):
        threshold.update(maps[first:stop])
        bounds.append(threshold.bound)
        results.append(threshold.result())
    assert (np.diff(bounds, axis=0) >= 0).all()
    assert (np.diff(results, axis=0) < 0).any()  # which is why it is no bound
    assert (bounds[-1] <= results[-1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_streams_of_several_readers_are_merged_exactly(rng, kind):
    maps = maps_of(rng, kind)
    where = rng.random((IMAGES, FILTERS)) < 0.6
    thresholds = metrics.activation_threshold(maps, where=where)
    streams = []
    for first, stop in ((0, 50), (50, 50), (50, 61), (61, IMAGES)):  # one has no image
        stream = metrics.ValidPositions(IMAGES)
        stream.update(first, maps[first:stop], where[first:stop])
        streams.append((first, stop, stream))
    states = [stream.threshold.kept() for _, _, stream in streams]
    for number, (first, stop, stream) in enumerate(streams):
        for other, state in enumerate(states):
            if other != number:
                stream.threshold.merge(**state)
        stream.finish()
        np.testing.assert_array_equal(stream.threshold.result(), thresholds)
        expected = (maps > thresholds) & where[:, None, None]
        np.testing.assert_array_equal(stream.maps(first, stop - first), expected[first:stop])


def test_few_positions_are_held(rng):
    images = 400
    maps = np.abs(rng.standard_normal((images, 10, 10, 2))).astype(np.float32)
    stream = metrics.ValidPositions(images)
    for first in range(0, images, 20):
        stream.update(first, maps[first : first + 20])
    held = stream._number
    stream.finish()
    assert stream._number == 2 * 0.005 * maps[..., 0].size
    assert held < 5 * stream._number


def test_unannounced_images_and_questions_too_early(rng):
    stream = metrics.ActivationThreshold(3)
    for ask in (lambda: stream.bound, stream.kept, lambda: stream.merge([], [], 0)):
        with pytest.raises(ValueError, match="update was never called"):
            ask()
    stream.update(np.ones((2, 2, 2, 1)))
    with pytest.raises(ValueError, match="images was given as 3, but 4"):
        stream.merge(**stream.kept())


@pytest.fixture
def rng():
    return np.random.default_rng(5)
