"""Runs a network over a data set once and measures it; the figures of several networks in one."""

import dataclasses
import datetime
import functools
import importlib.metadata
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from interp_cnn import hosts, metrics
from interp_cnn.data.pipeline import Crop, CropWithParts, Split, eval_batches, join
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.strongest_images import Gallery, GalleryCollector
from interp_cnn.losses import filter_diagnostics, normalize_scale
from interp_cnn.metrics import ValidPositions
from interp_cnn.models import Network
from interp_cnn.training import parallel
from interp_cnn.training.filter_categories import FilterActivity, categories_of, update_activity
from interp_cnn.training.objective import SOFTMAX
from interp_cnn.training.state import no_activities
from interp_cnn.training.steps import predict_step

# Of `filter_diagnostics`.
TERMS = ("mutual_information", "template_entropy", "category_entropy", "position_entropy")

# At these multiples of the radius of the regions part interpretability is measured as well.
_RADIUS_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)


# Mutual information belongs to a batch: it is measured on so many images at a time, whatever the
# batch of the evaluation.
INFORMATION_IMAGES = 32


class _FilterTerms:
    """Terms of the filter loss of blocks of images, while batches of any size stream by."""

    def __init__(self, images: int):
        self._block = min(images, INFORMATION_IMAGES)  # the last images fill none and are left out
        self._maps: list[np.ndarray] = []
        self._where: list[np.ndarray] = []
        self._terms: list[dict[str, np.ndarray]] = []

    def update(self, maps: np.ndarray, where: np.ndarray) -> None:
        """Add maps [images, height, width, filters] and which count, [images, filters]."""
        self._maps.append(maps)
        self._where.append(where)
        if sum(map(len, self._maps)) < self._block:
            return
        maps, where = np.concatenate(self._maps), np.concatenate(self._where)
        whole = len(maps) // self._block * self._block
        for first in range(0, whole, self._block):
            block = slice(first, first + self._block)
            self._terms.append(jax.device_get(_filter_terms(maps[block], where[block])))
        self._maps, self._where = [maps[whole:]], [where[whole:]]

    def kept(self) -> dict[str, np.ndarray]:
        """Of each term [blocks, filters]."""
        nothing = np.zeros((0, self._maps[0].shape[-1]), np.float32)
        return {
            name: np.concatenate([nothing, *(terms[name][None] for terms in self._terms)])
            for name in TERMS
        }


@dataclasses.dataclass
class _Layer:
    """What is gathered of a layer while images stream by."""

    valid: ValidPositions
    terms: _FilterTerms
    positions: list[np.ndarray] = dataclasses.field(default_factory=list)
    peaks: list[np.ndarray] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class _Stream:
    """What is gathered of a network while this host's images stream by.

    Attributes:
      first: number of the first of its images.
      layers: by name.
      gallery: the strongest images of the filters.
      landmarks: [images, landmarks, 2] of each batch.
      logits: [images, outputs] of each batch.
    """

    first: int
    layers: dict[str, _Layer]
    gallery: GalleryCollector
    landmarks: list[np.ndarray] = dataclasses.field(default_factory=list)
    logits: list[np.ndarray] = dataclasses.field(default_factory=list)

    def update(
        self, output: Mapping[str, Any], batch: Mapping[str, Any], members: Mapping[str, Any]
    ) -> None:
        """Add what the network says about some images; `members` are those of this host."""
        count = len(output["logits"])
        done = sum(map(len, self.logits))
        self.landmarks.append(batch["landmarks"][:count])
        self.logits.append(output["logits"])
        where = {name: of[done : done + count] for name, of in members.items()}
        for name, layer in self.layers.items():
            maps = output["maps"][name]
            layer.positions.append(output["positions"][name])
            layer.peaks.append(output["peaks"][name])
            layer.terms.update(maps, where[name])
            layer.valid.update(self.first + done, maps, where[name])
        self.gallery.update(batch["image"][:count], output["maps"], where)

    def merged(self) -> dict[str, Any]:
        """Joins what all hosts have gathered: the same on all of them.

        Returns:
          Of each layer positions, peaks and terms, and landmarks and logits, of all images.
        """
        for layer in self.layers.values():
            for other in hosts.others(layer.valid.threshold.kept()):
                layer.valid.threshold.merge(**other)
            layer.valid.finish()
        for other in hosts.others(self.gallery.kept()):
            self.gallery.merge(other)
        return hosts.joined(
            {
                "landmarks": np.concatenate(self.landmarks),
                "logits": np.concatenate(self.logits),
                "layers": {
                    name: {
                        "positions": np.concatenate(layer.positions),
                        "peaks": np.concatenate(layer.peaks),
                        "terms": layer.terms.kept(),
                    }
                    for name, layer in self.layers.items()
                },
            }
        )


