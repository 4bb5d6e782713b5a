"""Reads struct arrays from MATLAB files, 5 (scipy) as well as 7.3 (HDF5), into the same values."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from interp_cnn.mat5_check import check_mat5


def read_structs(path: str | Path, variable: str) -> list[dict[str, Any]]:
    """The struct array `variable` of a MATLAB 5 or 7.3 file, entry by entry.

    Both formats give the same values: a struct array is a list of dicts (also one of one entry), a
    number or matrix has its own type, a logical one uint8, and MATLAB's own [rows, columns] (HDF5
    stores it transposed), a char row is a str, and what is empty in MATLAB (`[]`, `''`) is None.
    Nothing is unpickled.

    Args:
        path: the .mat file.
        variable: name of the struct array in it.

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
        value = _read_hdf5(path, variable) if h5py.is_hdf5(path) else _read_matlab5(path, variable)
    except Exception as error:  # both libraries raise whatever a damaged file leads them into
        raise ValueError(
            f"{path} cannot be read as a MATLAB file with the struct array {variable!r} ({error}): "
            "copy it again."
        ) from error
    if not isinstance(value, list):
        raise ValueError(f"{variable!r} of {path} is no struct array: copy the right file there.")
    return value


def _read_matlab5(path: Path, variable: str) -> Any:
    check_mat5(path)
    variables = scipy.io.loadmat(path, variable_names=[variable])
    if variable not in variables:
        raise ValueError("there is no variable of that name")
    return _from_matlab5(variables[variable])


def _from_matlab5(value: np.ndarray) -> Any:
    if value.size == 0:
        return None
    if value.dtype.names:
        entries = value.ravel(order="F")
        return [{n: _from_matlab5(e[n]) for n in value.dtype.names} for e in entries]
    if value.dtype.kind == "U":
        return "".join(value.ravel())
    return value


def _read_hdf5(path: Path, variable: str) -> Any:
    with h5py.File(path, "r") as file:
        if variable not in file:
            raise ValueError("there is no variable of that name")
        return _from_hdf5(file[variable], file)


def _from_hdf5(node: h5py.Group | h5py.Dataset, file: h5py.File) -> Any:
    if isinstance(node, h5py.Group):
        fields = {name: _entries(item, file) for name, item in node.items()}
        sizes = {len(column) for column in fields.values()}
        if len(sizes) != 1:
            raise ValueError(f"the fields of {node.name} have different lengths")
        return [{n: column[i] for n, column in fields.items()} for i in range(sizes.pop())]
    # The content of an empty array is its size, not a value.
    if node.attrs.get("MATLAB_empty", 0):
        return None
    if node.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, node[()].ravel()))
    return np.asarray(node[()]).T


def _entries(item: h5py.Group | h5py.Dataset, file: h5py.File) -> list[Any]:
    """One field of a struct, for all entries: of a 1x1 struct the value stands there itself."""
    if isinstance(item, h5py.Dataset) and item.dtype == h5py.ref_dtype:
        # Entries run along the first axis of the transposed [N, 1].
        return [_from_hdf5(file[reference], file) for reference in item[()].ravel()]
    return [_from_hdf5(item, file)]
