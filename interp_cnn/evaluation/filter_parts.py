"""Which part each filter of a trained network stands for, measured on its objects and kept."""

import ml_collections
from etils import epath

from interp_cnn.attribution import part_of_filters
from interp_cnn.data.prepare import Data, prepare
from interp_cnn.evaluation.evaluator import Evaluation, Evaluator
from interp_cnn.evaluation.filter_files import (
    FilterParts,
    read_filter_parts,
    write_filters,
)
from interp_cnn.evaluation.restore import Restored
from interp_cnn.workdir import FILTER_PARTS


def filter_parts_of(evaluation: Evaluation, data: Data) -> FilterParts:
    """What the filters stand for, from an evaluation on these data."""
    *_, layer = evaluation.layers.values()
    part = part_of_filters(layer.shares, layer.tracking)
    return FilterParts(part, tuple(data.parts or data.landmarks), tuple(data.categories))


def filter_parts(
    config: ml_collections.ConfigDict, workdir: epath.Path, variant: str, restored: Restored
) -> FilterParts:
    """What the filters stand for: from `filters.npz`, or measured and kept there.

    What is measured is kept in `filters.csv` too.

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
        write_filters(workdir / variant, restored.step, found, evaluation.filters)
    return found
