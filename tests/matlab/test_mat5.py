"""A damaged MATLAB 5 file is refused before SciPy, which it could crash, reads it."""

import struct

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from interp_cnn.matlab import read_structs
from interp_cnn.matlab.check import check_mat5


def content():
    cells = np.empty((1, 2), object)
    cells[0] = [np.arange(3.0), "text"]
    return {
        "number": 3.0,
        "complex": np.array([[1 + 2j]]),
        "int": np.arange(6, dtype=np.int16).reshape(2, 3),
        "text": "größer",
        "empty": np.zeros((0, 0)),
        "sparse": scipy.sparse.csc_matrix(np.eye(3)),
        "cells": cells,
        "structs": {"a": np.ones((2, 2), np.float32), "b": {"c": "d", "e": np.array([[True]])}},
    }


@pytest.mark.parametrize("compress", [False, True])
def test_what_scipy_writes_passes(tmp_path, compress):
    file = tmp_path / "file.mat"
    scipy.io.savemat(file, content(), do_compression=compress)
    check_mat5(file)


def patched(data, at, text):
    return data[:at] + text + data[at + len(text) :]


def test_a_type_that_scipy_crashes_on(tmp_path):
    """The type of a cell's array, 0 in place of 14: found by the fuzz."""
    file = tmp_path / "file.mat"
    scipy.io.savemat(file, {"anno": content()["structs"]})
    data = file.read_bytes()
    place = data.rindex(struct.pack("<I", 14))
    file.write_bytes(patched(data, place, b"\0"))
    with pytest.raises(ValueError, match=r"byte \d+: an element of type 0 has \d+ bytes"):
        check_mat5(file)
    with pytest.raises(ValueError, match=r"file\.mat cannot be read as a MATLAB file .*type 0"):
        read_structs(file, "anno")


def test_every_damaged_byte_of_the_structure_or_a_readable_file(tmp_path):
    """One byte after the other as 0, 255 and with its lowest bit changed."""
    file = tmp_path / "file.mat"
    scipy.io.savemat(file, {"anno": content()["structs"]})
    data = file.read_bytes()
    refused = 0
    for at in range(124, len(data)):
        for value in (0, 255, data[at] ^ 1):
            file.write_bytes(patched(data, at, bytes([value])))
            try:
                read_structs(file, "anno")
            except ValueError:
                refused += 1
    assert refused > len(data) / 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:100], "it has 100 bytes"),
        (lambda data: b"\0" * len(data), "no header of MATLAB 5"),
        (lambda data: data[:-3], "an element of type 14 has"),
        (lambda data: data + b"\0\0\0", "an element is cut off"),
    ],
)
def test_no_file_of_matlab_5(tmp_path, change, message):
    file = tmp_path / "file.mat"
    scipy.io.savemat(file, content())
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ValueError, match=message):
        check_mat5(file)
