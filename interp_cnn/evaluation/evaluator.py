"""Measures a network on the objects of a data set: the steps one after the other."""

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from interp_cnn import metrics
from interp_cnn.data.pipeline import Split, join
from interp_cnn.data.prepare import FOLDER, TFDS, Data
from interp_cnn.evaluation.accuracy import accuracy_on_test
from interp_cnn.evaluation.categories import filter_categories
from interp_cnn.evaluation.filter_files import FilterFigures
from interp_cnn.evaluation.filter_rows import filter_rows
from interp_cnn.evaluation.gathering import Gathered, Members, gather
from interp_cnn.evaluation.measuring import MeasuredLayer, layer_filters, layer_result
from interp_cnn.evaluation.network_filters import LayerFilters, NetworkFilters
from interp_cnn.evaluation.part_regions import measure_parts
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.evaluation.region_radius import region_radius
from interp_cnn.evaluation.related import related_figures
from interp_cnn.evaluation.results import (
    Controls,
    DataRecord,
    ExperimentRecord,
    NetworkResult,
    mean_controls,
)
from interp_cnn.evaluation.sampled_images import Sample, caption, sample_images, sampled_maps
from interp_cnn.evaluation.strongest_images import Gallery
from interp_cnn.losses.categories import FilterActivity
from interp_cnn.models import AnyNetwork
from interp_cnn.version import version

