"""Any prepared tfds data set with the features image and label, from ImageNet weights.

    interp-cnn train --config tfds:name=DATASET --config.data.data_dir=DIR

DIR is where `tfds build DATASET --file_format=array_record --data_dir=DIR` put it; without it that
is tfds' own default. All classes are told from each other, or with category=NAME one from the
rest. docs/folders.md says what of the data set is used.
"""

import ml_collections

from interp_cnn.config import parse_arguments
from interp_cnn.configs._shared import names_several, own_config
from interp_cnn.data.categories import ALL


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: name, net, category, negatives, task, epochs, seed."""
    arguments = parse_arguments(
        text, name="", net="vgg16", category=ALL, negatives="", task="", epochs=int, seed=0
    )
    alone = arguments.category == ALL or arguments.task == "softmax"
    negatives = arguments.negatives or ("none" if alone else "categories")
    task = arguments.task or ("softmax" if negatives == "none" else "logistic")
    config = own_config(
        arguments,
        name="tfds",
        images=0,
        task=task,
        negatives=negatives,
        several=names_several(arguments.category),
    )
    config.data.dataset = arguments.name
    return config
