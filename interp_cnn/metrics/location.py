"""Where filters point: peaks, location instability, tracking ratio, collapsed and dead filters."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from interp_cnn.arguments import (
    as_count,
    as_size,
    check_landmarks_as_pixels,
    check_landmarks_in_pixels,
    check_real,
)
from interp_cnn.metrics.best import best_of_filters
from interp_cnn.metrics.strongest import Strongest
from interp_cnn.metrics.threshold import as_where
from interp_cnn.templates import argmax_position

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

# Landmarks and positions that vary less than this, in square pixels, do not vary: rounding.
NO_VARIANCE = 1e-9
# A constant position has a tracking ratio of 1 but for rounding, and must not count as below 1.
ROUNDING = 1e-6


def peaks(
    maps: ArrayLike, *, centers_y: ArrayLike, centers_x: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Peak of every feature map: p(mu_hat), the centre of its receptive field, and its value.

    mu_hat is the argmax of the map, the first in row-major order where several are equal. Images
    are independent, so batches can be handed over one by one, also inside `jax.jit`.

    Args:
      maps: feature maps, [images, height, width, filters], after ReLU. Without it the result is the
        same, but that the value of a peak may be negative, where the filter counts as one that does
        not fire. PyTorch's [images, filters, height, width] are `maps.permute(0, 2, 3, 1)`; axes
        in another order that happen to fit cannot be recognised.
      centers_y: centres of the receptive fields of the rows in continuous pixels of the input,
        [height], see `ReceptiveField.centers`.
      centers_x: the same of the columns, [width].

    Returns:
      (positions, values): float32 [images, filters, 2] as (y, x), and float32 [images, filters].

    Raises:
      ValueError: wrong shapes.
    """
    # JAX converts what it knows, not every array (PyTorch's).
    given = (maps, centers_y, centers_x)
    return _peaks(*(x if isinstance(x, jax.Array) else np.asarray(x) for x in given))


@jax.jit
def _peaks(x: jax.Array, centers_y: jax.Array, centers_x: jax.Array) -> tuple[jax.Array, jax.Array]:
    if x.ndim != 4:
        raise ValueError(
            f"maps has shape {x.shape}; give [images, height, width, filters] of one layer."
        )
    _, height, width, _ = x.shape
    y_of, x_of = jnp.asarray(centers_y, jnp.float32), jnp.asarray(centers_x, jnp.float32)
    for name, centers, count in (("centers_y", y_of, height), ("centers_x", x_of, width)):
        if centers.shape != (count,):
            raise ValueError(f"{name} has shape {centers.shape}; the maps need ({count},).")
    check_real("maps", x)
    x = x.astype(jnp.float32)
    row, column = argmax_position(x)
    return jnp.stack([_at(y_of, row), _at(x_of, column)], axis=-1), x.max(axis=(1, 2))


def _at(centers: jax.Array, index: jax.Array) -> jax.Array:
    """`centers[index]`, also of an index that is sharded by its type, which a gather refuses."""
    last = (*(1,) * index.ndim, -1)
    there = index[..., None] == jnp.arange(len(centers)).reshape(last)
    return jnp.where(there, centers.reshape(last), 0.0).sum(axis=-1)


def check_peaks(
    positions: ArrayLike, peaks: ArrayLike, where: ArrayLike | None
) -> tuple[Float, NDArray[np.floating], Bool]:
    """Returns positions [N, F, 2], peaks [N, F], where a filter fires on an image that counts."""
    positions, values = np.asarray(positions, np.float64), np.asarray(peaks)
    if values.ndim != 2:
        raise ValueError(f"peaks has shape {values.shape}; give [images, filters].")
    if positions.shape != (*values.shape, 2):
        raise ValueError(
            f"positions has shape {positions.shape}; "
            f"give [images, filters, 2] = {(*values.shape, 2)}."
        )
    used = as_where(where, *values.shape)
    check_real("peaks", values)
    fires = used & (values > 0)
    unknown = (
        ("peaks", np.isnan(values) & used),
        ("positions", np.isnan(positions).any(-1) & used),
    )
    for name, wrong in unknown:
        if wrong.any():
            raise ValueError(f"{name} holds NaN; give finite values or leave them out by where.")
    if (np.isinf(positions).any(-1) & fires).any():
        raise ValueError("positions holds infinite values; give pixels or leave them out by where.")
    return positions, values, fires


