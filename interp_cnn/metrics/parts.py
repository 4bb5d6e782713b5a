"""Part interpretability: whether a filter's image region covers one object part."""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.arguments import as_size, check_centers
from interp_cnn.metrics.threshold import CHUNK, activation_threshold, as_maps, as_where


@functools.lru_cache(maxsize=16)
def _packed_discs(
    centers_y: tuple[float, ...],
    centers_x: tuple[float, ...],
    size: tuple[int, int],
    radius: float,
) -> NDArray[np.uint64]:
    """Discs around all positions in row-major order, [positions, words], one bit per pixel."""
    pixel_y, pixel_x = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    square_y = np.square(pixel_y - np.array(centers_y)[:, None])  # [h, H]
    square_x = np.square(pixel_x - np.array(centers_x)[:, None])  # [w, W]
    rows = [
        _packed((row[:, None] + square_x[:, None] <= radius**2).reshape(len(centers_x), -1))
        for row in square_y
    ]
    discs = np.concatenate(rows)
    discs.setflags(write=False)
    return discs


def _packed(pixels: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Packs bool [rows, pixels] into words of 64 bits, [rows, words], filled up with zeros."""
    packed = np.packbits(pixels, axis=1)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)


def _count(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns the number of one bits of each row of [rows, words]."""
    return np.bitwise_count(words).sum(axis=1, dtype=np.int64)


def _regions(valid: NDArray[np.bool_], discs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Unions of the discs of each row's valid positions: [rows, positions] -> [rows, words].

    Each row has at least one valid position, and rows come in falling order of their number.
    """
    counts = valid.sum(axis=1)
    position = np.nonzero(valid)[1]
    starts = np.cumsum(counts) - counts
    regions = discs[position[starts]]
    # The j-th position of all rows that have one, at once: few steps, as few positions are valid.
    for j in range(1, counts[0]):
        rows = np.searchsorted(-counts, -j, side="left")
        regions[:rows] |= discs[position[starts[:rows] + j]]
    return regions


def part_hits(
    maps: ArrayLike,
    masks: ArrayLike,
    thresholds: ArrayLike,
    *,
    centers_y: ArrayLike,
    centers_x: ArrayLike,
    radius: float,
    iou: float = 0.2,
    where: ArrayLike | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of images on which filter f is associated with part k, and of those that have part k.

    The valid positions (x > T_f) of a filter on an image, each a disc around its receptive
    field's centre, united, are its region; `|region & mask| / |region | mask| > iou` associates.
    A pixel belongs to a disc if its centre is at most `radius` away. Sums of both results over
    batches give `part_interpretability` of all images.

    Args:
      maps: feature maps after ReLU, [images, height, width, filters]. Without it a threshold may
        come to lie below 0, where a filter fires on less than a share `quantile` of the positions.
      masks: part masks of the input's size (not of the maps'), bool [images, parts, H, W]; an
        empty mask says the part is absent.
      thresholds: T_f, [filters].
      centers_y: centres of the receptive fields of the rows in continuous pixels of the masks,
        [height], see `ReceptiveField.centers`.
      centers_x: the same of the columns, [width].
      radius: radius of the discs in pixels; `default_radius` proposes one.
      iou: intersection over union to exceed, in [0, 1).
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      (hits, counts), int64 [filters, parts].

    Raises:
      ValueError: shapes that do not fit each other, or a radius or iou out of range.
    """
    maps, masks, thresholds = as_maps(maps), np.asarray(masks), np.asarray(thresholds)
    images, height, width, filters = maps.shape
    if masks.ndim != 4 or masks.shape[0] != images or masks.dtype != np.bool_:
        raise ValueError(
            f"masks is {masks.dtype} of shape {masks.shape}; "
            f"give bool [images, parts, H, W] with {images} images."
        )
    if thresholds.shape != (filters,):
        raise ValueError(f"thresholds has shape {thresholds.shape}; give [filters] = ({filters},).")
    if not 0.5 <= radius < np.inf:
        raise ValueError(
            f"radius is {radius}; give a number of pixels of the masks of at least 0.5, such as"
            " default_radius((height, width))."
        )
    if not 0 <= iou < 1:
        raise ValueError(f"iou is {iou}; give a share in [0, 1).")
    used = as_where(where, images, filters)
    size = masks.shape[2:]
    discs = _packed_discs(
        _as_centers("centers_y", centers_y, height, size[0]),
        _as_centers("centers_x", centers_x, width, size[1]),
        (size[0], size[1]),
        float(radius),
    )
    hits = np.zeros((filters, masks.shape[1]), np.int64)
    counts = np.zeros_like(hits)
    for x, mask, used_by in zip(maps, masks, used, strict=True):
        parts = _packed(mask.reshape(len(mask), size[0] * size[1]))
        areas = _count(parts)
        counts[np.ix_(used_by, areas > 0)] += 1
        valid = np.ascontiguousarray((x.reshape(-1, filters) > thresholds).T)
        valid &= used_by[:, None]
        number = valid.sum(axis=1)
        order = np.argsort(-number, kind="stable")[: np.count_nonzero(number)]
        if not len(order) or not areas.any():
            continue
        regions = _regions(valid[order], discs)
        region_areas = _count(regions)
        for k in np.flatnonzero(areas):
            common = _count(regions & parts[k])
            hits[order, k] += common / (region_areas + areas[k] - common) > iou
    return hits, counts


def _as_centers(name: str, centers: ArrayLike, count: int, side: int) -> tuple[float, ...]:
    """Returns receptive-field centres as a tuple of floats, after a check of number and range."""
    centers = np.asarray(centers, np.float64)
    if centers.shape != (count,):
        raise ValueError(f"{name} has shape {centers.shape}; the maps need ({count},).")
    check_centers(name, centers, side, "masks")
    return tuple(centers.tolist())


def part_interpretability(
    maps: ArrayLike,
    masks: ArrayLike,
    *,
    centers_y: ArrayLike,
    centers_x: ArrayLike,
    radius: float,
    quantile: float = 0.005,
    iou: float = 0.2,
    thresholds: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """P_{f,k}: share of the images that have part k on which filter f is associated with it.

    See `part_hits` for the association and for batches. P_f = max_k P_{f,k} is a filter's part
    interpretability (`summarize_parts`). An image on which the filter has no valid position counts
    as one that is not associated.

    Args:
      maps: feature maps after ReLU, see `part_hits`.
      masks: part masks of the input's size (not of the maps'), bool [images, parts, H, W]; an
        empty mask says the part is absent.
      centers_y: centres of the receptive fields of the rows in continuous pixels of the masks,
        [height], see `ReceptiveField.centers`.
      centers_x: the same of the columns, [width].
      radius: radius of a position's disc in pixels; `default_radius` proposes one.
      quantile: share of valid positions, P(x_ij > T_f).
      iou: intersection over union to exceed.
      thresholds: T_f, [filters]; by default those of the images that count, at `quantile`.
      where: bool [images] or [images, filters], which images count (for which filter).

    Returns:
      [filters, parts] in [0, 1]; NaN where no image that counts has the part.

    Raises:
      ValueError: as `part_hits` and `activation_threshold`.
    """
    maps, masks = as_maps(maps), np.asarray(masks)
    if masks.ndim != 4 or len(masks) != len(maps):
        raise ValueError(
            f"masks has shape {masks.shape}; give [images, parts, H, W] with {len(maps)} images."
        )
    used = as_where(where, maps.shape[0], maps.shape[3])
    if thresholds is None:
        thresholds = activation_threshold(maps, quantile=quantile, where=used)
    hits = np.zeros((maps.shape[3], masks.shape[1]), np.int64)
    counts = np.zeros_like(hits)
    for start in range(0, len(maps), CHUNK):
        batch = slice(start, start + CHUNK)
        batch_hits, batch_counts = part_hits(
            maps[batch],
            masks[batch],
            thresholds,
            centers_y=centers_y,
            centers_x=centers_x,
            radius=radius,
            iou=iou,
            where=used[batch],
        )
        hits += batch_hits
        counts += batch_counts
    return np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)


class PartSummary(NamedTuple):
    """Part interpretability of a layer."""

    mean: float  # mean over filters of P_f = max_k P_{f,k}
    filters: int  # filters behind the mean
    filters_left_out: int  # those without an image that has any part


def summarize_parts(interpretability: ArrayLike) -> PartSummary:
    """Mean over filters of P_f = max_k P_{f,k}, and how many filters it rests on.

    Args:
      interpretability: P_{f,k}, [filters, parts], NaN where unknown.

    Returns:
      A `PartSummary`; its mean is NaN when no filter is left.

    Raises:
      ValueError: another rank than two.
    """
    shares = np.asarray(interpretability, np.float64)
    if shares.ndim != 2:
        raise ValueError(f"interpretability has shape {shares.shape}; give [filters, parts].")
    known = ~np.isnan(shares).all(axis=1)
    best = np.where(np.isnan(shares), -np.inf, shares).max(axis=1, initial=-np.inf)[known]
    return PartSummary(
        mean=float(best.mean()) if len(best) else float("nan"),
        filters=len(best),
        filters_left_out=len(shares) - len(best),
    )


def part_boxes_to_masks(boxes: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fills part boxes: a pixel is in a box when its centre is.

    Args:
      boxes: [images, parts, 4], (ymin, xmin, ymax, xmax) in continuous pixels, max exclusive; NaN
        where the part is absent.
      size: (H, W), the size of the masks in pixels.

    Returns:
      bool [images, parts, H, W]; empty where the part is absent, outside the image, or so thin
      that it holds no pixel's centre.

    Raises:
      ValueError: boxes of another shape.
    """
    boxes = np.asarray(boxes)
    size = as_size("size", size)
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise ValueError(f"boxes has shape {boxes.shape}; give [images, parts, 4].")
    pixel_y, pixel_x = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    ymin, xmin, ymax, xmax = np.moveaxis(boxes[..., None], 2, 0)  # each [images, parts, 1]
    rows = (ymin <= pixel_y) & (pixel_y < ymax)
    columns = (xmin <= pixel_x) & (pixel_x < xmax)
    return rows[..., :, None] & columns[..., None, :]
