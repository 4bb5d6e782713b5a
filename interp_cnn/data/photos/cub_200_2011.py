"""CUB-200-2011: birds of 200 species with the positions of 15 parts, as tfds."""

import re
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from interp_cnn.data.categories import ALL, SEPARATOR, named_categories
from interp_cnn.data.photos import archives
from interp_cnn.data.photos import cub_files as files
from interp_cnn.data.photos.object_builder import CategoryConfig, ObjectBuilder

CUB_URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
SPECIES = "species"
# What is needed of the archive, which also has attributes and segmentations.
WANTED = archives.matching(r"(CUB_200_2011/(?:\w+\.txt|parts/\w+\.txt|images/[^/]+/[^/]+\.jpg))")


class Cub2002011(ObjectBuilder):
    """Birds, either all as one category or each species as one.

    The config `"bird"` has all birds with label 1, `"species"` (or `"all"`) each species that the
    copy holds with its own label in the order of classes.txt, and names of classes.txt joined by
    `+` (`"001.Black_footed_Albatross+047.American_Goldfinch"`) those. The split is the official
    one. Label 0, `other`, are the photos in `neg/`, where that folder is there.

    The feature `parts` has the centres of all 15 parts that are visible; they are points, without
    boxes or masks, so there is no part interpretability. A copy that lacks classes or images works.

    Args:
        config: the categories.
        skip_damaged: leave damaged and missing images out, and count them, instead of stopping.
        file_format: the format of the prepared files; array_record is read without TensorFlow.
        **kwargs: `data_dir` and `version` of `tfds.core.DatasetBuilder`.
    """

    name = "cub_200_2011"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
manual_dir must hold two folders, the second for tasks against the authors' photos alone:
  CUB_200_2011/{images.txt, classes.txt, ..., parts/, images/}   of CUB_200_2011.tgz
  neg/00001.JPEG, ...                             of zqs1022/interpretableCNN, data/neg/
"""
    BUILDER_CONFIGS = [  # noqa: RUF012, the name and type are those of tfds
        CategoryConfig(
            name=files.BIRD, categories=(files.BIRD,), description="all birds against other"
        ),
        CategoryConfig(name=SPECIES, description="each species of the copy, and other"),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = files.BIRD

    parts: tuple[str, ...] = ()  # no regions
    landmarks = ("forehead", "back", "tail")
    files = files
    homepage = "https://data.caltech.edu/records/65de6-vp158"
    citation = """\
@techreport{wah2011caltech,
  title = {The Caltech-UCSD Birds-200-2011 Dataset},
  author = {Wah, Catherine and Branson, Steve and Welinder, Peter and Perona, Pietro and
    Belongie, Serge},
  institution = {California Institute of Technology},
  number = {CNS-TR-2011-001},
  year = {2011}
}
"""

    @classmethod
    def chosen(cls, text: str) -> tuple[str, ...]:
        """`bird`, or names as in classes.txt; () for every species of the copy."""
        if text in (ALL, SPECIES):
            return ()
        if text == files.BIRD:
            return (text,)
        for name in text.split(SEPARATOR):
            if not re.fullmatch(r"\d{3}\.[\w-]+", name):
                raise ValueError(
                    f"category {text!r}: {name!r} is no category; give {files.BIRD!r}, {ALL!r}, or"
                    " species as classes.txt names them, such as 001.Black_footed_Albatross,"
                    f" joined by {SEPARATOR}."
                )
        return named_categories(text, None)

    def _part_features(self) -> dict[str, Any]:
        return {}

    def _download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        return archives.fetch(
            dl_manager,
            {
                CUB_URL: WANTED,
                archives.INTERPRETABLE_CNN_URL: archives.other_photo,
            },
            name=self.name,
            layout=files.LAYOUT,
        )
