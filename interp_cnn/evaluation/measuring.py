"""From what was gathered of a layer to its figures, and to those of each of its filters."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from interp_cnn import metrics
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.filter_terms import block_size
from interp_cnn.evaluation.gathering import GatheredLayer
from interp_cnn.evaluation.network_filters import LayerFilters
from interp_cnn.evaluation.part_regions import PartFigures
from interp_cnn.evaluation.related import RelatedFigures
from interp_cnn.evaluation.results import (
    Behaviour,
    LayerResult,
    LocationInstability,
    PartInterpretability,
    PartsFollowed,
    TrackingRatio,
    known,
    known_mean,
)
from interp_cnn.evaluation.sampled_images import SampledMaps
from interp_cnn.evaluation.strongest_images import TopMaps
from interp_cnn.models import AnyNetwork
from interp_cnn.templates import template_mask


@dataclasses.dataclass(frozen=True)
class MeasuredLayer:
    """A layer with all that its figures are made of.

    Attributes:
      name: of the maps.
      network: it belongs to.
      gathered: from the first pass.
      landmarks: [objects, landmarks, 2] in pixels of the input, NaN where missing.
      members: which objects count for which filter, bool [objects, filters].
      categories: category of each filter, int [filters].
      radii: of the image regions, in pixels of the input.
      parts: how often its filters cover parts at these radii.
      radius: which of them is the one that is reported.
      top: number of images of each filter for the location metrics.
      related: the measures of related work; None where they were not asked for.
    """

    name: str
    network: AnyNetwork
    gathered: GatheredLayer
    landmarks: NDArray[np.floating]
    members: NDArray[np.bool_]
    categories: NDArray[np.integer]
    radii: Sequence[float]
    parts: PartFigures
    radius: float
    top: int
    related: RelatedFigures | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return (self.network.input_size, self.network.input_size)

    @property
    def located(self) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
        """Positions and values of the peaks, and the landmarks, for the location metrics."""
        return self.gathered.positions, self.gathered.peaks, self.landmarks

    @functools.cached_property
    def tracking(self) -> NDArray[np.floating]:
        """Tracking ratio of each filter, [filters, landmarks]."""
        return metrics.tracking_ratio(*self.located, top=self.top, where=self.members)

    @functools.cached_property
    def instability(self) -> NDArray[np.floating]:
        """Location instability, mean over the landmarks that are known, [filters]."""
        values = metrics.location_instability(
            *self.located, image_size=self.image_size, top=self.top, where=self.members
        )
        there = ~np.isnan(values)
        total = np.where(there, values, 0).sum(axis=1)
        return np.where(there.any(axis=1), total / np.maximum(there.sum(axis=1), 1), np.nan)

    def at_radius(self, shares: NDArray[np.floating]) -> NDArray[np.floating]:
        """Shares at the radius that is reported, [radii, filters, parts] -> [filters, parts]."""
        reported: NDArray[np.floating] = shares[list(self.radii).index(self.radius)]
        return reported


def layer_result(layer: MeasuredLayer, data: Data) -> LayerResult:
    """The figures of a layer for `metrics.json`.

    Args:
      layer: what was measured.
      data: it was measured on, for the names of the categories.
    """
    summary = metrics.summarize_location(
        *layer.located, image_size=layer.image_size, top=layer.top, where=layer.members
    )
    numbers = np.bincount(layer.categories, minlength=layer.network.num_outputs)
    images = layer.members.sum(axis=0)  # of the category of each filter
    blocks = [block_size(int(number)) for number in images[images > 0]]
    return LayerResult(
        location_instability=LocationInstability(
            value=known(summary.instability),
            filters=summary.filters,
            filters_left_out=summary.filters_left_out,
            images_per_value=known(summary.images_per_value),
        ),
        tracking_ratio=TrackingRatio(
            value=known(summary.tracking_ratio),
            filters=summary.tracking_filters,
            below_1=known(summary.below_1),
            below_08=known(summary.below_08),
        ),
        part_interpretability=_part_interpretability(layer, layer.parts.shares),
        filters_of_category={
            name: int(number) for name, number in zip(data.categories, numbers, strict=True)
        },
        dead=summary.dead,
        collapsed=summary.collapsed,
        mutual_information=known_mean(layer.gathered.terms["mutual_information"]),
        receptive_field=layer.network.receptive_fields()[layer.name],
        mutual_information_images=max(blocks, default=0),
        mutual_information_fewest=min(blocks, default=0),
        part_interpretability_fired=_part_interpretability(layer, layer.parts.shares_fired),
        fired_share=known_mean(layer.parts.fired),
        parts_followed=_parts_followed(layer, data),
        related=None if layer.related is None else layer.related.result,
        behaviour=None if data.landmarks or data.parts else _behaviour(layer),
    )


def fired_shares(layer: MeasuredLayer) -> NDArray[np.floating]:
    """Share of its objects on which each filter fires, [filters]; NaN for one without objects."""
    # Its highest activation is among its highest 0.5 % where it is above the threshold.
    fired = (layer.gathered.peaks > layer.gathered.valid.threshold.result()) & layer.members
    counted = layer.members.sum(axis=0)
    return np.where(counted > 0, fired.sum(axis=0) / np.maximum(counted, 1), np.nan)


def _behaviour(layer: MeasuredLayer) -> Behaviour:
    """What can be said of filters where no part is annotated."""
    positions, peaks, _ = layer.located
    how = {"where": layer.members}
    shares = fired_shares(layer)
    spread = metrics.peak_spread(
        positions, peaks, image_size=layer.image_size, top=layer.top, **how
    )
    alike = metrics.same_place(positions, peaks, radius=layer.radius, **how)
    return Behaviour(*(known_mean(values) for values in (shares, spread, alike)))


def _parts_followed(layer: MeasuredLayer, data: Data) -> PartsFollowed:
    found = metrics.parts_followed(layer.tracking)
    return PartsFollowed(
        filters=dict(zip(data.landmarks, found.filters.tolist(), strict=True)),
        none=found.none,
        parts=found.parts,
        entropy=known(found.entropy),
    )


def _part_interpretability(
    layer: MeasuredLayer, shares: NDArray[np.floating]
) -> PartInterpretability:
    parts = metrics.summarize_parts(layer.at_radius(shares))
    return PartInterpretability(
        value=known(parts.mean),
        filters=parts.filters,
        images=layer.parts.images,
        radius=layer.radius,
        by_radius=tuple(
            (radius, known(metrics.summarize_parts(of).mean))
            for radius, of in zip(layer.radii, shares, strict=True)
        ),
    )


def layer_filters(
    layer: MeasuredLayer, data: Data, top: TopMaps, sampled: SampledMaps
) -> LayerFilters:
    """The figures of each filter of a layer.

    Args:
      layer: what was measured.
      data: it was measured on, for the names of categories, parts and landmarks.
      top: the strongest images of the filters.
      sampled: what the filters make of the sampled images.
    """
    field = layer.network.receptive_fields()[layer.name]
    return LayerFilters(
        name=layer.name,
        categories=[data.categories[of] for of in layer.categories],
        parts=data.parts,
        shares=layer.at_radius(layer.parts.shares),
        landmarks=data.landmarks,
        tracking=layer.tracking,
        instability=layer.instability,
        terms=layer.gathered.terms,
        thresholds=layer.gathered.valid.threshold.result(),
        centers_y=field.centers(top.maps.shape[2]),
        centers_x=field.centers(top.maps.shape[3]),
        radius=layer.radius,
        image_size=layer.network.input_size,
        masks=_masks(layer.network, layer.name, top.maps, there=top.image >= 0),
        sampled=sampled,
    )


def _masks(
    network: AnyNetwork, layer: str, maps: NDArray[np.floating], *, there: NDArray[np.bool_]
) -> NDArray[np.floating] | None:
    """Masks of maps [filters, images, height, width]; None for a layer that has no mask.

    Those of images that are not `there` [filters, images] are zero.
    """
    strength = network.mask_strengths[layer]
    if not strength:
        return None
    masks = template_mask(
        jnp.asarray(np.moveaxis(maps, 0, -1)), **network.templates_of(layer)._asdict()
    )
    found = np.moveaxis(np.asarray(1 - strength * (1 - masks)), -1, 0)
    return np.where(there[:, :, None, None], found, 0)
