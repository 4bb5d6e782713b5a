"""The embedded data set as tfds: animals drawn from parts, with exact masks. Needs no download."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from interp_cnn.data.categories import SEPARATOR, named_categories
from interp_cnn.data.embedded import drawing
from interp_cnn.data.embedded.drawing import CATEGORIES, MIN_SIZE, PARTS, WINGED, encoded_example

LANDMARKS: tuple[str, ...] = ("head", "torso", "legs", "tail")

_OBJECTS = 1500  # of a config's categories together, and so many others
_LEAST = 500  # of each category, where there are several: fewer do not train a network from scratch
_PER_WORKER = 200  # fewer pictures are not worth the start of a process
_MAX_WORKERS = 8

Job = tuple[str | None, int, int, int]  # category, index, seed, size


@dataclasses.dataclass(eq=False)
class EmbeddedConfig(tfds.core.BuilderConfig):
    """What to draw. The name is made from the rest where none is given.

    Attributes:
        categories: some of `CATEGORIES`, in the order of their labels 1, 2, ...
        num_per_category: pictures of each category.
        num_other: pictures without an animal, label 0.
        image_size: side of the pictures in pixels.
        seed: another seed gives other pictures.
    """

    name: str = ""
    categories: tuple[str, ...] = CATEGORIES
    num_per_category: int = _LEAST
    num_other: int = _OBJECTS
    image_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the fields and makes the name."""
        unknown = [c for c in self.categories if c not in CATEGORIES]
        if unknown or not self.categories or len(set(self.categories)) < len(self.categories):
            raise ValueError(
                f"categories is {self.categories!r}; "
                f"name some of {', '.join(CATEGORIES)}, each once."
            )
        for field, least in (
            ("num_per_category", 1),
            ("num_other", 0),
            ("image_size", MIN_SIZE),
            ("seed", 0),
        ):
            if getattr(self, field) < least:
                raise ValueError(f"{field} is {getattr(self, field)}; it must be at least {least}.")
        if not self.name:
            self.name = (
                f"{'-'.join(self.categories)}_{self.num_per_category}_other_{self.num_other}"
                f"_size_{self.image_size}_seed_{self.seed}"
            )


class EmbeddedAnimals(tfds.core.GeneratorBasedBuilder):
    """Drawn animals that differ in their parts alone, and pictures of scattered parts as label 0.

    The config is one category (`"cat"`), several joined by `+` (`"cat+rabbit"`), or `"all"`: 1500
    pictures of them together, of more than three categories 500 each, and 1500 of scattered parts.
    Give an `EmbeddedConfig` for other numbers, sizes or seeds. `info.metadata["summary"]` counts by
    category what was drawn.
    """

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [  # noqa: RUF012, the name and type are those of tfds
        EmbeddedConfig(name="all", description="all categories and other"),
        *(
            EmbeddedConfig(
                name=category,
                categories=(category,),
                num_per_category=_OBJECTS,
                description=f"{category} against other",
            )
            for category in CATEGORIES
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "all"

    landmarks = LANDMARKS

    def __init__(
        self,
        *,
        config: str | EmbeddedConfig | None = None,
        file_format: str = "array_record",
        **kwargs: Any,
    ) -> None:
        if isinstance(config, str):
            config = _config_named(config)
        super().__init__(config=config, file_format=file_format, **kwargs)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the labels 1, 2, ..."""
        return self.builder_config.categories

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that these animals have."""
        return PARTS if WINGED in self.categories else tuple(p for p in PARTS if p != "wings")

    def _info(self) -> tfds.core.DatasetInfo:
        config, size = self.builder_config, self.builder_config.image_size
        part = {
            "name": tfds.features.Text(),
            "center": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            homepage="https://arxiv.org/abs/1710.00935",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "photo_id": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["other", *config.categories]),
                    "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                    "parts": tfds.features.Sequence(part),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        config = self.builder_config
        counts = {c: config.num_per_category for c in config.categories} | {None: config.num_other}
        splits: dict[str, list[Job]] = {"train": [], "test": []}
        for category, count in counts.items():
            for index in range(count):
                split = "test" if in_test(category, index, config.seed) else "train"
                splits[split].append((category, index, config.seed, config.image_size))
        for split, jobs in splits.items():
            if not jobs:
                raise ValueError(
                    f"config {config.name!r} has no pictures for the {split} split: ask for more."
                )
        summary: dict[str, Any] = {}
        for name in (*config.categories, "other"):
            summary[name] = {"examples": 0, "photos": 0, "parts": {}, "left_out": {}}
        self.info.metadata["summary"] = summary  # counted while they are drawn
        return {split: self._generate_examples(jobs, summary) for split, jobs in splits.items()}

    def _generate_examples(
        self, jobs: list[Job], summary: dict[str, Any]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        labels = {c: k for k, c in enumerate((None, *self.builder_config.categories))}
        with contextlib.closing(_drawn(jobs)) as examples:
            for (category, *_), example in zip(jobs, examples, strict=True):
                counts = summary[category or "other"]
                counts["examples"] += 1
                counts["photos"] += 1
                for part in example["parts"]:
                    counts["parts"][part["name"]] = counts["parts"].get(part["name"], 0) + 1
                yield example["photo_id"], example | {"label": labels[category]}


def _config_named(text: str) -> EmbeddedConfig:
    """The config of `"cat"`, `"cat+rabbit"` or `"all"`."""
    categories = named_categories(text, CATEGORIES)
    for config in EmbeddedAnimals.BUILDER_CONFIGS:
        if config.categories == categories:
            return config
    return EmbeddedConfig(
        name=SEPARATOR.join(categories),
        categories=categories,
        num_per_category=max(_OBJECTS // len(categories), _LEAST),
        description=f"{', '.join(categories)} and other",
    )


def in_test(category: str | None, index: int, seed: int = 0) -> bool:
    """Whether a picture belongs to the test split (one third); the same in every config."""
    digest = hashlib.sha256(f"{category or 'other'}_{seed}_{index:05d}".encode()).digest()
    return digest[0] % 3 == 0


def _drawn(jobs: list[Job]) -> Generator[dict[str, Any], None, None]:
    """The pictures in order, drawn by several processes where there are many.

    The processes run the drawing module alone, which imports no JAX: unlike multiprocessing's they
    neither import the caller's main script again nor fork a process in which JAX has threads.
    """
    workers = min(os.cpu_count() or 1, _MAX_WORKERS, len(jobs) // _PER_WORKER)
    if workers < 2:
        for job in jobs:
            yield encoded_example(*job)
        return
    command = [sys.executable, "-m", drawing.__name__]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with contextlib.ExitStack() as stack:
        results = []
        for k in range(workers):
            process = stack.enter_context(
                subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            stack.callback(process.kill)
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it ended already, which is noticed below
                pickle.dump(jobs[k::workers], process.stdin)
                process.stdin.close()
            results.append(process.stdout)
        for number, job in enumerate(jobs):
            try:
                example = pickle.load(results[number % workers])
            except (EOFError, pickle.UnpicklingError):  # the process ended: draw here instead
                example = encoded_example(*job)
            yield example
