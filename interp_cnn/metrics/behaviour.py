"""What filters do where no parts are annotated: how far peaks roam, how alike filters are."""

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from interp_cnn.metrics.location import Float, check_peaks, diagonal_of, strongest_of


def peak_spread(
    positions: ArrayLike,
    peaks: ArrayLike,
    *,
    image_size: tuple[int, int],
    top: int = 100,
    where: ArrayLike | None = None,
) -> Float:
    """How far the peaks of a filter roam: `sqrt(var(p(mu_hat))) / sqrt(w^2 + h^2)`, ddof = 1.

    Over the (at most) `top` images with the highest peak on which the filter fires; the variance
    is the sum of those of both coordinates. `collapsed_filters` are those below 0.05; uniformly
    random positions have 0.29.

    Args:
      positions: p(mu_hat) from `peaks`, [images, filters, 2] in pixels.
      peaks: value of the peak, [images, filters].
      image_size: (h, w) of the input in pixels.
      top: largest number of images.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      float64 [filters]; NaN for a filter that fires on fewer than two images.

    Raises:
      ValueError: as `location_instability`.

    >>> places = np.array([[[2.0, 4.0]], [[2.0, 10.0]]])
    >>> peak_spread(places, np.ones((2, 1)), image_size=(30, 40)).round(3)
    array([0.085])
    """
    places, values, fires = check_peaks(positions, peaks, where)
    chosen = strongest_of(values, top)(fires)
    count = chosen.sum(axis=0)
    kept = np.where(chosen[..., None], places, 0.0)
    mean = kept.sum(axis=0) / np.maximum(count, 1)[:, None]
    squares = np.where(chosen[..., None], np.square(kept - mean), 0.0).sum(axis=(0, 2))
    spread = np.sqrt(squares / np.maximum(count - 1, 1)) / diagonal_of(image_size)
    return np.where(count >= 2, spread, np.nan)


def same_place(
    positions: ArrayLike,
    peaks: ArrayLike,
    *,
    radius: float,
    where: ArrayLike | None = None,
) -> Float:
    """How often other filters look where a filter looks.

    Of two filters that fire on the same image the peaks are at the same place where they are less
    than `radius` apart. The mean over all other filters of the share of the images on which both
    fire: 1 where all look at one place in every image, near 0 where each looks somewhere else.

    Args:
      positions: p(mu_hat) from `peaks`, [images, filters, 2] in pixels.
      peaks: value of the peak, [images, filters].
      radius: a distance in pixels, such as that of the regions of part interpretability.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      float64 [filters] in [0, 1]; NaN for a filter that fires together with no other one.

    Raises:
      ValueError: as `location_instability`, or a radius that is not above 0.

    >>> places = np.array([[[2.0, 4.0], [2.0, 5.0], [9.0, 9.0]]])
    >>> same_place(places, np.ones((1, 3)), radius=3.0).tolist()
    [0.5, 0.5, 0.0]
    """
    if not 0 < radius < np.inf:
        raise ValueError(f"radius is {radius}; give pixels above 0.")
    places, _, fires = check_peaks(positions, peaks, where)
    filters = fires.shape[1]
    result = np.full(filters, np.nan)
    for unit in range(filters):
        own = fires[:, unit]
        both = fires[own]
        offset = places[own] - places[own, unit, None]
        near = (np.square(offset).sum(axis=-1) < radius**2) & both
        images = both.sum(axis=0)
        others: NDArray[np.bool_] = (images > 0) & (np.arange(filters) != unit)
        if others.any():
            result[unit] = np.mean(near.sum(axis=0)[others] / images[others])
    return result
