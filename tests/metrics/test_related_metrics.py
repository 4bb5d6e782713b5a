"""The measures of related work against slow loops, hand-worked cases and scikit-learn's figures."""

import math

import numpy as np
import pytest
import reference_related as reference

from interp_cnn import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Purity


@pytest.mark.parametrize("top", [1, 4, 100])
def test_purity_equals_the_loop(rng, top):
    images, filters, parts = 30, 5, 3
    positions = rng.integers(0, 64, (images, filters, 2)).astype(np.float32)
    peaks = np.maximum(rng.standard_normal((images, filters)), 0).astype(np.float32)
    peaks[:, 1] = np.round(peaks[:, 1])  # equal peaks
    peaks[:, 2] = 0  # dead
    landmarks = rng.integers(1, 64, (images, parts, 2)).astype(float)
    landmarks[rng.random((images, parts)) < 0.3] = np.nan
    landmarks[:, 2] = np.nan
    where = rng.random((images, filters)) < 0.8
    for given, used in ((None, np.ones_like(where)), (where, where)):
        expected = reference.purity(positions, peaks, landmarks, 32, top, used)
        found = metrics.purity(positions, peaks, landmarks, top=top, where=given)
        np.testing.assert_array_equal(found, expected)
        assert np.isnan(found[2]).all() and np.isnan(found[:, 2]).all()
        assert 0 < np.nanmax(found)


def test_purity_worked_by_hand():
    # Twelve images, the weaker the later; patches of 10 pixels around (50, 50).
    peaks = np.arange(12, 0, -1.0)[:, None]
    positions = np.full((12, 1, 2), 50.0)
    landmarks = np.full((12, 2, 2), 90.0)
    landmarks[:4, 0] = 55.0  # at the corner of the patch
    landmarks[4, 0] = 55.01
    landmarks[10:, 0] = 50.0  # not among the ten
    landmarks[1:10, 1] = np.nan  # shown once, and there in the patch
    landmarks[0, 1] = 46.0
    found = metrics.purity(positions, peaks, landmarks, patch=10.0)
    np.testing.assert_array_equal(found, [[0.4, 1.0]])
    assert metrics.summarize_purity(found) == (1.0, 0.0, 1.0, 1, 0)
    summary = metrics.summarize_purity([[0.5, 0.1], [np.nan, 0.9], [np.nan, np.nan]])
    assert summary == (pytest.approx(0.7), pytest.approx(0.2), 0.5, 2, 1)
    nothing = metrics.summarize_purity(np.zeros((3, 0)))
    assert math.isnan(nothing.mean) and nothing.filters == 0 and nothing.filters_left_out == 3


# Patterns


def pattern_case(rng):
    images, filters, parts = 8, 4, 3
    maps = np.maximum(rng.standard_normal((images, 3, 4, filters)), 0).astype(np.float32)
    maps[..., 0] = 0  # dead
    masks = rng.random((images, parts, 12, 16)) < 0.4  # they overlap
    masks[0] = False
    where = rng.random((images, filters)) < 0.7
    where[:, 3] = False
    # The first and the last centre lie outside.
    geometry = {"centers_y": [-0.5, 6.0, 11.9], "centers_x": [0.0, 5.5, 10.2, 16.5]}
    return maps, masks, where, geometry


@pytest.mark.parametrize("quantile", [0.0, 0.1, 0.6])
def test_pattern_shares_equal_the_loop_and_streams_add_up(rng, quantile):
    maps, masks, where, geometry = pattern_case(rng)
    thresholds = metrics.activation_threshold(maps, quantile=quantile, where=where)
    expected = reference.pattern_shares(maps, masks, thresholds, **geometry, where=where)
    found = metrics.pattern_shares(maps, masks, quantile=quantile, where=where, **geometry)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.isnan(found[[0, 3]]).all()
    if quantile:
        np.testing.assert_allclose(found[1:3].sum(axis=1), 1)
    streams = []
    for images in (slice(0, 3), slice(3, 8)):
        streams.append(metrics.PatternShares(thresholds, **geometry))
        streams[-1].update(maps[images], masks[images], where[images])
    sums = {name: sum(one.kept()[name] for one in streams) for name in streams[0].kept()}
    np.testing.assert_allclose(metrics.PatternShares.of_sums(sums), expected, atol=1e-12)


def test_inconsistency_and_diversity(rng):
    shares = rng.dirichlet(np.ones(4), size=6)
    shares[1] = [0, 1, 0, 0]
    shares[4] = np.nan
    known = np.delete(shares, 4, axis=0)
    inconsistency = metrics.pattern_inconsistency(shares)
    expected = [reference.entropy(row) for row in known]
    np.testing.assert_allclose(np.delete(inconsistency, 4), expected)
    assert inconsistency[1] == 0 and np.isnan(inconsistency[4])
    diversity = metrics.pattern_diversity(shares)
    assert diversity == pytest.approx(reference.entropy(known.mean(axis=0)))
    # What a filter tells about the region is not negative.
    assert 0 <= diversity - np.mean(expected) <= math.log(4)

    one_part = np.tile([1.0, 0.0, 0.0], (5, 1))
    assert metrics.pattern_inconsistency(one_part).tolist() == [0] * 5
    assert metrics.pattern_diversity(one_part) == 0
    each_its_own = np.eye(3)
    assert metrics.pattern_inconsistency(each_its_own).tolist() == [0] * 3
    assert metrics.pattern_diversity(each_its_own) == pytest.approx(math.log(3))
    spread = np.full((5, 3), 1 / 3)
    np.testing.assert_allclose(metrics.pattern_inconsistency(spread), math.log(3))
    assert metrics.pattern_diversity(spread) == pytest.approx(math.log(3))
    assert math.isnan(metrics.pattern_diversity(np.full((2, 3), np.nan)))


