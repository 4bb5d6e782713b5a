"""What an evaluation found, as types; this module alone writes and reads `metrics.json`.

A figure that could not be measured is None.
"""

import dataclasses
import json
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from etils import epath
from numpy.typing import ArrayLike

from interp_cnn import storage
from interp_cnn.receptive_field import ReceptiveField

# Of the layout of `metrics.json`. Files from before the layouts were counted have no version.
VERSION = 1


@dataclass(frozen=True)
class LocationInstability:
    """Location instability of a layer: mean over landmarks, then over filters.

    Attributes:
      value: the mean.
      filters: number of filters behind it.
      filters_left_out: number of filters with fewer than two images.
      images_per_value: mean number of images behind one filter and landmark.
    """

    value: float | None
    filters: int
    filters_left_out: int
    images_per_value: float | None


@dataclass(frozen=True)
class TrackingRatio:
    """Tracking ratio of a layer: each filter's best landmark.

    Attributes:
      value: mean over filters.
      filters: number of filters behind it.
      below_1: share of those filters with a ratio below 1.
      below_08: share of those filters with a ratio below 0.8.
    """

    value: float | None
    filters: int
    below_1: float | None
    below_08: float | None = field(metadata={"key": "below_0.8"})


@dataclass(frozen=True)
class PartsFollowed:
    """Which landmarks the filters of a layer follow.

    Attributes:
      filters: number of filters that follow each landmark.
      none: number of filters that follow no landmark.
      parts: number of landmarks that at least 5 % of all filters follow.
      entropy: entropy in nats of the landmark of a filter that follows one.
    """

    filters: dict[str, int]
    none: int
    parts: int
    entropy: float | None


@dataclass(frozen=True)
class PartInterpretability:
    """Part interpretability of a layer: mean over filters of each one's best part.

    Attributes:
      value: the mean.
      filters: number of filters behind it.
      images: number of objects that it was measured on.
      radius: radius of a unit's image region, in pixels of the input.
      by_radius: pairs of another radius and the mean at that radius.
    """

    value: float | None
    filters: int
    images: int
    radius: float
    by_radius: tuple[tuple[float, float | None], ...]


@dataclass(frozen=True)
class Purity:
    """Purity (PIP-Net) of a layer: each filter's purest landmark.

    Attributes:
      value: mean over filters.
      spread: their standard deviation.
      part_related: share of the filters with a purity above 0.5.
      filters: number of filters behind it.
      patch: side of a patch in pixels of the input.
      top: largest number of images of a filter.
    """

    value: float | None
    spread: float | None
    part_related: float | None
    filters: int
    patch: float
    top: int


@dataclass(frozen=True)
class Patterns:
    """Where the activations of a layer's filters lie (icCNN), in nats.

    Attributes:
      inconsistency: over images, mean over filters.
      diversity: between filters.
      filters: number of filters behind them.
      regions: number of parts, and one for what lies elsewhere.
    """

    inconsistency: float | None
    diversity: float | None
    filters: int
    regions: int


@dataclass(frozen=True)
class CategoryInformation:
    """The mutual information score of filters and categories (CSG).

    Attributes:
      value: mean over filters of the category that each tells most about, in nats.
      filters: number of filters behind it.
      images: number of test images that it was measured on.
    """

    value: float | None
    filters: int
    images: int


@dataclass(frozen=True)
class RelatedMeasures:
    """The measures of related work, where `config.eval.related_measures` asked for them.

    Attributes:
      purity: see there.
      patterns: see there; None without part regions.
      category_information: see there.
    """

    purity: Purity
    patterns: Patterns | None
    category_information: CategoryInformation


@dataclass(frozen=True)
class Behaviour:
    """What the filters of a layer do on images without annotated parts: means over filters.

    Attributes:
      fired_share: the share of its objects on which a filter fires, that is, has an activation
        among its highest 0.5 %.
      peak_spread: how far its peaks roam, in image diagonals.
      same_place: how often other filters look where it looks.
    """

    fired_share: float | None
    peak_spread: float | None
    same_place: float | None


