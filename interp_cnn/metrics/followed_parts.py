"""Which parts the filters of a layer follow, and whether they all follow the same one."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.metrics.best import best_of_filters

FOLLOWS_BELOW = 0.8  # a filter of a lower tracking ratio follows the part
LEAST_SHARE = 0.05  # of the filters: a part that fewer follow does not count


class PartsFollowed(NamedTuple):
    """How the filters of a layer are spread over the parts.

    Attributes:
      filters: number of filters that follow each landmark, int [landmarks].
      none: number of filters that follow no landmark, those without a known ratio among them.
      parts: number of landmarks that at least 5 % of all filters follow.
      entropy: entropy in nats of the landmark of a filter that follows one: 0 where all follow the
        same, log(landmarks) where each has equally many filters; NaN where no filter follows any.
    """

    filters: NDArray[np.int64]
    none: int
    parts: int
    entropy: float


def parts_followed(ratios: ArrayLike) -> PartsFollowed:
    """Counts the filters that follow each landmark.

    A filter follows the landmark of its lowest tracking ratio, if that ratio is below 0.8.

    Args:
      ratios: tracking ratios, [filters, landmarks], see `tracking_ratio`; NaN where unknown.

    Raises:
      ValueError: ratios of another shape.

    >>> parts_followed([[0.2, 0.9], [0.3, 0.7], [0.9, 0.5], [1.0, 0.9]]).filters
    array([2, 1])
    """
    values = np.asarray(ratios, np.float64)
    if values.ndim != 2:
        raise ValueError(f"ratios has shape {values.shape}; give [filters, landmarks].")
    total, landmarks = values.shape
    index, best = best_of_filters(values, largest=False)
    filters = np.bincount(index[best < FOLLOWS_BELOW], minlength=landmarks)
    following = int(filters.sum())
    shares = filters[filters > 0] / max(following, 1)
    return PartsFollowed(
        filters=filters,
        none=total - following,
        parts=int(((filters > 0) & (filters >= LEAST_SHARE * total)).sum()),
        entropy=float(-(shares * np.log(shares)).sum()) + 0.0 if following else float("nan"),
    )
