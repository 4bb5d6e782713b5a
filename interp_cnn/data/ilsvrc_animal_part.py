"""ILSVRC 2013 DET Animal-Part: photos of animals with the boxes of head and front legs, as tfds.

The authors publish the photos and object boxes in one repository (`detanimalpart`), part boxes and
1000 photos of other things in another (`interpretableCNN`).
"""

import dataclasses
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from interp_cnn.data import animal_part_files as files
from interp_cnn.data.animal_part_files import CATEGORIES, NAMES, PARTS

LANDMARKS: tuple[str, ...] = PARTS

DETANIMALPART_URL = (
    "https://github.com/zqs1022/detanimalpart/archive/b06ef14dc9e26c2a4634b27363595b170588bdd6.zip"
)
INTERPRETABLE_CNN_URL = "https://github.com/zqs1022/interpretableCNN/archive/6d7d1a6aaf0f.zip"

_LAYOUT = """\
manual_dir must hold the authors' files in three folders:
  detanimalpart/nXXXXXXXX_obj/img/{data.mat, img/00001.jpg, ...}   of zqs1022/detanimalpart
  truth/nXXXXXXXX/truth_part01.mat (and 02)                        of zqs1022/interpretableCNN,
      code/data_input/data_input_DET-2015-subset-ILSVRC2013train/
  neg/00001.JPEG, ...                                              of the same, data/neg/
"""

_CITATION = """\
@inproceedings{zhang2018interpretable,
  title = {Interpretable Convolutional Neural Networks},
  author = {Zhang, Quanshi and Wu, Ying Nian and Zhu, Song-Chun},
  booktitle = {CVPR},
  year = {2018}
}
"""


@dataclasses.dataclass(eq=False)
class AnimalPartConfig(tfds.core.BuilderConfig):
    """One choice of categories.

    Attributes:
        categories: WordNet ids, in the order of their labels 1, 2, ...
    """

    categories: tuple[str, ...] = ()


