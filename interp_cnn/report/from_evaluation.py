"""From an evaluation to what the figure and the page show of its filters."""

from typing import Any

import jax.numpy as jnp
import ml_collections
import numpy as np

from interp_cnn.data.pipeline import Crop, Split
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.evaluator import Evaluation
from interp_cnn.evaluation.explanations import explain_pixels
from interp_cnn.evaluation.filter_parts import FilterParts
from interp_cnn.evaluation.strongest_images import LayerFilters, NetworkFilters
from interp_cnn.models import NEW_CONV, Network
from interp_cnn.report.filters_picture import FilterRow
from interp_cnn.report.page import Contribution, ExplainedPrediction
from interp_cnn.templates import template_mask


def _masks(network: Network, maps: np.ndarray) -> np.ndarray | None:
    """Masks of maps [filters, images, height, width]; an ordinary network has none."""
    if not network.interpretable:
        return None
    masks = template_mask(
        jnp.asarray(maps.reshape(-1, *maps.shape[2:], 1)),  # as images of one filter
        norm=network.norm,
        beta=network.beta,
        position=network.position,
    )
    return np.asarray(masks).reshape(maps.shape)


def filter_rows(
    variant: str,
    network: Network,
    evaluation: Evaluation,
    data: Data,
    layer: str,
    *,
    filters: int = 3,
    images: int = 2,
) -> list[FilterRow]:
    """Pictures of the filters that follow a part best, each on its strongest images.

    Args:
      variant: what the network is called in the pictures.
      network: evaluated network.
      evaluation: of this network.
      data: that it was evaluated on.
      layer: name of the maps.
      filters: number of filters.
      images: number of images of each, at most those of the gallery.
    """
    gallery, top = evaluation.gallery, evaluation.gallery.layers[layer]
    ratio = np.where(np.isnan(evaluation.ratios[layer]), np.inf, evaluation.ratios[layer])
    chosen = np.argsort(ratio.min(axis=1), kind="stable")[:filters]
    masks = _masks(network, top.maps)
    side = gallery.pictures.shape[1]
    scale = side / network.input_size
    radius = evaluation.result["layers"][layer]["part_interpretability"]["radius"] * scale
    field = network.receptive_fields()[layer]
    rows = []
    for unit in chosen:
        part = data.landmarks[int(ratio[unit].argmin())].replace("_", " ")
        for index in range(images):
            picture, raw = top.image[unit, index], top.maps[unit, index]
            if picture < 0:
                continue
            row, column = np.unravel_index(raw.argmax(), raw.shape)
            center = np.array(
                [field.centers(raw.shape[0])[row], field.centers(raw.shape[1])[column]]
            )
            mask = None if masks is None else masks[unit, index]
            rows.append(
                FilterRow(
                    label=f"{variant} {layer} {unit}, follows the {part}",
                    image=gallery.pictures[picture],
                    raw_map=raw,
                    mask=mask,
                    masked_map=None if mask is None else np.maximum(raw * mask, 0.0),
                    region=_disc(center * scale, radius, side),
                )
            )
    return rows


def _disc(center: np.ndarray, radius: float, size: int) -> np.ndarray:
    """Pixels [size, size] whose centre is at most `radius` away."""
    pixels = np.arange(size) + 0.5
    return np.hypot(pixels[:, None] - center[0], pixels[None, :] - center[1]) <= radius


def network_filters(
    variant: str, network: Network, evaluation: Evaluation, data: Data
) -> NetworkFilters:
    """What the page shows of the filters of one network.

    Args:
      variant: what the network is called.
      network: evaluated network.
      evaluation: of this network.
      data: that it was evaluated on.
    """
    gallery, fields = evaluation.gallery, network.receptive_fields()
    captions = []
    for number in gallery.numbers:
        example = evaluation.objects[int(number)]
        category = data.categories[int(example["label"]) - 1]
        captions.append(f"{category}, {_text(example['photo_id'])}")
    layers = [
        LayerFilters(
            name=name,
            categories=[data.categories[of] for of in evaluation.categories[name]],
            parts=data.parts,
            shares=evaluation.interpretability[name],
            landmarks=data.landmarks,
            tracking=evaluation.ratios[name],
            instability=_mean_known(evaluation.instability[name]),
            terms=evaluation.terms[name],
            thresholds=evaluation.thresholds[name],
            centers_y=fields[name].centers(top.maps.shape[2]),
            centers_x=fields[name].centers(top.maps.shape[3]),
            radius=evaluation.result["layers"][name]["part_interpretability"]["radius"],
            image_size=network.input_size,
            masks=_masks(network, top.maps),
        )
        for name, top in gallery.layers.items()
    ]
    return NetworkFilters(variant, gallery, captions, layers)


def explained_predictions(
    config: ml_collections.ConfigDict,
    variant: str,
    network: Network,
    params: Any,
    parts: FilterParts,
    objects: Split,
    *,
    number: int = 3,
) -> list[ExplainedPrediction]:
    """What the network says about some objects, evenly spaced among them, and why.

    Args:
      config: that the network was trained with.
      variant: what the network is called.
      network: evaluated network.
      params: its parameters.
      parts: that its filters stand for.
      objects: that it was evaluated on.
      number: of objects.
    """
    crop = Crop(network.input_size, config.data.crop)
    result = []
    for index in np.unique(np.linspace(0, len(objects) - 1, number).astype(int)):
        example = objects[int(index)]
        pixels = crop.map(example)["image"]
        found = explain_pixels(config, network, params, parts, pixels)
        filters = [
            Contribution(variant, NEW_CONV, one.unit, one.part, one.value) for one in found.filters
        ]
        category = parts.categories[int(example["label"]) - 1]
        caption = f"{category}, {_text(example['photo_id'])}"
        result.append(ExplainedPrediction(found.sentence, caption, pixels, found.shares, filters))
    return result


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Mean over the landmarks that are known, [filters, landmarks] -> [filters]."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)
