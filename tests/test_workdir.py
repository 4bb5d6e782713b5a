"""The work directory: its configuration, and who else knows the names of its files."""

import ast
import errno
import json
from pathlib import Path

import pytest
from tiny import tiny_config, write_begun

from interp_cnn import commands, workdir
from interp_cnn.workdir import (
    CONFIG,
    alone_in,
    claim_workdir,
    frozen_features_folder,
    read_config,
    saved_radius,
    training_metrics,
)

PACKAGE = Path(workdir.__file__).parent
NAMES = {
    value
    for name, value in vars(workdir).items()
    if name.strip("_").isupper() and isinstance(value, str)
}


def test_the_names_are_written_down_once():
    assert {"config.json", "filters.npz", "checkpoints", "metrics.jsonl", "report"} <= NAMES
    files = {"filters.png", *(name for name in NAMES if name.endswith((".json", ".jsonl", ".npz")))}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and path.name != "workdir.py":
                assert node.value not in files, f"{path}:{node.lineno}: {node.value}"


def test_a_directory_is_claimed_by_one_configuration(tmp_path):
    config = tiny_config()
    claim_workdir(tmp_path / "run", config)
    config.eval.top = 3  # changes no training
    claim_workdir(tmp_path / "run", config)
    assert read_config(tmp_path / "run").eval.top == 3
    config.train.momentum = 0.7
    claim_workdir(tmp_path / "run", config)  # nothing was trained
    config.train.momentum = 0.9
    claim_workdir(tmp_path / "run", config)
    write_begun(tmp_path / "run")
    config.train.momentum = 0.5
    with pytest.raises(ValueError, match=r"config.train.momentum is 0.9 there and 0.5 here"):
        claim_workdir(tmp_path / "run", config)
    assert read_config(tmp_path / "run").train.momentum == 0.9


def test_one_process_trains_in_a_directory(tmp_path):
    with alone_in(tmp_path):
        with pytest.raises(ValueError, match=f"another process trains in {tmp_path}; wait for it"):
            with alone_in(tmp_path):
                pass
    with alone_in(tmp_path):
        pass


def test_one_process_of_a_machine_trains_in_a_bucket(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir.storage.tempfile, "gettempdir", lambda: str(tmp_path))
    bucket = workdir.storage.as_path("gs://bucket/run")
    with alone_in(bucket):
        with pytest.raises(ValueError, match="another process trains in gs://bucket/run; wait"):
            with alone_in(bucket):
                pass
        with alone_in(workdir.storage.as_path("gs://bucket/other")):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError]
)
def test_a_disk_without_locks(tmp_path, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(workdir.filelock.FileLock, "acquire", refuse)
    with alone_in(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_refused_process_changes_nothing(tmp_path):
    claim_workdir(tmp_path, tiny_config())
    other = tiny_config()
    other.eval.top = 7
    with alone_in(tmp_path), pytest.raises(ValueError, match="another process trains in"):
        commands.train_and_evaluate(other, tmp_path)
    assert read_config(tmp_path).eval.top != 7


@pytest.mark.parametrize("section", [[1], "x", {}, {"radius": None}, {"radius": True}])
def test_a_saved_radius_that_is_none(tmp_path, section):
    write_begun(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps({"eval": section}))
    assert saved_radius(tmp_path) is None


def test_a_radius_is_that_of_a_run(tmp_path):
    assert saved_radius(tmp_path / "nowhere") is None
    (tmp_path / CONFIG).write_text(json.dumps({"eval": {"radius": 9.5}}))
    assert saved_radius(tmp_path) is None  # of a start that failed
    (tmp_path / "ordinary" / "checkpoints").mkdir(parents=True)
    assert saved_radius(tmp_path) == 9.5
    (tmp_path / CONFIG).unlink()
    assert saved_radius(tmp_path) is None
    # Nobody knows any more whether the checkpoints are of this configuration.
    with pytest.raises(ValueError, match=r"config\.json is missing, and a network has begun to tr"):
        claim_workdir(tmp_path, tiny_config())


def test_the_file_of_another_program_is_kept(tmp_path):
    (tmp_path / CONFIG).write_text('{"port": 80}')
    with pytest.raises(ValueError, match="is of another program; choose another --workdir"):
        claim_workdir(tmp_path, tiny_config())


def test_lines_of_metrics_that_are_none():
    text = '{"step": 1, "loss": 2.5}\n\0\0}\n[1]\n{"loss": 1}\n{"step": 2}\n{"step": 3, "lo'
    assert training_metrics(text) == [{"step": 1, "loss": 2.5}, {"step": 2}]


def test_a_file_in_the_place_of_a_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file; give a folder"):
        claim_workdir(tmp_path / "file", tiny_config())
    with pytest.raises(FileNotFoundError, match=r"is .*file the --workdir of a training run\?"):
        read_config(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is damaged \(Expecting value"),
        (b"[]", r"is damaged \(it holds a list\)"),
        (b"3", r"is damaged \(it holds a int\)"),
        (b"{}", r"is damaged \(it holds no field\)"),
        (b"\xff\xfe", r"is damaged \(.* can't decode"),
        (b"[" * 100_000, "is damaged"),
        (b'{"train": 3}', r"config\.train is a group of fields"),
        (b'{"speed": 3}', "config has no field 'speed'"),
    ],
)
def test_a_damaged_configuration(tmp_path, content, message):
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        read_config(tmp_path)
    if "damaged" in message:
        with pytest.raises(ValueError, match=rf"config\.json {message}"):
            claim_workdir(tmp_path, tiny_config())


def test_a_configuration_of_an_older_release(tmp_path):
    config = tiny_config()
    claim_workdir(tmp_path, config)
    whole = json.loads((tmp_path / CONFIG).read_text())
    saved = json.loads((tmp_path / CONFIG).read_text())
    del saved["data"]["cache_gib"], saved["train"]["rate_factors"], saved["interpretable"]
    (tmp_path / CONFIG).write_text(json.dumps(saved))
    read = read_config(tmp_path)
    assert read.data.cache_gib == 16.0
    assert json.loads(read.to_json_best_effort()) == whole
    claim_workdir(tmp_path, config)  # the same run goes on, and its fields are whole again
    assert json.loads((tmp_path / CONFIG).read_text()) == whole

    saved["eval"]["bins"] = 3
    (tmp_path / CONFIG).write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=r"config has no field 'eval.bins'"):
        read_config(tmp_path)


def test_what_another_number_of_hosts_left_of_the_frozen_layers_is_removed(tmp_path):
    (tmp_path / "frozen_features_0_of_2").mkdir()
    folder = frozen_features_folder(tmp_path)
    folder.mkdir()
    assert len(list(tmp_path.iterdir())) == 2  # not by an evaluation, beside which one may train
    assert frozen_features_folder(tmp_path, tidy=True) == folder == tmp_path / "frozen_features"
    assert [entry.name for entry in tmp_path.iterdir()] == ["frozen_features"]
