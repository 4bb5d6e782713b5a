"""The main job: drawn animals, one category against scattered parts, trained from scratch.

    python train.py

The defaults of `train.py`. Two cores take some five minutes for data, both networks and evaluation.
Another category: --config configs/embedded.py:category=rabbit
"""

import ml_collections

from interp_cnn.config import default_config, parse_arguments


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, epochs, seed."""
    arguments = parse_arguments(text, category="cat", epochs=8, seed=0)
    config = default_config()
    config.seed = arguments.seed
    config.model.name = "small"
    config.model.dropout = 0.0
    config.model.new_init_std = None  # there are no pretrained weights
    config.data.name = "embedded_animals"
    config.data.category = arguments.category
    config.data.mean = (128.0, 128.0, 128.0)
    config.data.std = 64.0
    config.train.epochs = arguments.epochs
    config.train.schedule = "cosine"
    config.train.learning_rate = 0.03
    config.train.warmup_steps = 20
    config.train.clip_norm = 1.0
    # From scratch the task has to shape the filters before they are tied to parts.
    config.interpretable.start_epoch = 0.375 * arguments.epochs
    config.interpretable.ramp_epochs = 0.2 * arguments.epochs
    config.eval.batch_size = 100
    return config