@dataclasses.dataclass
class Evaluation:
    """What was measured of one network.

    Attributes:
      result: the figures, as they go into `metrics.json`.
      controls: instability of units that ignore the image.
      categories: category of each filter, int [filters], of each layer.
      instability: of each layer, [filters, landmarks].
      ratios: tracking ratio of each layer, [filters, landmarks].
      interpretability: of each layer, [filters, parts].
      terms: of `filter_diagnostics`, mean over blocks of `INFORMATION_IMAGES`, [filters] each, of
        each layer.
      thresholds: T_f of part interpretability, [filters], of each layer.
      gallery: the strongest images of the filters.
      peaks: peak of each map on each object, [objects, filters], of each layer; -inf where the
        object is not of the filter's category.
      objects: the examples behind them.
      predict: the compiled network, see `Evaluator.predictor`.
    """

    result: dict[str, Any]
    controls: metrics.InstabilityControls
    categories: dict[str, np.ndarray]
    instability: dict[str, np.ndarray]
    ratios: dict[str, np.ndarray]
    interpretability: dict[str, np.ndarray]
    terms: dict[str, dict[str, np.ndarray]]
    thresholds: dict[str, np.ndarray]
    gallery: Gallery
    peaks: dict[str, np.ndarray]
    objects: Split
    predict: Any


@jax.jit
def _filter_terms(maps: jax.Array, where: jax.Array) -> dict[str, jax.Array]:
    """`filter_diagnostics` of maps of normalised scale [images, height, width, filters]."""
    return filter_diagnostics(normalize_scale(maps, where=where), where=where)


def _number(value: float) -> float | None:
    """NaN has no JSON."""
    return None if math.isnan(value) else float(value)


