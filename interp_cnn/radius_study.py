"""The radius of a unit's image region: measured by occlusion, and what other radii would give."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from numpy.typing import NDArray

from interp_cnn import metrics, parallel
from interp_cnn.data.pipeline import CropWithParts, eval_batches
from interp_cnn.data.prepare import Data
from interp_cnn.evaluator import Evaluation, Evaluator
from interp_cnn.filter_parts import Restored
from interp_cnn.metrics import EmpiricalField
from interp_cnn.models import NEW_CONV
from interp_cnn.steps import normalise


def interpretability_at(
    config: ml_collections.ConfigDict,
    data: Data,
    restored: Restored,
    evaluation: Evaluation,
    radii: Sequence[float],
    *,
    layer: str = NEW_CONV,
) -> NDArray[np.float64]:
    """Part interpretability P_{f,k} at several radii, each filter on objects of its category.

    The images stream by twice, once for the thresholds.

    Args:
      config: see `interp_cnn.config`.
      data: with part regions.
      restored: the network.
      evaluation: of it.
      radii: of the units' image regions in pixels.
      layer: name of the maps.

    Returns:
      [radii, filters, parts]; NaN where no image has the part.
    """
    network, objects = restored.network, evaluation.objects
    batch_size = Evaluator(config, data).batch_size
    crop = CropWithParts(network.input_size, config.data.crop, parts=tuple(data.parts))
    members = objects.labels[:, None] - 1 == evaluation.categories[layer]

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        done = 0
        for batch in eval_batches(
            objects, crop, batch_size=batch_size, threads=config.data.threads
        ):
            count = int(batch["weight"].sum())
            shared = parallel.shard({"image": batch["image"]})
            maps = parallel.unshard(evaluation.predict(restored.params, shared)["maps"][layer])
            yield maps[:count], batch["masks"][:count], members[done : done + count]
            done += count

    threshold = metrics.ActivationThreshold(len(objects))
    for maps, _, where in batches():
        threshold.update(maps, where=where)
    field = network.receptive_fields()[layer]
    return metrics.radius_sensitivity(
        batches(),
        threshold.result(),
        radii=radii,
        centers_y=field.centers(maps.shape[1]),
        centers_x=field.centers(maps.shape[2]),
    )


def empirical_field(
    config: ml_collections.ConfigDict,
    restored: Restored,
    evaluation: Evaluation,
    *,
    layer: str = NEW_CONV,
    top: int = 10,
    images: int = 100,
    stride: int = 3,
) -> EmpiricalField:
    """Empirical receptive fields of a layer, with the patch of Zhou et al. scaled to the input.

    Args:
      config: see `interp_cnn.config`.
      restored: the network.
      evaluation: of it.
      layer: name of the maps.
      top: number of images for each filter, those on which it fires most.
      images: at most so many are occluded, those that are among the best of most filters.
      stride: pixels from one place of the patch to the next.
    """
    network, params = restored.network, restored.params
    chosen = metrics.top_images(evaluation.peaks[layer], top=top)
    used = np.sort(np.argsort(-chosen.sum(axis=1), kind="stable")[:images])
    used = used[chosen[used].any(axis=1)]
    mean, std, size = tuple(config.data.mean), config.data.std, network.input_size
    crop = CropWithParts(size, config.data.crop)

    @jax.jit
    def maps_of(params: Any, batch: jax.Array) -> jax.Array:
        return network.apply({"params": params}, batch)[1][layer]

    predict_maps = functools.partial(maps_of, params)
    field = network.receptive_fields()[layer]
    _, height, width, _ = jax.eval_shape(
        predict_maps, jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    ).shape
    photos = (crop.map(evaluation.objects[int(index)])["image"] for index in used)
    return metrics.empirical_receptive_field(
        predict_maps,
        (normalise(photo, mean, std) for photo in photos),
        centers_y=field.centers(height),
        centers_x=field.centers(width),
        patch=max(round(11 * size / 224), 1),
        stride=stride,
        chosen=chosen[used],
    )
