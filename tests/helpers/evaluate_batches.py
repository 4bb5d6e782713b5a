"""Evaluate a run with batches of several sizes and with its images in another order; print JSON."""

import dataclasses
import json
import sys

import numpy as np
from absl import flags
from etils import epath

from interp_cnn.data.prepare import prepare
from interp_cnn.evaluation.evaluator import Evaluator
from interp_cnn.evaluation.restore import restore_network
from interp_cnn.workdir import read_config


def main() -> None:
    flag = flags.DEFINE_string("workdir", None, "Directory of the run.")
    flags.FLAGS(sys.argv)
    workdir = epath.Path(flag.value)
    config = read_config(workdir)
    config.eval.images = "all"
    restored = restore_network(config, workdir, "interpretable")
    data = prepare(config.data, seed=config.seed)

    def figures(size, data=data):
        config.eval.batch_size = size
        evaluation = Evaluator(config, data).evaluate(
            restored.network, restored.variables, restored.step, restored.activity
        )
        return dataclasses.asdict(evaluation.result)

    found = {str(size): figures(size) for size in (1, 7, 32, 1000)}
    order = np.random.default_rng(1).permutation(len(data.train))
    turned = dataclasses.replace(
        data,
        train=data.train.take(order),
        test=data.test.take(np.arange(len(data.test))[::-1]),
    )
    found["in another order"] = figures(7, turned)
    print("\n" + json.dumps(found))
