"""Pascal VOC Part: six animals of PASCAL VOC 2010 with the part masks of PASCAL-Part, as tfds."""

from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from interp_cnn.data.categories import ALL, named_categories
from interp_cnn.data.photos import archives
from interp_cnn.data.photos import voc_part_files as files
from interp_cnn.data.photos.object_builder import BOX, CategoryConfig, ObjectBuilder

VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar"
PASCAL_PART_URL = "http://roozbehm.info/pascal-parts/trainval.tar.gz"


class PascalVocPart(ObjectBuilder):
    """Birds, cats, cows, dogs, horses and sheep with masks of their parts.

    The config is one category (`"cat"`), several joined by `+` (`"cat+dog"`), or `"all"` of
    the six that the copy holds. Each object is one example, also where a photo holds several; the
    split is by photo. An object's box is that of its mask, unless the annotation gives one that
    holds it.

    The feature `parts` has the paper's parts, merged from those of PASCAL-Part, and the neck, which
    is a landmark; `fine_parts` has all parts as published. The centre of a part is that of its
    box. Label 0, `other`, are the photos in `neg/`, where that folder is there.

    Args:
        config: the categories.
        skip_damaged: leave damaged and missing images out, and count them, instead of stopping.
        file_format: the format of the prepared files; array_record is read without TensorFlow.
        **kwargs: `data_dir` and `version` of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
manual_dir must hold three folders, the last for tasks against the authors' photos alone:
  VOCdevkit/VOC2010/JPEGImages/2008_000001.jpg, ...   of VOCtrainval_03-May-2010.tar
  Annotations_Part/2008_000001.mat, ...               of PASCAL-Part's trainval.tar.gz
  neg/00001.JPEG, ...                                 of zqs1022/interpretableCNN, data/neg/
"""
    BUILDER_CONFIGS = [  # noqa: RUF012, the name and type are those of tfds
        *(
            CategoryConfig(name=name, categories=(name,), description=f"{name} against other")
            for name in files.CATEGORIES
        ),
        CategoryConfig(name=ALL, description="those of the six that the copy holds, and other"),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = ALL

    landmarks = files.LANDMARKS
    extra_parts = ("fine_parts",)
    files = files
    homepage = "http://roozbehm.info/pascal-parts/pascal-parts.html"
    citation = """\
@inproceedings{chen2014detect,
  title = {Detect What You Can: Detecting and Representing Objects using Holistic Models and
    Body Parts},
  author = {Chen, Xianjie and Mottaghi, Roozbeh and Liu, Xiaobai and Fidler, Sanja and
    Urtasun, Raquel and Yuille, Alan},
  booktitle = {CVPR},
  year = {2014}
}
"""

    @classmethod
    def chosen(cls, text: str) -> tuple[str, ...]:
        """Names of the six animals; () for all that the copy holds."""
        return () if text == ALL else named_categories(text, files.CATEGORIES)

    @property
    def parts(self) -> tuple[str, ...]:
        """The paper's parts that any of the categories has."""
        return files.parts_of(self.categories or files.CATEGORIES)

    def _part_features(self) -> dict[str, Any]:
        mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        return {"box": BOX, "mask": mask}

    def _download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        return archives.fetch(
            dl_manager,
            {
                VOC_URL: archives.matching(r"(VOCdevkit/VOC2010/JPEGImages/[^/]+\.jpg)"),
                PASCAL_PART_URL: archives.matching(r"(?:[^/]+/)?(Annotations_Part/[^/]+\.mat)"),
                archives.INTERPRETABLE_CNN_URL: archives.other_photo,
            },
            name=self.name,
            layout=files.LAYOUT,
        )
