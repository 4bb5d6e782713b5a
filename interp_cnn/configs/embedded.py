"""The main experiment: drawn animals, one category against scattered parts, trained from scratch.

    interp-cnn train

This is what `train` takes without `--config`. Two cores take four to eleven minutes for data, both
networks and evaluation.
Another category: --config embedded:category=rabbit
All six, told from each other: --config embedded:category=all,task=softmax
"""

import math

import ml_collections

from interp_cnn.config import default_config, parse_arguments
from interp_cnn.configs._networks import set_network, set_rates
from interp_cnn.configs._shared import begin_from_ordinary, default_negatives
from interp_cnn.data.categories import named_categories
from interp_cnn.data.embedded.drawing import CATEGORIES


def get_config(text: str | None = None) -> ml_collections.ConfigDict:
    """Arguments: category, negatives, task, epochs (7, or 10 for several categories), seed.

    The ordinary network that both begin from is trained for three quarters as long before that.
    """
    arguments = parse_arguments(
        text, category="cat", negatives="", task="logistic", epochs=int, seed=0
    )
    several = len(named_categories(arguments.category, CATEGORIES)) > 1
    epochs = (10 if several else 7) if arguments.epochs is None else arguments.epochs
    config = default_config()
    config.seed = arguments.seed
    set_rates(config, set_network(config, "small"))
    config.data.name = "embedded_animals"
    config.data.category = arguments.category
    config.data.negatives = arguments.negatives or default_negatives(arguments.task)
    config.train.task = arguments.task
    config.train.epochs = epochs
    config.train.schedule = "cosine"
    config.train.warmup_steps = 20
    begin_from_ordinary(config, epochs=math.ceil(0.75 * epochs))
    config.eval.batch_size = 100
    return config
