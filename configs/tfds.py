"""Any prepared tfds data set with the features image and label: a copy to edit.

    python train.py --config configs/tfds.py:name=DATASET

What it starts from, and why, stands in `interp_cnn/configs/tfds.py`.
"""

import ml_collections

from interp_cnn.configs import tfds


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: name, net, category, negatives, task, epochs, seed."""
    config = tfds.get_config(text)
    # Change fields here, such as config.train.batch_size = 64; docs/config.md lists all of them.
    return config
