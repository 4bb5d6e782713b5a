"""What the tfds builders of published data sets share."""

import abc
import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from interp_cnn.data.categories import SEPARATOR
from interp_cnn.data.photos.photo_files import (
    Example,
    check_annotation_files,
    fingerprint,
    rgb_bytes,
)

POINT = tfds.features.Tensor(shape=(2,), dtype=np.float32)
BOX = tfds.features.Tensor(shape=(4,), dtype=np.float32)
_LONGEST_NAME = 100  # characters of a config's name, which is that of a folder


@dataclasses.dataclass(eq=False)
class CategoryConfig(tfds.core.BuilderConfig):
    """One choice of categories.

    Attributes:
        categories: the names that the files use, in the order of their labels 1, 2, ...; none
            stands for all that the copy holds.
    """

    categories: tuple[str, ...] = ()


class Files(Protocol):
    """The published files in a folder: a module for each data set."""

    def found(self, source: Path) -> tuple[str, ...]:
        """All categories that the folder may hold, in their official order."""

    def others(self, source: Path) -> list[Path]:
        """The photos of other things, none where there is no folder of them."""

    def contents(self, source: Path) -> str:
        """How complete the folder is, as `"3 of 30 categories"`."""

    def paths(self, source: Path, categories: tuple[str, ...]) -> list[Path]:
        """Every file that the examples of these categories are made from."""

    def scan(
        self, source: Path, categories: tuple[str, ...], skip_damaged: bool
    ) -> tuple[list[Example], dict[str, Any]]:
        """All examples, and the counts by category."""


