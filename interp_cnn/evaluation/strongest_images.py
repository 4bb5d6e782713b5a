"""What each filter fires on: its strongest images, collected while the images stream by."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

TOP = 4  # images of each filter
SIDE = 160  # pixels of a picture


@dataclasses.dataclass(frozen=True)
class TopMaps:
    """The strongest images of the filters of one layer, strongest first.

    Attributes:
      image: which picture of the gallery, int [filters, top]; -1 where the filter fired on fewer.
      peaks: highest activation, float32 [filters, top]; 0 where there is no image.
      maps: feature maps after ReLU, float32 [filters, top, height, width]; 0 alike.
    """

    image: NDArray[np.int64]
    peaks: NDArray[np.float32]
    maps: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The strongest images of all filters; one that many filters share is held once.

    Attributes:
      pictures: uint8 [pictures, side, side, 3].
      numbers: place of each picture in the stream of images, rising, int [pictures].
      layers: of each layer what its filters fire on.
    """

    pictures: NDArray[np.uint8]
    numbers: NDArray[np.int64]
    layers: dict[str, TopMaps]


class GalleryCollector:
    """Keeps the strongest images of every filter while batches stream by.

    It holds at most `filters * top` pictures of `side` x `side` pixels and as many maps, however
    many images come. Of equal peaks the first image counts.

    Args:
      top: images of each filter.
      side: pixels of the pictures that are kept.
      first: number of the first image that comes.
    """

    def __init__(self, *, top: int = TOP, side: int = SIDE, first: int = 0):
        self._top, self._side = top, side
        self._seen = first
        self._pictures: dict[int, NDArray[np.uint8]] = {}
        self._layers: dict[str, _Strongest] = {}

    def update(
        self,
        images: ArrayLike,
        maps: Mapping[str, ArrayLike],
        where: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> None:
        """Take a batch.

        Args:
          images: uint8 [batch, size, size, 3].
          maps: of each layer, float [batch, height, width, filters].
          where: of each layer, bool [batch, filters], which images count for which filter, such as
            those of its category; all by default.

        Raises:
          ValueError: maps of another number of images.
        """
        images = np.asarray(images)
        for name, x in maps.items():
            x = np.asarray(x, np.float32)
            if x.ndim != 4 or len(x) != len(images):
                raise ValueError(
                    f"maps of {name!r} have shape {x.shape};"
                    f" give [batch, height, width, filters] with {len(images)} images"
                )
            if name not in self._layers:
                self._layers[name] = _Strongest(self._top, x.shape[1:])
            peaks = x.max(axis=(1, 2))
            if where is not None:
                peaks = np.where(where[name], peaks, 0)
            self._layers[name].update(self._seen, x, peaks)
        wanted = self._wanted()
        self._pictures = {n: self._pictures[n] for n in wanted if n in self._pictures} | {
            n: resized(images[n - self._seen], self._side) for n in wanted if n >= self._seen
        }
        self._seen += len(images)

    def kept(self) -> dict[str, Any]:
        """What `merge` needs of a collector of other images.

        Returns:
          `pictures` and their `numbers`, and of each of the `layers` peaks, numbers and maps.

        Raises:
          ValueError: before the first batch.
        """
        self._check_begun()
        numbers = np.array(sorted(self._pictures), np.int64)
        return {
            "numbers": numbers,
            "pictures": self._stacked(numbers),
            "layers": {name: vars(layer) for name, layer in self._layers.items()},
        }

    def merge(self, kept: Mapping[str, Any]) -> None:
        """Add what a collector of other images has kept, as if they had come here.

        Args:
          kept: see the method of that name.

        Raises:
          ValueError: before the first batch.
        """
        self._check_begun()
        for name, layer in self._layers.items():
            layer.merge(**kept["layers"][name])
        known = self._pictures | dict(zip(kept["numbers"].tolist(), kept["pictures"], strict=True))
        self._pictures = {number: known[number] for number in self._wanted()}

    def _check_begun(self) -> None:
        if not self._layers:
            raise ValueError("no images came; call update with at least one batch first")

    def _stacked(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        empty = np.zeros((0, self._side, self._side, 3), np.uint8)
        return np.stack([self._pictures[n] for n in numbers]) if len(numbers) else empty

    def _wanted(self) -> list[int]:
        numbers = [layer.numbers[layer.peaks > 0] for layer in self._layers.values()]
        return np.unique(np.concatenate(numbers)).tolist()

    def result(self) -> Gallery:
        """What was collected.

        Raises:
          ValueError: before the first batch.
        """
        self._check_begun()
        numbers = np.array(self._wanted(), np.int64)
        pictures = self._stacked(numbers)
        layers = {}
        for name, layer in self._layers.items():
            there = layer.peaks > 0  # a map without any activation shows nothing
            layers[name] = TopMaps(
                image=np.where(there, np.searchsorted(numbers, layer.numbers), -1).T,
                peaks=np.where(there, layer.peaks, 0).T,
                maps=np.where(there[:, None, None], layer.maps, 0).transpose(3, 0, 1, 2),
            )
        return Gallery(pictures, numbers, layers)


class _Strongest:
    """Of one layer: peaks and image numbers [top, filters], maps [top, height, width, filters]."""

    def __init__(self, top: int, shape: tuple[int, ...]):
        self.peaks = np.zeros((top, shape[-1]), np.float32)
        self.numbers = np.full((top, shape[-1]), -1)
        self.maps = np.zeros((top, *shape), np.float32)

    def update(self, first: int, x: NDArray[np.float32], peaks: NDArray[np.float32]) -> None:
        numbers = np.broadcast_to(first + np.arange(len(x))[:, None], (len(x), x.shape[-1]))
        self.merge(peaks, numbers, x)

    def merge(
        self, peaks: NDArray[np.float32], numbers: NDArray[np.int64], maps: NDArray[np.float32]
    ) -> None:
        peaks = np.concatenate([self.peaks, peaks])
        numbers = np.concatenate([self.numbers, numbers])
        order = np.lexsort((numbers, -peaks), axis=0)[: len(self.peaks)]
        self.peaks = np.take_along_axis(peaks, order, 0)
        self.numbers = np.take_along_axis(numbers, order, 0)
        maps = np.concatenate([self.maps, maps])
        self.maps = np.take_along_axis(maps, order[:, None, None, :], 0)


def resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square image as a picture of this side."""
    if image.shape[:2] == (side, side):
        return image.copy()  # not the whole batch that it is part of
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))
