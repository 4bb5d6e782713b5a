"""Empirical receptive fields: which pixels a unit responds to, by occluding them.

Zhou, Khosla, Lapedriza, Oliva, Torralba, "Object Detectors Emerge in Deep Scene CNNs", ICLR 2015,
section 3.2.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from interp_cnn.arguments import as_bools, as_count
from interp_cnn.metrics.strongest import Strongest
from interp_cnn.receptive_field import Pattern


class EmpiricalField(NamedTuple):
    """Empirical receptive fields of a layer's filters, around the unit's centre.

    Attributes:
      falls: mean share of its value that a unit loses when a patch so far from its centre is
        occluded, float32 [filters, rows, columns]; both odd, the middle cell stands for a patch
        on the centre. 0 where no image could show it.
      spacing: pixels between the cells, the stride of the patches.
      images: number of images behind each filter, int [filters].
    """

    falls: NDArray[np.float32]
    spacing: float
    images: NDArray[np.int64]


def top_images(peaks: ArrayLike, *, top: int) -> NDArray[np.bool_]:
    """The (at most) `top` images on which each filter fires most (of equal ones the first).

    Args:
      peaks: value of each filter's peak, [images, filters].
      top: largest number of images.

    Returns:
      bool [images, filters]; only images with a peak above 0.

    Raises:
      ValueError: wrong shape, or top below 1.
    """
    values = np.asarray(peaks)
    if values.ndim != 2 or top < 1:
        raise ValueError(
            f"peaks has shape {values.shape} and top is {top}; give [images, filters], at least 1."
        )
    return Strongest(values, top)(values > 0)


@jax.jit
def _occluded(image: jax.Array, corners: jax.Array, side: ArrayLike, fill: jax.Array) -> jax.Array:
    """Copies of an image [height, width, 3], each with one patch filled: corners [copies, 2]."""
    place = jnp.indices(image.shape[:2])[None] - corners[:, :, None, None]
    inside = jnp.all((place >= 0) & (place < side), axis=1)[..., None]
    return jnp.where(inside, fill[None, None, None, :], image[None])


@jax.jit
def _values_at(maps: jax.Array, index: jax.Array) -> jax.Array:
    """Values [copies, filters] of maps [copies, h, w, filters] at one flat position per filter."""
    flat = maps.reshape(len(maps), -1, maps.shape[-1]).astype(jnp.float32)
    return jnp.take_along_axis(flat, index[None, None, :], axis=1)[:, 0]


def empirical_receptive_field(
    predict_maps: Callable[[jax.Array], jax.Array],
    images: Iterable[ArrayLike],
    *,
    centers_y: ArrayLike,
    centers_x: ArrayLike,
    patch: int = 11,
    stride: int = 3,
    chosen: ArrayLike | None = None,
    fill: ArrayLike = 0.0,
    batch_size: int = 64,
) -> EmpiricalField:
    """Occlude patches of images and see how much each filter's strongest unit loses.

    The unit of a filter on an image is the position of its peak. A patch moves over the image; the
    fall is `max(value - value under the patch, 0) / value`. The maps of falls are shifted so that
    the unit's centre is in the middle (to the nearest cell) and averaged over the images; a cell
    that lies outside of an image does not count for it. One forward pass of an occluded copy
    serves all filters. Images come one by one; what is kept grows with filters times patch
    positions (70 MB for 512 filters at 224 pixels), not with the images.

    Args:
      predict_maps: function of images [batch, height, width, 3] that returns maps after ReLU
        [batch, h, w, filters]; it is called with `batch_size` images.
      images: images as the network takes them, [height, width, 3] each, all of one size.
      centers_y: centres of the receptive fields of the rows in continuous pixels of the image, [h].
      centers_x: the same of the columns, [w].
      patch: side of the patch in pixels; 11 of 224 in Zhou et al.
      stride: pixels from one place of the patch to the next; 3 in Zhou et al.
      chosen: bool [images, filters], which images count for which filter, see `top_images`; all
        by default. A filter that does not fire on an image skips it.
      fill: colour of the patch, a number or [3]; 0 is the mean colour for an image minus its mean.
      batch_size: number of occluded copies in one forward pass.

    Returns:
      An `EmpiricalField`; `effective_radius` makes numbers of it.

    Raises:
      ValueError: no image, images of different sizes, a patch or stride that does not fit them, or
        arrays of another shape.
    """
    center_y, center_x = np.asarray(centers_y, np.float64), np.asarray(centers_x, np.float64)
    as_count("patch", patch, 1, "give whole pixels")
    as_count("stride", stride, 1, "give whole pixels")
    as_count("batch_size", batch_size, 1, "give the copies of one forward pass")
    if np.shape(fill) not in ((), (3,)):
        raise ValueError(f"fill has shape {np.shape(fill)}; give a number or [3].")
    colour = jnp.broadcast_to(jnp.asarray(fill, jnp.float32), (3,))
    state: _Sums | None = None
    for number, given in enumerate(images):
        image = jnp.asarray(given, jnp.float32)
        if state is None:
            state = _Sums(image.shape, patch, stride)
        if image.shape != state.image_shape:
            raise ValueError(
                f"image {number} has shape {image.shape}; the first one had {state.image_shape}."
            )
        whole = jnp.broadcast_to(image[None], (batch_size, *image.shape))
        maps = np.asarray(predict_maps(whole)[0], np.float32)
        if maps.shape[:2] != (len(center_y), len(center_x)):
            raise ValueError(
                f"centers_y and centers_x have {len(center_y)} and {len(center_x)} values;"
                f" the maps are {maps.shape[0]} x {maps.shape[1]}."
            )
        flat = maps.reshape(-1, maps.shape[-1])
        peak, value = flat.argmax(axis=0), flat.max(axis=0)
        used = value > 0
        if chosen is not None:
            used &= _chosen_of(np.asarray(chosen), number, len(value))
        if not used.any():
            continue
        below = []
        for start in range(0, len(state.corners), batch_size):
            corners = state.corners[start : start + batch_size]
            padded = np.pad(corners, ((0, batch_size - len(corners)), (0, 0)), mode="edge")
            copies = predict_maps(_occluded(image, padded, patch, colour))
            below.append(np.asarray(_values_at(copies, jnp.asarray(peak)))[: len(corners)])
        falls = np.maximum(value - np.concatenate(below), 0) / np.where(used, value, 1)
        state.add(falls, peak, used, center_y, center_x)
    if state is None:
        raise ValueError("images is empty; give at least one image.")
    return state.mean()


def _chosen_of(chosen: NDArray[Any], number: int, filters: int) -> NDArray[np.bool_]:
    """For which filters an image counts, bool [filters]."""
    if chosen.ndim != 2 or chosen.shape[1] != filters or number >= len(chosen):
        raise ValueError(
            f"chosen has shape {chosen.shape}; give [images, filters] of all images, with"
            f" {filters} filters."
        )
    return as_bools("chosen", chosen[number])


class _Sums:
    """Sums of shifted maps of falls, and how many images each cell stands for."""

    def __init__(self, image_shape: tuple[int, ...], patch: int, stride: int) -> None:
        if len(image_shape) != 3 or image_shape[2] != 3:
            raise ValueError(f"an image has shape {image_shape}; give [height, width, 3].")
        if not 1 <= patch <= min(image_shape[:2]) or stride < 1:
            raise ValueError(
                f"patch is {patch} and stride {stride}; give a patch of 1 to"
                f" {min(image_shape[:2])} pixels and a stride of at least 1."
            )
        self.image_shape, self._stride = image_shape, stride
        self._starts = [np.arange(0, side - patch + 1, stride) for side in image_shape[:2]]
        self.corners = np.stack(np.meshgrid(*self._starts, indexing="ij"), -1).reshape(-1, 2)
        self._half_patch = patch / 2
        # From the centre, patches reach at most as far as the image does.
        self._reach = [side // stride + 1 for side in image_shape[:2]]
        self._sums: NDArray[np.float32] | None = None

    def add(
        self,
        falls: NDArray[np.float32],
        peak: NDArray[np.int64],
        used: NDArray[np.bool_],
        center_y: NDArray[np.float64],
        center_x: NDArray[np.float64],
    ) -> None:
        """Falls [corners, filters] of one image whose units are at flat positions `peak`."""
        rows, columns = (len(starts) for starts in self._starts)
        by_filter = np.ascontiguousarray(falls.T).reshape(-1, rows, columns)
        if self._sums is None:
            cells = [2 * reach + 1 for reach in self._reach]
            self._sums = np.zeros((len(by_filter), *cells), np.float32)
            self._counts = np.zeros((len(by_filter), *cells), np.uint16)
            self._images = np.zeros(len(by_filter), np.int64)
        self._images += used
        for position in np.unique(peak[used]):
            filters = np.flatnonzero(used & (peak == position))
            i, j = divmod(int(position), len(center_x))
            first = [
                math.floor((self._half_patch - center) / self._stride + 0.5) + reach
                for center, reach in zip((center_y[i], center_x[j]), self._reach, strict=True)
            ]
            # Units may look beyond the image's border: their far cells are cut off.
            window, kept = [], []
            for start, count, reach in zip(first, (rows, columns), self._reach, strict=True):
                low = max(start, 0)
                high = max(low, min(start + count, 2 * reach + 1))
                window.append(slice(low, high))
                kept.append(slice(low - start, high - start))
            rows_at, columns_at = window
            self._sums[filters, rows_at, columns_at] += by_filter[filters, kept[0], kept[1]]
            self._counts[filters, rows_at, columns_at] += 1

    def mean(self) -> EmpiricalField:
        if self._sums is None:
            raise ValueError("no filter fires on any image that counts; give other images.")
        falls = self._sums / np.maximum(self._counts, 1)
        return EmpiricalField(falls.astype(np.float32), float(self._stride), self._images)


def _above(field: EmpiricalField, threshold: float) -> NDArray[np.bool_]:
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; give a share of the largest fall in (0, 1).")
    largest = field.falls.max(axis=(1, 2), keepdims=True)
    return (field.falls >= threshold * largest) & (largest > 0)


def effective_radius(field: EmpiricalField, *, threshold: float = 0.5) -> NDArray[np.float64]:
    """Radius of the disc with the area in which a filter loses much: `sqrt(area / pi)`.

    Args:
      field: result of `empirical_receptive_field`.
      threshold: fall that counts as much, as a share of the largest one. A patch that is half
        over the border of a receptive field with equal weights takes half of what it takes inside:
        0.5 keeps the size of the patch out of the result.

    Returns:
      float64 [filters] in pixels; NaN for a filter that loses nothing. Their mean over the
      networks that are compared is a radius for part interpretability.

    Raises:
      ValueError: a threshold out of range.
    """
    area = _above(field, threshold).sum(axis=(1, 2)) * field.spacing**2
    return np.where(area > 0, np.sqrt(area / np.pi), np.nan)


def empirical_pattern(field: EmpiricalField, unit: int, *, threshold: float = 0.5) -> Pattern:
    """The shape of one filter's empirical receptive field, for `image_region`.

    Args:
      field: result of `empirical_receptive_field`.
      unit: index of the filter.
      threshold: see `effective_radius`.

    Raises:
      ValueError: a threshold or a unit out of range.
    """
    if not 0 <= unit < len(field.falls):
        raise ValueError(f"unit is {unit}; give 0 to {len(field.falls) - 1}.")
    one = field._replace(falls=field.falls[unit : unit + 1])
    return Pattern(_above(one, threshold)[0], field.spacing)
