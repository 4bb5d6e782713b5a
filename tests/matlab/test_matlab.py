"""MATLAB 5 and 7.3 struct arrays read alike, and damaged files are named."""

import h5py
import numpy as np
import pytest
import scipy.io
from animal_part_folder import PART, part_entry, write_matlab5, write_matlab73

from interp_cnn.matlab import read_structs, read_variables


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
    scipy.io.savemat(tmp_path / "5.mat", {"anno": {"mask": mask > 0, "number": 3.0}})
    with h5py.File(tmp_path / "73.mat", "w") as file:
        file["anno/mask"] = mask.T
        file["anno/number"] = np.float64(3)  # without dimensions, as other writers have it
    for name in ("5.mat", "73.mat"):
        (found,) = read_structs(tmp_path / name, "anno")
        np.testing.assert_array_equal(found["mask"], mask)
        assert found["mask"].dtype == np.uint8  # float64 would take eight times the memory
        assert found["number"].item() == 3


def test_cells_structs_and_what_is_empty(tmp_path):
    cells = np.empty((1, 2), object)
    cells[0] = [{"name": "conv1"}, {"name": ""}]
    scipy.io.savemat(tmp_path / "5.mat", {"net": {"layers": cells, "size": np.zeros((0, 0))}})
    with h5py.File(tmp_path / "73.mat", "w") as file:
        for k, text in enumerate(("conv1", "")):
            data = [ord(letter) for letter in text] or [0, 0]
            node = file.create_dataset(f"#refs#/{k}/name", data=np.array(data, "u2")[:, None])
            node.attrs["MATLAB_class"] = np.bytes_("char")
            node.attrs["MATLAB_empty"] = np.uint8(not text)
        references = [[file["#refs#/0"].ref], [file["#refs#/1"].ref]]
        node = file.create_dataset("net/layers", data=np.array(references, h5py.ref_dtype))
        node.attrs["MATLAB_class"] = np.bytes_("cell")
        file["net/size"] = np.zeros(2, "u8")
        file["net/size"].attrs["MATLAB_empty"] = np.uint8(1)
        file.create_group("bare")
    for name in ("5.mat", "73.mat"):
        net = read_variables(tmp_path / name, ["net", "other"])["net"]
        assert net["layers"] == [{"name": "conv1"}, {"name": ""}]
        assert net["size"].shape == (0, 0)
        (struct,) = read_structs(tmp_path / name, "net")
        assert struct == {"layers": [[{"name": "conv1"}], [{"name": None}]], "size": None}
        with pytest.raises(ValueError, match="there is no variable of that name"):
            read_structs(tmp_path / name, "other")
    with pytest.raises(ValueError, match=r"73\.mat cannot be read .*\(a struct has no fields"):
        read_structs(tmp_path / "73.mat", "bare")


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
