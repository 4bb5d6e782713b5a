"""Photos of your own in folders, a folder for each class, from ImageNet weights: a copy to edit.

    python train.py --config configs/folder.py:path=DIR

What it starts from, and why, stands in `interp_cnn/configs/folder.py`.
"""

import ml_collections

from interp_cnn.configs import folder


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: path, net, category, negatives, task, epochs, seed, annotations."""
    config = folder.get_config(text)
    # Change fields here, such as config.train.batch_size = 64; docs/config.md lists all of them.
    return config
