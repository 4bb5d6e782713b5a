"""Run the notebooks and keep what they show: python notebooks/execute.py [NAME ...].

Pages of the documentation show the outputs that are stored; the site's build runs no notebook.
Networks that an earlier call trained (in runs/, or the folder of INTERP_CNN_NOTEBOOK_DIR) are not
trained again.
"""

import base64
import io
import os
import sys
import time
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

FOLDER = Path(__file__).resolve().parent
RUNS = Path(os.environ.get("INTERP_CNN_NOTEBOOK_DIR", FOLDER.parent / "runs"))
# explain.ipynb takes the network that quickstart.ipynb trained.
NAMES = ("quickstart", "explain", "your_own_network")


def smaller(picture: str) -> str:
    """A PNG in base64 with 256 colours, a third of the bytes."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(256)
    data = io.BytesIO()
    image.save(data, format="PNG", optimize=True)
    return base64.b64encode(data.getvalue()).decode()


def execute(path: Path) -> None:
    """Run a notebook from start to end and write it back with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=3600, resources={"metadata": {"path": str(FOLDER)}}, record_timing=False
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            # Progress bars and warnings of the machine at hand say nothing to a reader.
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for output in cell.outputs:
                if "text" in output:
                    output.text = output.text.replace(str(RUNS), "runs")
                for kind, shown in output.get("data", {}).items():
                    if kind.startswith("text/"):
                        output.data[kind] = shown.replace(str(RUNS), "runs")
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = smaller(output.data["image/png"])
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}  # not the version at hand
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        start = time.monotonic()
        execute(FOLDER / f"{name}.ipynb")
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
