"""What a work directory has of the filters of a network: the files, written and read."""

import io
from typing import NamedTuple

import numpy as np
from etils import epath
from numpy.typing import NDArray

from interp_cnn import storage


class FilterParts(NamedTuple):
    """What the filters of the new convolution stand for.

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
            if part.dtype != np.int64 or part.ndim != 1 or part.max(initial=0) >= len(names):
                raise ValueError(f"its parts are {part.dtype} of shape {part.shape}")
            return FilterParts(part, names, categories)
    except Exception as error:  # NumPy raises whatever a damaged file leads it into
        raise ValueError(f"{file} is damaged ({error}); delete it, it is made again") from error
