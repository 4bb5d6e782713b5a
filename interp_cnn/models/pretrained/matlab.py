"""Reads variables of MATLAB files, 5 to 7 (scipy) as well as 7.3 (HDF5), into the same values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from interp_cnn.mat5_check import check_mat5


def read_matlab(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The named variables of a MATLAB file, as far as they are there.

    A struct is a dict (a struct array a list of them), a cell array a list, a char row a str, and a
    numeric array an array of MATLAB's own shape and type. Nothing is unpickled.

    Args:
      path: the .mat file.
      names: the variables wanted.

    Raises:
      ValueError: if the file is truncated, damaged or no MATLAB file.
    """
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return {name: _from_hdf5(file[name], file) for name in names if name in file}
        check_mat5(path)
        variables = scipy.io.loadmat(path, variable_names=list(names))
        return {name: _from_matlab5(variables[name]) for name in names if name in variables}
    except Exception as error:  # both libraries raise whatever a damaged file leads them into
        raise ValueError(
            f"{path} is truncated or damaged, or no MATLAB file ({error}): copy or download it"
            " again."
        ) from error


def _from_matlab5(value: np.ndarray) -> Any:
    if value.dtype.names:
        entries = value.ravel(order="F")
        structs = [{n: _from_matlab5(entry[n]) for n in value.dtype.names} for entry in entries]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype.kind == "O":
        return [_from_matlab5(item) for item in value.ravel(order="F")]
    return "".join(value.ravel()) if value.dtype.kind == "U" else value


def _from_hdf5(node: h5py.Group | h5py.Dataset, file: h5py.File) -> Any:
    if isinstance(node, h5py.Group):
        return {name: _from_hdf5(item, file) for name, item in node.items()}
    is_text = node.attrs.get("MATLAB_class") == b"char"
    # The content of an empty array is its size, not a value.
    if node.attrs.get("MATLAB_empty", 0):
        return "" if is_text else np.zeros((0, 0))
    if node.dtype == h5py.ref_dtype:  # a cell array, or one field of a struct array
        return [_from_hdf5(file[reference], file) for reference in node[()].ravel()]
    # HDF5 stores MATLAB's columns as rows.
    return "".join(map(chr, node[()].ravel())) if is_text else node[()].T
