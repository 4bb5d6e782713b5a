"""What is known of each filter's parts: the best one, and the images on which it fires most."""

import numpy as np
import pytest

from interp_cnn.metrics.best import best_of_filters
from interp_cnn.metrics.strongest import Strongest
from interp_cnn.receptive_field import Disc, discs, image_region

NAN = np.nan


@pytest.mark.parametrize("largest", [True, False])
def test_equals_the_loop(largest):
    rng = np.random.default_rng(0)
    values = np.round(rng.random((40, 3)), 1)  # many are equal
    values[rng.random((40, 3)) < 0.4] = NAN
    index, best = best_of_filters(values, largest=largest)
    for row, at, value in zip(values, index, best, strict=True):
        known = [k for k in range(3) if not np.isnan(row[k])]
        if not known:
            assert at == -1 and np.isnan(value)
            continue
        wanted = (max if largest else min)(known, key=lambda k: row[k])  # the first of equal ones
        assert at == wanted and value == row[wanted]


def test_without_any_part():
    index, best = best_of_filters(np.zeros((2, 0)), largest=True)
    assert index.tolist() == [-1, -1] and np.isnan(best).all()


def test_strongest_images_of_those_that_may_be_chosen():
    peaks = np.array([[3.0, 1.0], [5.0, 1.0], [4.0, 1.0]])
    usable = np.array([[True, True], [False, True], [True, True]])
    chosen = Strongest(peaks, 1)(usable)
    assert chosen.tolist() == [[False, True], [False, False], [True, False]]


def test_discs_are_the_regions_of_single_positions():
    y, x = np.array([3.0, 8.5], np.float32), np.array([-1.0, 4.0, 9.5], np.float32)
    found = discs(y, x, 3.2, (10, 12))
    assert found.shape == (2, 3, 10, 12)
    for i, row in enumerate(y):
        for j, column in enumerate(x):
            one = image_region(Disc(3.2), [[row, column]], (10, 12))
            np.testing.assert_array_equal(found[i, j], one)
