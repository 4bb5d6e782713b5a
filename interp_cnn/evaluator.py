"""Runs a network over a data set once and measures it; the figures of several networks in one."""

import dataclasses
import datetime
import functools
import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from tqdm import tqdm

from interp_cnn import metrics, parallel
from interp_cnn.activity import FilterActivity, categories_of, no_activity, update_activity
from interp_cnn.data.pipeline import Crop, CropWithParts, Split, eval_batches, join
from interp_cnn.data.prepare import Data
from interp_cnn.losses import filter_diagnostics, scale_free
from interp_cnn.metrics import ActivationThreshold
from interp_cnn.models import Network
from interp_cnn.objective import SOFTMAX
from interp_cnn.report.gallery import Gallery, GalleryCollector
from interp_cnn.steps import predict_step

# At these multiples of the radius of the regions part interpretability is measured as well.
_RADIUS_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)


class _StrongPositions:
    """The positions of all maps that can still lie above their filter's threshold.

    A filter's threshold only rises while images stream by, so what lies below it now can be
    dropped: about 0.5 % of the maps are kept in place of all.
    """

    def __init__(self, images: int):
        self.threshold = ActivationThreshold(images)
        self._found: list[tuple[np.ndarray, ...]] = []
        self._shape: tuple[int, ...] = ()

    @property
    def map_size(self) -> tuple[int, ...]:
        """Height and width of the maps."""
        return self._shape[:2]

    def update(self, first: int, maps: np.ndarray, where: np.ndarray) -> None:
        """Maps [images, height, width, filters] of the images from number `first` on.

        `where` [images, filters] says which count for which filter.
        """
        self._shape = maps.shape[1:]
        self.threshold.update(maps, where=where)
        above = (maps > self.threshold.result()) & where[:, None, None]
        image, *place = np.nonzero(above)
        self._found.append((image + first, *place, maps[(image, *place)]))

    def valid(self) -> tuple[np.ndarray, np.ndarray]:
        """Image of each position above its threshold, in order, and (row, column, filter)."""
        image, row, column, unit, value = (
            np.concatenate(parts) for parts in zip(*self._found, strict=True)
        )
        keep = value > self.threshold.result()[unit]
        return image[keep], np.stack([row, column, unit])[:, keep]

    def maps(self, image: np.ndarray, place: np.ndarray, first: int, count: int) -> np.ndarray:
        """1 at the valid positions of some images, 0 elsewhere."""
        begin, end = np.searchsorted(image, [first, first + count])
        result = np.zeros((count, *self._shape), np.float32)
        result[(image[begin:end] - first, *place[:, begin:end])] = 1.0
        return result


@dataclasses.dataclass
class _Layer:
    """What is gathered of a layer while images stream by."""

    strong: _StrongPositions
    positions: list[np.ndarray] = dataclasses.field(default_factory=list)
    peaks: list[np.ndarray] = dataclasses.field(default_factory=list)
    terms: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)


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
      terms: of `filter_diagnostics`, mean over batches, [filters] each, of each layer.
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
    """`filter_diagnostics` of the scale-free maps [images, height, width, filters]."""
    return filter_diagnostics(scale_free(maps, where=where), where=where)


def _number(value: float) -> float | None:
    """NaN has no JSON."""
    return None if math.isnan(value) else float(value)


