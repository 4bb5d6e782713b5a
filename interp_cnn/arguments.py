"""Checks of what several metrics are given, each with the argument's name in the message."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SUSPICIOUS = 0.05  # share of landmarks at exactly (0, 0) that are hardly there by chance


def as_number(name: str, value: Any) -> float | int:
    """A real number; a ValueError for an array, a text or something else."""
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be a number, got {value!r}")
    return value.item() if hasattr(value, "item") else value  # type: ignore[no-any-return]


def as_pixels(name: str, size: Any) -> tuple[int, int]:
    """(height, width) of an array; a ValueError as `as_size`, or for a share of a pixel."""
    height, width = as_size(name, size)
    if height != int(height) or width != int(width):
        raise ValueError(f"{name} is {size}; give whole numbers of pixels.")
    return int(height), int(width)


def as_size(name: str, size: Any) -> tuple[int, int]:
    """(height, width) in pixels; a ValueError for a number alone or a side below 1."""
    try:
        height, width = size
        fits = all(float(side) >= 1 and np.isfinite(float(side)) for side in (height, width))
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"{name} is {size}; give (height, width) in pixels, such as (224, 224).")
    return height, width


def as_count(name: str, value: Any, least: int, why: str) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} is {value}; {why}.")
    return int(value)


def as_bools(name: str, values: Any) -> NDArray[np.bool_]:
    """An array of bool, or of 0 and 1; another one says neither yes nor no."""
    array = np.asarray(values)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} has other values than False and True, or 0 and 1; give bool.")
    return array.astype(bool)


def as_where(where: Any, images: int, filters: int) -> Any:
    """Which images count (for which filter), as [images, 1] or [images, filters].

    Args:
      where: a NumPy or JAX array of bool, [images], [images, 1] or [images, filters].
      images: number of images.
      filters: number of filters.

    Raises:
      ValueError: for another shape.
    """
    if where.shape not in ((images,), (images, 1), (images, filters)):
        raise ValueError(
            f"where must have the shape [images] = [{images}] or [images, filters] ="
            f" [{images}, {filters}], got {tuple(where.shape)}"
        )
    return where[:, None] if where.ndim == 1 else where


def check_real(name: str, array: Any) -> None:
    """A ValueError for complex numbers, texts and objects."""
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise ValueError(f"{name} is {array.dtype}; give real numbers.")


def check_landmarks_as_pixels(points: NDArray[np.float64], reach: float) -> None:
    """Refuse landmarks [images, landmarks, 2] that are shares of the image, or 0 where missing.

    Args:
      points: landmarks, NaN where missing.
      reach: size of what should lie in the same pixels; up to 2 pixels nothing is refused as a
        share.
    """
    known = points[~np.isnan(points).any(axis=-1)]
    if len(known) < 2 or not known.any():
        return
    if reach > 2 and known.min() >= 0 and known.max() <= 1:
        raise ValueError(
            f"landmarks lie all within 0..1, the image reaches to {reach:g}; give pixels: (y, x)"
            " times (height, width)."
        )
    zeros = int((known == 0).all(axis=-1).sum())
    if zeros >= max(2, _SUSPICIOUS * len(known)):
        raise ValueError(
            f"landmarks are exactly (0, 0) {zeros} times of {len(known)}; a missing one is NaN."
        )


def check_landmarks_in_pixels(points: NDArray[np.float64], size: tuple[int, int]) -> None:
    """Refuse also landmarks that lie in an image of (height, width) only as (x, y)."""
    check_landmarks_as_pixels(points, min(size))
    known = points[~np.isnan(points).any(axis=-1)]
    outside = int((known > np.asarray(size)).any(axis=-1).sum())
    swapped = (known[:, ::-1] <= np.asarray(size)).all()
    if outside >= max(2, _SUSPICIOUS * len(known)) and swapped:
        raise ValueError(
            f"landmarks lie {outside} times of {len(known)} outside of the image of {size[0]} x"
            f" {size[1]} (height x width), as (x, y) never; give (y, x)."
        )


def check_centers(name: str, centers: np.ndarray, side: int) -> None:
    """Refuse centres that lie far outside of the masks whose pixels they should count."""
    if len(centers) and not np.isfinite(centers).all():
        raise ValueError(f"{name} holds values that are not finite; give pixels of the masks.")
    if len(centers) > 1 and side and centers.max() > 2 * side:
        raise ValueError(
            f"{name} reaches to {centers.max():g}, the masks have {side} pixels there; centres"
            " count the pixels of the masks, so give masks of the input's size."
        )
