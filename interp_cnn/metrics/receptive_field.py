"""Receptive fields of the positions of a feature map, in continuous pixels of the input."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# About a third of the image's side across: roughly what units of AlexNet's last conv layer respond
# to when measured (Zhou et al., ICLR 2015), and far less than their theoretical receptive field.
RADIUS_FRACTION = 0.16


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
    for kernel, stride, pad in layers:
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
    """Our radius of a unit's image region for part interpretability: 0.16 of the image's side.

    The paper gives none. This one depends on the image only, so all networks and layers that are
    compared share it; of a non-square image the side is sqrt(height * width).

    Args:
      image_size: (height, width) of the input in pixels.

    Returns:
      The radius in pixels: 36 for 224 x 224.
    """
    height, width = image_size
    return RADIUS_FRACTION * float(np.sqrt(height * width))
