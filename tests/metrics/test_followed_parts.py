"""Which parts the filters follow: counts, the parts that count, their entropy."""

import numpy as np
import pytest

from interp_cnn import metrics


def test_counts_worked_by_hand():
    found = metrics.parts_followed(
        [[0.2, 0.9], [0.3, 0.7], [0.9, 0.5], [0.8, 0.9], [np.nan, 0.1], [np.nan, np.nan]]
    )
    assert found.filters.tolist() == [2, 2]
    assert (found.none, found.parts) == (2, 2)
    assert found.entropy == pytest.approx(np.log(2))


def test_all_of_one_part_and_of_none():
    one = metrics.parts_followed(np.tile([0.1, 0.9, 0.9], (7, 1)))
    assert (one.filters.tolist(), one.none, one.parts, one.entropy) == ([7, 0, 0], 0, 1, 0)
    none = metrics.parts_followed(np.ones((4, 2)))
    assert (none.filters.tolist(), none.none, none.parts) == ([0, 0], 4, 0)
    assert np.isnan(none.entropy)
    assert metrics.parts_followed(np.zeros((3, 0))).none == 3
    assert metrics.parts_followed(np.zeros((0, 2))).parts == 0


@pytest.mark.parametrize(("few", "parts"), [(4, 1), (5, 2)])
def test_a_part_counts_from_one_filter_in_twenty_on(few, parts):
    ratios = np.full((100, 2), 0.9)
    ratios[:60, 0] = 0.1
    ratios[60 : 60 + few, 1] = 0.1
    found = metrics.parts_followed(ratios)
    assert found.filters.tolist() == [60, few] and found.parts == parts
    share = np.array([60, few]) / (60 + few)
    assert found.entropy == pytest.approx(-(share * np.log(share)).sum())


def test_ratios_of_another_shape():
    with pytest.raises(ValueError, match=r"ratios has shape \(3,\); give \[filters, landmarks\]"):
        metrics.parts_followed(np.zeros(3))
