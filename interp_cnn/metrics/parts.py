"""Part interpretability: whether a filter's image region covers one object part."""

import functools
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.arguments import as_pixels, check_centers
from interp_cnn.metrics.best import best_of_filters
from interp_cnn.metrics.threshold import CHUNK, activation_threshold, as_maps, as_where
from interp_cnn.receptive_field import discs

# The images that a share is taken over: all that have the part, or of those the ones on which the
# filter fires.
Images = Literal["all", "fired"]


class PartCounts(NamedTuple):
    """Numbers of images, [filters, parts]; those of batches add up.

    Attributes:
      hits: images on which the filter is associated with the part.
      having: images that have the part.
      fired: images that have the part and on which the filter has a valid position.
    """

    hits: NDArray[np.int64]
    having: NDArray[np.int64]
    fired: NDArray[np.int64]

    def shares(self, images: Images = "all") -> NDArray[np.float64]:
        """P_{f,k} of these counts, see `part_interpretability`.

        Raises:
          ValueError: for images that are neither `"all"` nor `"fired"`.
        """
        if images not in ("all", "fired"):
            raise ValueError(f"images is {images!r}; give 'all' or 'fired'.")
        of = self.having if images == "all" else self.fired
        return np.where(of > 0, self.hits / np.maximum(of, 1), np.nan)


@functools.lru_cache(maxsize=16)
def _packed_discs(
    centers_y: tuple[float, ...],
    centers_x: tuple[float, ...],
    size: tuple[int, int],
    radius: float,
) -> NDArray[np.uint64]:
    """Discs around all positions in row-major order, [positions, words], one bit per pixel."""
    # Row by row: unpacked, the discs of all positions take eight times the memory.
    rows = (discs([y], centers_x, radius, size)[0] for y in centers_y)
    packed = np.concatenate([_packed(row.reshape(len(row), -1)) for row in rows])
    packed.setflags(write=False)
    return packed


