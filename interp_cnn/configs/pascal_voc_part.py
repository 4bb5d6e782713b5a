"""The paper's experiments on Pascal VOC Part, from ImageNet weights.

    interp-cnn train --config pascal_voc_part:category=cat \
        --config.data.manual_dir=FOLDER --config.weights=WEIGHTS.h5

FOLDER holds VOCdevkit/VOC2010/JPEGImages/, Annotations_Part/ and neg/; `interp-cnn data
--name pascal_voc_part --manual_dir FOLDER` prepares all of it and says what is there. One category
is told apart from the authors' photos, or with negatives=categories from the five others. The
default, frozen_through=conv4_3, suits two cores; on an accelerator all layers can be trained, as in
the paper, with frozen_through=none,epochs=50,schedule=paper.
"""

import ml_collections

from interp_cnn.configs._shared import photo_config


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, task, epochs, schedule, frozen_through, seed."""
    config = photo_config(text, name="pascal_voc_part", category="cat")
    config.eval.images = "all"  # every annotated object, as the authors do
    return config
