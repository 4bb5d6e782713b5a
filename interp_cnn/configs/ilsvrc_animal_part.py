"""The paper's experiments on ILSVRC Animal-Part, from ImageNet weights.

    interp-cnn train --config ilsvrc_animal_part:category=cat \
        --config.data.manual_dir=FOLDER --config.weights=WEIGHTS.h5

Several categories: category=cat+elephant+fox or category=all, with task=logistic or task=softmax.
Without manual_dir the authors' files are downloaded, without weights Keras' published ones. The
default, frozen_through=conv4_3, suits two cores; on an accelerator all layers can be trained, as in
the paper, with frozen_through=none,epochs=50,schedule=paper.
"""

import ml_collections

from interp_cnn.configs._shared import photo_config


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, task, epochs, schedule, frozen_through, seed."""
    config = photo_config(text, name="ilsvrc_animal_part", category="cat")
    config.eval.images = "all"  # every annotated object, as the authors do
    return config
