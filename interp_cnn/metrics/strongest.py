"""The images on which each filter fires most."""

import numpy as np
from numpy.typing import NDArray


class Strongest:
    """Chooses, for each filter, the images with the highest peak among those that may be chosen.

    Args:
      peaks: value of each filter's peak, [images, filters]; of equal ones the first image counts.
      top: at most so many images are chosen for a filter.
    """

    def __init__(self, peaks: NDArray[np.floating], top: int):
        self._top = top
        # Whole numbers without a sign, and bool, have no negative.
        values = peaks if peaks.dtype.kind == "f" else peaks.astype(np.float64)
        self._order = np.argsort(-values, axis=0, kind="stable")

    def __call__(self, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which images are chosen of those that may be, bool [images, filters] both."""
        ranked = np.take_along_axis(usable, self._order, axis=0)
        ranked &= np.cumsum(ranked, axis=0) <= self._top
        chosen = np.empty_like(ranked)
        np.put_along_axis(chosen, self._order, ranked, axis=0)
        return chosen
