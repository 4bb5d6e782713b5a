"""Which part each filter of a trained network stands for, measured on the test images and kept."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from numpy.typing import NDArray

from interp_cnn import experiment, metrics, parallel
from interp_cnn.checkpoint import Checkpoints
from interp_cnn.data.pipeline import CropWithParts, eval_batches
from interp_cnn.data.prepare import Data, prepare
from interp_cnn.evaluator import Evaluator
from interp_cnn.explain import part_of_filters
from interp_cnn.models import NEW_CONV, Network


class FilterParts(NamedTuple):
    """What the filters of the new convolution stand for.

    Attributes:
      part: index into names, -1 for none, int [filters].
      names: of the parts.
      categories: what the outputs of the network stand for.
    """

    part: NDArray[np.int64]
    names: tuple[str, ...]
    categories: tuple[str, ...]


def restore_network(
    config: ml_collections.ConfigDict, workdir: Path, variant: str
) -> tuple[Network, int, Any]:
    """A network of a work directory: itself, its number of steps, its parameters.

    Raises:
      FileNotFoundError: where it has no checkpoint.
      ValueError: where the checkpoint is of another network.
    """
    network = experiment.make_network(config, variant)
    folder = workdir / variant / "checkpoints"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; train this network first (train.py)")
    checkpoints = Checkpoints(folder)
    step, params = checkpoints.restore_params()
    checkpoints.close()
    experiment.check_params(network, params, folder)
    return network, step, params


def interpretability_at(
    config: ml_collections.ConfigDict,
    data: Data,
    network: Network,
    params: Any,
    radii: Sequence[float],
    *,
    layer: str = NEW_CONV,
) -> NDArray[np.float64]:
    """Part interpretability P_{f,k} on the objects of the test split at several radii.

    The images stream by twice, once for the thresholds.

    Args:
      config: see `interp_cnn.config`.
      data: with part regions.
      network: to measure.
      params: its parameters.
      radii: of the units' image regions in pixels.
      layer: name of the maps.

    Returns:
      [radii, filters, parts]; NaN where no image has the part.
    """
    evaluator = Evaluator(config, data)
    predict = evaluator.predictor(network)
    objects = data.test.take(np.flatnonzero(data.test.labels > 0))
    crop = CropWithParts(network.input_size, config.data.crop, parts=tuple(data.parts))

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in eval_batches(
            objects, crop, batch_size=evaluator.batch_size, threads=config.data.threads
        ):
            count = int(batch["weight"].sum())
            output = predict(params, parallel.shard({"image": batch["image"]}))
            yield parallel.unshard(output["maps"][layer])[:count], batch["masks"][:count]

    threshold = metrics.ActivationThreshold(len(objects))
    for maps, _ in batches():
        threshold.update(maps)
    field = network.receptive_fields()[layer]
    return metrics.radius_sensitivity(
        batches(),
        threshold.result(),
        radii=radii,
        centers_y=field.centers(maps.shape[1]),
        centers_x=field.centers(maps.shape[2]),
    )


def measure_filter_parts(
    config: ml_collections.ConfigDict, data: Data, network: Network, params: Any, step: int
) -> FilterParts:
    """Measure which part each filter of the new convolution stands for.

    Args:
      config: see `interp_cnn.config`.
      data: prepared data.
      network: to measure.
      params: its parameters.
      step: number of training steps behind them.
    """
    if data.parts:
        radius = config.eval.radius or metrics.default_radius((network.input_size,) * 2)
        shares = interpretability_at(config, data, network, params, [radius])[0]
        return FilterParts(part_of_filters(shares, shares), data.parts, data.categories)
    ratios = Evaluator(config, data).evaluate(network, params, step).ratios[NEW_CONV]
    none = np.zeros((len(ratios), 0))
    return FilterParts(part_of_filters(none, ratios), data.landmarks, data.categories)


def write_filter_parts(file: Path, step: int, found: FilterParts) -> None:
    """Write `filters.npz`: what is known of the filters at a step of training."""
    np.savez(file, step=step, **found._asdict())


def read_filter_parts(file: Path, step: int) -> FilterParts | None:
    """What `filters.npz` has on the filters at a step of training; None where it has nothing.

    Raises:
      ValueError: for a damaged file.
    """
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            if int(stored["step"]) != step:
                return None
            names, categories = (tuple(stored[key].tolist()) for key in ("names", "categories"))
            return FilterParts(stored["part"], names, categories)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is damaged ({error}); delete it, it is made again") from error


def filter_parts(
    config: ml_collections.ConfigDict,
    workdir: Path,
    variant: str,
    network: Network,
    params: Any,
    step: int,
) -> FilterParts:
    """What the filters stand for: from `filters.npz`, or measured and kept there.

    Args:
      config: of the work directory.
      workdir: of a training run.
      variant: of the network.
      network: restored from there.
      params: its parameters.
      step: number of training steps behind them.
    """
    file = workdir / variant / "filters.npz"
    found = read_filter_parts(file, step)
    if found is None:
        data = prepare(config.data, seed=config.seed)
        found = measure_filter_parts(config, data, network, params, step)
        write_filter_parts(file, step, found)
    return found
