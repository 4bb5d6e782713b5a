"""Accuracy on the test split."""

import numpy as np
from numpy.typing import NDArray

from interp_cnn import hosts, metrics
from interp_cnn.data.pipeline import Split
from interp_cnn.evaluation.predict import Predictor
from interp_cnn.evaluation.results import Accuracy
from interp_cnn.training.objective import SOFTMAX


def accuracy_on_test(
    predict: Predictor, test: Split, of_objects: NDArray[np.floating], *, task: str
) -> tuple[Accuracy, NDArray[np.floating]]:
    """Accuracy on the test split and its logits, of which those of the objects are known.

    Args:
      predict: the network.
      test: the split.
      of_objects: logits of its objects, in their order, [objects, outputs].
      task: of `config.train.task`.

    Returns:
      (accuracy, logits): logits [images, outputs] of the objects first, then of the other images.
    """
    others = test.take(np.flatnonzero(test.labels == 0))
    mine = others.take(np.arange(*hosts.share(len(others))))
    found = [of_objects[:0]]
    for batch in predict.batches(mine, annotated=False, shown="accuracy"):
        found.append(predict(batch, "logits")["logits"])
    logits = np.concatenate([of_objects, hosts.joined(np.concatenate(found))])
    labels = np.concatenate([test.labels[test.labels > 0], others.labels])
    if task == SOFTMAX:
        answers = labels - 1
    else:
        answers = labels[:, None] == np.arange(1, logits.shape[1] + 1)
    right, number = metrics.accuracy(logits, answers)
    return Accuracy(float(right) / float(number), int(number)), logits
