"""Paths, files written whole, and what is said where a bucket cannot be reached."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath
from repository import ROOT

from interp_cnn import storage


@pytest.fixture
def packages(monkeypatch):
    """Names of the packages that are there."""
    there = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in there or None)
    return there


def test_paths_on_disk(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(storage.as_path("~/runs")) == "/home/me/runs"
    assert str(storage.as_path("runs/a b")) == "runs/a b"
    path = storage.as_path(Path("runs"))
    assert isinstance(path, epath.Path) and not storage.is_remote(path)
    assert str(storage.absolute(path)) == os.path.abspath("runs")
    assert storage.local_scratch(path) == Path("runs")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("http://host/dir", r"--workdir 'http://host/dir' is of no known kind; give a folder, or"),
        ("gs://", r"--workdir 'gs://' names no bucket; write gs://BUCKET/DIR"),
        (Path("gs://bucket/dir"), r"--workdir 'gs:/bucket/dir' lacks a slash; give it as text"),
        ("gs://bucket/dir", r"'gs://bucket/dir' needs the package gcsfs; pip install gcsfs"),
        ("s3://bucket/dir", r"'s3://bucket/dir' needs the package s3fs; pip install s3fs"),
    ],
)
def test_paths_that_lead_nowhere(packages, name, message):
    with pytest.raises(ValueError, match=message):
        storage.as_path(name)


@pytest.mark.parametrize("package", ["gcsfs", "tensorflow"])
def test_a_path_in_a_bucket(packages, package, monkeypatch, tmp_path):
    packages.add(package)
    path = storage.as_path("gs://bucket/dir")
    assert storage.is_remote(path) and storage.is_remote(path / "x")
    assert str(storage.absolute(path)) == "gs://bucket/dir"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    scratch = storage.local_scratch(path)
    assert scratch.parent == tmp_path and scratch == storage.local_scratch("gs://bucket/dir")
    assert scratch != storage.local_scratch(path / "other")


def test_the_commands_say_what_to_install():
    code = (
        "import importlib.util as u, runpy, sys; found = u.find_spec;"
        "without = ('gcsfs', 'tensorflow');"
        "u.find_spec = lambda name, *a: None if name in without else found(name, *a);"
        "sys.argv = ['train.py', '--workdir=gs://bucket/dir'];"
        "runpy.run_path('train.py', run_name='__main__')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    wanted = "error: --workdir 'gs://bucket/dir' needs the package gcsfs; pip install gcsfs"
    assert run.returncode == 1 and run.stderr.startswith(wanted), run.stderr
    assert run.stderr.count("\n") == 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = epath.Path(tmp_path) / "config.json"
    storage.write(file, "old ä")
    assert storage.read(file) == "old ä".encode()
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("the file is not complete"))
    with pytest.raises(RuntimeError), storage.staged_file(file) as staged:
        assert staged.suffix == ".json" and staged.parent == tmp_path
        staged.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old ä" and os.listdir(tmp_path) == ["config.json"]


def test_others_see_the_old_file_until_the_new_one_is_complete(tmp_path):
    file = tmp_path / "config.json"
    storage.write(file, json.dumps({"a": 1}))
    with storage.staged_file(file) as staged:
        staged.write_text('{"a": ')
        assert json.loads(file.read_text()) == {"a": 1}
        staged.write_text('{"a": 2}')
    assert json.loads(file.read_text()) == {"a": 2}


def test_a_folder_that_is_missing_or_a_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        storage.write(tmp_path / "nothere" / "x.json", "")
    assert caught.value.filename == str(tmp_path / "nothere" / "x.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        storage.check_writable(tmp_path / "file")
    storage.check_writable(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []


class _Refused(Exception):
    """As clients have them."""


@pytest.mark.parametrize(
    ("error", "writing", "wanted"),
    [
        (FileNotFoundError("b/x"), False, r"^b/x$"),
        (
            FileNotFoundError("b/x"),
            True,
            r"^gs://b/d cannot be written \(there is no such bucket\)",
        ),
        (
            _Refused("Forbidden:\nno access\n"),
            False,
            r"^gs://b/d cannot be read \(no access\); chec",
        ),
        (_Refused(), True, r"^gs://b/d cannot be written \(_Refused\); check .* write gs://b, or"),
    ],
)
def test_what_clients_raise_becomes_one_sentence(error, writing, wanted):
    with pytest.raises(OSError, match=wanted), storage.reaching("gs://b/d", writing=writing):
        raise error
    with pytest.raises(type(error)) as caught, storage.reaching("/tmp/d", writing=writing):
        raise error
    assert caught.value is error  # on disk nothing changes


def test_the_innermost_sentence_counts():
    with (
        pytest.raises(OSError, match=r"^gs://b/d/x cannot be written \(no\)"),
        storage.reaching("gs://b/d", writing=True),
        storage.reaching("gs://b/d/x", writing=True),
    ):
        raise _Refused("no")