# Information on classes


def information_case():
    """Sixty images: nothing, a shift, a filter that fires on one class alone, one often silent."""
    rng = np.random.default_rng(5)
    labels = np.arange(60) % 3
    activations = rng.standard_normal((60, 4)).astype(np.float32)
    activations[:, 1] += labels
    activations[:, 2] = np.where(labels == 2, activations[:, 2] + 6, 0)
    activations[:, 3] = np.maximum(activations[:, 3] + labels - 1, 0)
    return activations, labels


@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_class_information_equals_the_loop(neighbours):
    activations, labels = information_case()
    labels = np.where(np.arange(60) == 0, 7, labels)  # a class of one image
    expected = reference.class_information(activations, labels, [2, 0, 7], neighbours)
    found = metrics.class_information(activations, labels, classes=[2, 0, 7], neighbours=neighbours)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.isnan(found[:, 2]).all() and (found[:, :2] >= 0).all()


def test_class_information_is_that_of_scikit_learn():
    activations, labels = information_case()
    found = metrics.class_information(activations, labels)
    # mutual_info_classif(activations, labels == c, random_state=0) of scikit-learn 1.9.1. It
    # breaks the ties of the other two filters by noise.
    np.testing.assert_allclose(
        found[:2], [[0, 0.002216, 0.051205], [0.211153, 0.079519, 0.222577]], atol=1e-6
    )
    np.testing.assert_allclose(found[2], [0.166694, 0.166694, 0.644929], atol=0.01)


def test_class_information_worked_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1])
    silent, switch = np.zeros(6), 5.0 * labels
    # Of the switch each k and m is 3: psi(6) - psi(3) = 1/3 + 1/4 + 1/5.
    found = metrics.class_information(np.stack([silent, switch], axis=1), labels, classes=[1])
    np.testing.assert_allclose(found, [[0], [47 / 60]])
    assert metrics.mutual_information_score(found) == pytest.approx(47 / 120)
    assert metrics.mutual_information_score([[np.nan], [0.25]]) == 0.25
    assert math.isnan(metrics.mutual_information_score(np.zeros((3, 0))))
    alone = metrics.class_information(np.ones((4, 1)), [1, 1, 1, 1])
    assert alone.shape == (1, 1) and np.isnan(alone).all()


# What is refused

POSITIONS, PEAKS = np.full((3, 2, 2), 8.0), np.ones((3, 2))
LANDMARKS = np.full((3, 1, 2), 8.0)
MAPS, MASKS = np.ones((3, 2, 2, 2)), np.ones((3, 1, 4, 4), bool)
CENTERS = {"centers_y": [1.0, 3.0], "centers_x": [1.0, 3.0]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.purity(POSITIONS, PEAKS, LANDMARKS, patch=0), "patch is 0; give the side"),
        (lambda: metrics.purity(POSITIONS, PEAKS, LANDMARKS, top=0), "top is 0; give the number"),
        (lambda: metrics.purity(POSITIONS, PEAKS[:2], LANDMARKS), "positions has shape"),
        (lambda: metrics.purity(POSITIONS, PEAKS, LANDMARKS / 32), r"lie all within 0\.\.1"),
        (lambda: metrics.summarize_purity([0.5]), r"shares has shape \(1,\)"),
        (
            lambda: metrics.pattern_shares(MAPS, MASKS[:2], thresholds=[0, 0], **CENTERS),
            "masks has shape",
        ),
        (
            lambda: metrics.pattern_shares(MAPS, MASKS * 1, thresholds=[0, 0], **CENTERS),
            "masks is int64 of shape .*; give bool",
        ),
        (
            lambda: metrics.pattern_shares(MAPS, MASKS, thresholds=[0], **CENTERS),
            r"thresholds has shape \(1,\); give \[filters\]",
        ),
        (
            lambda: metrics.pattern_shares(
                MAPS, MASKS, thresholds=[0, 0], centers_y=[1.0], centers_x=[1.0, 3.0]
            ),
            "centers_y has shape",
        ),
        (lambda: metrics.PatternShares([0.0], **CENTERS).result(), "no images came; call update"),
        (lambda: metrics.pattern_inconsistency([[0.5, 0.6]]), "rows that do not sum to 1"),
        (lambda: metrics.pattern_diversity([1.0]), r"shares has shape \(1,\)"),
        (lambda: metrics.class_information([1.0], [1]), r"activations has shape \(1,\)"),
        (lambda: metrics.class_information(PEAKS, [1, 2]), r"labels is int64 of shape \(2,\)"),
        (lambda: metrics.class_information(PEAKS, [0.5, 1, 2]), "labels is float64"),
        (lambda: metrics.class_information(PEAKS * np.nan, [0, 1, 1]), "activations holds NaN"),
        (lambda: metrics.class_information(PEAKS * 1j, [0, 1, 1]), "activations is complex128"),
        (
            lambda: metrics.class_information(PEAKS, [0, 1, 1], neighbours=0),
            "neighbours is 0; give the number",
        ),
        (lambda: metrics.mutual_information_score([1.0]), r"information has shape \(1,\)"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
