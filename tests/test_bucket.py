"""A whole run in a bucket: as on disk, also when it is stopped and goes on."""

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from emulated_bucket import bucket, served_at  # noqa: F401
from etils import epath
from made_results import made_results
from pages import check_page
from PIL import Image
from repository import ROOT
from tiny import Killed, killed_in_call, leaves, tiny_builder
from tiny import tiny_config as _tiny_config

from interp_cnn import commands, storage
from interp_cnn.config import INTERPRETABLE, ORDINARY
from interp_cnn.data import prepare
from interp_cnn.evaluation.results import write_results
from interp_cnn.explain_command import explain_image
from interp_cnn.reproduce import execute, write
from interp_cnn.reproduce.plan import plan
from interp_cnn.reproduce.request import read_request
from interp_cnn.training import parallel
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.training.trainer import Interrupted, train
from interp_cnn.training.writers import MetricWriter
from interp_cnn.workdir import claim_workdir, read_config

NO_BUCKET = "cannot be written (there is no such bucket); make gs://nothere, or choose another"


def tiny_config():
    config = _tiny_config()
    config.networks = (ORDINARY, INTERPRETABLE)
    config.train.epochs = 1
    config.checkpoint.every_steps = 2
    return config


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    builder = tiny_builder(tmp_path_factory.mktemp("data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "open_builder", lambda *_, **__: builder)
        yield


@pytest.fixture(scope="module")
def local(tiny, tmp_path_factory):
    """The same run on disk."""
    folder = tmp_path_factory.mktemp("local")
    commands.train_and_evaluate(tiny_config(), folder)
    return folder


@pytest.fixture(scope="module")
def remote(tiny, bucket):  # noqa: F811
    """A run in the bucket, stopped within the second network, and gone on with."""
    workdir = storage.as_path(f"{bucket}/runs/cat")
    advance, seen = MetricWriter.advance, []

    def terminated(self):
        advance(self)
        seen.append(self)
        if len([writer for writer in seen if writer is not seen[0]]) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MetricWriter, "advance", terminated)
        with pytest.raises(Interrupted, match="interpretable: stopped by SIGTERM, saved at step 3"):
            commands.train_and_evaluate(tiny_config(), workdir)
    commands.train_and_evaluate(tiny_config(), workdir)
    return workdir


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def files_of(folder):
    """Names below a folder, on disk or in a bucket."""
    names = set()
    for entry in epath.Path(folder).iterdir():
        if entry.is_dir():
            names |= {f"{entry.name}/{name}" for name in files_of(entry)}
        else:
            names.add(entry.name)
    return names


def params_of(folder):
    checkpoints = Checkpoints(epath.Path(folder) / "checkpoints")
    try:
        step, params, _ = checkpoints.restore_for_evaluation()
    finally:
        checkpoints.close()
    return step, leaves(params)


@pytest.mark.parametrize("variant", [ORDINARY, INTERPRETABLE])
def test_stopped_and_resumed_in_a_bucket_equals_a_run_on_disk(local, remote, variant):
    step, params = params_of(remote / variant)
    assert step == params_of(local / variant)[0]
    for ours, theirs in zip(params, params_of(local / variant)[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert lines_of(remote / variant) == lines_of(local / variant)
    assert [line["step"] for line in lines_of(remote / variant)] == list(range(1, step + 1))
    events = [name for name in files_of(remote / variant / "tensorboard") if "tfevents" in name]
    assert len(events) >= 1


def test_the_same_figures_table_and_report(local, remote, tmp_path):
    ours, theirs = (json.loads((of / "metrics.json").read_text()) for of in (remote, local))
    for name in ("networks", "controls", "data"):
        assert ours[name] == theirs[name], name
    assert "interpretable" in (remote / "table.md").read_text()
    assert (remote / "filters.png").read_bytes().startswith(b"\x89PNG")
    names = files_of(remote / "report")
    assert names == files_of(local / "report")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((remote / "report" / name).read_bytes())
    check_page(tmp_path / "index.html")
    assert read_config(remote).to_dict() == read_config(local).to_dict()
    # Nothing half written, and nothing of the bucket on this disk.
    assert not [name for name in files_of(remote) if ".partial" in name or ".probe" in name]
    assert not (ROOT / "gs:").exists() and not Path("gs:").exists()
    for folder in (remote, remote / ORDINARY, remote / INTERPRETABLE):
        assert not storage.local_scratch(folder).exists()


@pytest.mark.thorough
def test_evaluated_again(remote):
    before = json.loads((remote / "metrics.json").read_text())
    (remote / "metrics.json").unlink()
    storage.write(remote / "report" / "filters" / "of-an-earlier-report.html", "")
    storage.write(remote / "report" / "other" / "old.html", "")
    config = read_config(remote)
    config.networks = (INTERPRETABLE,)  # is enough
    commands.evaluate_workdir(config, remote)
    after = json.loads((remote / "metrics.json").read_text())
    assert after["networks"][INTERPRETABLE] == before["networks"][INTERPRETABLE]
    left = files_of(remote / "report")
    assert "index.html" in left and not [
        name for name in left if "earlier" in name or "old" in name
    ]


@pytest.mark.thorough
def test_explained_by_the_command(remote, tmp_path):
    image = remote / "photo.png"
    with storage.staged_file(image) as file:
        Image.fromarray(np.full((80, 90, 3), 90, np.uint8)).save(file)
    command = [sys.executable, "explain.py", str(image), f"--workdir={remote}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "error::ResourceWarning"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert f"written: {remote}/explained/photo.png-interpretable.png" in run.stdout
    assert "Traceback" not in run.stderr and "Unclosed" not in run.stderr
    assert (
        (remote / "explained" / "photo.png-interpretable.png").read_bytes().startswith(b"\x89PNG")
    )
    with pytest.raises(FileNotFoundError, match=r"gs://.*nothere.png does not exist"):
        explain_image(remote / "nothere.png", remote)


def test_killed_between_two_checkpoints(tiny, bucket, local, monkeypatch):  # noqa: F811
    """What the bucket has of the steps before a checkpoint is there when the checkpoint is."""
    folder = storage.as_path(f"{bucket}/killed")
    config = tiny_config()
    data = prepare.prepare(config.data, seed=config.seed)
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "parallel_step", killed_in_call(parallel.parallel_step, 4))
        # As if there had been no time for the bucket.
        patch.setattr(MetricWriter, "close", lambda self: self._events.close())
        with pytest.raises(Killed):
            train(config, ORDINARY, data, folder)
    assert [line["step"] for line in lines_of(folder)] == [1, 2]
    train(config, ORDINARY, data, folder)
    assert lines_of(folder) == lines_of(local / ORDINARY)


@pytest.mark.thorough
def test_tables_of_the_paper_in_a_bucket(bucket, monkeypatch, tmp_path):  # noqa: F811
    names = []

    def train_and_evaluate(config, workdir):
        names.append(workdir.name)
        results = made_results(config)
        claim_workdir(workdir, config)
        for variant in config.networks:
            storage.write(workdir / variant / "metrics.jsonl", "")
        write_results(workdir / "metrics.json", results)
        storage.write(workdir / "report" / "index.html", "")
        return results

    monkeypatch.setattr(commands, "train_and_evaluate", train_and_evaluate)
    workdir = storage.as_path(f"{bucket}/reproduce")
    how = {"tables": ["embedded"], "categories": ["cat"]}
    request = read_request(**how, seeds=2)
    planned = plan(request)
    for _ in range(2):
        outcomes = execute.execute(planned, workdir)
        assert names == [run.name for run in planned]
        assert execute.measured_seconds(planned[0], workdir) is not None
    paths = write.write_tables(request, planned, outcomes, workdir)
    assert all(path.exists() and storage.is_remote(path) for path in paths)
    assert "2 of 2 runs are done." in paths[3].read_text()
    other = plan(read_request(**how, seeds=2, settings=["train.epochs=9"]))
    with pytest.raises(ValueError, match=r"gs://.*seed0 belongs to a run of another config"):
        execute.execute(other, workdir)
    nowhere = {"tables": ["ilsvrc"], "nets": ["vgg16"], "manual_dir": str(tmp_path / "none")}
    (in_process,) = plan(read_request(**nowhere, categories=["cat"], seeds=1))
    ((_, outcome),) = execute.execute([in_process], workdir, jobs=2).items()
    assert "none' is no folder" in outcome.reason


def test_no_such_bucket(bucket, tmp_path):  # noqa: F811
    run = subprocess.run(
        [sys.executable, "train.py", "--workdir=gs://nothere/dir"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: gs://nothere/dir")
    assert NO_BUCKET in line
    assert not any(tmp_path.iterdir())  # no data were prepared


def test_no_such_bucket_for_the_other_jobs(bucket, monkeypatch):  # noqa: F811
    workdir = storage.as_path("gs://nothere/dir")
    monkeypatch.setattr(prepare, "open_builder", lambda *_, **__: pytest.fail("data are prepared"))
    with pytest.raises(OSError, match=rf"^gs://nothere/dir {re.escape(NO_BUCKET)}"):
        commands.evaluate_weights(tiny_config(), workdir)
    request = read_request(tables=["embedded"], categories=["cat"], seeds=1)
    planned = plan(request)
    with pytest.raises(OSError, match=rf"^gs://nothere/dir/tables.md {re.escape(NO_BUCKET)}"):
        execute.execute(
            planned, workdir, after=lambda o: write.write_tables(request, planned, o, workdir)
        )
    with pytest.raises(FileNotFoundError, match=r"^gs://nothere/dir/config.json is missing; is gs"):
        read_config(workdir)


class _Forbidden(http.server.BaseHTTPRequestHandler):
    """A storage whose answer is always no."""

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        message = "me@example.org does not have storage.objects.create access"
        body = json.dumps({"error": {"code": 403, "message": message}}).encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *args):
        pass


def test_a_bucket_that_may_not_be_written():
    pytest.importorskip("gcsfs")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Forbidden) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with served_at(f"http://127.0.0.1:{server.server_address[1]}"):
                workdir = storage.as_path("gs://bucket/dir")
                for claim in (
                    lambda: claim_workdir(workdir, tiny_config()),
                    lambda: commands.with_saved_radius(tiny_config(), workdir),
                    lambda: commands.evaluate_weights(tiny_config(), workdir),
                ):
                    with pytest.raises(OSError, match=r"^gs://bucket/dir.* cannot be ") as caught:
                        claim()
                    text = str(caught.value)
                    assert "(me@example.org does not have storage.objects.create access)" in text
                    assert "your credentials may read and write gs://bucket" in text
                    assert "\n" not in text
        finally:
            server.shutdown()
