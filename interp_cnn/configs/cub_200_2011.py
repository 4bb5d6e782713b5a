"""The paper's experiment on CUB-200-2011, birds against other photos, from ImageNet weights.

    interp-cnn train --config cub_200_2011 \
        --config.data.manual_dir=FOLDER --config.weights=WEIGHTS.h5

FOLDER holds CUB_200_2011/ and neg/; `interp-cnn data --name cub_200_2011 --category bird
--manual_dir FOLDER` prepares them and says what is there. The split is the official one, there are
points but no part regions, and so no part interpretability. category=all,negatives=none tells the
species apart. The default, frozen_through=conv4_3, suits two cores; on an accelerator all layers
can be trained, as in the paper, with frozen_through=none,epochs=50,schedule=paper.
"""

import ml_collections

from interp_cnn.configs._shared import photo_config


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, task, epochs, schedule, frozen_through, seed."""
    return photo_config(text, name="cub_200_2011", category="bird", several="species")
