"""MATLAB 5 and 7.3 struct arrays read alike, and damaged files are named."""

import h5py
import numpy as np
import pytest
import scipy.io
from animal_part_folder import PART, part_entry, write_matlab5, write_matlab73

from interp_cnn.data.photos.matlab import read_structs


def test_matlab5_and_73_read_alike(tmp_path):
    entries = [part_entry(), part_entry(PART), part_entry(PART, ([1.0, 2.0], [3.0, 4.0]), number=3)]
    write_matlab5(tmp_path / "5.mat", "truth", entries)
    write_matlab73(tmp_path / "73.mat", "truth", entries)
    for name in ("5.mat", "73.mat"):
        empty, one, two = read_structs(tmp_path / name, "truth")
        assert empty == {"pHW_center": None, "pHW_scale": None, "obj": None}
        np.testing.assert_array_equal(one["pHW_center"], [[56.0], [112.0]])
        np.testing.assert_array_equal(two["pHW_center"], [[56.0, 1.0], [112.0, 2.0]])
        np.testing.assert_array_equal(two["pHW_scale"], [[112.0, 3.0], [56.0, 4.0]])
        assert [len(e["obj"]) for e in (one, two)] == [1, 2]
        assert two["obj"][1]["bndbox"] == [{"xmin": "0", "ymin": "35"}]
        assert two["obj"][1]["ID"].item() == 3


def test_numbers_keep_their_type(tmp_path):
    mask = np.array([[0, 1, 0], [1, 1, 0]], np.uint8)
    scipy.io.savemat(tmp_path / "5.mat", {"anno": {"mask": mask > 0}})
    with h5py.File(tmp_path / "73.mat", "w") as file:
        file["anno/mask"] = mask.T
    for name in ("5.mat", "73.mat"):
        (found,) = read_structs(tmp_path / name, "anno")
        np.testing.assert_array_equal(found["mask"], mask)
        assert found["mask"].dtype == np.uint8  # float64 would take eight times the memory


@pytest.mark.parametrize("write", [write_matlab5, write_matlab73])
def test_matlab_errors_name_the_file(tmp_path, write):
    path = tmp_path / "truth.mat"
    with pytest.raises(FileNotFoundError, match=r"truth\.mat is missing"):
        read_structs(path, "truth")
    write(path, "truth", [part_entry(PART)] * 5)
    with pytest.raises(ValueError, match=r"truth\.mat cannot be read .* 'samples'"):
        read_structs(path, "samples")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"truth\.mat cannot be read"):
        read_structs(path, "truth")
    path.write_text("<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"truth\.mat cannot be read"):
        read_structs(path, "truth")
