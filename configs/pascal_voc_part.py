"""The paper's experiments on Pascal VOC Part, from ImageNet weights.

    python train.py --config configs/pascal_voc_part.py:category=cat \
        --config.data.manual_dir=FOLDER --config.weights=WEIGHTS.h5

FOLDER holds VOCdevkit/VOC2010/JPEGImages/, Annotations_Part/ and neg/; `python -m interp_cnn.data
--name pascal_voc_part --manual_dir FOLDER` prepares all of it and says what is there. One category
is told apart from the authors' photos, or with negatives=categories from the five others. On two
cores use frozen_through=conv4_3; on an accelerator train all layers as the paper does, with
frozen_through=none,epochs=50,schedule=paper.
"""

import ml_collections

from interp_cnn.config import default_config, parse_arguments


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, epochs, schedule, frozen_through, seed."""
    arguments = parse_arguments(
        text,
        category="cat",
        negatives="photos",
        epochs=4,
        schedule="constant",
        frozen_through="conv4_3",
        seed=0,
    )
    config = default_config()
    config.seed = arguments.seed
    config.model.name = "vgg16"
    config.model.dropout = 0.5
    config.model.new_init_std = 0.01
    frozen = arguments.frozen_through
    config.model.frozen_through = None if frozen == "none" else frozen
    config.weights = "download"
    config.data.name = "pascal_voc_part"
    config.data.category = arguments.category
    config.data.negatives = arguments.negatives
    config.train.epochs = arguments.epochs
    config.train.schedule = arguments.schedule
    config.train.learning_rate = 1e-3
    config.checkpoint.every_steps = 50
    config.log_every_steps = 5
    config.eval.images = "all"  # every annotated object, as the authors do
    return config
