"""Processes at the same time: their answers, errors and ends."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from interp_cnn.reproduce.processes import in_processes


def answer(item):
    """Ten times the item; -1 raises, -2 is killed, a large number takes so many seconds."""
    print(f"item {item} in {os.getpid()}", flush=True)
    if item == -1:
        raise FloatingPointError("no number")
    if item == -2:
        os.kill(os.getpid(), signal.SIGKILL)
    if item > 10:
        time.sleep(item)
    return 10 * item, os.getpid(), os.environ["XLA_PYTHON_CLIENT_MEM_FRACTION"]


@pytest.fixture
def share(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "unset")  # put back behind the test
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION")


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def printed_process(log):
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{log} stays empty"
        time.sleep(0.1)
    return int(log.read_text().split()[-1])


def test_every_item_has_its_answer(tmp_path, share):
    items, most, waiting = iter(range(5)), 0, set()

    def counted():
        nonlocal most
        for item in items:
            waiting.add(item)
            most = max(most, len(waiting))
            yield item

    found = {}
    for item, (value, process, fraction) in in_processes(
        answer, counted(), 2, log=lambda item: tmp_path / str(item) / "log.txt"
    ):
        waiting.remove(item)
        found[item] = value
        assert process != os.getpid() and fraction == "0.450"
        assert (tmp_path / str(item) / "log.txt").read_text() == f"item {item} in {process}\n"
    assert found == {item: 10 * item for item in range(5)} and most == 2


def test_an_error_ends_the_others(tmp_path, share):
    def items():
        yield 60
        printed_process(tmp_path / "60")
        yield -1

    answers = in_processes(answer, items(), 2, log=lambda item: tmp_path / f"{item}")
    with pytest.raises(FloatingPointError, match="no number"):
        list(answers)
    assert not alive(printed_process(tmp_path / "60"))
    assert "FloatingPointError: no number" in (tmp_path / "-1").read_text()


def test_a_killed_process_is_named_and_the_others_go_on(tmp_path, share):
    found = dict(in_processes(answer, iter([-2, 3]), 1, log=lambda item: tmp_path / f"of{item}"))
    assert isinstance(found[-2], ChildProcessError) and found[3][0] == 30
    assert re.search(r"status -9.*fewer --jobs.*of-2 has what", str(found[-2]))
    ((_, killed),) = in_processes(answer, iter([-2]), 2, log=lambda item: None)
    assert str(killed).endswith("fewer --jobs take less")


def test_processes_end_with_a_killed_parent(tmp_path):
    program = (
        "from pathlib import Path; import test_processes as t;"
        "list(t.in_processes(t.answer, iter([60]), 2, log=lambda item: Path('log')))"
    )
    paths = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}
    ) as parent:
        process = printed_process(tmp_path / "log")
        parent.kill()
    deadline = time.monotonic() + 20
    while alive(process):
        assert time.monotonic() < deadline, "the process outlives its parent"
        time.sleep(0.1)
