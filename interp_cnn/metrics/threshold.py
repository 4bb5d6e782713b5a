"""Activation thresholds of part interpretability: exact quantiles of a stream of feature maps."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn import arguments
from interp_cnn.arguments import as_bools, as_count, check_real

CHUNK = 32  # images handled at a time when whole arrays are given


def as_maps(maps: ArrayLike) -> NDArray[np.floating]:
    """Returns feature maps as a float32 or float64 array [images, height, width, filters]."""
    maps = np.asarray(maps)
    if maps.ndim != 4:
        raise ValueError(f"maps has shape {maps.shape}; give [images, height, width, filters].")
    check_real("maps", maps)
    return maps if maps.dtype in (np.float32, np.float64) else maps.astype(np.float32)


def as_where(where: ArrayLike | None, images: int, filters: int) -> NDArray[np.bool_]:
    """Returns which images count for which filter, bool [images, filters], from [images] or all."""
    if where is None:
        return np.ones((images, filters), bool)
    used = arguments.as_where(as_bools("where", where), images, filters)
    return np.broadcast_to(used, (images, filters))


class ActivationThreshold:
    """Thresholds T_f with P(x_ij > T_f) = quantile over all positions and images of a stream.

    T_f is the smallest number such that at most a share `quantile` of filter f's positions lies
    strictly above it: the (floor(quantile * positions) + 1)-th largest value. It is exact, in any
    order and size of batches; what is kept is that many values per filter (2 MB for 512 filters,
    1,000 images, 14 x 14 maps).

    Args:
      images: at least the number of images to come.
      quantile: share of positions above the threshold, in [0, 1); the paper has 0.005.
    """

    def __init__(self, images: int, *, quantile: float = 0.005):
        as_count("images", images, 1, "give the number of images to come, at least 1")
        if not 0 <= quantile < 1:
            raise ValueError(f"quantile is {quantile}; give a share in [0, 1).")
        self._images, self._quantile = images, quantile
        self._seen = 0
        self._shape: tuple[int, ...] | None = None

    def _above(self, positions: int) -> int:
        """Returns how many of so many positions may lie strictly above the threshold."""
        # The rounding undoes errors of the product, such as 0.29 * 100 < 29.
        return math.floor(round(self._quantile * positions, 6))

    def update(self, maps: ArrayLike, *, where: ArrayLike | None = None) -> None:
        """Adds the feature maps of some images.

        Args:
          maps: [images, height, width, filters].
          where: bool [images] or [images, filters], which images count (for which filter).

        Raises:
          ValueError: more images than announced, or maps of another size than before.
        """
        maps = as_maps(maps)
        images, height, width, filters = maps.shape
        if self._shape is None:
            self._shape = maps.shape[1:]
            self._keep = self._above(self._images * height * width) + 1
            self._top = np.full((filters, 0), -np.inf, maps.dtype)
            self._least = np.full(filters, -np.inf, maps.dtype)
            self._positions = np.zeros(filters, np.int64)
        if maps.shape[1:] != self._shape:
            raise ValueError(
                f"maps has shape {maps.shape}; the first ones were [images, *{self._shape}]."
            )
        used = as_where(where, images, filters)
        self._count_images(int(used.any(axis=1).sum()))
        self._positions += used.sum(axis=0) * (height * width)

        values = maps.reshape(-1, filters)
        # Only values above the least of those kept matter. Not `>`: NaN has to come through.
        fresh = ~(values <= self._least)
        if not used.all():
            fresh &= np.repeat(used, height * width, axis=0)
        fresh = np.ascontiguousarray(fresh.T)
        counts = fresh.sum(axis=1)
        filter_index, position = np.nonzero(fresh)
        column = np.arange(len(position)) - (np.cumsum(counts) - counts)[filter_index]
        # Filters have different numbers of new values: rows are filled up with -inf.
        rows = np.full((filters, counts.max(initial=0)), -np.inf, maps.dtype)
        rows[filter_index, column] = values[position, filter_index]
        self._keep_largest(rows)

    def _keep_largest(self, rows: NDArray[np.floating]) -> None:
        """Adds values [filters, any number] to those kept, and drops what cannot matter."""
        top = np.concatenate([self._top, rows], axis=1)
        if top.shape[1] >= self._keep:
            cut = top.shape[1] - self._keep
            top = np.partition(top, cut, axis=1)[:, cut:].copy()
            self._least = top[:, 0]
        self._top = top

    @property
    def bound(self) -> NDArray[np.floating]:
        """No threshold can come to lie below this, [filters]; it only rises.

        `result` is the threshold of what was seen so far and may fall again, this is the least of
        the values that can still become one; -inf as long as too few were seen.

        Raises:
          ValueError: no maps were given.
        """
        self._check_begun("bound")
        return self._least.copy()

    def kept(self) -> dict[str, NDArray[Any]]:
        """What `merge` needs of a stream: another part of the same images, read elsewhere.

        Returns:
          `values` [kept, filters], `positions` [filters] and `images` [].

        Raises:
          ValueError: no maps were given.
        """
        self._check_begun("kept")
        return {
            "values": self._top.T,
            "positions": self._positions,
            "images": np.array(self._seen),
        }

    def merge(self, values: ArrayLike, positions: ArrayLike, images: ArrayLike) -> None:
        """Adds what another stream has `kept`: as if its maps had come here.

        Args:
          values: [kept, filters].
          positions: number of positions that counted, [filters].
          images: number of images that counted.

        Raises:
          ValueError: more images than announced, or no maps were given before.
        """
        self._check_begun("merge")
        self._count_images(int(np.asarray(images)))
        self._positions = self._positions + np.asarray(positions)
        self._keep_largest(np.asarray(values, self._top.dtype).T)

    def _count_images(self, number: int) -> None:
        self._seen += number
        if self._seen > self._images:
            raise ValueError(
                f"images was given as {self._images}, but {self._seen} came; announce them all."
            )

    def _check_begun(self, what: str) -> None:
        if self._shape is None:
            raise ValueError(f"update was never called; give some maps before asking for {what}.")

    def result(self) -> NDArray[np.floating]:
        """Returns T_f, [filters], in the dtype of the maps; NaN where no image counted.

        Raises:
          ValueError: no maps were given, or they held NaN.
        """
        self._check_begun("result")
        if np.isnan(self._top).any():
            raise ValueError("maps holds NaN; give the maps of a network whose outputs are finite.")
        if not self._positions.any():
            return np.full(len(self._positions), np.nan, self._top.dtype)
        ranked = -np.sort(-self._top, axis=1)
        above = np.array([self._above(int(count)) for count in self._positions])
        threshold = np.take_along_axis(ranked, above[:, None], axis=1)[:, 0]
        # No rounding: the threshold itself does not lie above the threshold.
        return np.where(self._positions > 0, threshold, np.nan).astype(self._top.dtype)


def activation_threshold(
    maps: ArrayLike, *, quantile: float = 0.005, where: ArrayLike | None = None
) -> NDArray[np.floating]:
    """Threshold T_f with P(x_ij > T_f) = quantile over all positions and images, per filter.

    The smallest number such that at most a share `quantile` lies strictly above it; see
    `ActivationThreshold` for a stream of batches.

    Args:
      maps: [images, height, width, filters].
      quantile: share of positions above the threshold, in [0, 1).
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      [filters], float64 for maps of float64, else float32; NaN for a filter for which no image
      counts.

    Raises:
      ValueError: wrong shapes, NaN in maps, or a quantile outside [0, 1).
    """
    maps = as_maps(maps)
    used = as_where(where, maps.shape[0], maps.shape[3])
    stream = ActivationThreshold(maps.shape[0], quantile=quantile)
    for start in range(0, len(maps), CHUNK):
        stream.update(maps[start : start + CHUNK], where=used[start : start + CHUNK])
    return stream.result()
