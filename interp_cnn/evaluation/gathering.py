"""The first pass over the objects: what a network makes of them, gathered while they stream by."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp_cnn import hosts
from interp_cnn.data.pipeline import Split
from interp_cnn.evaluation.filter_terms import INFORMATION_IMAGES, FilterTerms
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.evaluation.strongest_images import Gallery, GalleryCollector
from interp_cnn.metrics import ValidPositions

# Of each layer, which objects count for which filter, bool [objects, filters].
Members = Mapping[str, NDArray[np.bool_]]


def own_share(objects: Split) -> tuple[int, Split]:
    """Objects of the host at hand, and the number of the first of them among all."""
    first, stop = hosts.share(len(objects), block=INFORMATION_IMAGES)
    return first, objects.take(np.arange(first, stop))


def part_masks(
    predict: Predictor, objects: Split, parts: int
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The part masks of this host's objects, batch by batch, each with the number of its first one.

    The first batch has no image: so a host without any has arrays of the right shape, too.
    """
    side = predict.network.input_size
    first, mine = own_share(objects)
    yield first, np.zeros((0, parts, side, side), bool)
    for batch in predict.batches(mine):
        masks = batch["masks"][: int(batch["weight"].sum())]
        yield first, masks
        first += len(masks)


@dataclasses.dataclass(frozen=True)
class GatheredLayer:
    """What was gathered of one layer, of all objects.

    Attributes:
      positions: of the peak of each map, [objects, filters, 2] in pixels of the input.
      peaks: their values, [objects, filters].
      terms: of `filter_diagnostics`, mean over blocks of images, [filters] each; see `FilterTerms`.
      valid: positions above the threshold of part interpretability, of this host's objects.
    """

    positions: NDArray[np.floating]
    peaks: NDArray[np.floating]
    terms: dict[str, NDArray[np.floating]]
    valid: ValidPositions


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What was gathered of all objects, the same on all hosts.

    Attributes:
      landmarks: [objects, landmarks, 2] in pixels of the input, NaN where missing.
      logits: [objects, outputs].
      layers: of each layer its peaks and positions.
      gallery: the strongest images of the filters.
    """

    landmarks: NDArray[np.floating]
    logits: NDArray[np.floating]
    layers: dict[str, GatheredLayer]
    gallery: Gallery


def gather(predict: Predictor, objects: Split, members: Members, *, landmarks: int) -> Gathered:
    """One pass over the objects, of which each host takes its share.

    Args:
      predict: the network.
      objects: all of them.
      members: of each layer, which objects count for which filter.
      landmarks: number of landmarks.
    """
    first, mine = own_share(objects)
    stream = _Stream(first, len(objects), members)
    # A host without any image has the shapes, which joining with the others needs.
    side = predict.network.input_size
    none: dict[str, np.ndarray] = {
        "landmarks": np.zeros((0, landmarks, 2), np.float32),
        "image": np.zeros((0, side, side, 3), np.uint8),
    }
    stream.update(predict.of_none(), none)
    for batch in predict.batches(mine, shown="filters"):
        stream.update(predict(batch), batch)
    return stream.merged()


@dataclasses.dataclass
class _Layer:
    """What is gathered of a layer while images stream by."""

    valid: ValidPositions
    terms: FilterTerms
    positions: list[np.ndarray] = dataclasses.field(default_factory=list)
    peaks: list[np.ndarray] = dataclasses.field(default_factory=list)


class _Stream:
    """What is gathered of a network while this host's images stream by.

    Args:
      first: number of the first of its images.
      images: number of the images of all hosts.
      members: of each layer, which of all images count for which filter.
    """

    def __init__(self, first: int, images: int, members: Members):
        self._next, self._members = first, members
        self._layers = {
            name: _Layer(ValidPositions(images), FilterTerms(of)) for name, of in members.items()
        }
        self._gallery = GalleryCollector(first=first)
        self._landmarks: list[np.ndarray] = []
        self._logits: list[np.ndarray] = []

    def update(self, output: Mapping[str, Any], batch: Mapping[str, np.ndarray]) -> None:
        """Add what the network says about the first images of a batch."""
        count = len(output["logits"])
        self._landmarks.append(batch["landmarks"][:count])
        self._logits.append(output["logits"])
        images = slice(self._next, self._next + count)
        where = {name: of[images] for name, of in self._members.items()}
        for name, layer in self._layers.items():
            maps = output["maps"][name]
            layer.positions.append(output["positions"][name])
            layer.peaks.append(output["peaks"][name])
            layer.terms.update(self._next, maps)
            layer.valid.update(self._next, maps, where[name])
        self._gallery.update(batch["image"][:count], output["maps"], where)
        self._next += count

    def merged(self) -> Gathered:
        """Joins what all hosts have gathered."""
        for layer in self._layers.values():
            for other in hosts.others(layer.valid.threshold.kept()):
                layer.valid.threshold.merge(**other)
            layer.valid.finish()
        for other in hosts.others(self._gallery.kept()):
            self._gallery.merge(other)
        joined = hosts.joined(
            {
                "landmarks": np.concatenate(self._landmarks),
                "logits": np.concatenate(self._logits),
                "layers": {
                    name: {
                        "positions": np.concatenate(layer.positions),
                        "peaks": np.concatenate(layer.peaks),
                    }
                    for name, layer in self._layers.items()
                },
            }
        )
        layers = {}
        for name, layer in self._layers.items():  # in the layers' own order
            found = joined["layers"][name]
            terms = layer.terms.merged(hosts.gather(layer.terms.kept()))
            layers[name] = GatheredLayer(found["positions"], found["peaks"], terms, layer.valid)
        return Gathered(joined["landmarks"], joined["logits"], layers, self._gallery.result())
