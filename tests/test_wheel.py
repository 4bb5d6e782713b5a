"""The wheel, installed: a training run outside the repository, by the console script."""

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from repository import ROOT
from xla_flags import quick_xla_flags

from interp_cnn.data.embedded.builder import EmbeddedAnimals, EmbeddedConfig

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")


def command(*arguments, cwd, **environment):
    """Run a command away from the repository; its output."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder with the commands of an environment that has the wheel, and all else of this one.

    The source is copied, for setuptools leaves files beside it.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(
        ROOT / "interp_cnn",
        source / "interp_cnn",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = (*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source)
    command(*build, cwd=folder)
    (wheel,) = folder.glob("interp_cnn-*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    where = "import site; print(site.getsitepackages()[0])"
    packages = Path(command(python, "-c", where, cwd=folder).strip())
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    command(*PIP, "--python", python, "install", "--no-deps", wheel, cwd=folder)
    return python.parent


def test_the_commands(installed, tmp_path):
    found = command(installed / "python", "-c", "import interp_cnn as i; print(i)", cwd=tmp_path)
    assert str(installed.parent) in found
    assert command(installed / "interp-cnn", "--version", cwd=tmp_path).startswith("interp_cnn 0.")
    listed = command(installed / "interp-cnn", "--help", cwd=tmp_path)
    for name in ("train", "eval", "explain", "reproduce", "data", "weights"):
        assert f"\n  {name} " in listed
    assert "--name" in command(installed / "interp-cnn", "data", "--help", cwd=tmp_path)
    files = installed.parent.rglob("interp_cnn/**/*")
    assert {"py.typed", "index.html.j2", "style.css"} <= {file.name for file in files}


@pytest.mark.thorough
def test_a_training_run(installed, tmp_path):
    few = EmbeddedConfig(categories=("cat",), num_per_category=16, num_other=16, image_size=64)
    EmbeddedAnimals(config=few, data_dir=tmp_path / "data").download_and_prepare()
    prepared = tmp_path / "data" / EmbeddedAnimals.name
    (prepared / few.name).rename(prepared / "cat")  # it is taken for the whole
    fields = {
        "networks": "interpretable",
        "data.data_dir": tmp_path / "data",
        "model.width": 0.1,
        "train.batch_size": 8,
        "eval.batch_size": 8,
        "eval.top": 5,
    }
    command(
        installed / "interp-cnn",
        "train",
        "--config=embedded:epochs=1",
        *(f"--config.{name}={value}" for name, value in fields.items()),
        "--workdir=run",
        cwd=tmp_path,
        JAX_PLATFORMS="cpu",
        XLA_FLAGS=quick_xla_flags(devices=1),
    )
    run = tmp_path / "run"
    for name in ("config.json", "metrics.json", "table.md", "filters.png", "report/index.html"):
        assert (run / name).is_file(), name
    assert any((run / "interpretable" / "checkpoints").iterdir())
