"""Every notebook runs from start to end in its short mode, and is committed without outputs."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def kernel_environment(tmp_path_factory):
    """Short mode, one folder for all, compiled programs shared and not optimised."""
    settings = {
        "INTERP_CNN_NOTEBOOK_SHORT": "1",
        "INTERP_CNN_NOTEBOOK_DIR": str(tmp_path_factory.mktemp("runs")),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": "",  # one device: eight would only take time
    }
    return os.environ | settings


# quickstart.ipynb comes after explain.ipynb and finds its network there.
@pytest.mark.filterwarnings("default")  # of Jupyter's own, none of ours
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, kernel_environment):
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT / "notebooks")}}
    )
    client.execute(env=kernel_environment)
    assert sum(bool(cell.get("outputs")) for cell in notebook.cells) >= 4


def test_notebooks_are_committed_without_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["explain", "quickstart", "your_own_network"]
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert "colab-badge.svg" in notebook.cells[0].source
        for cell in notebook.cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None