@dataclass(frozen=True)
class LayerResult:
    """The figures of one layer.

    Attributes:
      location_instability: see there.
      tracking_ratio: see there.
      part_interpretability: share over all images that have the part.
      filters_of_category: number of filters of each category.
      dead: number of filters that fire on no image of their category.
      collapsed: number of filters whose peak hardly moves.
      mutual_information: mean over filters of Eq. 1 on scale-free maps, in nats.
      receptive_field: the theoretical receptive field.
      mutual_information_images: number of images that the mutual information is taken over, the
        largest where filters have fewer.
      part_interpretability_fired: share over the images on which a filter fires alone, which is how
        the paper's figures read; None in older files.
      fired_share: mean over filters of the share of images on which one fires; None in older files.
      parts_followed: which landmarks the filters follow; None in older files.
      related: the measures of related work; None where they were not asked for.
      behaviour: what can be said without parts; None where parts are annotated.
      mutual_information_fewest: the smallest number of images that a filter's mutual information is
        taken over; None in older files.
    """

    location_instability: LocationInstability
    tracking_ratio: TrackingRatio
    part_interpretability: PartInterpretability
    filters_of_category: dict[str, int]
    dead: int
    collapsed: int
    mutual_information: float | None
    receptive_field: ReceptiveField
    mutual_information_images: int | None = None
    part_interpretability_fired: PartInterpretability | None = None
    fired_share: float | None = None
    parts_followed: PartsFollowed | None = None
    related: RelatedMeasures | None = None
    behaviour: Behaviour | None = None
    mutual_information_fewest: int | None = None


@dataclass(frozen=True)
class Accuracy:
    """Share of the test images that are classified right, and their number."""

    value: float | None
    images: int


@dataclass(frozen=True)
class NetworkResult:
    """The figures of one network.

    Attributes:
      step: number of training steps behind its parameters.
      layers: figures of each layer, in the order of the network.
      accuracy: on the test split.
    """

    step: int
    layers: dict[str, LayerResult]
    accuracy: Accuracy


@dataclass(frozen=True)
class Controls:
    """Location instability, or part interpretability, of units that ignore the image.

    Filters are measured on the objects of their own category, and so are these units: the mean
    over the categories.

    Attributes:
      center: of a unit that always points at the centre.
      random: of a unit at uniformly random positions.
      images: number of images with a landmark, or with parts.
    """

    center: float | None
    random: float | None
    images: int


@dataclass(frozen=True)
class DataRecord:
    """The data behind the figures.

    Attributes:
      train_images: number of training images.
      test_images: number of test images.
      test_objects: number of objects of the categories among them.
      location_images: number of objects that filters were measured on.
      location_split: `"test"` or `"all"`, the split that these come from.
      parts: names of the parts.
      landmarks: names of the landmarks.
      categories: names of the categories.
      part_regions: `"masks"`, `"boxes"` or `"none"`, what the parts have.
    """

    train_images: int
    test_images: int
    test_objects: int
    location_images: int
    location_split: str
    parts: tuple[str, ...]
    landmarks: tuple[str, ...]
    categories: tuple[str, ...]
    part_regions: str

    @property
    def has_parts(self) -> bool:
        """Whether any part is annotated, with a region or as a point."""
        return bool(self.parts or self.landmarks)


@dataclass(frozen=True)
class ExperimentRecord:
    """What was run, on what, when.

    Attributes:
      network: name of the architecture.
      category: of the configuration.
      task: `"single"`, `"multi_logistic"` or `"multi_softmax"`.
      dataset: name of the data set.
      image_size: side of the input in pixels.
      date: of the evaluation, ISO 8601.
      device: number and kind of the devices.
      versions: of the packages.
    """

    network: str
    category: str
    task: str
    dataset: str
    image_size: int
    date: str
    device: str
    versions: dict[str, str]


@dataclass(frozen=True)
class MeasuredRadius:
    """Empirical radius of the units of one network, in pixels.

    Attributes:
      mean: over the filters that respond to occlusion.
      spread: their standard deviation.
      filters: their number.
    """

    mean: float
    spread: float
    filters: int


@dataclass(frozen=True)
class EmpiricalRadius:
    """How the radius of the image regions was measured.

    Attributes:
      images: number of images that were occluded.
      networks: what was measured of each network.
    """

    images: int
    networks: dict[str, MeasuredRadius]

    @property
    def radius(self) -> float:
        """The mean over the networks, which all of them take, in pixels."""
        return round(sum(one.mean for one in self.networks.values()) / len(self.networks), 1)