def _means(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.mean([batch[name] for batch in batches], axis=0) for name in batches[0]}


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

    def _batches(self, split: Split, network: Network) -> Any:
        """Batches with parts and landmarks."""
        crop = CropWithParts(
            network.input_size,
            self.config.data.crop,
            parts=tuple(self.data.parts),
            landmarks=tuple(self.data.landmarks),
        )
        return self._cropped(split, crop)

    def _cropped(self, split: Split, crop: Crop | None) -> Any:
        return eval_batches(
            split, crop, batch_size=self.batch_size, threads=self.config.data.threads
        )

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
        crop = Crop(network.input_size, self.config.data.crop) if others.features is None else None
        found = [of_objects]
        for batch in tqdm(
            self._cropped(others, crop),
            total=-(-len(others) // self.batch_size),
            desc="accuracy",
            leave=False,
        ):
            output = predict(params, parallel.shard(_network_input(batch)))["logits"]
            found.append(parallel.unshard(output)[: int(batch["weight"].sum())])
        logits = np.concatenate(found)
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
            activity = {
                name: no_activity(network.num_outputs, filters)
                for name, filters in network.map_filters.items()
            }
            for batch in self._batches(self.objects(), network):
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
        layers = {name: _Layer(_StrongPositions(len(objects))) for name in members}
        landmarks: list[np.ndarray] = []
        logits: list[np.ndarray] = []
        collector = GalleryCollector()
        done = 0
        for batch in tqdm(
            self._batches(objects, network),
            total=-(-len(objects) // self.batch_size),
            desc="filters",
            leave=False,
        ):
            count = int(batch["weight"].sum())
            output = parallel.unshard(predict(params, parallel.shard(_network_input(batch))))
            landmarks.append(batch["landmarks"][:count])
            logits.append(output["logits"][:count])
            for name, layer in layers.items():
                maps = output["maps"][name][:count]
                where = members[name][done : done + count]
                layer.positions.append(output["positions"][name][:count])
                layer.peaks.append(output["peaks"][name][:count])
                if count == self.batch_size or not layer.terms:
                    layer.terms.append(jax.device_get(_filter_terms(maps, where)))
                layer.strong.update(done, maps, where)
            collector.update(
                batch["image"][:count],
                {name: output["maps"][name][:count] for name in layers},
                {name: of[done : done + count] for name, of in members.items()},
            )
            done += count
        points = np.concatenate(landmarks)
        size = (network.input_size, network.input_size)
        fields = network.receptive_fields()
        radius = self.config.eval.radius or metrics.default_radius(size)
        radii = [factor * radius for factor in _RADIUS_FACTORS]
        by_radius = self._part_shares(network, objects, layers, members, radii)
        shares = {name: of[_RADIUS_FACTORS.index(1.0)] for name, of in by_radius.items()}
        controls = metrics.instability_controls(points, image_size=size)
        result: dict[str, Any] = {"step": step, "layers": {}}
        terms = {name: _means(layer.terms) for name, layer in layers.items()}
        evaluation = Evaluation(
            result=result,
            controls=controls,
            categories=categories,
            instability={},
            ratios={},
            interpretability=shares,
            terms=terms,
            thresholds={name: layer.strong.threshold.result() for name, layer in layers.items()},
            gallery=collector.result(),
            peaks={},
            objects=objects,
            predict=predict,
        )
        for name, layer in layers.items():
            positions, values = np.concatenate(layer.positions), np.concatenate(layer.peaks)
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
                "receptive_field": dataclasses.asdict(fields[name]),
            }
        in_test = int((self.data.test.labels > 0).sum())  # the last ones
        of_objects = np.concatenate(logits)[len(objects) - in_test :]
        result["accuracy"] = self._accuracy(network, params, predict, of_objects)
        return evaluation

    def _part_shares(
        self,
        network: Network,
        objects: Split,
        layers: dict[str, _Layer],
        members: dict[str, np.ndarray],
        radii: Sequence[float],
    ) -> dict[str, np.ndarray]:
        """Part interpretability P_{f,k} of each layer, [radii, filters, parts].

        A second pass, over the part masks alone: the network is not needed for it.
        """
        filters = network.map_filters
        if not self.data.parts:  # the data set has points alone
            return {name: np.full((len(radii), n, 0), np.nan) for name, n in filters.items()}
        valid = {name: layer.strong.valid() for name, layer in layers.items()}
        fields = network.receptive_fields()
        found = {
            name: metrics.PartShares(
                np.full(filters[name], 0.5),  # the maps are 1 above the threshold of their filter
                radii=radii,
                centers_y=fields[name].centers(layer.strong.map_size[0]),
                centers_x=fields[name].centers(layer.strong.map_size[1]),
            )
            for name, layer in layers.items()
        }
        done = 0
        for batch in self._batches(objects, network):
            count = int(batch["weight"].sum())
            for name, layer in layers.items():
                maps = layer.strong.maps(*valid[name], done, count)
                where = members[name][done : done + count]
                found[name].update(maps, batch["masks"][:count], where)
            done += count
        return {name: shares.result() for name, shares in found.items()}


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
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
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
