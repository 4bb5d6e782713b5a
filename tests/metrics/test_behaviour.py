"""Filters where no part is annotated: how far their peaks roam, how alike they are."""

import itertools
import math

import numpy as np
import pytest
from reference_metrics import chosen, variance

from interp_cnn import metrics


@pytest.fixture(scope="module")
def random_peaks():
    rng = np.random.default_rng(4)
    positions = rng.uniform(0, 60, (12, 5, 2))
    peaks = np.maximum(rng.normal(0.5, 1, (12, 5)), 0)
    peaks[:, 2] = 0  # a dead filter
    peaks[1:, 3] = 0  # one that fires once
    where = rng.random((12, 5)) < 0.8
    where[0, 3] = True
    return positions, peaks, where


def test_spread_of_the_peaks(random_peaks):
    positions, peaks, where = random_peaks
    found = metrics.peak_spread(positions, peaks, image_size=(60, 80), top=4, where=where)
    assert found.dtype == np.float64
    for f, value in enumerate(found):
        images = chosen(peaks, f, 4, lambda n, f=f: where[n, f])
        if len(images) < 2:
            assert np.isnan(value)
            continue
        expected = math.sqrt(variance([tuple(positions[n, f]) for n in images])) / 100
        assert value == pytest.approx(expected)
    assert np.isnan(found).sum() == 2
    collapsed = metrics.collapsed_filters(
        positions, peaks, image_size=(60, 80), top=4, tolerance=0.2, where=where
    )
    np.testing.assert_array_equal(collapsed, found < 0.2)


def test_filters_at_the_same_place(random_peaks):
    positions, peaks, where = random_peaks
    found = metrics.same_place(positions, peaks, radius=20.0, where=where)
    for f in range(5):
        shares = []
        for g in range(5):
            near = [
                math.dist(positions[n, f], positions[n, g]) < 20
                for n, (a, b) in enumerate(zip(peaks[:, f], peaks[:, g], strict=True))
                if a > 0 and b > 0 and where[n, f] and where[n, g]
            ]
            if g != f and near:
                shares.append(sum(near) / len(near))
        assert np.isnan(found[f]) if not shares else found[f] == pytest.approx(np.mean(shares))
    assert np.isnan(found[2])


def test_filters_that_are_all_alike_and_those_that_are_not():
    places = np.array(list(itertools.product([10.0, 50.0], repeat=2)))
    apart = np.tile(places, (3, 1, 1))
    np.testing.assert_array_equal(metrics.same_place(apart, np.ones((3, 4)), radius=9), 0)
    alike = np.zeros_like(apart)
    np.testing.assert_array_equal(metrics.same_place(alike, np.ones((3, 4)), radius=9), 1)
    np.testing.assert_array_equal(
        metrics.peak_spread(apart, np.ones((3, 4)), image_size=(60, 60)), 0
    )


def test_wrong_arguments():
    places, peaks = np.zeros((3, 2, 2)), np.ones((3, 2))
    for radius in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"radius is .*; give pixels above 0"):
            metrics.same_place(places, peaks, radius=radius)
    with pytest.raises(ValueError, match="positions has shape"):
        metrics.peak_spread(places[:2], peaks, image_size=(10, 10))
