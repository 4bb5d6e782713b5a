"""Name of a data set -> prepared splits of the task."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from interp_cnn.data.embedded import EmbeddedAnimals
from interp_cnn.data.ilsvrc_animal_part import IlsvrcAnimalPart
from interp_cnn.data.pipeline import Split, read_split

EMBEDDED = "embedded_animals"
ILSVRC = "ilsvrc_animal_part"


@dataclasses.dataclass(frozen=True)
class Data:
    """A prepared data set for one category against others.

    Attributes:
      train: training examples.
      test: test examples; no photo is in both.
      parts: names of the parts for part interpretability.
      landmarks: names of the parts whose centres the location metrics use.
      has_masks: whether the parts have masks, else boxes.
    """

    train: Split
    test: Split
    parts: tuple[str, ...]
    landmarks: tuple[str, ...]
    has_masks: bool


def _builder(config: Mapping[str, Any], data_dir: str | None) -> tfds.core.DatasetBuilder:
    name, category = config["name"], config["category"]
    if name == EMBEDDED:
        return EmbeddedAnimals(config=category, data_dir=data_dir)
    if name == ILSVRC:
        return IlsvrcAnimalPart(
            config=category, data_dir=data_dir, skip_damaged=config["skip_damaged"]
        )
    raise ValueError(f"unknown data set {name!r}; config.data.name is {EMBEDDED!r} or {ILSVRC!r}")


def prepare(config: Mapping[str, Any], *, seed: int) -> Data:
    """Prepare the data set of a configuration, unless that is done, and open its splits.

    Args:
      config: the fields of `config.data`.
      seed: of the choice of negatives.

    Raises:
      ValueError: for an unknown data set or category, or damaged source files.
      FileNotFoundError: where source files are missing.
    """
    builder = _builder(config, config["data_dir"] or None)
    download = tfds.download.DownloadConfig(manual_dir=config["manual_dir"] or None)
    builder.download_and_prepare(download_config=download)
    options = {"negatives_per_positive": config["negatives_per_positive"], "seed": seed}
    return Data(
        train=read_split(builder, "train", **options),
        test=read_split(builder, "test", **options),
        parts=builder.parts,
        landmarks=builder.landmarks,
        has_masks="mask" in builder.info.features["parts"],
    )
