"""ILSVRC 2013 DET Animal-Part: photos of animals with the boxes of head and front legs, as tfds.

The authors publish the photos and object boxes in one repository (`detanimalpart`), part boxes and
1000 photos of other things in another (`interpretableCNN`).
"""

import re
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from interp_cnn.data.categories import ALL, named_categories
from interp_cnn.data.photos import animal_part_files as files
from interp_cnn.data.photos import archives
from interp_cnn.data.photos.animal_part_files import CATEGORIES, NAMES
from interp_cnn.data.photos.object_builder import BOX, CategoryConfig, ObjectBuilder

DETANIMALPART_URL = (
    "https://github.com/zqs1022/detanimalpart/archive/b06ef14dc9e26c2a4634b27363595b170588bdd6.zip"
)


class IlsvrcAnimalPart(ObjectBuilder):
    """Animals of one category or several against photos of other things.

    The config is one category (`"cat"` or its WordNet id, also of a category not in `CATEGORIES`),
    several joined by `+` (`"cat+fox"`), or `"all"` that the copy holds. Label 0, `other`, are the
    authors' 1000 photos of other things in `neg/`, where that folder is there; how many of them a
    batch gets is the pipeline's choice (the authors' code repeats the objects and their mirror
    images until they make up three quarters).

    One photo may appear several times in the source, once for each animal in it: identical files
    share a `photo_id` and a split. `info.metadata["summary"]` counts what was found and left out.

    Args:
        config: the categories.
        skip_damaged: leave damaged and missing images out, and count them, instead of stopping.
        file_format: the format of the prepared files; array_record is read without TensorFlow.
        **kwargs: `data_dir` and `version` of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
manual_dir must hold the authors' files in three folders, the last for tasks against these alone:
  detanimalpart/nXXXXXXXX_obj/img/{data.mat, img/00001.jpg, ...}   of zqs1022/detanimalpart
  truth/nXXXXXXXX/truth_part01.mat (and 02)                        of zqs1022/interpretableCNN,
      code/data_input/data_input_DET-2015-subset-ILSVRC2013train/
  neg/00001.JPEG, ...                                              of the same, data/neg/
"""
    BUILDER_CONFIGS = [  # noqa: RUF012, the name and type are those of tfds
        *(
            CategoryConfig(name=name, categories=(wordnet_id,), description=f"{name} against other")
            for name, wordnet_id in CATEGORIES.items()
        ),
        CategoryConfig(name=ALL, description="all categories of the copy, and other"),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "cat"

    files = files
    homepage = "https://github.com/zqs1022/interpretableCNN"
    citation = """\
@inproceedings{zhang2018interpretable,
  title = {Interpretable Convolutional Neural Networks},
  author = {Zhang, Quanshi and Wu, Ying Nian and Zhu, Song-Chun},
  booktitle = {CVPR},
  year = {2018}
}
"""

    @classmethod
    def chosen(cls, text: str) -> tuple[str, ...]:
        """WordNet ids of names or ids."""
        names = text.split("+")
        known = [*CATEGORIES, *(n for n in names if re.fullmatch(r"n\d{8}", n) and n not in NAMES)]
        canonical = "+".join(NAMES.get(name, name) for name in names)
        if text == ALL:
            return ()
        return tuple(CATEGORIES.get(n, n) for n in named_categories(canonical, known))

    @classmethod
    def shown(cls, category: str) -> str:
        """The animal's name, or the id where it has none here."""
        return NAMES.get(category, category)

    @property
    def parts(self) -> tuple[str, ...]:
        """Head and front legs; of the goldfish the head alone."""
        return files.parts_of(self.builder_config.categories)

    @property
    def landmarks(self) -> tuple[str, ...]:
        """As the parts."""
        return self.parts

    def _part_features(self) -> dict[str, Any]:
        return {"box": BOX}

    def _download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        wanted = files.members(self.builder_config.categories or tuple(NAMES))
        return archives.fetch(
            dl_manager,
            {
                DETANIMALPART_URL: wanted,
                archives.INTERPRETABLE_CNN_URL: lambda member: (
                    wanted(member) or archives.other_photo(member)
                ),
            },
            name=self.name,
            layout=files.LAYOUT,
        )
