"""Controls of part interpretability: what units that ignore the image score."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.metrics.sensitivity import PartShares

# Positions on each axis, evenly spaced over the image; odd, so that one is at its centre.
_GRID = 15


class PartControls(NamedTuple):
    """What units that ignore the image score as part interpretability (their best part)."""

    center: float  # always at the centre of the image
    random: float  # uniformly random positions, expected


class PartControlCounts:
    """Part interpretability of two units that ignore the image, while part masks stream by.

    The region of a unit is one disc, at the centre of the image or at any of 15 x 15 positions
    spread evenly over it. Both units fire on every image.

    Args:
      size: (H, W) of the masks in pixels.
      radius: radius of the disc in pixels.
      iou: intersection over union to exceed.
    """

    def __init__(self, size: tuple[int, int], *, radius: float, iou: float = 0.2):
        self._size = size
        places = (np.arange(_GRID) + 0.5) / _GRID
        self._positions = np.eye(_GRID**2, dtype=np.float32).reshape(_GRID, _GRID, -1)
        self._shares = PartShares(
            np.full(_GRID**2, 0.5),  # each of as many filters has one position, with the value 1
            radii=[radius],
            centers_y=places * size[0],
            centers_x=places * size[1],
            iou=iou,
        )

    def update(self, masks: ArrayLike) -> None:
        """Add part masks, bool [images, parts, H, W].

        Raises:
          ValueError: as `part_counts`, or masks of another size than announced.
        """
        masks = np.asarray(masks)
        if masks.shape[2:] != tuple(self._size):
            raise ValueError(
                f"masks has shape {masks.shape}; size was given as {tuple(self._size)}, so give"
                f" [images, parts, {self._size[0]}, {self._size[1]}]."
            )
        maps = np.broadcast_to(self._positions, (len(masks), *self._positions.shape))
        self._shares.update(maps, masks)

    def kept(self) -> dict[str, NDArray[np.int64]]:
        """The counts so far, to be summed over streams of different images; see `of_counts`.

        Raises:
          ValueError: where no batch came.
        """
        return self._shares.kept()

    @staticmethod
    def of_counts(counts: dict[str, NDArray[np.int64]]) -> PartControls:
        """The controls of the sums of what streams have `kept`; NaN where no image has a part."""
        shares = PartShares.of_counts(counts)[0]  # [positions, parts]
        shares = shares[:, ~np.isnan(shares[0])]
        if not shares.shape[1]:
            return PartControls(float("nan"), float("nan"))
        middle = len(shares) // 2
        return PartControls(float(shares[middle].max()), float(shares.mean(axis=0).max()))

    def result(self) -> PartControls:
        """The controls of all images that came.

        Raises:
          ValueError: where no batch came.
        """
        return self.of_counts(self.kept())
