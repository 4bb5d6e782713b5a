from types import SimpleNamespace

import numpy as np
import pytest

from interp_cnn.evaluation.predictions import chosen_places


@pytest.mark.parametrize(
    ("labels", "wrong", "expected"),
    [
        # Of three categories one object each, then the wrong answer.
        ([3, 1, 2, 1, 3, 2, 2], 6, [1, 2, 4, 6]),
        # Two objects, one image without, and no wrong answer.
        ([1, 0, 1, 0, 1], None, [0, 4, 1]),
    ],
)
def test_explained_are_objects_of_all_categories_and_a_wrong_answer(labels, wrong, expected):
    labels = np.array(labels)
    several = labels.max() > 1
    order = np.concatenate([np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)])
    if several:
        logits = np.eye(3)[labels[order] - 1]
    else:
        logits = np.where(labels[order] > 0, 1.0, -1.0)[:, None]
    if wrong is not None:
        logits[order == wrong] = np.roll(logits[order == wrong], 1)
    network = SimpleNamespace(evaluation=SimpleNamespace(test_logits=logits))
    task = "softmax" if several else "logistic"
    assert chosen_places([network], labels, task) == expected