class IlsvrcAnimalPart(tfds.core.GeneratorBasedBuilder):
    """Animals of one category or several against photos of other things.

    The config is one category (`"cat"` or its WordNet id, also of a category not in `CATEGORIES`)
    or several joined by hyphens (`"cat-fox"`). Label 0, `other`, are the authors' 1000 photos
    of other things; how many of them a batch gets is the pipeline's choice (the authors' code
    repeats the objects and their mirror images until they make up three quarters).

    One photo may appear several times in the source, once for each animal in it: identical files
    share a `photo_id` and a split. `info.metadata["summary"]` counts what was found and left out.

    Args:
        config: the categories.
        skip_damaged: leave damaged images out, and count them, instead of stopping.
        file_format: of the prepared files; array_record is read without TensorFlow.
        **kwargs: `data_dir` and `version` of `tfds.core.DatasetBuilder`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = _LAYOUT
    BUILDER_CONFIGS = [  # noqa: RUF012, the name and type are those of tfds
        AnimalPartConfig(name=name, categories=(wordnet_id,), description=f"{name} against other")
        for name, wordnet_id in CATEGORIES.items()
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "cat"

    parts = PARTS
    landmarks = LANDMARKS

    def __init__(
        self,
        *,
        config: str | AnimalPartConfig | None = None,
        skip_damaged: bool = False,
        file_format: str = "array_record",
        **kwargs: Any,
    ) -> None:
        self.skip_damaged = skip_damaged
        self._source: Path | None = None
        options = {"skip_damaged": skip_damaged, "file_format": file_format}
        self._arguments = {"config": config, **options, **kwargs}
        if isinstance(config, str):
            config = _config_named(config)
        super().__init__(config=config, file_format=file_format, **kwargs)
        self._original_state = self._arguments  # what tfds pickles

    def _info(self) -> tfds.core.DatasetInfo:
        point, box = (tfds.features.Tensor(shape=(n,), dtype=np.float32) for n in (2, 4))
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://github.com/zqs1022/interpretableCNN",
            citation=_CITATION,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "photo_id": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(
                        names=["other", *(NAMES.get(c, c) for c in self._categories)]
                    ),
                    "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "parts": tfds.features.Sequence(
                        {"name": tfds.features.Text(), "center": point, "box": box}
                    ),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    @property
    def _categories(self) -> tuple[str, ...]:
        return self.builder_config.categories

    def download_and_prepare(
        self, *, download_config: tfds.download.DownloadConfig | None = None, **kwargs: Any
    ) -> None:
        """Write the records, from `download_config.manual_dir` where it is given, else downloaded.

        A copy that was prepared before is used again if it was made from the same files;
        otherwise it is made anew. Without a `manual_dir` any prepared copy is used.

        Args:
            download_config: as in tfds; its `manual_dir` is the folder with the published files.
            **kwargs: the other arguments of `tfds.core.DatasetBuilder.download_and_prepare`.

        Raises:
            FileNotFoundError: if a folder, an annotation file or an image is missing.
            ValueError: if a file is damaged or does not fit the others.
        """
        source = None
        if download_config is not None and download_config.manual_dir is not None:
            source = Path(download_config.manual_dir).expanduser()
            wanted = files.fingerprint(source, self._categories, self.skip_damaged)
            if self.data_path.exists() and dict(self.info.metadata.items()).get("source") != wanted:
                logging.warning("%s was made from other files: making it anew.", self.data_dir)
                self.data_path.rmtree()
                self.__init__(**self._arguments)  # type: ignore[misc]  # forget the old copy
        self._source = source
        super().download_and_prepare(download_config=download_config, **kwargs)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        source = self._source or _download(dl_manager, self._categories)
        fingerprint = files.fingerprint(source, self._categories, self.skip_damaged)
        examples, summary = files.scan(source, self._categories, self.skip_damaged)
        for name, counts in summary.items():
            logging.info("%s, %s: %s", self.name, name, counts)
        self.info.metadata.update(source=fingerprint, summary=summary)
        splits = {
            "train": [e for e in examples if not e.in_test],
            "test": [e for e in examples if e.in_test],
        }
        for split, content in splits.items():
            if not content:
                raise ValueError(
                    f"{source} has too few photos ({len(examples)} examples) for a {split} split: "
                    "copy the whole data set there."
                )
        return {split: self._generate_examples(content) for split, content in splits.items()}

    def _generate_examples(
        self, examples: list[files.Example]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for example in examples:
            yield (
                example.key,
                {
                    "image": files.rgb_bytes(example.path.read_bytes()),
                    "photo_id": example.photo_id,
                    "label": example.label,
                    "bbox": example.bbox,
                    "parts": example.parts,
                },
            )


def _config_named(name: str) -> AnimalPartConfig:
    """The config of `"cat"`, `"n02121808"` or `"cat-fox"`."""
    ids = tuple(CATEGORIES.get(part, part) for part in name.split("-"))
    for part in ids:
        if not re.fullmatch(r"n\d{8}", part):
            raise ValueError(
                f"config {name!r}: {part!r} is no category; give one of {', '.join(CATEGORIES)}, "
                "or a WordNet id such as n02121808, several joined by hyphens."
            )
    if len(set(ids)) < len(ids):
        raise ValueError(f"config {name!r} names a category twice: name each once.")
    for config in IlsvrcAnimalPart.BUILDER_CONFIGS:
        if config.categories == ids:
            return config
    return AnimalPartConfig(name="-".join(NAMES.get(i, i) for i in ids), categories=ids)


def _download(dl_manager: tfds.download.DownloadManager, categories: tuple[str, ...]) -> Path:
    """Download both archives and unpack what is needed into the layout of manual_dir."""
    urls = [DETANIMALPART_URL, INTERPRETABLE_CNN_URL]
    try:
        for url in urls:  # without a network tfds tries for minutes before it gives up
            urllib.request.urlopen(url, timeout=30).close()
        archives = dl_manager.download(urls)
    except Exception as error:  # requests, ssl, tfds and the disk have no common error
        raise FileNotFoundError(
            f"{' and '.join(urls)} could not be downloaded ({error}): download and unpack them by "
            "hand and name the folder with manual_dir (it must hold detanimalpart/, truth/, neg/)."
        ) from error
    target = Path(dl_manager.download_dir) / "ilsvrc_animal_part"
    for archive in archives:
        files.unpack(Path(archive), target, categories)
    return target
