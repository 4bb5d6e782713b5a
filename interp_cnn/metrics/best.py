"""Each filter's best part or landmark, where some are not known."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def best_of_filters(
    values: ArrayLike, *, largest: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each filter's best value, and at which index it is (of equal ones the first).

    Args:
      values: one value for each part or landmark, [filters, values]; NaN where it is not known.
      largest: whether the largest value is the best, else the smallest.

    Returns:
      (index, value), both [filters]; -1 and NaN for a filter of which nothing is known.

    >>> best_of_filters([[0.5, 0.2], [np.nan, np.nan]], largest=False)
    (array([ 1, -1]), array([0.2, nan]))
    """
    found = np.asarray(values, np.float64)
    there = ~np.isnan(found)
    score = np.where(there, found if largest else -found, -np.inf)
    known = there.any(axis=1)
    if not found.shape[1]:
        return np.full(len(found), -1), np.full(len(found), np.nan)
    index = score.argmax(axis=1)
    best = np.take_along_axis(found, index[:, None], axis=1)[:, 0]
    return np.where(known, index, -1), np.where(known, best, np.nan)