@dataclass(frozen=True)
class Results:
    """All that `metrics.json` holds.

    Attributes:
      networks: figures of `"ordinary"`, of `"interpretable"`, or of both.
      controls: of location instability.
      data: behind the figures.
      experiment: what was run.
      empirical_radius: how the radius was measured; None where it was not.
      part_controls: of part interpretability; None without part regions and in older files.
      version: of the layout; 0 for a file from before there were versions.
    """

    networks: dict[str, NetworkResult]
    controls: Controls
    data: DataRecord
    experiment: ExperimentRecord
    empirical_radius: EmpiricalRadius | None = None
    part_controls: Controls | None = None
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return {"version": VERSION} | {**_plain(self), "version": VERSION}

    @staticmethod
    def from_json(tree: Mapping[str, Any]) -> "Results":
        """Results from the content of `metrics.json`, of this version or an earlier one.

        Raises:
          ValueError: for a newer version, or content of another layout.
        """
        version = _read(int, tree.get("version", 0), "version")
        if version > VERSION:
            raise ValueError(
                f"version is {version}, this package reads up to {VERSION}; update interp_cnn"
            )
        found: Results = _read(Results, {**tree, "version": version}, "")
        return found


def write_results(file: epath.Path, results: Results) -> None:
    """Write `metrics.json`.

    Raises:
      OSError: where the file cannot be written.
    """
    storage.write(file, json.dumps(results.to_json(), indent=2, allow_nan=False) + "\n")


def read_results(file: epath.Path) -> Results:
    """Read `metrics.json`.

    Raises:
      FileNotFoundError: where there is none.
      ValueError: where it is damaged, of another layout or of a newer version.
    """
    try:
        content = json.loads(storage.read(file))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
        return Results.from_json(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error}); evaluate the run again") from error


def known(value: float) -> float | None:
    """A measured figure; None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(value)


def known_mean(values: ArrayLike) -> float | None:
    """Mean of the figures that could be measured; None where all are NaN."""
    figures = np.asarray(values, np.float64)
    there = figures[~np.isnan(figures)]
    return float(there.mean()) if there.size else None


def mean_controls(of_categories: Iterable[Any], images: int) -> Controls:
    """Of the `center` and `random` of each category, NaN where one has none, the means."""
    found = list(of_categories)
    return Controls(
        center=known_mean([of.center for of in found]),
        random=known_mean([of.random for of in found]),
        images=images,
    )


def _key(of: dataclasses.Field[Any]) -> str:
    """Name of a field in the file."""
    key: str = of.metadata.get("key", of.name)
    return key


def _plain(value: Any) -> Any:
    """What JSON has of a result; an optional field that is not set is left out."""
    if dataclasses.is_dataclass(value):
        return {
            _key(of): _plain(getattr(value, of.name))
            for of in dataclasses.fields(value)
            if of.default is not None or getattr(value, of.name) is not None
        }
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _read(kind: Any, value: Any, place: str) -> Any:
    """A value of some type from what JSON has of it; `place` is its dotted name in the file."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:  # something or None
        return None if value is None else _read(inner[0], value, place)
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, _checked(dict, value, place), place)
    if origin is dict:
        items = _checked(dict, value, place).items()
        return {name: _read(inner[1], one, f"{place}.{name}") for name, one in items}
    if origin is tuple:
        values = _checked(list, value, place)
        kinds = [inner[0]] * len(values) if inner[-1] is Ellipsis else inner
        if len(kinds) != len(values):
            raise ValueError(f"{place} has {len(values)} values, not {len(kinds)}")
        pairs = enumerate(zip(kinds, values, strict=True))
        return tuple(_read(of, one, f"{place}[{index}]") for index, (of, one) in pairs)
    return _checked(kind, value, place)


def _read_fields(kind: Any, tree: Mapping[str, Any], place: str) -> Any:
    """A dataclass from its fields; those with a default may be missing."""
    hints, found = get_type_hints(kind), {}
    for of in dataclasses.fields(kind):
        name = f"{place}.{_key(of)}".removeprefix(".")
        if _key(of) in tree:
            found[of.name] = _read(hints[of.name], tree[_key(of)], name)
        elif of.default is dataclasses.MISSING:
            raise ValueError(f"{name} is missing")
    return kind(**found)


def _checked(kind: type, value: Any, place: str) -> Any:
    """A value of JSON, after a check of its type; an int is a float too, a bool is neither."""
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise ValueError(f"{place or 'the file'} is {value!r:.50}, not of type {kind.__name__}")
    return value