class ObjectBuilder(tfds.core.GeneratorBasedBuilder):
    """Objects of one category or several, each with its box and parts, and photos of other things.

    Label 0, `other`, are the authors' 1000 photos of other things. `info.metadata["summary"]`
    counts by category what was found and left out, `info.metadata["contents"]` says how complete
    the source was.

    Args:
        config: the categories: a name, several joined by `+`, or `"all"`.
        skip_damaged: leave damaged and missing images out, and count them, instead of stopping.
        file_format: the format of the prepared files; array_record is read without TensorFlow.
        **kwargs: `data_dir` and `version` of `tfds.core.DatasetBuilder`.
    """

    files: Files
    homepage: str
    citation: str
    extra_parts: tuple[str, ...] = ()  # names of further features like `parts`

    def __init__(
        self,
        *,
        config: str | CategoryConfig | None = None,
        skip_damaged: bool = False,
        file_format: str = "array_record",
        **kwargs: Any,
    ) -> None:
        self.__dict__.pop("info", None)  # that of a copy which is made anew
        self.skip_damaged = skip_damaged
        self._source: Path | None = None
        options = {"skip_damaged": skip_damaged, "file_format": file_format}
        self._arguments = {"config": config, **options, **kwargs}
        if isinstance(config, str):
            config = self._config_named(config)
        super().__init__(config=config, file_format=file_format, **kwargs)
        self._original_state = self._arguments  # what tfds pickles

    @classmethod
    @abc.abstractmethod
    def chosen(cls, text: str) -> tuple[str, ...]:
        """The categories of a config's name, as the files call them; () for all of the copy.

        Raises:
            ValueError: for a name that cannot be one.
        """

    @classmethod
    def shown(cls, category: str) -> str:
        """The name of a category for people."""
        return category

    @abc.abstractmethod
    def _download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        """A folder in the layout of `manual_dir`."""

    @abc.abstractmethod
    def _part_features(self) -> dict[str, Any]:
        """The features of one part beside its name and centre."""

    def _parts_feature(self) -> tfds.features.Sequence:
        part = {"name": tfds.features.Text(), "center": POINT, **self._part_features()}
        return tfds.features.Sequence(part)

    @classmethod
    def _config_named(cls, text: str) -> CategoryConfig:
        categories = cls.chosen(text)
        for config in cls.BUILDER_CONFIGS:
            if config.categories == categories:
                return config
        name = SEPARATOR.join(map(cls.shown, categories))
        if len(name) > _LONGEST_NAME:
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            name = f"{len(categories)}_categories_{digest}"
        return CategoryConfig(name=name, categories=categories)

    @functools.cached_property
    def info(self) -> tfds.core.DatasetInfo:
        """What is known of the data; tfds itself keeps one for good, and label names with it."""
        return self._info()

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the labels 1, 2, ...; of the config `"all"` known when it is prepared."""
        label = self.info.features["label"]  # type: ignore[index]
        return () if label.num_classes is None else tuple(label.names[1:])

    def _info(self) -> tfds.core.DatasetInfo:
        names = ["other", *map(self.shown, self.builder_config.categories)]
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            homepage=self.homepage,
            citation=self.citation,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "photo_id": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=names if len(names) > 1 else None),
                    "bbox": BOX,
                    "parts": self._parts_feature(),
                    **{name: self._parts_feature() for name in self.extra_parts},
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def download_and_prepare(
        self, *, download_config: tfds.download.DownloadConfig | None = None, **kwargs: Any
    ) -> None:
        """Write the records, from `download_config.manual_dir` where it is given, else downloaded.

        A copy that was prepared before is used again if it was made from the same files;
        otherwise it is made anew. Without a `manual_dir` any prepared copy is used.

        Args:
            download_config: the options of tfds; its `manual_dir` is the folder with the published
                files.
            **kwargs: the other arguments of `tfds.core.DatasetBuilder.download_and_prepare`.

        Raises:
            FileNotFoundError: if a folder, an annotation file or an image is missing.
            ValueError: if a file is damaged or does not fit the others.
        """
        source = None
        if download_config is not None and download_config.manual_dir is not None:
            source = Path(download_config.manual_dir).expanduser()
            wanted = self._fingerprint(source)
            if self.data_path.exists() and dict(self.info.metadata.items()).get("source") != wanted:
                logging.warning(
                    "%s was made from other files or by an older release: making it anew.",
                    self.data_dir,
                )
                self.data_path.rmtree()
                self.__init__(**self._arguments)  # type: ignore[misc]  # forget the old copy
        self._source = source
        super().download_and_prepare(download_config=download_config, **kwargs)

    def check_source(self, source: Path) -> None:
        """Say early that a folder is not that of the data set, or lacks a category.

        Args:
            source: the folder with the published files.

        Raises:
            FileNotFoundError: if something is missing.
            ValueError: if a list of files is damaged.
        """
        check_annotation_files(self.files.paths(source, self._categories_of(source)))

    def check_others(self, source: Path) -> None:
        """Say early that a task needs photos of other things.

        Args:
            source: the folder with the published files.

        Raises:
            FileNotFoundError: if it has none.
        """
        if not self.files.others(source):
            raise FileNotFoundError(
                f"The folder {source / 'neg'} (photos of other things) is missing: put the authors'"
                " there (data/neg/ of github.com/zqs1022/interpretableCNN) or other JPEG files, or"
                " set config.data.negatives='categories' (one category against the others of the"
                " data set) or 'none' (several categories alone)."
            )

    def _categories_of(self, source: Path) -> tuple[str, ...]:
        return self.builder_config.categories or self.files.found(source)

    def _fingerprint(self, source: Path) -> str:
        paths = self.files.paths(source, self._categories_of(source))
        return fingerprint(source, paths, self.skip_damaged)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        source = self._source or self._download(dl_manager)
        categories = self._categories_of(source)
        wanted = self._fingerprint(source)
        examples, summary = self.files.scan(source, categories, self.skip_damaged)
        if not self.builder_config.categories:
            kept = tuple(c for c in categories if summary[self.shown(c)]["examples"]) or categories
            examples, categories = _with_labels_of(examples, categories, kept), kept
        for name, counts in summary.items():
            logging.warning("Prepared %s, %s: %s", self.name, name, counts)
        names = ["other", *map(self.shown, categories)]
        self.info.features["label"].names = names  # type: ignore[index]
        contents = self.files.contents(source)
        self.info.metadata.update(source=wanted, summary=summary, contents=contents)
        for name in names[1:]:
            if not summary[name]["examples"]:
                raise ValueError(
                    f"{source} has no object of the category {name!r} ({contents}):"
                    " copy more of the data set there, or choose other categories."
                )
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

    def _generate_examples(self, examples: list[Example]) -> Iterator[tuple[str, dict[str, Any]]]:
        for example in examples:
            yield (
                example.key,
                {
                    "image": rgb_bytes(example.path.read_bytes()),
                    "photo_id": example.photo_id,
                    "label": example.label,
                    "bbox": example.bbox,
                    "parts": example.parts,
                    **{name: example.extra.get(name, []) for name in self.extra_parts},
                },
            )


def _with_labels_of(
    examples: list[Example], categories: tuple[str, ...], kept: tuple[str, ...]
) -> list[Example]:
    """The examples with labels among fewer categories, which all of them belong to."""
    labels = [0, *(kept.index(c) + 1 if c in kept else 0 for c in categories)]
    return [dataclasses.replace(e, label=labels[e.label]) for e in examples]