def as_landmarks(landmarks: ArrayLike, images: int | None = None) -> Float:
    """Returns landmarks as float64 [images, landmarks, 2], after a check of their shape."""
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 3 or points.shape[2] != 2 or images not in (None, len(points)):
        count = "" if images is None else f" with {images} images"
        raise ValueError(f"landmarks has shape {points.shape}; give [images, landmarks, 2]{count}.")
    if np.isinf(points).any():
        raise ValueError("landmarks holds infinite values; a missing one is NaN.")
    return points


def diagonal_of(image_size: tuple[int, int]) -> float:
    """Returns sqrt(w^2 + h^2) of an image of (h, w) pixels."""
    height, width = as_size("image_size", image_size)
    return float(np.hypot(height, width))


def strongest_of(peaks: NDArray[np.floating], top: int) -> Strongest:
    """What chooses the images that a spread is taken over, after a check of their number."""
    return Strongest(peaks, as_count("top", top, 2, "a spread needs at least 2 images"))


def _variance(values: Float, chosen: Bool) -> Float:
    """Variance (ddof = 1) over the chosen images, [filters]; NaN where fewer than two are.

    Values are [images, filters] or [images, filters, 2]; for positions the variances of both
    coordinates are summed.
    """
    if values.ndim == 3:
        return _variance(values[..., 0], chosen) + _variance(values[..., 1], chosen)
    count = chosen.sum(axis=0)
    kept = np.where(chosen, values, 0.0)
    deviation = np.where(chosen, kept - kept.sum(axis=0) / np.maximum(count, 1), 0.0)
    variance = np.square(deviation).sum(axis=0) / np.maximum(count - 1, 1)
    return np.where(count >= 2, variance, np.nan)


def _offsets(
    positions: Float, values: NDArray[np.floating], usable: Bool, landmarks: Float, top: int
) -> Iterator[tuple[Float, Float, Bool]]:
    """Yields per landmark: its place [N, 1, 2], p_k - p(mu_hat) [N, F, 2], chosen images [N, F]."""
    choose = strongest_of(values, top)
    for k in range(landmarks.shape[1]):
        point = landmarks[:, k, None]
        present = ~np.isnan(point).any(axis=-1)
        yield point, point - positions, choose(usable & present)


def location_instability(
    positions: ArrayLike,
    peaks: ArrayLike,
    landmarks: ArrayLike,
    *,
    image_size: tuple[int, int],
    top: int = 100,
    where: ArrayLike | None = None,
) -> Float:
    """Location instability `D_{f,k} = std(||p_k - p(mu_hat)||) / sqrt(w^2 + h^2)`, ddof = 1.

    Over the (at most) `top` images with the highest peak (of equal ones the first) among those
    that have landmark k and on which filter f fires (peak > 0). Mean over k, then over f
    (`summarize_location`). It is the spread of a distance, so a unit that ignores the image can
    score well: read it beside `instability_controls` and `tracking_ratio`.

    Args:
      positions: p(mu_hat) from `peaks`, [images, filters, 2] in pixels.
      peaks: value of the peak, [images, filters].
      landmarks: p_k as (y, x), [images, landmarks, 2] in pixels, NaN = missing. On a square image
        a swapped (x, y) cannot be told from a landmark elsewhere.
      image_size: (h, w) of the input in pixels.
      top: largest number of images.
      where: bool [images] or [images, filters], which images count (for which filter); with
        several categories, each filter's own.

    Returns:
      D, float64 [filters, landmarks]; NaN where fewer than two images are left.

    Raises:
      ValueError: wrong shapes, NaN in positions or peaks, top below 2; landmarks that lie all in
        0..1, are (0, 0) where they are missing, or lie in the image only as (x, y).
    """
    places, values, usable = check_peaks(positions, peaks, where)
    points = as_landmarks(landmarks, len(values))
    diagonal = diagonal_of(image_size)
    check_landmarks_in_pixels(points, image_size)
    result = np.full((values.shape[1], points.shape[1]), np.nan)
    for k, (_, offset, chosen) in enumerate(_offsets(places, values, usable, points, top)):
        distance = np.hypot(offset[..., 0], offset[..., 1])
        result[:, k] = np.sqrt(_variance(distance, chosen)) / diagonal
    return result


