"""A tiny embedded data set and a configuration for it that trains in seconds."""

import jax
import ml_collections
import numpy as np

from interp_cnn.config import default_config
from interp_cnn.data.embedded.builder import EmbeddedAnimals, EmbeddedConfig
from interp_cnn.data.pipeline import read_split
from interp_cnn.data.prepare import Data


def tiny_builder(folder, categories=("cat",)) -> EmbeddedAnimals:
    config = EmbeddedConfig(categories=categories, num_per_category=24, num_other=24, image_size=64)
    builder = EmbeddedAnimals(config=config, data_dir=folder)
    builder.download_and_prepare()
    return builder


def tiny_data(folder, categories=("cat",)) -> Data:
    builder = tiny_builder(folder, categories)
    return Data(
        train=read_split(builder, "train"),
        test=read_split(builder, "test"),
        categories=builder.categories,
        parts=builder.parts,
        landmarks=builder.landmarks,
        has_masks=True,
    )


def tiny_config() -> ml_collections.ConfigDict:
    config = default_config()
    config.model.name = "small"
    config.model.width = 0.1
    config.model.dropout = 0.2
    config.model.new_init_std = 0.1
    config.networks = ("interpretable",)
    config.data.crop = "image"
    config.data.threads = 2
    config.train.batch_size = 8
    config.train.epochs = 2
    config.train.schedule = "constant"
    config.train.learning_rate = 0.01
    config.train.clip_norm = 1.0
    config.checkpoint.every_steps = 3
    config.log_every_steps = 1
    config.eval.batch_size = 8
    config.eval.top = 5
    return config


def leaves(tree) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


class Killed(Exception):
    """The process is gone."""


def killed_in_call(make, number):
    """`make`, whose functions die in a call of this number."""

    def made(*args, **options):
        function, calls = make(*args, **options), []

        def call(*inputs):
            calls.append(1)
            if len(calls) == number:
                raise Killed
            return function(*inputs)

        return call

    return made


def write_begun(workdir):
    """What a network in training leaves first."""
    (workdir / "start").mkdir(parents=True)
    (workdir / "start" / "metrics.jsonl").touch()
