"""Processes at the same time: their answers, errors and ends."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interp_cnn.reproduce.processes import in_processes

SHARE = "XLA_CLIENT_MEM_FRACTION"


class Unpicklable(OSError):
    """An error that cannot be made again from its text."""

    def __init__(self, place, what):
        super().__init__(f"{place}: {what}")


def answer(item):
    """Ten times the item, this process and its share; the rest is what its name says."""
    if item in ("sleeps", "saves"):
        signal.signal(signal.SIGTERM, functools.partial(saved, item))
    print(f"item {item} in {os.getpid()}")
    if item == "raises":
        raise FloatingPointError("no number")
    if item == "raises what cannot be sent":
        raise Unpicklable("gs://bucket", "gone")
    if item == "is stopped":
        raise SystemExit("stopped, saved at step 3")
    if item == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item in ("sleeps", "saves"):
        time.sleep(60)
    print("done")
    return 10 * item, os.getpid(), os.environ[SHARE]


def saved(item, *_):
    if item == "saves":
        time.sleep(0.5)
        print("saved")
    sys.exit(1)


def run(items, jobs, folder, ended=str):
    return in_processes(
        answer, iter(items), jobs, log=lambda item: folder and folder / f"{item}.log", ended=ended
    )


def alive(process):
    """Whether a process runs: one that has ended and nobody asked after does not."""
    try:
        os.kill(process, 0)
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except ProcessLookupError:
        return False
    except OSError:  # no Linux
        return True


def printed_process(log):
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{log} stays empty"
        time.sleep(0.1)
    return int(log.read_text().split()[3])


@pytest.fixture
def no_share(monkeypatch):
    for name in (SHARE, "XLA_PYTHON_CLIENT_MEM_FRACTION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def buffered(monkeypatch):
    """As on most machines, Python keeps what is printed until there is enough of it."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


def test_every_item_has_its_answer(tmp_path, no_share):
    most, waiting = 0, set()

    def items():
        nonlocal most
        for item in range(4):
            waiting.add(item)
            most = max(most, len(waiting))
            yield item

    found = {}
    for item, (value, process, share) in run(items(), 2, tmp_path):
        waiting.remove(item)
        found[item] = value
        assert process != os.getpid() and share == "0.450"
        printed = f"item {item} in {process}\ndone\n"
        assert (tmp_path / f"{item}.log").read_text() == printed
    assert found == {item: 10 * item for item in range(4)} and most == 2
    assert SHARE not in os.environ


def test_a_share_that_is_set_stays(monkeypatch, no_share):
    monkeypatch.setenv(SHARE, "0.3")
    ((_, (_, _, share)),) = run([1], 2, None)
    assert share == "0.3"


def test_an_error_ends_the_others(tmp_path):
    def items():
        yield "sleeps"
        printed_process(tmp_path / "sleeps.log")
        yield "raises"

    with pytest.raises(FloatingPointError, match="no number"):
        list(run(items(), 2, tmp_path))
    assert not alive(printed_process(tmp_path / "sleeps.log"))
    assert "FloatingPointError: no number" in (tmp_path / "raises.log").read_text()
    with pytest.raises(RuntimeError, match=r"^Unpicklable: gs://bucket: gone$"):
        list(run(["raises what cannot be sent"], 1, tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):  # its log cannot be written
        list(run([1], 1, tmp_path / "file"))


def test_a_process_that_ends_leaves_the_others(tmp_path):
    found = dict(run(["is killed", "is stopped", 3], 2, tmp_path))
    assert (tmp_path / "is stopped.log").read_text().endswith("\nstopped, saved at step 3\n")
    assert found[3][0] == 30 and found["is stopped"] == "stopped, saved at step 3"
    assert (tmp_path / "is killed.log").read_text().startswith("item is killed in ")
    killed = "its process ended with status -9, as one does that is killed for its memory, of which"
    killed += " fewer --jobs take less"
    assert found["is killed"] == f"{killed}; {tmp_path}/is killed.log has what it printed"
    assert dict(run(["is killed"], 2, None)) == {"is killed": killed}


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_processes_end_with_their_parent(tmp_path, end):
    """Told to end, it lets them save; killed, it cannot."""
    program = (
        "from pathlib import Path; import test_processes as t; list(t.run(['saves'], 2, Path()))"
    )
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        process = printed_process(tmp_path / "saves.log")
        getattr(parent, end)()
        said = parent.stderr.read() if end == "terminate" else ""
    deadline = time.monotonic() + 20
    while alive(process):
        assert end == "kill" and time.monotonic() < deadline, "the process outlives its parent"
        time.sleep(0.1)
    if end == "terminate":
        assert parent.returncode == 1
        assert "waiting for 1 processes" in said and "stopped by SIGTERM" in said
        assert (tmp_path / "saves.log").read_text().endswith("\nsaved\n1\n")
