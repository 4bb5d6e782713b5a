"""Reads MATLAB files, 5 to 7 (SciPy) as well as 7.3 (HDF5), into the same values.

Nothing is unpickled. A number or matrix has its own type, a logical one uint8, and MATLAB's own
[rows, columns] (HDF5 stores it transposed); a char row is a str and a cell array a list.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from interp_cnn.matlab.check import check_mat5


class _Structs(list):
    """The entries of a struct array, dicts, to be told from those of a cell array."""


def read_structs(path: str | Path, variable: str) -> list[dict[str, Any]]:
    """The struct array `variable` of a MATLAB file, entry by entry.

    A struct array is a list of dicts, also one of one entry, and what is empty in MATLAB (`[]`,
    `''`) is None.

    Args:
      path: the .mat file.
      variable: the name of the struct array in it.

    Returns:
      One dict per entry, in MATLAB's order.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged, in another format, or has no such struct array.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The annotation file {path} is missing: copy it there.")
    try:
        variables = _read(path, [variable])
        if variable not in variables:
            raise ValueError("there is no variable of that name")
        value = _none_where_empty(variables[variable])
    except Exception as error:  # both libraries raise whatever a damaged file leads them into
        raise ValueError(
            f"{path} cannot be read as a MATLAB file with the struct array {variable!r} ({error}): "
            "copy it again."
        ) from error
    if not isinstance(value, _Structs):
        raise ValueError(f"{variable!r} of {path} is no struct array: copy the right file there.")
    return value


def read_variables(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The named variables of a MATLAB file, as far as they are there.

    A struct is a dict, a struct array of several entries a list of them; what is empty is an empty
    array, text or list.

    Args:
      path: the .mat file.
      names: the names of the variables that are wanted.

    Raises:
      ValueError: if the file is truncated, damaged or no MATLAB file.
    """
    try:
        return {name: _single_structs(value) for name, value in _read(path, names).items()}
    except Exception as error:  # both libraries raise whatever a damaged file leads them into
        raise ValueError(
            f"{path} is truncated or damaged, or no MATLAB file ({error}): copy or download it"
            " again."
        ) from error


def _read(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Those of the variables that are there, with `_Structs` for every struct."""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            return {name: _from_hdf5(file[name], file) for name in names if name in file}
    check_mat5(path)
    variables = scipy.io.loadmat(path, variable_names=list(names))
    return {name: _from_matlab5(variables[name]) for name in names if name in variables}


def _from_matlab5(value: np.ndarray) -> Any:
    if value.dtype.names:
        entries = value.ravel(order="F")
        return _Structs({n: _from_matlab5(e[n]) for n in value.dtype.names} for e in entries)
    if value.dtype.kind == "O":
        return [_from_matlab5(item) for item in value.ravel(order="F")]
    return "".join(value.ravel()) if value.dtype.kind == "U" else value


def _from_hdf5(node: h5py.Group | h5py.Dataset, file: h5py.File) -> Any:
    if isinstance(node, h5py.Group):
        columns = {name: _entries(item, file) for name, item in node.items()}
        sizes = {len(column) for column in columns.values()} or {1}
        if len(sizes) != 1:
            raise ValueError(f"the fields of {node.name} have different lengths")
        return _Structs({n: column[i] for n, column in columns.items()} for i in range(*sizes))
    is_text = node.attrs.get("MATLAB_class") == b"char"
    # The content of an empty array is its size, not a value.
    if node.attrs.get("MATLAB_empty", 0):
        return "" if is_text else np.zeros((0, 0))
    if node.dtype == h5py.ref_dtype:
        return _referred(node, file)
    # HDF5 stores MATLAB's columns as rows.
    return "".join(map(chr, node[()].ravel())) if is_text else np.asarray(node[()]).T


def _entries(item: h5py.Group | h5py.Dataset, file: h5py.File) -> list[Any]:
    """One field of a struct, for all entries: of a 1x1 struct the value stands there itself."""
    refers = isinstance(item, h5py.Dataset) and item.dtype == h5py.ref_dtype
    if refers and "MATLAB_class" not in item.attrs:  # a cell array has the class "cell"
        return _referred(item, file)
    return [_from_hdf5(item, file)]


def _referred(node: h5py.Dataset, file: h5py.File) -> list[Any]:
    # Entries run along the first axis of the transposed [N, 1].
    return [_from_hdf5(file[reference], file) for reference in node[()].ravel()]


def _none_where_empty(value: Any) -> Any:
    if isinstance(value, list):
        return type(value)(map(_none_where_empty, value)) if value else None
    if isinstance(value, dict):
        if not value:
            raise ValueError("a struct has no fields")
        return {name: _none_where_empty(item) for name, item in value.items()}
    empty = not value if isinstance(value, str) else np.size(value) == 0
    return None if empty else value


def _single_structs(value: Any) -> Any:
    if isinstance(value, list):
        items = [_single_structs(item) for item in value]
        return items[0] if isinstance(value, _Structs) and len(items) == 1 else items
    if isinstance(value, dict):
        return {name: _single_structs(item) for name, item in value.items()}
    return value