# At these multiples of the radius of the regions part interpretability is measured as well.
_RADIUS_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was measured of one network.

    Attributes:
      result: its figures, as they go into `metrics.json`.
      controls: location instability of units that ignore the image.
      part_controls: their part interpretability; None where parts have no regions.
      layers: of each layer the figures of its filters.
      gallery: the strongest images of the filters.
      captions: of each picture of the gallery, category and photo id.
      objects: the examples behind all of them.
      sample: images of the test split, the same for all networks.
      test_logits: [images, outputs] of the test split: of its objects first, then of the others,
        each in their order.
      filters: the figures of each filter, layer by layer.
    """

    result: NetworkResult
    controls: Controls
    part_controls: Controls | None
    layers: dict[str, LayerFilters]
    gallery: Gallery
    captions: list[str]
    objects: Split
    sample: Sample
    test_logits: np.ndarray
    filters: list[FilterFigures]

    def filters_of(self, network: str) -> NetworkFilters:
        """What the report shows of the filters, under the name of the network."""
        layers = list(self.layers.values())
        return NetworkFilters(network, self.gallery, self.captions, self.sample, layers)


class Evaluator:
    """Measures networks on the data of a configuration.

    Args:
      config: see `interp_cnn.config`.
      data: prepared data.

    Raises:
      ValueError: where `config.eval.images` is unknown.
    """

    def __init__(self, config: ml_collections.ConfigDict, data: Data):
        if config.eval.images not in ("test", "all"):
            raise ValueError(
                f"config.eval.images must be 'test' or 'all', got {config.eval.images!r}"
            )
        self.config = config
        self.data = data

    def objects(self) -> Split:
        """Objects of the categories, which filters are measured on; the test split comes last."""
        split = self.data.test
        if self.config.eval.images == "all":
            split = join(self.data.train, split)
        return split.take(np.flatnonzero(split.labels > 0))

    def evaluate(
        self,
        network: AnyNetwork,
        variables: Any,
        step: int,
        activity: Mapping[str, FilterActivity] | None = None,
    ) -> Evaluation:
        """Measure one network, each filter on the objects of its own category.

        Args:
          network: to measure.
          variables: its variables.
          step: number of training steps behind them.
          activity: activity of the filters in training, which decides on their categories; without
            it the objects that are measured do.
        """
        config, data, objects = self.config, self.data, self.objects()
        predict = Predictor(config, data, network, variables)
        rule = config.filter_loss.category_rule
        categories = filter_categories(predict, objects, activity, rule=rule)
        members = {name: objects.labels[:, None] - 1 == of for name, of in categories.items()}
        found = gather(predict, objects, members, landmarks=len(data.landmarks))
        measured, part_controls = self._measured(predict, objects, found, categories, members)
        in_test = int((data.test.labels > 0).sum())
        of_test = found.logits[len(objects) - in_test :]
        task = config.train.task
        accuracy, logits = accuracy_on_test(predict, data.test, of_test, task=task)
        sample = sample_images(config, data, network.input_size)
        sampled = sampled_maps(config, network, variables, sample)
        top = found.gallery.layers
        return Evaluation(
            result=NetworkResult(
                step=step,
                layers={layer.name: layer_result(layer, data) for layer in measured},
                accuracy=accuracy,
            ),
            controls=_controls(found.landmarks, objects.labels, network.input_size),
            part_controls=part_controls,
            layers={
                layer.name: layer_filters(layer, data, top[layer.name], sampled[layer.name])
                for layer in measured
            },
            gallery=found.gallery,
            captions=[
                caption(data.categories, objects, int(number)) for number in found.gallery.numbers
            ],
            objects=objects,
            sample=sample,
            test_logits=logits,
            filters=[row for layer in measured for row in filter_rows(layer, data)],
        )

    def _measured(
        self,
        predict: Predictor,
        objects: Split,
        found: Gathered,
        categories: Mapping[str, np.ndarray],
        members: Members,
    ) -> tuple[list[MeasuredLayer], Controls | None]:
        """Each layer with what was measured of it, and the controls of part interpretability."""
        radius = region_radius(self.config, predict.network)
        radii = [factor * radius for factor in _RADIUS_FACTORS]
        figures, controls = measure_parts(
            predict,
            objects,
            found.layers,
            members,
            parts=len(self.data.parts),
            radii=radii,
            radius=radius,
        )
        related = related_figures(self.config, self.data, predict, objects, found, members)
        layers = [
            MeasuredLayer(
                name=name,
                network=predict.network,
                gathered=layer,
                landmarks=found.landmarks,
                members=members[name],
                categories=categories[name],
                radii=radii,
                parts=figures[name],
                radius=radius,
                top=self.config.eval.top,
                related=related.get(name),
            )
            for name, layer in found.layers.items()
        ]
        return layers, controls


def _controls(landmarks: np.ndarray, labels: np.ndarray, side: int) -> Controls:
    """Of the objects of each category, as filters are measured on those of their own."""
    found = [
        metrics.instability_controls(landmarks, image_size=(side, side), where=labels == label)
        for label in np.unique(labels)
    ]
    return mean_controls(found, images=sum(of.images for of in found))


def _on_hosts() -> str:
    return f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""


def experiment_record(config: ml_collections.ConfigDict, network: AnyNetwork) -> ExperimentRecord:
    """What was run, on what, when."""
    packages = ("jax", "flax", "optax", "numpy")
    return ExperimentRecord(
        network=config.model.name,
        category=config.data.category,
        task="single" if network.num_outputs == 1 else f"multi_{config.train.task}",
        dataset=_dataset(config.data),
        image_size=network.input_size,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        device=f"{jax.device_count()} x {jax.devices()[0].device_kind}{_on_hosts()}",
        versions={"interp_cnn": version()}
        | {name: importlib.metadata.version(name) for name in packages},
    )


def _dataset(data: ml_collections.ConfigDict) -> str:
    """The name of the data set, of photos of one's own that of their folder."""
    if data.name == FOLDER:
        return f"the folder {Path(data.manual_dir).expanduser().absolute().name}"
    return str(data.dataset) if data.name == TFDS else str(data.name)


def data_record(config: ml_collections.ConfigDict, data: Data, objects: int) -> DataRecord:
    """The data behind the figures; `objects` is the number that filters were measured on."""
    return DataRecord(
        train_images=len(data.train),
        test_images=len(data.test),
        test_objects=int((data.test.labels > 0).sum()),
        location_images=objects,
        location_split=config.eval.images,
        parts=tuple(data.parts),
        landmarks=tuple(data.landmarks),
        categories=tuple(data.categories),
        part_regions="none" if not data.parts else "masks" if data.has_masks else "boxes",
    )
