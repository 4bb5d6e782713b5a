"""The radius of a unit's image region, measured by occlusion (Zhou et al., ICLR 2015)."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from interp_cnn import metrics
from interp_cnn.data.pipeline import Crop, Split
from interp_cnn.data.prepare import Data
from interp_cnn.evaluation.evaluator import Evaluator
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.evaluation.results import MeasuredRadius
from interp_cnn.metrics import EmpiricalField
from interp_cnn.models import AnyNetwork
from interp_cnn.training import build
from interp_cnn.training.steps import normalise


def measure_radius(
    config: ml_collections.ConfigDict,
    data: Data,
    networks: Mapping[str, tuple[AnyNetwork, Any]],
    *,
    images: int,
) -> dict[str, MeasuredRadius]:
    """Empirical radius of the units of the last interpretable layer, of each network.

    The mean over the networks that are compared is a radius for part interpretability
    (`config.eval.radius`), the same for all. An image costs as many forward passes as a patch has
    places: about 5,000 at 224 pixels, 1,700 at 128.

    Args:
      config: see `interp_cnn.config`.
      data: with objects to occlude.
      networks: of each name a network and its variables.
      images: at most so many are occluded for each network.

    Raises:
      ValueError: where no filter fires, or images is below 1.
    """
    if images < 1:
        raise ValueError(f"the radius is measured on {images} images; give at least 1")
    objects = Evaluator(config, data).objects()
    found = {}
    for name, (network, variables) in networks.items():
        predict = Predictor(config, data, network, variables)
        peaks = [
            predict(batch, "peaks")["peaks"][network.last_layer]
            for batch in predict.batches(objects, annotated=False)
        ]
        field = empirical_field(
            config, network, variables, objects, np.concatenate(peaks), images=images, name=name
        )
        radii = metrics.effective_radius(field)
        radii = radii[~np.isnan(radii)]
        found[name] = MeasuredRadius(float(radii.mean()), float(radii.std()), len(radii))
    return found


def empirical_field(
    config: ml_collections.ConfigDict,
    network: AnyNetwork,
    variables: Any,
    objects: Split,
    peaks: NDArray[np.floating],
    *,
    top: int = 10,
    images: int = 100,
    stride: int = 3,
    name: str = "",
) -> EmpiricalField:
    """Those of the last interpretable layer, with the patch of Zhou et al. scaled to the input.

    Args:
      config: see `interp_cnn.config`.
      network: to measure.
      variables: its variables.
      objects: examples.
      peaks: of that layer's maps on them, [objects, filters].
      top: number of images for each filter, those on which it fires most.
      images: at most so many are occluded, those that are among the best of most filters.
      stride: pixels from one place of the patch to the next.
      name: of the network, beside the progress bar.
    """
    layer = network.last_layer
    chosen = metrics.top_images(peaks, top=top)
    used = np.sort(np.argsort(-chosen.sum(axis=1), kind="stable")[:images])
    used = used[chosen[used].any(axis=1)]
    scale, size = build.normalisation(config), network.input_size
    maps_of = jax.jit(lambda variables, batch: network.apply(variables, batch)[1][layer])
    predict_maps = functools.partial(maps_of, variables)
    field = network.receptive_fields()[layer]
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    _, height, width, _ = jax.eval_shape(predict_maps, image).shape
    crop = Crop(size, config.data.crop)
    bar = tqdm(used, desc=f"{name} occluded", unit="image", leave=False)
    photos = (crop.map(objects[int(index)])["image"] for index in bar)
    return metrics.empirical_receptive_field(
        predict_maps,
        (normalise(photo, **scale) for photo in photos),
        centers_y=field.centers(height),
        centers_x=field.centers(width),
        patch=max(round(11 * size / 224), 1),
        stride=stride,
        chosen=chosen[used],
    )
