"""ILSVRC Animal-Part, one category or several, from ImageNet weights: a copy to edit.

    python train.py --config configs/ilsvrc_animal_part.py:category=cat \
        --config.data.manual_dir=FOLDER --config.weights=WEIGHTS.h5

What it starts from, and why, stands in `interp_cnn/configs/ilsvrc_animal_part.py`.
"""

import ml_collections

from interp_cnn.configs import ilsvrc_animal_part


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, task, epochs, schedule, frozen_through, seed."""
    config = ilsvrc_animal_part.get_config(text)
    # Change fields here, such as config.train.batch_size = 64; docs/config.md lists all of them.
    return config
