"""How consistent a filter is over images and how diverse filters are, by the regions they cover.

After "Interpretable Compositional Convolutional Neural Networks" (Shen et al., IJCAI 2021, icCNN),
which asks that each filter fires on the same object part or image region through different images,
and that different filters fire on different ones (Section 1), and compares networks by the
"inconsistency of visual patterns" and the "diversity of visual patterns". The authors' code
(github.com/ada-shen/icCNN) does not have these two, and their definition was not at hand when this
was written. What is computed here is a reading of the words, no formula of theirs: both are
entropies of where activations lie, which are 0 where all lie in one region.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.metrics.parts import as_centers
from interp_cnn.metrics.threshold import CHUNK, activation_threshold, as_maps, as_where


class PatternShares:
    """Where the activations of filters lie, gathered while images stream by.

    Args:
      thresholds: T_f of all images, [filters], see `ActivationThreshold`.
      centers_y: centres of the receptive fields of the rows in continuous pixels of the masks,
        [height], see `ReceptiveField.centers`.
      centers_x: the same of the columns, [width].
    """

    def __init__(self, thresholds: ArrayLike, *, centers_y: ArrayLike, centers_x: ArrayLike):
        self._thresholds = np.asarray(thresholds)
        self._centers = centers_y, centers_x
        self._sums: dict[str, NDArray] = {}

    def update(self, maps: ArrayLike, masks: ArrayLike, where: ArrayLike | None = None) -> None:
        """Add a batch.

        Args:
          maps: feature maps after ReLU, [images, height, width, filters].
          masks: part masks of the input's size, bool [images, parts, H, W]; they may overlap.
          where: which images count (for which filter), bool [images] or [images, filters].

        Raises:
          ValueError: shapes that do not fit each other.
        """
        x, regions = as_maps(maps), np.asarray(masks)
        images, height, width, filters = x.shape
        if regions.ndim != 4 or len(regions) != images or regions.dtype != np.bool_:
            raise ValueError(
                f"masks is {regions.dtype} of shape {regions.shape};"
                f" give bool [images, parts, H, W] with {images} images."
            )
        if self._thresholds.shape != (filters,):
            raise ValueError(
                f"thresholds has shape {self._thresholds.shape}; give [filters] = ({filters},)."
            )
        rows, columns = (
            _pixels(name, centers, count, side)
            for name, centers, count, side in zip(
                ("centers_y", "centers_x"), self._centers, (height, width), regions.shape[2:],
                strict=True,
            )
        )  # fmt: skip
        used = as_where(where, images, filters)
        valid = (x > self._thresholds) & used[:, None, None]
        weights = _region_weights(regions[:, :, rows][:, :, :, columns])
        places = height * width
        flat = weights.reshape(images, weights.shape[1], places)
        inside = flat @ valid.reshape(images, places, filters).astype(np.float64)
        number = inside.sum(axis=1)
        shares = (inside / np.maximum(number, 1)[:, None]).sum(axis=0).T
        new = {"shares": shares, "images": (number > 0).sum(axis=0)}
        self._sums = {name: self._sums.get(name, 0) + more for name, more in new.items()}

    def kept(self) -> dict[str, NDArray]:
        """The sums so far, to be added up over streams of different images; see `of_sums`.

        Raises:
          ValueError: where no batch came.
        """
        if not self._sums:
            raise ValueError("no images came; call update with at least one batch first.")
        return self._sums

    @staticmethod
    def of_sums(sums: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """`pattern_shares` of the sums of what streams have `kept`."""
        images = sums["images"][:, None]
        return np.where(images > 0, sums["shares"] / np.maximum(images, 1), np.nan)

    def result(self) -> NDArray[np.float64]:
        """See `pattern_shares`.

        Raises:
          ValueError: where no batch came.
        """
        return self.of_sums(self.kept())


def _pixels(name: str, centers: ArrayLike, count: int, side: int) -> NDArray[np.intp]:
    """Indices of the pixels that centres lie in; the nearest one for those outside."""
    found = np.floor(as_centers(name, centers, count, side))
    return np.clip(found, 0, side - 1).astype(np.intp)


def _region_weights(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each position the share of each part that covers it, then of none of them.

    Args:
      inside: whether a part covers the position, [images, parts, height, width].

    Returns:
      [images, parts + 1, height, width]; the shares of a position sum to 1.
    """
    covering = inside.sum(axis=1, keepdims=True)
    return np.concatenate([inside / np.maximum(covering, 1), covering == 0], axis=1)


