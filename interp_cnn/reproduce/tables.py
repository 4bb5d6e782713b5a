"""Which tables there are, what their columns show, and the trainings behind each."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from interp_cnn.data.categories import ALL, SEPARATOR
from interp_cnn.data.embedded.builder import drawing
from interp_cnn.data.photos import animal_part_files, voc_part_files

VOC, ILSVRC, CUB = "pascal_voc_part", "ilsvrc_animal_part", "cub_200_2011"
EMBEDDED = "embedded_animals"
TITLES = {VOC: "VOC Part", ILSVRC: "ILSVRC Animal-Part", CUB: "CUB-200-2011", EMBEDDED: "embedded"}
CATEGORIES: dict[str, tuple[str, ...]] = {
    VOC: voc_part_files.CATEGORIES,
    ILSVRC: tuple(animal_part_files.CATEGORIES),
    CUB: ("bird",),
    EMBEDDED: drawing.CATEGORIES,
}
# Of each network of the paper its batch and the factor k of its learning rate.
BATCH_AND_FACTOR = {
    "alexnet": (512, 30.0),
    "vgg_m": (196, 30.0),
    "vgg_s": (128, 10.0),
    "vgg16": (32, 1.0),
}
SINGLE, LOGISTIC, SOFTMAX = "single", "multi_logistic", "multi_softmax"
_TASK_TITLES = {SINGLE: "single", LOGISTIC: "multi, logistic", SOFTMAX: "multi, softmax"}

ACCURACY, INSTABILITY = "accuracy", "location_instability"
TRACKING, INTERPRETABILITY = "tracking_ratio", "part_interpretability"
INTERPRETABILITY_FIRED, FIRED = "part_interpretability_fired", "fired_share"
# The name of each metric in `interp_cnn.report.paper_numbers`; the others are our own measures.
IN_PAPER = {
    ACCURACY: "accuracy",
    INSTABILITY: "location_instability",
    INTERPRETABILITY_FIRED: "part_interpretability",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
      name: how it is asked for.
      title: what it shows.
      metrics: the paper's first, then what has to stand beside it.
      tasks: pairs of a data set and a task, a column each.
      by_category: a column for each category before that of the task, which is their mean.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    tasks: tuple[tuple[str, str], ...]
    by_category: bool = False


# Numbers as in the paper. A unit that ignores the image can have a low instability, hence the
# tracking ratio beside it.
_WHERE = (INSTABILITY, TRACKING)
# The paper's numbers read as those of the images on which a filter fires, which rewards one that
# fires on few; all images are stricter.
_PARTS = (INTERPRETABILITY_FIRED, FIRED, INTERPRETABILITY)
_MULTI = (LOGISTIC, SOFTMAX)
TABLES: dict[str, tuple[Table, ...]] = {
    "1": (Table("1", "Part interpretability, one category", _PARTS, ((VOC, SINGLE),), True),),
    "2": (
        Table(
            "2",
            "Part interpretability, several categories",
            _PARTS,
            tuple((VOC, task) for task in _MULTI),
        ),
    ),
    "ilsvrc": (Table("ilsvrc", "Location instability", _WHERE, ((ILSVRC, SINGLE),), True),),
    "4": (Table("4", "Location instability", _WHERE, ((VOC, SINGLE),), True),),
    "5": (Table("5", "Location instability", _WHERE, ((CUB, SINGLE),), True),),
    "7": (
        Table(
            "7",
            "Classification accuracy",
            (ACCURACY,),
            (
                *((ILSVRC, LOGISTIC), (VOC, LOGISTIC), (VOC, SOFTMAX)),
                *((ILSVRC, SINGLE), (VOC, SINGLE), (CUB, SINGLE)),
            ),
        ),
    ),
    "embedded": (
        Table(
            "embedded 1",
            "Part interpretability, one category",
            _PARTS,
            ((EMBEDDED, SINGLE),),
            True,
        ),
        Table(
            "embedded 2",
            "Part interpretability, several categories",
            _PARTS,
            tuple((EMBEDDED, task) for task in _MULTI),
        ),
        Table(
            "embedded 4",
            "Location instability",
            _WHERE,
            tuple((EMBEDDED, task) for task in (SINGLE, *_MULTI)),
            True,
        ),
        Table(
            "embedded 7",
            "Classification accuracy",
            (ACCURACY,),
            tuple((EMBEDDED, task) for task in (SINGLE, *_MULTI)),
            True,
        ),
    ),
}


class Experiment(NamedTuple):
    """What is trained, with several seeds: both networks of one task on one data set."""

    dataset: str
    task: str
    category: str  # as in config.data.category
    network: str  # the architecture


class Column(NamedTuple):
    """One column of a table.

    Attributes:
      title: what stands above the column.
      dataset: the data set that is measured.
      task: the task that is measured.
      categories: texts for config.data.category; the column is the mean over them.
      one: whether it shows one category of several columns.
      reason: why it cannot be filled, or "".
    """

    title: str
    dataset: str
    task: str
    categories: tuple[str, ...]
    one: bool = False
    reason: str = ""


def chosen_categories(dataset: str, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Those of a data set that are wanted; None wants all, and CUB has all birds as one."""
    known = CATEGORIES[dataset]
    if wanted is None or len(known) == 1:
        return known
    return tuple(name for name in known if name in wanted)


def columns(table: Table, wanted: Sequence[str] | None) -> list[Column]:
    """Columns of a table for the wanted categories (None: all)."""
    result = []
    for dataset, task in table.tasks:
        chosen = chosen_categories(dataset, wanted)
        title = _TASK_TITLES[task]
        if not table.by_category:  # there the title of the table names the data set
            title = f"{TITLES[dataset]}, {title}"
        if not chosen:
            reason = f"none of the chosen categories is in {TITLES[dataset]}"
            result.append(Column(title, dataset, task, (), reason=reason))
        elif task != SINGLE and len(chosen) == 1:
            reason = f"{chosen[0]} alone is not several categories; name more in --categories"
            result.append(Column(title, dataset, task, (), reason=reason))
        elif task != SINGLE:
            text = ALL if chosen == CATEGORIES[dataset] else SEPARATOR.join(chosen)
            result.append(Column(title, dataset, task, (text,)))
        else:
            if table.by_category:
                title = chosen[0]
                if len(CATEGORIES[dataset]) > 1:
                    result += [Column(name, dataset, task, (name,), one=True) for name in chosen]
                    title = "mean"
            result.append(Column(title, dataset, task, chosen))
    return result


def networks(table: Table, wanted: Sequence[str]) -> tuple[str, ...]:
    """Networks in the rows: the wanted ones, but the small one on the embedded data."""
    return ("small",) if table.tasks[0][0] == EMBEDDED else tuple(wanted)


def experiments(
    table: Table, *, nets: Sequence[str], wanted: Sequence[str] | None
) -> list[Experiment]:
    """What has to be trained for a table."""
    return [
        Experiment(column.dataset, column.task, category, network)
        for network in networks(table, nets)
        for column in columns(table, wanted)
        for category in column.categories
    ]