def tracking_ratio(
    positions: ArrayLike,
    peaks: ArrayLike,
    landmarks: ArrayLike,
    *,
    top: int = 100,
    where: ArrayLike | None = None,
) -> Float:
    """Tracking ratio `R_{f,k} = sqrt(var(p_k - p(mu_hat)) / var(p_k))`.

    Over the same images as `location_instability`; the variance of a vector is the sum of those of
    its two coordinates (ddof = 1). 1 is what any constant position gets; below 1 the filter
    follows the landmark.

    Args:
      positions: p(mu_hat) from `peaks`, [images, filters, 2] in pixels.
      peaks: value of the peak, [images, filters].
      landmarks: p_k as (y, x), [images, landmarks, 2] in pixels, NaN = missing. A swapped (x, y)
        cannot be told from a landmark elsewhere.
      top: largest number of images.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      R, float64 [filters, landmarks]; NaN where fewer than two images are left or the landmark does
      not move over them.

    Raises:
      ValueError: as `location_instability`, but for what needs the size of the image.
    """
    places, values, usable = check_peaks(positions, peaks, where)
    points = as_landmarks(landmarks, len(values))
    if usable.any():
        # Without the image's size: positions that spread over more than 2 are pixels.
        check_landmarks_as_pixels(points, float(places[usable].max()))
    result = np.full((values.shape[1], points.shape[1]), np.nan)
    for k, (point, offset, chosen) in enumerate(_offsets(places, values, usable, points, top)):
        moving = _variance(np.broadcast_to(point, offset.shape), chosen)
        moving[~(moving > NO_VARIANCE)] = np.nan
        result[:, k] = np.sqrt(_variance(offset, chosen) / moving)
    return result


def dead_filters(peaks: ArrayLike, *, where: ArrayLike | None = None) -> Bool:
    """Filters that fire (peak > 0) on none of the images that count, where there are any.

    Args:
      peaks: value of the peak, [images, filters].
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      bool [filters]; False for a filter for which no image counts.

    Raises:
      ValueError: wrong shapes.
    """
    values = np.asarray(peaks)
    if values.ndim != 2:
        raise ValueError(f"peaks has shape {values.shape}; give [images, filters].")
    used = np.broadcast_to(as_where(where, *values.shape), values.shape)
    return used.any(axis=0) & np.logical_not(((values > 0) & used).any(axis=0))


def collapsed_filters(
    positions: ArrayLike,
    peaks: ArrayLike,
    *,
    image_size: tuple[int, int],
    top: int = 100,
    tolerance: float = 0.05,
    where: ArrayLike | None = None,
) -> Bool:
    """Filters whose positions hardly vary: `sqrt(var(p(mu_hat))) < tolerance * sqrt(w^2 + h^2)`.

    Over the (at most) `top` images with the highest peak on which the filter fires; the variance
    is the sum of those of both coordinates (ddof = 1). The default is one position of a 14 x 14
    map (16 of 224 pixels); uniformly random positions have 0.29.

    Args:
      positions: p(mu_hat) from `peaks`, [images, filters, 2] in pixels.
      peaks: value of the peak, [images, filters].
      image_size: (h, w) of the input in pixels.
      top: largest number of images.
      tolerance: spread below which a filter is called collapsed, as a share of the diagonal.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      bool [filters]; False for a filter that fires on fewer than two images (`dead_filters`).

    Raises:
      ValueError: wrong shapes, NaN in positions or peaks, or top below 2.
    """
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance is {tolerance}; give a share of the diagonal above 0.")
    places, values, usable = check_peaks(positions, peaks, where)
    spread = np.sqrt(_variance(places, strongest_of(values, top)(usable)))
    return np.less(spread, tolerance * diagonal_of(image_size))


