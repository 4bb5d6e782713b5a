"""Purity of PIP-Net: whether the patches that a filter fires on most show one part."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from interp_cnn.arguments import as_count, check_landmarks_as_pixels
from interp_cnn.metrics.best import best_of_filters
from interp_cnn.metrics.location import as_landmarks, check_peaks
from interp_cnn.metrics.strongest import Strongest

PATCH_SHARE = 32 / 224  # side of a patch over side of the image, in PIP-Net
_PART_RELATED = 0.5  # purity to exceed


def purity(
    positions: ArrayLike,
    peaks: ArrayLike,
    landmarks: ArrayLike,
    *,
    patch: float = 32.0,
    top: int = 10,
    where: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Share of a filter's strongest patches that contain a part: `mean_I [p_k(I) in patch_f(I)]`.

    I are those of the `top` images with the filter's highest peaks that show part k; patch_f(I) is
    the square of side `patch` around the place where the filter peaks, edges included. The purity
    of a filter is that of its purest part, `max_k` (`summarize_purity`).

    As in "PIP-Net: Patch-Based Intuitive Prototypes for Interpretable Image Classification"
    (Nauta et al., CVPR 2023), Section 6.3 and Table 3, and in the authors' code
    (`util/eval_cub_csv.py` of github.com/M-Nauta/PIPNet), with patches of 32 of 224 pixels and ten
    images. Readings: a filter stands for a prototype, its peak for the prototype's score; images on
    which a filter does not fire show none of its patches and are left out (the code takes them and
    warns); the images that do not show a part do not count for it, as in the code, so a part that
    is seen once in ten images can have purity 1. The code counts left and right parts as one: give
    them as one landmark, or as two.

    Args:
      positions: p(mu_hat) from `peaks`, [images, filters, 2] in pixels.
      peaks: value of the peak, [images, filters].
      landmarks: centres of the parts as (y, x), [images, landmarks, 2] in pixels, NaN = missing.
      patch: side of a patch in pixels; scale it with the image, `32 / 224` of its side.
      top: largest number of images of a filter.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      float64 [filters, landmarks] in [0, 1]; NaN where none of these images shows the part.

    Raises:
      ValueError: shapes that do not fit each other, NaN in positions or peaks, landmarks that are
        no pixels, or a patch or top out of range.

    >>> positions = [[[10.0, 10.0]], [[60.0, 60.0]], [[30.0, 30.0]]]  # one filter on three images
    >>> landmarks = [[[12.0, 9.0]], [[62.0, 90.0]], [[31.0, 46.0]]]
    >>> purity(positions, [[3.0], [2.0], [1.0]], landmarks, patch=32).round(2)
    array([[0.67]])
    """
    as_count("top", top, 1, "give the number of images of a filter, at least 1")
    if not 0 < patch < np.inf:
        raise ValueError(f"patch is {patch}; give the side of a patch in pixels, such as 32.")
    places, values, fires = check_peaks(positions, peaks, where)
    points = as_landmarks(landmarks, len(values))
    if fires.any():
        check_landmarks_as_pixels(points, float(places[fires].max()))
    chosen = Strongest(values, top)(fires)
    result = np.full((values.shape[1], points.shape[1]), np.nan)
    for k, point in enumerate(points.swapaxes(0, 1)):
        shown = chosen & ~np.isnan(point).any(axis=-1)[:, None]
        with np.errstate(invalid="ignore"):  # where the part is missing
            inside = (np.abs(places - point[:, None]) <= patch / 2).all(axis=-1)
        number = shown.sum(axis=0)
        hits = (inside & shown).sum(axis=0)
        result[:, k] = np.where(number > 0, hits / np.maximum(number, 1), np.nan)
    return result


class PuritySummary(NamedTuple):
    """Purity of a layer, over the filters of which it is known."""

    mean: float  # over filters of max_k
    spread: float  # standard deviation of the same (ddof = 0)
    part_related: float  # share of the filters with a purity above 0.5
    filters: int  # filters behind the mean
    filters_left_out: int  # those that fire on no image that shows a part


def summarize_purity(shares: ArrayLike) -> PuritySummary:
    """Mean and standard deviation over filters of the purity of their purest part.

    Args:
      shares: of `purity`, [filters, landmarks], NaN where unknown.

    Returns:
      A `PuritySummary`; its figures are NaN where no filter is left.

    Raises:
      ValueError: another rank than two.

    >>> summarize_purity([[0.2, 1.0], [0.4, np.nan]])[:3]
    (0.7, 0.3, 0.5)
    """
    values = np.asarray(shares, np.float64)
    if values.ndim != 2:
        raise ValueError(f"shares has shape {values.shape}; give [filters, landmarks].")
    _, best = best_of_filters(values, largest=True)
    known = best[~np.isnan(best)]
    if not len(known):
        return PuritySummary(np.nan, np.nan, np.nan, 0, len(values))
    return PuritySummary(
        mean=float(known.mean()),
        spread=float(known.std()),
        part_related=float((known > _PART_RELATED).mean()),
        filters=len(known),
        filters_left_out=len(values) - len(known),
    )
