"""The configurations that come with the package: `--config NAME` takes one by its name."""

import importlib
from typing import Any

import ml_collections

NAMES = ("embedded", "ilsvrc_animal_part", "pascal_voc_part", "cub_200_2011", "folder", "tfds")


def get_config(name: str, *arguments: Any) -> ml_collections.ConfigDict:
    """A configuration of the package.

    Args:
      name: one of `NAMES`.
      *arguments: the text `"name=value,..."` for `get_config` of that module, or nothing.

    Raises:
      ValueError: for an argument that the configuration does not know.
    """
    return importlib.import_module(f"interp_cnn.configs.{name}").get_config(*arguments)
