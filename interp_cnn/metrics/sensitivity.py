"""How part interpretability moves with the radius of a unit's image region."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.metrics.parts import Images, PartCounts, part_counts
from interp_cnn.metrics.threshold import as_maps, as_where


class PartShares:
    """Part interpretability P_{f,k} at several radii, gathered while images stream by.

    Args:
      thresholds: T_f of all images, [filters], see `ActivationThreshold`.
      radii: radii in pixels of the masks.
      centers_y: centres of the receptive fields of the rows in continuous pixels of the masks,
        [height].
      centers_x: the same of the columns, [width].
      iou: intersection over union to exceed.
    """

    def __init__(
        self,
        thresholds: ArrayLike,
        *,
        radii: Sequence[float],
        centers_y: ArrayLike,
        centers_x: ArrayLike,
        iou: float = 0.2,
    ):
        self._thresholds, self._radii = thresholds, radii
        self._options: dict[str, Any] = {"centers_y": centers_y, "centers_x": centers_x, "iou": iou}
        self._counts: dict[str, NDArray[np.int64]] = {}

    def update(self, maps: ArrayLike, masks: ArrayLike, where: ArrayLike | None = None) -> None:
        """Add a batch.

        Args:
          maps: feature maps, [images, height, width, filters].
          masks: part masks, bool [images, parts, H, W].
          where: which images count (for which filter), bool [images] or [images, filters].

        Raises:
          ValueError: as `part_counts`.
        """
        found = [
            part_counts(maps, masks, self._thresholds, radius=radius, where=where, **self._options)
            for radius in self._radii
        ]
        maps = as_maps(maps)
        used = as_where(where, maps.shape[0], maps.shape[3])
        fires = (maps > np.asarray(self._thresholds)).any(axis=(1, 2)) & used
        new = {name: np.array(of) for name, *of in zip(PartCounts._fields, *found, strict=True)}
        new |= {"images_fired": fires.sum(axis=0), "images": used.sum(axis=0)}
        self._counts = {name: self._counts.get(name, 0) + more for name, more in new.items()}

    def kept(self) -> dict[str, NDArray[np.int64]]:
        """The counts so far, to be summed over streams of different images; see `of_counts`.

        Raises:
          ValueError: where no batch came.
        """
        if not self._counts or not len(self._radii):
            raise ValueError("batches or radii is empty; give at least one of each.")
        return self._counts

    @staticmethod
    def of_counts(
        counts: Mapping[str, NDArray[np.int64]], images: Images = "all"
    ) -> NDArray[np.float64]:
        """P_{f,k} of the sums of what streams have `kept`, see `result`."""
        return PartCounts(*(counts[name] for name in PartCounts._fields)).shares(images)

    @staticmethod
    def fired_shares(counts: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Share of the images on which each filter has a valid position, of what was `kept`.

        Returns:
          [filters] in [0, 1], NaN for a filter for which no image counts.
        """
        images = counts["images"]
        return np.where(images > 0, counts["images_fired"] / np.maximum(images, 1), np.nan)

    def result(self, images: Images = "all") -> NDArray[np.float64]:
        """P_{f,k} at each radius.

        Args:
          images: which images a share is taken over, see `part_interpretability`.

        Returns:
          [radii, filters, parts] in [0, 1], NaN where no such image has the part.

        Raises:
          ValueError: where no batch came.
        """
        return self.of_counts(self.kept(), images)


def radius_sensitivity(
    batches: Iterable[tuple[ArrayLike, ArrayLike, ArrayLike | None]],
    thresholds: ArrayLike,
    *,
    radii: Sequence[float],
    centers_y: ArrayLike,
    centers_x: ArrayLike,
    iou: float = 0.2,
) -> NDArray[np.float64]:
    """Part interpretability P_{f,k} at several radii, in one pass over a stream of images.

    Args:
      batches: for each batch the feature maps [images, height, width, filters], the part masks,
        bool [images, parts, H, W], and which images count (for which filter), bool [images] or
        [images, filters] or None.
      thresholds: T_f of all images, [filters], see `ActivationThreshold`.
      radii: radii in pixels of the masks.
      centers_y: centres of the receptive fields of the rows in continuous pixels of the masks,
        [height].
      centers_x: the same of the columns, [width].
      iou: intersection over union to exceed.

    Returns:
      [radii, filters, parts] in [0, 1], NaN where no image has the part; `summarize_parts` of each
      radius gives a layer's figure.

    Raises:
      ValueError: no batch, no radius, or as `part_counts`.
    """
    shares = PartShares(thresholds, radii=radii, centers_y=centers_y, centers_x=centers_x, iou=iou)
    for batch in batches if len(radii) else ():
        shares.update(*batch)
    return shares.result()
