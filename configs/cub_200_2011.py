"""The paper's experiment on CUB-200-2011, birds against other photos, from ImageNet weights.

    python train.py --config configs/cub_200_2011.py \
        --config.data.manual_dir=FOLDER --config.weights=WEIGHTS.h5

FOLDER holds CUB_200_2011/ and neg/; `python -m interp_cnn.data --name cub_200_2011 --category bird
--manual_dir FOLDER` prepares them and says what is there. The split is the official one, there are
points but no part regions, and so no part interpretability. category=all,negatives=none tells the
species apart. On two cores use frozen_through=conv4_3; on an accelerator train all layers as the
paper does, with frozen_through=none,epochs=50,schedule=paper.
"""

import ml_collections

from interp_cnn.config import default_config, parse_arguments


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, epochs, schedule, frozen_through, seed."""
    arguments = parse_arguments(
        text,
        category="bird",
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
    config.data.name = "cub_200_2011"
    config.data.category = arguments.category
    config.data.negatives = arguments.negatives
    config.train.epochs = arguments.epochs
    config.train.schedule = arguments.schedule
    config.train.learning_rate = 1e-3
    config.checkpoint.every_steps = 50
    config.log_every_steps = 5
    return config
