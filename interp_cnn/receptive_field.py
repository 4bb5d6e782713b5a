"""Where the positions of a feature map look, and which pixels count as theirs.

`ReceptiveField` has the centres of the positions in continuous pixels of the input. Three shapes
say which pixels around a centre are a unit's: the theoretical `Box`, a `Disc`, and the `Pattern`
that `empirical_receptive_field` measures. `image_region` draws any of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp_cnn.arguments import as_pixels, as_size

# About a third of the image's side across: roughly what units of AlexNet's last conv layer respond
# to when measured (Zhou et al., ICLR 2015), and far less than their theoretical receptive field.
RADIUS_FRACTION = 0.2


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field along one axis: position i sees `size` pixels around `offset + stride * i`.

    Args:
      offset: centre of position 0, in continuous pixels (1-based pixel centres are 0.5 larger).
      stride: pixels between the centres of neighbouring positions.
      size: width of the theoretical receptive field, in pixels.

    The default is the input itself.
    """

    offset: float = 0.5
    stride: float = 1.0
    size: float = 1.0

    def centers(self, count: int) -> NDArray[np.float32]:
        """Returns the centres of positions 0 .. count - 1, [count], in continuous pixels.

        >>> ReceptiveField(offset=8, stride=16).centers(3).tolist()
        [8.0, 24.0, 40.0]
        """
        return (self.offset + self.stride * np.arange(count)).astype(np.float32)


def compose(layers: Iterable[tuple[int, int, int]]) -> ReceptiveField:
    """Receptive field of a stack of convolutions and pools along one axis.

    With jump j (the stride so far), a layer adds `j * ((kernel - 1) / 2 - pad)` to the offset and
    `j * (kernel - 1)` to the size, and multiplies j by its stride.

    Args:
      layers: (kernel, stride, pad) of each layer from the input on, in positions of its own input;
        pad is the padding before the first position (top or left) only.

    Returns:
      The theoretical receptive field in continuous pixels of the input.

    Raises:
      ValueError: a kernel or stride below 1, or a negative pad.

    >>> compose([(3, 1, 1), (3, 1, 1), (2, 2, 0)])
    ReceptiveField(offset=1.0, stride=2.0, size=6.0)
    """
    offset, jump, size = 0.5, 1.0, 1.0
    for layer in layers:
        if np.shape(layer) != (3,):
            raise ValueError(f"layers holds {layer}; give (kernel, stride, pad) of each.")
        kernel, stride, pad = layer
        if kernel < 1 or stride < 1 or pad < 0:
            raise ValueError(
                f"layers holds (kernel, stride, pad) = {(kernel, stride, pad)}; "
                "give kernel and stride >= 1 and pad >= 0."
            )
        offset += jump * ((kernel - 1) / 2 - pad)
        size += jump * (kernel - 1)
        jump *= stride
    return ReceptiveField(offset, jump, size)


def default_radius(image_size: tuple[int, int]) -> float:
    """Radius of a unit's image region for part interpretability: 0.2 of the image's side.

    The paper gives none; with this one, 45 of 224 pixels, its ordinary VGG-16 comes out as in its
    Table 1, to 0.03 in the mean over categories. It depends on the image only, so all networks and
    layers that are compared share it; of a non-square image the side is sqrt(height * width).

    Args:
      image_size: (height, width) of the input in pixels.

    Returns:
      The radius in pixels.

    Raises:
      ValueError: a number alone, or a side below 1.

    >>> round(default_radius((224, 224)), 2)
    44.8
    """
    height, width = as_size("image_size", image_size)
    return RADIUS_FRACTION * float(np.sqrt(height * width))


class Shape(Protocol):
    """Which pixels belong to a unit, by their place relative to its centre."""

    def covers(self, dy: NDArray[np.floating], dx: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether pixels so far below and right of the centre belong to it; broadcasts."""


@dataclass(frozen=True)
class Box:
    """The theoretical receptive field: a square of `side` pixels, `ReceptiveField.size`."""

    side: float

    def covers(self, dy: NDArray[np.floating], dx: NDArray[np.floating]) -> NDArray[np.bool_]:
        """See `Shape`."""
        return np.maximum(np.abs(dy), np.abs(dx)) < self.side / 2


@dataclass(frozen=True)
class Disc:
    """A disc of `radius` pixels, its border included: what part interpretability uses."""

    radius: float

    def covers(self, dy: NDArray[np.floating], dx: NDArray[np.floating]) -> NDArray[np.bool_]:
        """See `Shape`."""
        return np.square(dy) + np.square(dx) <= self.radius**2


@dataclass(frozen=True)
class Pattern:
    """Any shape, as cells of `spacing` pixels: bool [rows, columns], centred on the middle one."""

    cells: NDArray[np.bool_]
    spacing: float

    def covers(self, dy: NDArray[np.floating], dx: NDArray[np.floating]) -> NDArray[np.bool_]:
        """See `Shape`."""
        rows, columns = self.cells.shape
        row = np.floor(dy / self.spacing + 0.5).astype(int) + rows // 2
        column = np.floor(dx / self.spacing + 0.5).astype(int) + columns // 2
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        return inside & self.cells[row.clip(0, rows - 1), column.clip(0, columns - 1)]


def discs(
    centers_y: ArrayLike, centers_x: ArrayLike, radius: float, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """The pixels of a disc around each position of a feature map.

    A pixel belongs to a disc if its centre is at most `radius` away.

    Args:
      centers_y: centres of the rows in continuous pixels of the image, [height].
      centers_x: centres of the columns, [width].
      radius: radius of the discs in pixels.
      size: (H, W) of the image.

    Returns:
      bool [height, width, H, W].

    >>> discs([0.5], [0.5, 1.5], 0.5, (1, 2)).astype(int).tolist()
    [[[[1, 0]], [[0, 1]]]]
    """
    y = np.arange(size[0]) + 0.5 - np.asarray(centers_y, np.float64)[:, None]  # [h, H]
    x = np.arange(size[1]) + 0.5 - np.asarray(centers_x, np.float64)[:, None]  # [w, W]
    return Disc(radius).covers(y[:, None, :, None], x[None, :, None, :])


def image_region(shape: Shape, centers: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of an image that belong to a unit: the union of its shape at some centres.

    A pixel belongs to it if its centre does.

    Args:
      shape: `Box`, `Disc` or `Pattern`.
      centers: [positions, 2], (y, x) in continuous pixels; none give an empty region.
      size: (height, width) of the image.

    Returns:
      bool [height, width].

    Raises:
      ValueError: centres of another shape.

    >>> image_region(Disc(1.0), [[1.5, 1.5]], (3, 4)).astype(int).tolist()
    [[0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    """
    points = np.asarray(centers, np.float64)
    points = points if points.size else points.reshape(0, 2)
    size = as_pixels("size", size)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"centers has shape {points.shape}; give [positions, 2].")
    pixel_y, pixel_x = np.arange(size[0])[:, None] + 0.5, np.arange(size[1])[None, :] + 0.5
    region = np.zeros(size, bool)
    for y, x in points:
        region |= shape.covers(pixel_y - y, pixel_x - x)
    return region