def pattern_shares(
    maps: ArrayLike,
    masks: ArrayLike,
    *,
    centers_y: ArrayLike,
    centers_x: ArrayLike,
    quantile: float = 0.005,
    thresholds: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """q_{f,k}: where filter f's valid activations lie, the mean over the images on which it fires.

    On one image q is the share of the valid positions (x > T_f) whose receptive field has its
    centre in part k; one that several parts cover counts for each of them in equal shares, and one
    that none covers counts for the last region, "elsewhere". Each image on which the filter has a
    valid position weighs the same.

    Args:
      maps: feature maps after ReLU, [images, height, width, filters].
      masks: part masks of the input's size, bool [images, parts, H, W]; they may overlap.
      centers_y: centres of the receptive fields of the rows in continuous pixels of the masks,
        [height], see `ReceptiveField.centers`.
      centers_x: the same of the columns, [width].
      quantile: share of valid positions, P(x_ij > T_f), as in part interpretability.
      thresholds: T_f, [filters]; by default those of the images that count, at `quantile`.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      float64 [filters, parts + 1], rows that sum to 1; NaN for a filter that fires on none.

    Raises:
      ValueError: shapes that do not fit each other, or as `activation_threshold`.

    >>> maps = np.zeros((2, 2, 2, 1))
    >>> maps[0, 0, 0] = maps[1, 0] = 1.0  # a filter at the left, then at the left and the right
    >>> masks = np.zeros((2, 1, 4, 4), bool)
    >>> masks[:, :, :, :2] = True  # the part is the left half
    >>> centers = {"centers_y": [1.0, 3.0], "centers_x": [1.0, 3.0]}
    >>> shares = pattern_shares(maps, masks, thresholds=[0.5], **centers)
    >>> shares
    array([[0.75, 0.25]])
    >>> pattern_inconsistency(shares).round(3)
    array([0.562])
    """
    x, regions = as_maps(maps), np.asarray(masks)
    used = as_where(where, x.shape[0], x.shape[3])
    if thresholds is None:
        thresholds = activation_threshold(x, quantile=quantile, where=used)
    shares = PatternShares(thresholds, centers_y=centers_y, centers_x=centers_x)
    if len(regions) != len(x):
        raise ValueError(
            f"masks has shape {regions.shape}; give [images, parts, H, W] with {len(x)} images."
        )
    for start in range(0, len(x), CHUNK):
        batch = slice(start, start + CHUNK)
        shares.update(x[batch], regions[batch], used[batch])
    return shares.result()


def pattern_inconsistency(shares: ArrayLike) -> NDArray[np.float64]:
    """Inconsistency of each filter over images: the entropy `-sum_k q_{f,k} log q_{f,k}` in nats.

    0 where all its activations lie in one region, log(parts + 1) where they are spread evenly.

    A reading of "Interpretable Compositional Convolutional Neural Networks" (Shen et al., IJCAI
    2021), by which a filter is to represent the same part or region through different images; it is
    no formula of that paper, whose "inconsistency of visual patterns" has other numbers.

    Args:
      shares: q of `pattern_shares`, [filters, regions].

    Returns:
      float64 [filters], NaN for a filter whose shares are unknown.

    Raises:
      ValueError: another rank than two, or rows that are no distribution.
    """
    return _entropy(_as_distributions(shares))


def pattern_diversity(shares: ArrayLike) -> float:
    """Diversity between filters: the entropy in nats of their mean distribution, `mean_f q_{f,k}`.

    0 where all filters lie in the same region, log(parts + 1) where each region has as many. Less
    the mean of `pattern_inconsistency` it is what the filter tells about the region (their mutual
    information).

    A reading, as `pattern_inconsistency`: different filters are to represent different parts or
    regions, which the paper measures as "diversity of visual patterns" in numbers of its own.

    Args:
      shares: q of `pattern_shares`, [filters, regions].

    Returns:
      The diversity over the filters whose shares are known; NaN without any.

    Raises:
      ValueError: as `pattern_inconsistency`.

    >>> pattern_diversity([[1.0, 0.0], [0.0, 1.0]]).__round__(3)
    0.693
    """
    found = _as_distributions(shares)
    known = found[~np.isnan(found).any(axis=1)]
    return float(_entropy(known.mean(axis=0)[None])[0]) if len(known) else float("nan")


def _as_distributions(shares: ArrayLike) -> NDArray[np.float64]:
    """Rows that are distributions, or unknown."""
    found: NDArray[np.float64] = np.asarray(shares, np.float64)
    if found.ndim != 2:
        raise ValueError(f"shares has shape {found.shape}; give [filters, regions].")
    known = found[~np.isnan(found).any(axis=1)]
    if (known < 0).any() or not np.allclose(known.sum(axis=1), 1):
        raise ValueError("shares has rows that do not sum to 1; give those of pattern_shares.")
    return found


def _entropy(rows: NDArray[np.float64]) -> Any:
    """Entropy in nats of each row."""
    # 0 log 0 is 0; adding 0 turns -0 into 0.
    return -(rows * np.log(np.where(rows == 0, 1, rows))).sum(axis=1) + 0.0
