"""Drawn animals, one category against scattered parts, trained from scratch: a copy to edit.

    python train.py --config configs/embedded.py:category=rabbit

What it starts from, and why, stands in `interp_cnn/configs/embedded.py`.
"""

import ml_collections

from interp_cnn.configs import embedded


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, task, epochs (7, or 10 for several categories), seed."""
    config = embedded.get_config(text)
    # Change fields here, such as config.train.batch_size = 64; docs/config.md lists all of them.
    return config
