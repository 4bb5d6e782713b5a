"""CUB-200-2011, birds against other photos, from ImageNet weights: a copy to edit.

    python train.py --config configs/cub_200_2011.py \
        --config.data.manual_dir=FOLDER --config.weights=WEIGHTS.h5

What it starts from, and why, stands in `interp_cnn/configs/cub_200_2011.py`.
"""

import ml_collections

from interp_cnn.configs import cub_200_2011


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, task, epochs, schedule, frozen_through, seed."""
    config = cub_200_2011.get_config(text)
    # Change fields here, such as config.train.batch_size = 64; docs/config.md lists all of them.
    return config