def _packed(pixels: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Packs bool [rows, pixels] into words of 64 bits, [rows, words], filled up with zeros."""
    packed = np.packbits(pixels, axis=1)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)


def _count(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Returns the number of one bits of each row of [rows, words]."""
    return np.bitwise_count(words).sum(axis=1, dtype=np.int64)


def _regions(valid: NDArray[np.bool_], packed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Unions of the discs of each row's valid positions: [rows, positions] -> [rows, words].

    Each row has at least one valid position, and rows come in falling order of their number.
    """
    counts = valid.sum(axis=1)
    position = np.nonzero(valid)[1]
    starts = np.cumsum(counts) - counts
    regions = packed[position[starts]]
    # The j-th position of all rows that have one, at once: few steps, as few positions are valid.
    for j in range(1, counts[0]):
        rows = np.searchsorted(-counts, -j, side="left")
        regions[:rows] |= packed[position[starts[:rows] + j]]
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

    See `part_counts`, which also counts the images on which the filter fires.

    Returns:
      (hits, counts), int64 [filters, parts].

    Raises:
      ValueError: as `part_counts`.
    """
    found = part_counts(
        maps,
        masks,
        thresholds,
        centers_y=centers_y,
        centers_x=centers_x,
        radius=radius,
        iou=iou,
        where=where,
    )
    return found.hits, found.having


def part_counts(
    maps: ArrayLike,
    masks: ArrayLike,
    thresholds: ArrayLike,
    *,
    centers_y: ArrayLike,
    centers_x: ArrayLike,
    radius: float,
    iou: float = 0.2,
    where: ArrayLike | None = None,
) -> PartCounts:
    """On how many images filter f is associated with part k, and how many there are.

    The valid positions (x > T_f) of a filter on an image, each a disc around its receptive
    field's centre, united, are its region; `|region & mask| / |region | mask| > iou` associates.
    A pixel belongs to a disc if its centre is at most `radius` away. Sums of the counts over
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
      The counts, int64 [filters, parts].

    Raises:
      ValueError: shapes that do not fit each other, or a radius or iou out of range.
    """
    maps, masks, thresholds = as_maps(maps), np.asarray(masks), np.asarray(thresholds)
    _check_parts(maps, masks, thresholds, radius, iou)
    images, height, width, filters = maps.shape
    used = as_where(where, images, filters)
    size = masks.shape[2:]
    packed = _packed_discs(
        as_centers("centers_y", centers_y, height, size[0]),
        as_centers("centers_x", centers_x, width, size[1]),
        (size[0], size[1]),
        float(radius),
    )
    counts = PartCounts(*np.zeros((3, filters, masks.shape[1]), np.int64))
    for x, mask, used_by in zip(maps, masks, used, strict=True):
        valid = (x.reshape(-1, filters) > thresholds).T & used_by[:, None]
        parts = _packed(mask.reshape(len(mask), size[0] * size[1]))
        _count_image(counts, np.ascontiguousarray(valid), used_by, parts, packed, iou)
    return counts


def _count_image(
    counts: PartCounts,
    valid: NDArray[np.bool_],
    used_by: NDArray[np.bool_],
    parts: NDArray[np.uint64],
    packed: NDArray[np.uint64],
    iou: float,
) -> None:
    """Add one image to the counts.

    Args:
      counts: so far.
      valid: valid positions of each filter, [filters, positions].
      used_by: for which filters the image counts, [filters].
      parts: masks of the parts, [parts, words].
      packed: discs of the positions, [positions, words].
      iou: intersection over union to exceed.
    """
    areas = _count(parts)
    number = valid.sum(axis=1)
    counts.having[np.ix_(used_by, areas > 0)] += 1
    counts.fired[np.ix_(number > 0, areas > 0)] += 1
    order = np.argsort(-number, kind="stable")[: np.count_nonzero(number)]
    if not len(order) or not areas.any():
        return
    regions = _regions(valid[order], packed)
    region_areas = _count(regions)
    for k in np.flatnonzero(areas):
        common = _count(regions & parts[k])
        counts.hits[order, k] += common / (region_areas + areas[k] - common) > iou


def _check_parts(
    maps: NDArray, masks: NDArray, thresholds: NDArray, radius: float, iou: float
) -> None:
    """Raise a ValueError for shapes that do not fit each other or a number out of range."""
    images, _, _, filters = maps.shape
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


def as_centers(name: str, centers: ArrayLike, count: int, side: int) -> tuple[float, ...]:
    """Returns receptive-field centres as a tuple of floats, after a check of number and range."""
    centers = np.asarray(centers, np.float64)
    if centers.shape != (count,):
        raise ValueError(f"{name} has shape {centers.shape}; the maps need ({count},).")
    check_centers(name, centers, side)
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
    images: Images = "all",
) -> NDArray[np.float64]:
    """P_{f,k}: share of the images that have part k on which filter f is associated with it.

    See `part_counts` for the association and for batches. P_f = max_k P_{f,k} is a filter's part
    interpretability (`summarize_parts`). The paper does not say over which images the share is
    taken. With `images="all"` an image on which the filter has no valid position counts as one that
    is not associated; with `images="fired"` it does not count. The figures of the paper are of the
    size of the latter, which rewards a filter that fires on few images.

    Args:
      maps: feature maps after ReLU, see `part_counts`.
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
      images: `"all"` for all images that have the part, `"fired"` for those of them on which the
        filter has at least one valid position.

    Returns:
      [filters, parts] in [0, 1]; NaN where no image that counts has the part (and is fired on).

    Raises:
      ValueError: as `part_counts` and `activation_threshold`, or other images.
    """
    maps, masks = as_maps(maps), np.asarray(masks)
    if masks.ndim != 4 or len(masks) != len(maps):
        raise ValueError(
            f"masks has shape {masks.shape}; give [images, parts, H, W] with {len(maps)} images."
        )
    used = as_where(where, maps.shape[0], maps.shape[3])
    if thresholds is None:
        thresholds = activation_threshold(maps, quantile=quantile, where=used)
    counts = PartCounts(*np.zeros((3, maps.shape[3], masks.shape[1]), np.int64))
    counts.shares(images)  # refuses other images before the work is done
    for start in range(0, len(maps), CHUNK):
        batch = slice(start, start + CHUNK)
        found = part_counts(
            maps[batch],
            masks[batch],
            thresholds,
            centers_y=centers_y,
            centers_x=centers_x,
            radius=radius,
            iou=iou,
            where=used[batch],
        )
        for total, more in zip(counts, found, strict=True):
            total += more
    return counts.shares(images)


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
    _, best = best_of_filters(shares, largest=True)
    best = best[~np.isnan(best)]
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
    size = as_pixels("size", size)
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise ValueError(f"boxes has shape {boxes.shape}; give [images, parts, 4].")
    pixel_y, pixel_x = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    ymin, xmin, ymax, xmax = np.moveaxis(boxes[..., None], 2, 0)  # each [images, parts, 1]
    rows = (ymin <= pixel_y) & (pixel_y < ymax)
    columns = (xmin <= pixel_x) & (pixel_x < xmax)
    return rows[..., :, None] & columns[..., None, :]
