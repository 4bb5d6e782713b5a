"""Several hosts, as real processes on this machine: what they do together equals what one does."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from repository import ROOT
from tiny import tiny_config
from xla_flags import quick_xla_flags

from interp_cnn.commands import evaluate_workdir
from interp_cnn.training.checkpoint import Checkpoints

SCRIPT = ROOT / "tests" / "helpers" / "host_process.py"
LIMIT = 240  # seconds
VARIANTS = ("ordinary", "interpretable")


class Hosts:
    """Starts the hosts of a run and waits for all of them.

    Args:
      folder: gets the data, which all share.
    """

    def __init__(self, folder):
        self.data = folder / "data"

    def __call__(
        self, number, workdir, *arguments, script="train.py", devices=1, only=None, each=None
    ):
        """Exit codes and outputs of the hosts.

        `only` starts some of them; `each` has further arguments and environment of a host.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = []
        for host in range(number) if only is None else only:
            more, environment = (each or {}).get(host, ([], {}))
            config = [f"--config={SCRIPT}"] if script == "train.py" else []
            data = [f"--config.data.data_dir={self.data}"] if script == "train.py" else []
            command = [sys.executable, str(SCRIPT), script, f"--workdir={workdir}", *config, *data]
            if number > 1:
                command += ["--distributed", "--join_timeout=120"]
            environment = {
                **os.environ,
                "XLA_FLAGS": quick_xla_flags(devices),
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_NUM_PROCESSES": str(number),
                "JAX_PROCESS_ID": str(host),
                **environment,
            }
            started.append(
                subprocess.Popen(
                    [*command, *arguments, *more],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        try:
            outputs = [process.communicate(timeout=LIMIT)[0] for process in started]
        finally:
            for process in started:
                process.kill()
        codes = [process.returncode for process in started]
        return codes, outputs


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    return Hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def one(hosts, tmp_path_factory):
    """The run of one process with two devices."""
    workdir = tmp_path_factory.mktemp("one")
    codes, outputs = hosts(1, workdir, devices=2)
    assert codes == [0], outputs
    return workdir


def figures(workdir):
    results = json.loads((workdir / "metrics.json").read_text())
    return {name: results[name] for name in ("networks", "controls", "data")}


def lines(workdir, variant):
    text = (workdir / variant / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def params(workdir, variant):
    checkpoints = Checkpoints(epath.Path(workdir / variant / "checkpoints"))
    step, found, _ = checkpoints.restore_for_evaluation()
    checkpoints.close()
    return step, found


def assert_same_run(workdir, other):
    assert figures(workdir) == figures(other)
    for variant in VARIANTS:
        assert lines(workdir, variant) == lines(other, variant)  # and so one line a step
        (step, ours), (expected, theirs) = (params(of, variant) for of in (workdir, other))
        assert step == expected
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


def test_two_hosts_equal_one_with_as_many_devices(hosts, one, tmp_path):
    codes, outputs = hosts(2, tmp_path)
    assert codes == [0, 0], outputs
    assert_same_run(tmp_path, one)
    assert "written:" in outputs[0] and "written:" not in outputs[1]
    assert (tmp_path / "report" / "index.html").exists()
    assert not list(tmp_path.glob("frozen*"))


@pytest.mark.thorough
def test_a_stopped_host_stops_all_at_one_step_and_another_number_goes_on(hosts, one, tmp_path):
    at = 32 + 3  # in the second network
    codes, outputs = hosts(2, tmp_path, each={1: ([], {"SIGNAL": f"SIGTERM:{at}"})})
    sentence = r"interpretable: stopped by SIGTERM, saved at step (\d+)"
    said = [re.findall(sentence, output) for output in outputs]
    assert codes == [1, 1] and said[0] == said[1] and len(said[0]) == 1, outputs
    step = int(said[0][0])
    assert 3 < step < 32
    assert params(tmp_path, "interpretable")[0] == step
    assert [line["step"] for line in lines(tmp_path, "interpretable")] == list(range(1, step + 1))
    # One process with as many devices goes on, to the same end.
    codes, outputs = hosts(1, tmp_path, devices=2)
    assert codes == [0], outputs
    assert f"resumed from the checkpoint of step {step}" in outputs[0]
    assert_same_run(tmp_path, one)


@pytest.mark.thorough
@pytest.mark.parametrize("at", [32, 64])
def test_a_signal_in_the_last_step_of_a_network(hosts, one, tmp_path, at):
    """All stop at a step of the next network, or all end as if there had been no signal."""
    codes, outputs = hosts(2, tmp_path, each={1: ([], {"SIGNAL": f"SIGTERM:{at}"})})
    assert codes in ([0, 0], [1, 1]), outputs
    if codes == [1, 1]:
        assert all("stopped by SIGTERM, saved at step" in output for output in outputs), outputs
        codes, outputs = hosts(2, tmp_path)
        assert codes == [0, 0], outputs
    assert_same_run(tmp_path, one)


@pytest.mark.thorough
def test_four_hosts_evaluate_what_one_has_trained(hosts, one):
    expected = figures(one)
    (one / "metrics.json").unlink()
    codes, outputs = hosts(4, one, script="eval.py")
    assert codes == [0] * 4, outputs
    assert figures(one) == expected


def test_figures_depend_on_neither_batch_nor_order(hosts, one):
    codes, outputs = hosts(1, one, script="evaluate_batches.py")
    assert codes == [0], outputs
    found = json.loads(outputs[0].strip().splitlines()[-1])
    assert list(found) == ["1", "7", "32", "1000", "in another order"]
    for name, results in found.items():
        figures_equal(results, found["7"], exactly=name != "in another order")


def figures_equal(ours, theirs, *, exactly):
    """To the digit; in another order sums of float64 may end in another last bit.

    Mutual information alone is made of the maps' own values, which a batch of another size may
    round differently, and of blocks of images in their order.
    """
    flat, expected = flatten(ours), flatten(theirs)
    assert flat.keys() == expected.keys()
    for name, value in flat.items():
        if value is None or expected[name] is None:
            assert value is expected[name], name
        elif not name.endswith("mutual_information"):
            assert value == pytest.approx(expected[name], rel=0 if exactly else 1e-12, abs=0), name
        elif exactly:
            assert value == pytest.approx(expected[name], rel=1e-5), name


def flatten(figures, name=""):
    """Nested dicts and lists as one dict."""
    if not isinstance(figures, dict | list):
        return {name: figures}
    items = figures.items() if isinstance(figures, dict) else enumerate(figures)
    return {k: v for key, value in items for k, v in flatten(value, f"{name}/{key}").items()}


@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_killed_host_ends_the_others_with_a_sentence(hosts, one, tmp_path, killed):
    codes, outputs = hosts(2, tmp_path, each={killed: ([], {"SIGNAL": "SIGKILL:10"})})
    assert codes[killed] == -9 and codes[1 - killed] == 1, outputs
    last = outputs[1 - killed].strip().splitlines()[-1]
    assert last.startswith(f"error: host {killed} of 2 is gone"), outputs[1 - killed]
    assert params(tmp_path, "ordinary")[0] == 7
    if killed == 1:
        codes, outputs = hosts(1, tmp_path, devices=2)
        assert codes == [0], outputs
        assert_same_run(tmp_path, one)


def test_a_host_that_is_missing_at_the_start(hosts, tmp_path):
    for present in (0, 1):
        codes, (output,) = hosts(2, tmp_path, "--join_timeout=3", only=[present])
        assert codes == [1], output
        assert "error: not all 2 hosts of this run came together within 3 s at 127.0.0.1:" in output
        assert "Traceback" not in output and "stack trace" not in output


def said_by_both(codes, outputs, sentence):
    assert codes == [1, 1], outputs
    for output in outputs:
        assert sentence in output and "Traceback" not in output, output


@pytest.mark.thorough
def test_hosts_with_different_configurations(hosts, tmp_path):
    each = {1: (["--config.train.momentum=0.5"], {})}
    said_by_both(
        *hosts(2, tmp_path, each=each),
        "the configuration of host 1 is not that of host 0 (config.train.momentum is 0.9 there and"
        " 0.5 here); give every host the same",
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.thorough
def test_hosts_with_different_data(hosts, one, tmp_path):
    own = [f"--config.data.data_dir={tmp_path / 'own'}"]
    codes, outputs = hosts(2, tmp_path / "run", each={1: (own, {"TINY_SEED": "3"})})
    said_by_both(codes, outputs, "of host 1 is not that of host 0")
    # The same data on a disk of its own is as good.
    codes, outputs = hosts(2, tmp_path / "own run", "--config.train.epochs=1", each={1: (own, {})})
    assert codes == [0, 0], outputs


def test_a_batch_that_the_hosts_do_not_divide(hosts, tmp_path):
    said_by_both(
        *hosts(2, tmp_path, "--config.train.batch_size=7"),
        "config.train.batch_size=7 is not divisible by the 2 devices of the 2 hosts; set it to a"
        " multiple of 2",
    )


def test_hosts_with_other_numbers_of_devices(hosts, tmp_path):
    said_by_both(
        *hosts(2, tmp_path, each={1: ([], {"XLA_FLAGS": quick_xla_flags(2)})}),
        "all hosts need the same number of devices, here they have: host 0 1, host 1 2",
    )


@pytest.mark.thorough
def test_an_error_of_one_host_ends_the_others(hosts, tmp_path):
    (tmp_path / "data").write_text("")
    own = [f"--config.data.data_dir={tmp_path / 'data'}"]
    codes, outputs = hosts(2, tmp_path / "run", each={1: (own, {})})
    assert codes == [1, 1], outputs
    assert "error: host 1 of 2 stopped: " in outputs[0] and "data" in outputs[0]


ALONE = """
import os, signal, time
from interp_cnn import hosts
hosts.join(60)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(5)
"""


def test_a_single_process_of_a_cluster_ends_on_sigterm():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    environment = os.environ | dict(zip(names, (address, "1", "0"), strict=True))
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", ALONE], env=environment, timeout=LIMIT)
    assert done.returncode == -signal.SIGTERM


def test_one_of_several_processes_that_has_not_joined(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(ValueError, match="one of 2 processes; start each of them with --distrib"):
        evaluate_workdir(tiny_config(), tmp_path)


def test_without_a_cluster():
    command = [sys.executable, "train.py", "--distributed", "--join_timeout=5"]
    other = socket.create_server(("127.0.0.1", 0))
    taken = f"127.0.0.1:{other.getsockname()[1]}"
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    for given, sentence in (
        ({}, "--distributed found no cluster"),
        ({names[1]: "two"}, "JAX_NUM_PROCESSES='two' must be a whole number"),
        ({names[0]: "localhost"}, "'localhost' must be HOST:PORT with a port of 1 to 65535"),
        ({names[0]: "localhost:abc"}, "'localhost:abc' must be HOST:PORT with a port"),
        ({names[0]: taken, names[1]: "2", names[2]: "0"}, "cannot be used (Address already in use"),
    ):
        environment = {k: v for k, v in os.environ.items() if k not in names} | given
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert run.returncode == 1 and sentence in run.stderr, run.stderr
        assert "Traceback" not in run.stderr
    other.close()
