"""The positions at which filters fire: those above the threshold of part interpretability."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.metrics.threshold import ActivationThreshold, as_maps, as_where

_Found = tuple[NDArray[Any], ...]  # image, row, column, filter, value of each position


class ValidPositions:
    """The valid positions x_ij > T_f of a stream of feature maps, exact in any order of the images.

    The threshold is known only when all images came, and until then it may rise and fall. What is
    kept meanwhile is whatever lies above `ActivationThreshold.bound`, which only rises: about twice
    as many positions as are valid in the end, in place of all maps.

    Args:
      images: number of images to come, in all streams that are merged.
      quantile: share of valid positions; the paper has 0.005.
    """

    def __init__(self, images: int, *, quantile: float = 0.005):
        self.threshold = ActivationThreshold(images, quantile=quantile)
        self._found: list[_Found] = []
        self._number = self._limit = 0
        self._shape: tuple[int, ...] = ()

    @property
    def map_size(self) -> tuple[int, ...]:
        """Height and width of the maps."""
        return self._shape[:2]

    def update(self, first: int, maps: ArrayLike, where: ArrayLike | None = None) -> None:
        """Add the maps of some images.

        Args:
          first: number of the first of these images; each number may come once, in any order.
          maps: [images, height, width, filters].
          where: bool [images] or [images, filters], which images count (for which filter).

        Raises:
          ValueError: as `ActivationThreshold.update`.
        """
        maps = as_maps(maps)
        used = as_where(where, maps.shape[0], maps.shape[3])
        self.threshold.update(maps, where=used)
        self._shape = maps.shape[1:]
        above = (maps > self.threshold.bound) & used[:, None, None]
        image, *place = np.nonzero(above)
        self._found.append((image + first, *place, maps[above]))
        self._number += len(image)
        if self._number > self._limit:
            self._drop(self.threshold.bound)
            self._limit = 2 * self._number

    def _drop(self, bound: NDArray[np.floating]) -> None:
        """Keep what lies above a bound, in the order of the images."""
        *place, value = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        keep = np.flatnonzero(value > bound[place[-1]])
        keep = keep[np.argsort(place[0][keep], kind="stable")]
        self._found = [(*(axis[keep] for axis in place), value[keep])]
        self._number = len(keep)

    def finish(self) -> None:
        """Keep the valid positions alone; to be called when all images came and are merged.

        Raises:
          ValueError: as `ActivationThreshold.result`.
        """
        thresholds = self.threshold.result()
        # A filter for which no image counted has no threshold, and no position either.
        self._drop(np.where(np.isnan(thresholds), np.inf, thresholds))

    def maps(self, first: int, count: int) -> NDArray[np.float32]:
        """1 at the valid positions of some images, 0 elsewhere: [count, height, width, filters].

        Args:
          first: number of the first of these images.
          count: their number.
        """
        image, *place, _ = self._found[0]
        begin, end = np.searchsorted(image, [first, first + count])
        result = np.zeros((count, *self._shape), np.float32)
        result[(image[begin:end] - first, *(axis[begin:end] for axis in place))] = 1.0
        return result
