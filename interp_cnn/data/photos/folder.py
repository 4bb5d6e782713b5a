"""Photos in folders, a folder for each class, as tfds; annotations are optional."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from interp_cnn.data.categories import named_categories
from interp_cnn.data.photos import folder_files as files
from interp_cnn.data.photos.annotation_files import Annotations, read_annotations
from interp_cnn.data.photos.annotation_places import mask_png
from interp_cnn.data.photos.folder_layout import read_folder
from interp_cnn.data.photos.folder_photos import read_photo, stored_bytes, upright
from interp_cnn.data.photos.object_builder import BOX, POINT
from interp_cnn.data.photos.photo_files import Example
from interp_cnn.metrics.parts import part_boxes_to_masks


@dataclasses.dataclass(eq=False)
class FolderConfig(tfds.core.BuilderConfig):
    """The photos of one folder.

    Attributes:
        categories: the classes of the task, in the order of their labels 1, 2, ...
        classes: all classes of the folder, which are prepared together.
        has_regions: whether any part has a box or a mask.
        has_masks: whether any part has a mask.
    """

    categories: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    has_regions: bool = False
    has_masks: bool = False


class FolderPhotos(tfds.core.GeneratorBasedBuilder):
    """Photos of classes, each in a folder of its own; label 0 is a class named as `OTHER`.

    The name of the config has a hash of all photos, the annotations and what else the examples are
    made from: another content is another data set, and two folders are never mixed up.
    `info.metadata["summary"]` counts by class what was found and left out,
    `info.metadata["wrong"]` has a line for each kind of annotation that was left out.

    Args:
        source: the folder, see `folder_layout.LAYOUT`.
        annotations: a file with boxes and parts, see `read_annotations`; None for none.
        category: the classes of the task: a name, several joined by `+`, or `"all"`.
        seed: the seed of the split, where the folder has none.
        skip_damaged: leave photos that cannot be used out, and count them, instead of stopping.
        data_dir: the folder for prepared data sets; None is tfds' own default.

    Raises:
        FileNotFoundError: if the folder or the annotations are missing.
        ValueError: if they cannot be used, see `read_folder` and `read_annotations`.
    """

    name = "folder"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        source: Path,
        annotations: Path | None = None,
        category: str = "all",
        seed: int = 0,
        skip_damaged: bool = False,
        data_dir: str | None = None,
    ) -> None:
        arguments = {key: value for key, value in locals().items() if key in _ARGUMENTS}
        self._seed, self._skip_damaged = seed, skip_damaged
        self._folder = read_folder(source)
        self._annotations: Annotations | None = None
        if annotations is not None:
            self._annotations = read_annotations(annotations, self._folder.classes)
        found = self._annotations
        digest = files.fingerprint(self._folder, found, seed=seed, skip_damaged=skip_damaged)
        config = FolderConfig(
            name=f"{re.sub(r'[^A-Za-z0-9]+', '_', source.absolute().name)[:40]}-{digest[:16]}",
            categories=named_categories(category, self._folder.classes),
            classes=self._folder.classes,
            has_regions=found is not None and found.has_regions,
            has_masks=found is not None and found.has_masks,
        )
        verbosity = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)  # tfds warns of every config that it does not list
        try:
            super().__init__(config=config, data_dir=data_dir, file_format="array_record")
        finally:
            logging.set_verbosity(verbosity)
        self._original_state = arguments  # what tfds pickles

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the classes of the task."""
        categories: tuple[str, ...] = self.builder_config.categories
        return categories

    @property
    def landmarks(self) -> tuple[str, ...]:
        """Names of the parts that these classes have; known when the data set is prepared."""
        of_class = self._metadata["parts"]
        return tuple(dict.fromkeys(part for name in self.categories for part in of_class[name]))

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of them that have a box or a mask."""
        return tuple(part for part in self.landmarks if part in self._metadata["regions"])

    @property
    def _metadata(self) -> dict[str, Any]:
        return dict(self.info.metadata.items())  # type: ignore[union-attr]

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        part: dict[str, Any] = {"name": tfds.features.Text(), "center": POINT}
        if config.has_regions:
            part["box"] = BOX
        if config.has_masks:
            part["mask"] = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "photo_id": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["other", *config.classes]),
                    "bbox": BOX,
                    "parts": tfds.features.Sequence(part),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        found = files.scan(
            self._folder, self._annotations, seed=self._seed, skip_damaged=self._skip_damaged
        )
        for name, counts in found.summary.items():
            logging.warning("Prepared %s, %s: %s", self.name, name, counts)
        for line in found.wrong.lines():
            logging.warning("Left out of %s, %s", self._annotations_name, line)
        self.info.metadata.update(
            summary=found.summary,
            wrong=found.wrong.lines(),
            parts=found.parts,
            regions=found.regions,
            contents=f"{len(self._folder.classes)} classes in {self._folder.root}",
        )
        return {
            split: self._generate_examples([e for e in found.examples if e.in_test is in_test])
            for split, in_test in (("train", False), ("test", True))
        }

    @property
    def _annotations_name(self) -> str:
        return "" if self._annotations is None else str(self._annotations.path)

    def _generate_examples(self, examples: list[Example]) -> Iterator[tuple[str, dict[str, Any]]]:
        for example in examples:
            data = read_photo(example.path)
            yield (
                example.key,
                {
                    "image": stored_bytes(data),
                    "photo_id": example.photo_id,
                    "label": example.label,
                    "bbox": example.bbox,
                    "parts": [self._stored_part(part, data) for part in example.parts],
                },
            )

    def _stored_part(self, part: dict[str, Any], data: bytes) -> dict[str, Any]:
        """A part with the features that the data set has."""
        config = self.builder_config
        stored = {"name": part["name"], "center": part["center"]}
        if config.has_regions:
            stored["box"] = part["box"]
        if config.has_masks:
            mask = part["mask"]
            if mask is None:  # filled boxes among masks
                image, _ = upright(data)
                box = np.asarray(part["box"])[None, None]
                mask = mask_png(part_boxes_to_masks(box, (image.height, image.width))[0, 0])
            stored["mask"] = mask
        return stored


_ARGUMENTS = ("source", "annotations", "category", "seed", "skip_damaged", "data_dir")
