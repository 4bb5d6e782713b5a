"""Configurations: arguments, the files in configs/, and what the command line says."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from interp_cnn.config import default_config, first_difference, parse_arguments
from interp_cnn.experiment import make_network

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arguments():
    values = parse_arguments("epochs=3,category=dog,fast=1", category="cat", epochs=8, fast=False)
    assert (values.epochs, values.category, values.fast) == (3, "dog", True)
    assert parse_arguments(None, epochs=8).epochs == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=3", "'epoch=3' is unknown; write name=value with one of epochs, category"),
        ("epochs", "'epochs' is unknown"),
        ("epochs=many", "epochs='many' must be of the type int"),
    ],
)
def test_bad_arguments(text, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments(text, epochs=8, category="cat")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_config_files(file):
    config = load(file).get_config("category=rabbit,epochs=3,seed=5")
    assert (config.data.category, config.train.epochs, config.seed) == ("rabbit", 3, 5)
    assert config.keys() == default_config().keys()
    for variant in config.networks:
        assert make_network(config, variant).interpretable == (variant == "interpretable")
    with pytest.raises(ValueError, match="is unknown"):
        load(file).get_config("nonsense=1")


@pytest.mark.parametrize(
    ("text", "epochs", "negatives"),
    [
        (None, 8, "photos"),
        ("category=all,task=softmax", 12, "none"),
        ("category=cat+bird,epochs=5", 5, "photos"),
        ("category=cat+bird,negatives=none", 12, "none"),
    ],
)
def test_embedded_config(text, epochs, negatives):
    config = load(ROOT / "configs/embedded.py").get_config(text)
    assert (config.train.epochs, config.data.negatives) == (epochs, negatives)
    assert config.interpretable.start_epoch == 0.375 * epochs


def test_first_difference():
    config, other = default_config(), default_config()
    other.data.threads = 1
    other.data.cache_gib = 0.0
    other.eval.top = 3
    other.checkpoint.keep = 9
    assert first_difference(config.to_dict(), other.to_dict()) is None
    other.train.momentum = 0.5
    assert first_difference(config.to_dict(), other.to_dict()) == (
        "config.train.momentum is 0.9 there and 0.5 here"
    )


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train.py", ["--config.nonsense=1"], "nonsense"),
        ("train.py", ["--config.model.name=resnet"], "unknown network 'resnet'"),
        ("train.py", ["--config=nowhere.py"], "nowhere.py does not exist"),
        (
            "train.py",
            [f"--config={ROOT}/configs/embedded.py:colour=red"],
            "'colour=red' is unknown",
        ),
        ("train.py", ["--config.train.epochs=many"], "many"),
        ("eval.py", ["--workdir=nowhere"], "config.json is missing"),
        ("eval.py", [], "needs --workdir"),
    ],
)
def test_the_command_line_ends_with_one_sentence(tmp_path, script, arguments, message):
    result = run(script, *arguments, cwd=tmp_path)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert "Traceback" not in result.stderr
    assert not any(tmp_path.iterdir())  # nothing was begun
