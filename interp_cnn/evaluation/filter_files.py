"""What a work directory has of the filters of a network: the files, written and read."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from etils import epath
from numpy.typing import NDArray

from interp_cnn import storage
from interp_cnn.workdir import FILTER_FIGURES, FILTER_PARTS


class FilterParts(NamedTuple):
    """What the filters of the last interpretable layer stand for.

    Attributes:
      part: index into names, -1 for none, int [filters].
      names: of the parts.
      categories: what the outputs of the network stand for.
    """

    part: NDArray[np.int64]
    names: tuple[str, ...]
    categories: tuple[str, ...]


def write_filter_parts(file: epath.Path, step: int, found: FilterParts) -> None:
    """Write `filters.npz`: what is known of the filters at a step of training."""
    with storage.staged_file(file) as staged:
        np.savez(staged, step=step, **found._asdict())


def read_filter_parts(file: epath.Path, step: int) -> FilterParts | None:
    """What `filters.npz` has on the filters at a step of training; None where it has nothing.

    Raises:
      ValueError: for a damaged file.
    """
    try:
        content = io.BytesIO(storage.read(file))
    except FileNotFoundError:
        return None
    try:
        # np.load leaves a damaged file open when it opens it itself.
        with np.load(content, allow_pickle=False) as stored:
            if int(stored["step"]) != step:
                return None
            names, categories = (tuple(stored[key].tolist()) for key in ("names", "categories"))
            part = stored["part"]
            if part.dtype != np.int64 or part.ndim != 1 or part.max(initial=-1) >= len(names):
                raise ValueError(f"its parts are {part.dtype} of shape {part.shape}")
            return FilterParts(part, names, categories)
    except Exception as error:  # NumPy raises whatever a damaged file leads it into
        raise ValueError(f"{file} is damaged ({error}); delete it, it is made again") from error


@dataclasses.dataclass(frozen=True)
class FilterFigures:
    """What an evaluation found of one filter; None is a figure that could not be measured.

    Attributes:
      layer: the name of its layer.
      filter: its number in the layer, from 0.
      category: the category that it belongs to.
      part: what it stands for, the part that its region hits most often (where parts have no
        regions the landmark that it follows best), "" for none.
      landmark: the landmark that it follows best, "" for none.
      location_instability: mean over the landmarks.
      tracking_ratio: that of the landmark that it follows best.
      part_interpretability: P_f of its best part over all images that have that part.
      part_interpretability_fired: the same over those of them on which the filter fires.
      fired_share: share of the images on which it fires (has a valid position).
      mutual_information: Eq. 1 on scale-free maps, in nats.
      dead: whether it fires on no image of its category.
      collapsed: whether its peak hardly moves.
      purity: of its purest landmark; it and the next two where `eval.related_measures` was set.
      inconsistency: where its activations lie over images, as an entropy in nats.
      category_information: what its strength tells about a category at most, in nats.
    """

    layer: str
    filter: int
    category: str
    part: str
    landmark: str
    location_instability: float | None
    tracking_ratio: float | None
    part_interpretability: float | None
    part_interpretability_fired: float | None
    fired_share: float | None
    mutual_information: float | None
    dead: bool
    collapsed: bool
    purity: float | None = None
    inconsistency: float | None = None
    category_information: float | None = None


_STEP = "step"


def write_filter_figures(file: epath.Path, step: int, rows: Iterable[FilterFigures]) -> None:
    """Write `filters.csv`: the figures of each filter at a step of training.

    Raises:
      OSError: where the file cannot be written.
    """
    names = [field.name for field in dataclasses.fields(FilterFigures)]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([_STEP, *names])
    for row in rows:
        # The writer leaves None empty.
        table.writerow([step, *(getattr(row, name) for name in names)])
    storage.write(file, text.getvalue())


def read_filter_figures(file: epath.Path, step: int) -> tuple[FilterFigures, ...] | None:
    """What `filters.csv` has on the filters at a step of training; None where it has nothing.

    Raises:
      ValueError: for a damaged file.
    """
    try:
        text = storage.read(file)
    except FileNotFoundError:
        return None
    try:
        lines = list(csv.DictReader(io.StringIO(text.decode()), strict=True))
        if any(int(line[_STEP]) != step for line in lines):
            return None
        return tuple(_row(line) for line in lines)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ValueError(
            f"{file} is damaged ({error}); delete it and evaluate the run again (eval.py)"
        ) from error


def _row(line: Mapping[str, str]) -> FilterFigures:
    """A row from its texts; the figures of a later release are left out."""
    hints = get_type_hints(FilterFigures)
    return FilterFigures(**{name: _value(line[name], kind) for name, kind in hints.items()})


def _value(text: str, kind: Any) -> Any:
    """The value of a cell."""
    if kind is bool:
        return {"True": True, "False": False}[text]
    if kind in (str, int):
        return kind(text)
    return float(text) if text else None


def write_filters(
    folder: epath.Path, step: int, parts: FilterParts, figures: Iterable[FilterFigures]
) -> None:
    """Write both files on the filters of a network.

    Args:
      folder: the network's folder in a work directory.
      step: the number of training steps behind what was measured.
      parts: what the filters stand for.
      figures: the figures of each filter.

    Raises:
      OSError: where they cannot be written.
    """
    write_filter_parts(folder / FILTER_PARTS, step, parts)
    write_filter_figures(folder / FILTER_FIGURES, step, figures)
