"""Every notebook runs from start to end in its short mode, and is committed with its outputs."""

import os
import re
import sys
import types

import jax
import jaxlib
import nbclient
import nbformat
import pytest
from repository import ROOT
from xla_flags import quick_xla_flags

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def kernel_environment(tmp_path_factory):
    """Short mode, one folder for all, one device."""
    settings = {
        "INTERP_CNN_NOTEBOOK_SHORT": "1",
        "INTERP_CNN_NOTEBOOK_DIR": str(tmp_path_factory.mktemp("runs")),
        "XLA_FLAGS": quick_xla_flags(devices=1),
    }
    return os.environ | settings


# quickstart.ipynb comes after explain.ipynb and finds its network there.
@pytest.mark.filterwarnings("default")  # of Jupyter's own, none of ours
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem == "quickstart" else pytest.mark.thorough)
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def test_the_notebook_runs(path, kernel_environment):
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "notebooks")}}
    )
    client.execute(env=kernel_environment)
    assert sum(bool(cell.get("outputs")) for cell in notebook.cells) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_with_their_outputs(path):
    """Those of one whole execution (`python notebooks/execute.py`), small enough for a page."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not {"error", "stderr"} & {output.get("name", output.output_type) for output in outputs}
    assert path.stat().st_size < 1_000_000


def test_the_notebooks_are_these():
    assert [path.stem for path in NOTEBOOKS] == ["explain", "quickstart", "your_own_network"]


def first_code(path):
    notebook = nbformat.read(path, as_version=4)
    return next(cell.source for cell in notebook.cells if cell.cell_type == "code")


def test_on_colab_the_first_cell_asks_for_an_address_and_keeps_the_jax_at_hand(
    tmp_path, monkeypatch
):
    (source,) = {first_code(path) for path in NOTEBOOKS}
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="set CLONE_ADDRESS in this cell to the address"):
        exec(source, {})

    commands = []

    def remember(command, check):
        assert check
        commands.append(command)
        if command[0] == "git":
            (tmp_path / "interp_cnn" / "configs").mkdir(parents=True)

    monkeypatch.setattr("subprocess.run", remember)
    set_address = 'CLONE_ADDRESS = "https://host.invalid/name/interp_cnn.git"'
    exec(re.sub("^CLONE_ADDRESS = .*$", set_address, source, flags=re.MULTILINE), {})
    git, pip = commands
    assert git[-2:] == ["https://host.invalid/name/interp_cnn.git", "interp_cnn"]
    assert pip[-4:] == ["-c", "jax.txt", "-e", ".[train]"]
    kept = (tmp_path / "interp_cnn" / "jax.txt").read_text().splitlines()
    assert {f"jax=={jax.__version__}", f"jaxlib=={jaxlib.__version__}"} <= set(kept)