def _network_input(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The part of a batch that the network computes from."""
    name = "features" if "features" in batch else "image"
    return {name: batch[name]}


class Evaluator:
    """Measures networks on the data of a configuration.

    Args:
      config: see `interp_cnn.config`.
      data: prepared data.
    """

    def __init__(self, config: ml_collections.ConfigDict, data: Data):
        if config.eval.images not in ("test", "all"):
            raise ValueError(
                f"config.eval.images must be 'test' or 'all', got {config.eval.images!r}"
            )
        self.config = config
        self.data = data
        devices = jax.local_device_count()
        # Rounded up: evaluation pads its batches anyway.
        self.batch_size = -(-config.eval.batch_size // devices) * devices

    def objects(self) -> Split:
        """Objects of the category that the location metrics use."""
        split = self.data.test
        if self.config.eval.images == "all":
            split = join(self.data.train, split)
        return split.take(np.flatnonzero(split.labels > 0))

    def _batches(self, split: Split, network: Network, shown: str = "") -> Any:
        """Batches with parts and landmarks, with a progress bar where that is to be shown."""
        crop = CropWithParts(
            network.input_size,
            self.config.data.crop,
            parts=tuple(self.data.parts),
            landmarks=tuple(self.data.landmarks),
        )
        return self._cropped(split, crop, shown)

    def _cropped(self, split: Split, crop: Crop | None, shown: str = "") -> Any:
        if not len(split):
            return ()
        batches = eval_batches(
            split, crop, batch_size=self.batch_size, threads=self.config.data.threads
        )
        if not shown:
            return batches
        return hosts.bar(batches, total=-(-len(split) // self.batch_size), desc=shown, leave=False)

    def predictor(self, network: Network) -> Any:
        """`(params, sharded batch) -> ` see `predict_step`, on all local devices."""
        return parallel.parallel_map(
            functools.partial(
                predict_step,
                network=network,
                mean=tuple(self.config.data.mean),
                std=self.config.data.std,
            )
        )

    def _accuracy(
        self, network: Network, params: Any, predict: Any, of_objects: np.ndarray
    ) -> dict[str, Any]:
        """Accuracy on the test split; the logits of its objects are known, in their order."""
        test = self.data.test
        others = test.take(np.flatnonzero(test.labels == 0))
        first, stop = hosts.share(len(others))
        mine = others.take(np.arange(first, stop))
        crop = Crop(network.input_size, self.config.data.crop) if others.features is None else None
        found = [of_objects[:0]]
        for batch in self._cropped(mine, crop, shown="accuracy"):
            output = predict(params, parallel.shard(_network_input(batch)))["logits"]
            found.append(parallel.unshard(output)[: int(batch["weight"].sum())])
        logits = np.concatenate([of_objects, hosts.joined(np.concatenate(found))])
        labels = np.concatenate([test.labels[test.labels > 0], others.labels])
        if self.config.train.task == SOFTMAX:
            answers = labels - 1
        else:
            answers = labels[:, None] == np.arange(1, logits.shape[1] + 1)
        right, number = metrics.accuracy(logits, answers)
        return {"value": float(right) / float(number), "images": int(number)}

    def _categories(
        self,
        network: Network,
        params: Any,
        predict: Any,
        activity: Mapping[str, FilterActivity] | None,
    ) -> dict[str, np.ndarray]:
        """Category of each filter, from training or else from the objects at hand."""
        if network.num_outputs == 1:
            return {name: np.zeros(n, int) for name, n in network.map_filters.items()}
        if activity is None:
            activity = no_activities(network)
            objects = self.objects()
            mine = objects.take(np.arange(*hosts.share(len(objects))))
            for batch in self._batches(mine, network):
                maps = parallel.unshard(
                    predict(params, parallel.shard(_network_input(batch)))["maps"]
                )
                labels = jnp.where(batch["weight"] > 0, batch["label"], 0)
                activity = {
                    name: update_activity(
                        activity[name],
                        x,
                        labels,
                        rule=self.config.filter_loss.category_rule,
                        decay=1.0,
                    )
                    for name, x in maps.items()
                }
            activity = hosts.total(activity)
        # A checkpoint has the layers in the order of their names.
        return {name: np.asarray(categories_of(activity[name])) for name in network.map_filters}

    def evaluate(
        self,
        network: Network,
        params: Any,
        step: int,
        activity: Mapping[str, FilterActivity] | None = None,
    ) -> Evaluation:
        """Measure one network, each filter on the objects of its own category.

        Args:
          network: to measure.
          params: its parameters.
          step: number of training steps behind them.
          activity: of the filters in training, which decides on their categories; without it the
            objects that are measured do.
        """
        predict = self.predictor(network)
        objects = self.objects()
        categories = self._categories(network, params, predict, activity)
        members = {name: objects.labels[:, None] - 1 == of for name, of in categories.items()}
        first, stop = hosts.share(len(objects), block=INFORMATION_IMAGES)
        mine = objects.take(np.arange(first, stop))
        stream = self._streamed(network, params, predict, mine, first, len(objects), members)
        gathered = stream.merged()
        measured = {name: gathered["layers"][name] for name in members}  # in the layers' own order
        points = gathered["landmarks"]
        size = (network.input_size, network.input_size)
        fields = network.receptive_fields()
        radius = self.config.eval.radius or metrics.default_radius(size)
        radii = [factor * radius for factor in _RADIUS_FACTORS]
        by_radius = self._part_shares(network, mine, stream, members, radii)
        shares = {name: of[_RADIUS_FACTORS.index(1.0)] for name, of in by_radius.items()}
        controls = metrics.instability_controls(points, image_size=size)
        result: dict[str, Any] = {"step": step, "layers": {}}
        terms = {
            name: {term: values.mean(axis=0) for term, values in layer["terms"].items()}
            for name, layer in measured.items()
        }
        evaluation = Evaluation(
            result=result,
            controls=controls,
            categories=categories,
            instability={},
            ratios={},
            interpretability=shares,
            terms=terms,
            thresholds={
                name: layer.valid.threshold.result() for name, layer in stream.layers.items()
            },
            gallery=stream.gallery.result(),
            peaks={},
            objects=objects,
            predict=predict,
        )
        for name, layer in measured.items():
            positions, values = layer["positions"], layer["peaks"]
            how: dict[str, Any] = {"top": self.config.eval.top, "where": members[name]}
            evaluation.instability[name] = metrics.location_instability(
                positions, values, points, image_size=size, **how
            )
            evaluation.ratios[name] = metrics.tracking_ratio(positions, values, points, **how)
            evaluation.peaks[name] = np.where(members[name], values, -np.inf)
            summary = metrics.summarize_location(positions, values, points, image_size=size, **how)
            parts = metrics.summarize_parts(shares[name])
            numbers = np.bincount(categories[name], minlength=network.num_outputs)
            result["layers"][name] = {
                "location_instability": {
                    "value": _number(summary.instability),
                    "filters": summary.filters,
                    "filters_left_out": summary.filters_left_out,
                    "images_per_value": _number(summary.images_per_value),
                },
                "tracking_ratio": {
                    "value": _number(summary.tracking_ratio),
                    "filters": summary.tracking_filters,
                    "below_1": _number(summary.below_1),
                    "below_0.8": _number(summary.below_08),
                },
                "part_interpretability": {
                    "value": _number(parts.mean),
                    "filters": parts.filters,
                    "images": len(objects),
                    "radius": radius,
                    "by_radius": [
                        [other, _number(metrics.summarize_parts(of).mean)]
                        for other, of in zip(radii, by_radius[name], strict=True)
                    ],
                },
                "filters_of_category": {
                    name: int(number)
                    for name, number in zip(self.data.categories, numbers, strict=True)
                },
                "dead": summary.dead,
                "collapsed": summary.collapsed,
                "mutual_information": float(np.mean(terms[name]["mutual_information"])),
                "mutual_information_images": min(len(objects), INFORMATION_IMAGES),
                "receptive_field": dataclasses.asdict(fields[name]),
            }
        in_test = int((self.data.test.labels > 0).sum())  # the last ones
        of_objects = gathered["logits"][len(objects) - in_test :]
        result["accuracy"] = self._accuracy(network, params, predict, of_objects)
        return evaluation

    def _streamed(
        self,
        network: Network,
        params: Any,
        predict: Any,
        mine: Split,
        first: int,
        images: int,
        members: Mapping[str, np.ndarray],
    ) -> _Stream:
        """What the network makes of this host's images, the ones from number `first` on.

        Args:
          network: to measure.
          params: its parameters.
          predict: see `predictor`.
          mine: this host's objects.
          first: number of the first of them among all.
          images: number of all objects.
          members: of each layer, which objects count for which filter, bool [images, filters].
        """
        layers = {name: _Layer(ValidPositions(images), _FilterTerms(images)) for name in members}
        stream = _Stream(first, layers, GalleryCollector(first=first))
        here = {name: of[first : first + len(mine)] for name, of in members.items()}
        # A host without any image has the shapes, which joining with the others needs.
        none = self._output_of_none(network, params)
        side = network.input_size
        landmarks = np.zeros((0, len(self.data.landmarks), 2), np.float32)
        image = np.zeros((0, side, side, 3), np.uint8)
        stream.update(none, {"landmarks": landmarks, "image": image}, here)
        for batch in self._batches(mine, network, shown="filters"):
            count = int(batch["weight"].sum())
            output = parallel.unshard(predict(params, parallel.shard(_network_input(batch))))
            stream.update(jax.tree.map(lambda x: x[:count], output), batch, here)  # noqa: B023
        return stream

    def _output_of_none(self, network: Network, params: Any) -> Any:
        """What the predictor returns, of no images."""
        side = network.input_size
        image = {"image": jax.ShapeDtypeStruct((1, side, side, 3), np.uint8)}
        predict = functools.partial(predict_step, network=network, mean=(0.0,) * 3)
        one = jax.eval_shape(predict, params, image)
        return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype), one)

    def _part_shares(
        self,
        network: Network,
        mine: Split,
        stream: _Stream,
        members: dict[str, np.ndarray],
        radii: Sequence[float],
    ) -> dict[str, np.ndarray]:
        """Part interpretability P_{f,k} of each layer, [radii, filters, parts].

        A second pass, over the part masks alone: the network is not needed for it.
        """
        filters = network.map_filters
        if not self.data.parts:  # the data set has points alone
            return {name: np.full((len(radii), n, 0), np.nan) for name, n in filters.items()}
        fields = network.receptive_fields()
        found = {
            name: metrics.PartShares(
                np.full(filters[name], 0.5),  # the maps are 1 above the threshold of their filter
                radii=radii,
                centers_y=fields[name].centers(layer.valid.map_size[0]),
                centers_x=fields[name].centers(layer.valid.map_size[1]),
            )
            for name, layer in stream.layers.items()
        }
        side = network.input_size
        masks = np.zeros((0, len(self.data.parts), side, side), bool)
        none = {"masks": masks, "weight": np.zeros(0)}
        done = stream.first
        for batch in itertools.chain([none], self._batches(mine, network)):
            count = int(batch["weight"].sum())
            for name, layer in stream.layers.items():
                where = members[name][done : done + count]
                found[name].update(layer.valid.maps(done, count), batch["masks"][:count], where)
            done += count
        counts = hosts.total({name: shares.kept() for name, shares in found.items()})
        return {name: metrics.PartShares.of_counts(**of) for name, of in counts.items()}


def _on_hosts() -> str:
    return f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""


def experiment_record(config: ml_collections.ConfigDict, network: Network) -> dict[str, Any]:
    """What was run, on what, when."""
    packages = ("interp_cnn", "jax", "flax", "optax", "numpy")
    return {
        "network": config.model.name,
        "category": config.data.category,
        "task": "single" if network.num_outputs == 1 else f"multi_{config.train.task}",
        "dataset": config.data.name,
        "image_size": network.input_size,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}{_on_hosts()}",
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def data_record(config: ml_collections.ConfigDict, data: Data, objects: int) -> dict[str, Any]:
    """The data behind the figures."""
    return {
        "train_images": len(data.train),
        "test_images": len(data.test),
        "test_objects": int((data.test.labels > 0).sum()),
        "location_images": objects,
        "location_split": config.eval.images,
        "parts": list(data.parts),
        "landmarks": list(data.landmarks),
        "categories": list(data.categories),
        "part_regions": "none" if not data.parts else "masks" if data.has_masks else "boxes",
    }
