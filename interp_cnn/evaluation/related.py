"""The measures of related work, beside the paper's: purity, patterns, information of categories."""

import dataclasses
from collections.abc import Mapping

import ml_collections
import numpy as np
from numpy.typing import NDArray

from interp_cnn import hosts, metrics
from interp_cnn.data.pipeline import Split
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.gathering import Gathered, GatheredLayer, Members, part_masks
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.evaluation.results import (
    CategoryInformation,
    Patterns,
    Purity,
    RelatedMeasures,
    known,
)
from interp_cnn.metrics.best import best_of_filters

_TOP = 10  # images of a filter behind its purity, as in PIP-Net


@dataclasses.dataclass(frozen=True)
class RelatedFigures:
    """What was measured of one layer; NaN is what could not be measured.

    Attributes:
      result: the figures of the layer, for `metrics.json`.
      purity: of each filter's purest landmark, [filters].
      inconsistency: of each filter over images, in nats, [filters].
      category_information: what each filter tells about a category at most, in nats, [filters].
    """

    result: RelatedMeasures
    purity: NDArray[np.floating]
    inconsistency: NDArray[np.floating]
    category_information: NDArray[np.floating]


def related_figures(
    config: ml_collections.ConfigDict,
    data: Data,
    predict: Predictor,
    objects: Split,
    found: Gathered,
    members: Members,
) -> dict[str, RelatedFigures]:
    """Measure what `config.eval.related_measures` asks for; nothing of any layer without it.

    Args:
      config: see `interp_cnn.config`.
      data: that the objects come from.
      predict: the network.
      objects: all that filters are measured on.
      found: of them, from the first pass.
      members: of each layer, which objects count for which filter.
    """
    if not config.eval.related_measures:
        return {}
    shares = _pattern_shares(predict, objects, found.layers, members, parts=len(data.parts))
    activations = _mean_activations(predict, data.test)
    return {
        name: _figures(
            _purity(layer, found.landmarks, members[name], predict.network.input_size),
            shares.get(name),
            metrics.class_information(
                activations[name], data.test.labels, classes=range(1, len(data.categories) + 1)
            ),
            images=len(data.test),
            patch=metrics.PATCH_SHARE * predict.network.input_size,
        )
        for name, layer in found.layers.items()
    }


def _purity(
    layer: GatheredLayer, landmarks: NDArray[np.floating], where: NDArray[np.bool_], side: int
) -> NDArray[np.float64]:
    """Purity of each filter, [filters, landmarks]."""
    return metrics.purity(
        layer.positions,
        layer.peaks,
        landmarks,
        patch=metrics.PATCH_SHARE * side,
        top=_TOP,
        where=where,
    )


def _pattern_shares(
    predict: Predictor,
    objects: Split,
    gathered: Mapping[str, GatheredLayer],
    members: Members,
    *,
    parts: int,
) -> dict[str, NDArray[np.float64]]:
    """`pattern_shares` of each layer, over the part masks alone; nothing without part regions."""
    if not parts:
        return {}
    fields = predict.network.receptive_fields()
    shares = {
        name: metrics.PatternShares(
            # The maps are 1 above the threshold of their filter.
            np.full(layer.peaks.shape[1], 0.5),
            centers_y=fields[name].centers(layer.valid.map_size[0]),
            centers_x=fields[name].centers(layer.valid.map_size[1]),
        )
        for name, layer in gathered.items()
    }
    for first, masks in part_masks(predict, objects, parts):
        for name, layer in gathered.items():
            where = members[name][first : first + len(masks)]
            shares[name].update(layer.valid.maps(first, len(masks)), masks, where)
    sums = hosts.total({name: one.kept() for name, one in shares.items()})
    return {name: metrics.PatternShares.of_sums(sums[name]) for name in shares}


def _mean_activations(predict: Predictor, test: Split) -> dict[str, NDArray[np.floating]]:
    """Mean of each map over its positions, of each layer [images, filters], of the test split."""
    mine = test.take(np.arange(*hosts.share(len(test))))
    found = [predict.of_none()["maps"]]
    for batch in predict.batches(mine, annotated=False, shown="activations"):
        found.append(predict(batch, "maps")["maps"])
    means = {
        name: np.concatenate([maps[name].mean(axis=(1, 2)) for maps in found]) for name in found[0]
    }
    joined: dict[str, NDArray[np.floating]] = hosts.joined(means)
    return joined


def _figures(
    purity: NDArray[np.float64],
    shares: NDArray[np.float64] | None,
    information: NDArray[np.float64],
    *,
    images: int,
    patch: float,
) -> RelatedFigures:
    """The figures of a layer and of its filters.

    Args:
      purity: [filters, landmarks].
      shares: of `pattern_shares`, [filters, parts + 1]; None where parts have no regions.
      information: of `class_information`, [filters, categories].
      images: number of images behind it.
      patch: side of a patch in pixels.
    """
    summary = metrics.summarize_purity(purity)
    patterns, inconsistency = None, np.full(len(purity), np.nan)
    if shares is not None:
        inconsistency = metrics.pattern_inconsistency(shares)
        measured = inconsistency[~np.isnan(inconsistency)]
        patterns = Patterns(
            inconsistency=known(measured.mean() if len(measured) else np.nan),
            diversity=known(metrics.pattern_diversity(shares)),
            filters=len(measured),
            regions=shares.shape[1],
        )
    category, most = best_of_filters(information, largest=True)
    return RelatedFigures(
        result=RelatedMeasures(
            purity=Purity(
                value=known(summary.mean),
                spread=known(summary.spread),
                part_related=known(summary.part_related),
                filters=summary.filters,
                patch=patch,
                top=_TOP,
            ),
            patterns=patterns,
            category_information=CategoryInformation(
                value=known(metrics.mutual_information_score(information)),
                filters=int((category >= 0).sum()),
                images=images,
            ),
        ),
        purity=best_of_filters(purity, largest=True)[1],
        inconsistency=inconsistency,
        category_information=most,
    )
