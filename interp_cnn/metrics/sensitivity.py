"""How part interpretability moves with the radius of a unit's image region."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.metrics.parts import part_hits


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
        self._hits: NDArray[np.int64] | None = None

    def update(self, maps: ArrayLike, masks: ArrayLike, where: ArrayLike | None = None) -> None:
        """Add a batch.

        Args:
          maps: feature maps, [images, height, width, filters].
          masks: part masks, bool [images, parts, H, W].
          where: which images count (for which filter), bool [images] or [images, filters].

        Raises:
          ValueError: as `part_hits`.
        """
        found = [
            part_hits(maps, masks, self._thresholds, radius=radius, where=where, **self._options)
            for radius in self._radii
        ]
        hits, having = (np.array(counts) for counts in zip(*found, strict=True))
        if self._hits is None:
            self._hits, self._having = np.zeros_like(hits), np.zeros_like(having)
        self._hits += hits
        self._having += having

    def kept(self) -> dict[str, NDArray[np.int64]]:
        """The counts so far, to be summed over streams of different images; see `of_counts`.

        Raises:
          ValueError: where no batch came.
        """
        self._check_begun()
        return {"hits": self._hits, "having": self._having}  # type: ignore[dict-item]

    @staticmethod
    def of_counts(hits: NDArray[np.int64], having: NDArray[np.int64]) -> NDArray[np.float64]:
        """P_{f,k} of the sums of what streams have `kept`, see `result`."""
        return np.where(having > 0, hits / np.maximum(having, 1), np.nan)

    def _check_begun(self) -> None:
        if self._hits is None:
            raise ValueError("batches or radii is empty; give at least one of each.")

    def result(self) -> NDArray[np.float64]:
        """[radii, filters, parts] in [0, 1], NaN where no image has the part.

        Raises:
          ValueError: where no batch came.
        """
        return self.of_counts(**self.kept())


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
      ValueError: no batch, no radius, or as `part_hits`.
    """
    shares = PartShares(thresholds, radii=radii, centers_y=centers_y, centers_x=centers_x, iou=iou)
    for batch in batches if len(radii) else ():
        shares.update(*batch)
    return shares.result()
