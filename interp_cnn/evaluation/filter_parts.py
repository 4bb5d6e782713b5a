"""Which part each filter of a trained network stands for, measured on its objects and kept."""

import io
from typing import NamedTuple

import ml_collections
import numpy as np
from etils import epath
from numpy.typing import NDArray

from interp_cnn import storage
from interp_cnn.attribution import part_of_filters
from interp_cnn.data.prepare import Data, prepare
from interp_cnn.evaluation.evaluator import Evaluation, Evaluator
from interp_cnn.evaluation.restore import Restored
from interp_cnn.workdir import FILTER_PARTS


class FilterParts(NamedTuple):
    """What the filters of the last interpretable layer stand for.

    Attributes:
      part: index into names, -1 for none, int [filters].
      names: of the parts.
      categories: what the outputs of the network stand for.
    """

    part: NDArray[np.int64]
    names: tuple[str, ...]
    categories: tuple[str, ...]


def filter_parts_of(evaluation: Evaluation, data: Data) -> FilterParts:
    """What the filters stand for, from an evaluation on these data."""
    *_, layer = evaluation.layers.values()
    part = part_of_filters(layer.shares, layer.tracking)
    return FilterParts(part, tuple(data.parts or data.landmarks), tuple(data.categories))


def write_filter_parts(file: epath.Path, step: int, found: FilterParts) -> None:
    """Write `filters.npz`: what is known of the filters at a step of training."""
    with storage.staged_file(file) as staged:
        np.savez(staged, step=step, **found._asdict())


def read_filter_parts(file: epath.Path, step: int) -> FilterParts | None:
    """What `filters.npz` has on the filters at a step of training; None where it has nothing.

    Raises:
      ValueError: for a damaged file.
    """
    try:
        content = io.BytesIO(storage.read(file))
    except FileNotFoundError:
        return None
    try:
        # np.load leaves a damaged file open when it opens it itself.
        with np.load(content, allow_pickle=False) as stored:
            if int(stored["step"]) != step:
                return None
            names, categories = (tuple(stored[key].tolist()) for key in ("names", "categories"))
            part = stored["part"]
            if part.dtype != np.int64 or part.ndim != 1 or part.max(initial=0) >= len(names):
                raise ValueError(f"its parts are {part.dtype} of shape {part.shape}")
            return FilterParts(part, names, categories)
    except Exception as error:  # NumPy raises whatever a damaged file leads it into
        raise ValueError(f"{file} is damaged ({error}); delete it, it is made again") from error


def filter_parts(
    config: ml_collections.ConfigDict, workdir: epath.Path, variant: str, restored: Restored
) -> FilterParts:
    """What the filters stand for: from `filters.npz`, or measured and kept there.

    Args:
      config: of the work directory.
      workdir: of a training run.
      variant: of the network.
      restored: the network, from there.
    """
    file = workdir / variant / FILTER_PARTS
    found = read_filter_parts(file, restored.step)
    if found is None:
        data = prepare(config.data, seed=config.seed)
        evaluation = Evaluator(config, data).evaluate(
            restored.network, restored.variables, restored.step, restored.activity
        )
        found = filter_parts_of(evaluation, data)
        write_filter_parts(file, restored.step, found)
    return found
