"""How part interpretability moves with the radius of a unit's image region."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.metrics.parts import part_hits


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
      batches: of each batch the feature maps [images, height, width, filters], the part masks, bool
        [images, parts, H, W], and which images count (for which filter), bool [images] or [images,
        filters] or None.
      thresholds: T_f of all images, [filters], see `ActivationThreshold`.
      radii: in pixels of the masks.
      centers_y: [height], centres of the receptive fields in continuous pixels of the masks.
      centers_x: [width].
      iou: intersection over union to exceed.

    Returns:
      [radii, filters, parts] in [0, 1], NaN where no image has the part; `summarize_parts` of each
      radius gives a layer's figure.

    Raises:
      ValueError: no batch, no radius, or as `part_hits`.
    """
    hits: NDArray[np.int64] | None = None
    for maps, masks, where in batches:
        found = [
            part_hits(
                maps,
                masks,
                thresholds,
                centers_y=centers_y,
                centers_x=centers_x,
                radius=radius,
                iou=iou,
                where=where,
            )
            for radius in radii
        ]
        batch_hits = np.array([radius_hits for radius_hits, _ in found])
        if hits is None:
            hits, counts = np.zeros_like(batch_hits), np.zeros_like(batch_hits)
        hits += batch_hits
        counts += np.array([having for _, having in found])
    if hits is None or not len(radii):
        raise ValueError("batches or radii is empty; give at least one of each.")
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)