class LocationSummary(NamedTuple):
    """Figures of one layer, with the numbers of filters and images behind them."""

    instability: float  # mean over landmarks, then over filters
    filters: int  # filters behind the instability
    filters_left_out: int  # those with fewer than two images for every landmark
    tracking_ratio: float  # mean over filters of the best landmark's
    tracking_filters: int  # filters behind the tracking ratio
    below_1: float  # share of those filters whose best ratio is below 1
    below_08: float  # the same, below 0.8
    dead: int  # filters that fire on no image
    collapsed: int  # filters whose positions hardly vary
    images: int  # images that count and have a landmark
    images_per_value: float  # mean number of images behind a D_{f,k}


def summarize_location(
    positions: ArrayLike,
    peaks: ArrayLike,
    landmarks: ArrayLike,
    *,
    image_size: tuple[int, int],
    top: int = 100,
    tolerance: float = 0.05,
    where: ArrayLike | None = None,
) -> LocationSummary:
    """Location instability, tracking ratio, dead and collapsed filters of one layer.

    A filter's instability is its mean over the landmarks for which it is known.

    Args:
      positions: p(mu_hat) from `peaks`, [images, filters, 2] in pixels.
      peaks: value of the peak, [images, filters].
      landmarks: p_k as (y, x), [images, landmarks, 2] in pixels, NaN = missing. On a square image
        a swapped (x, y) cannot be told from a landmark elsewhere.
      image_size: (h, w) of the input in pixels.
      top: largest number of images.
      tolerance: see `collapsed_filters`.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      A `LocationSummary`; means over no filter are NaN.

    Raises:
      ValueError: as the functions it is made of.
    """
    places, values, usable = check_peaks(positions, peaks, where)
    points = as_landmarks(landmarks, len(values))
    instability = location_instability(
        places, values, points, image_size=image_size, top=top, where=where
    )
    ratio = tracking_ratio(places, values, points, top=top, where=where)
    collapsed = collapsed_filters(
        places, values, image_size=image_size, top=top, tolerance=tolerance, where=where
    )
    known = ~np.isnan(instability)
    counted = known.any(axis=1)
    per_filter = np.where(known, instability, 0).sum(axis=1)[counted] / known.sum(axis=1)[counted]
    _, best = best_of_filters(ratio, largest=False)
    best = best[~np.isnan(best)]
    present: Bool = np.logical_not(np.isnan(points).any(axis=-1))
    behind = np.minimum(usable.T.astype(np.int64) @ present.astype(np.int64), top)[known]
    used = as_where(where, *values.shape).any(axis=1)

    def mean(numbers: NDArray) -> float:
        return float(np.mean(numbers)) if len(numbers) else float("nan")

    return LocationSummary(
        instability=mean(per_filter),
        filters=int(counted.sum()),
        filters_left_out=int((~counted).sum()),
        tracking_ratio=mean(best),
        tracking_filters=len(best),
        below_1=mean(best < 1 - ROUNDING),
        below_08=mean(best < 0.8 - ROUNDING),
        dead=int(dead_filters(values, where=where).sum()),
        collapsed=int(collapsed.sum()),
        images=int((present.any(axis=1) & used).sum()),
        images_per_value=mean(behind),
    )
