"""Runs that are interrupted, killed or go wrong."""

import errno
import gc
import itertools
import json
import os
import shutil
import signal
import types

import numpy as np
import pytest
from etils import epath
from jax.experimental import multihost_utils
from tensorboardX.record_writer import RecordWriter
from tiny import (
    Killed,
    killed_in_call,
    leaves,
    tiny_config,
)

from interp_cnn.training import checkpoint, parallel, trainer
from interp_cnn.training.build import make_network
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.training.frozen_cache import FrozenCache
from interp_cnn.training.trainer import (
    Interrupted,
    check_batch_size,
    train,
    train_networks,
    train_start,
)
from interp_cnn.training.writers import MetricWriter

NAME = "interpretable"


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return leaves(train(tiny_config(), NAME, data, folder)), metrics_of(folder)


def metrics_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def latest_step(folder):
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        return checkpoints.latest_step
    finally:
        checkpoints.close()


def assert_same(state, folder, uninterrupted):
    expected, metrics = uninterrupted
    for a, b in zip(leaves(state), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert metrics_of(folder) == metrics  # and so without gaps and repetitions


def test_metrics_of_every_step(uninterrupted, data):
    metrics = uninterrupted[1]
    total = 2 * (len(data.train) // 8)
    assert total >= 6
    assert [row["step"] for row in metrics] == list(range(1, total + 1))
    assert {"loss", "accuracy", "learning_rate", "mi/new_conv", "peak/new_conv"} <= set(metrics[0])


def test_resumed_equals_uninterrupted_bit_for_bit(data, tmp_path, monkeypatch, uninterrupted):
    parallel_step = killed_in_call(parallel.parallel_step, 6)
    with monkeypatch.context() as patch:
        patch.setattr(parallel, "parallel_step", parallel_step)
        with pytest.raises(Killed):
            train(tiny_config(), NAME, data, tmp_path)
    assert [row["step"] for row in metrics_of(tmp_path)] == [1, 2, 3, 4, 5]
    assert latest_step(tmp_path) == 3
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # as a killed process leaves it
    state = train(tiny_config(), NAME, data, tmp_path)
    assert_same(state, tmp_path, uninterrupted)
    # A run that is complete does nothing and gives the same.
    assert_same(train(tiny_config(), NAME, data, tmp_path), tmp_path, uninterrupted)


@pytest.fixture
def foreground():
    """Ctrl-C acts as in a terminal, also where these tests run in the background of a shell."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])  # Ctrl-C
def test_a_signal_saves_and_the_next_run_goes_on(
    data, tmp_path, monkeypatch, uninterrupted, number
):
    advance, calls = MetricWriter.advance, []

    def terminated(self):
        advance(self)
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), number)

    previous = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(MetricWriter, "advance", terminated)
        message = f"stopped by {number.name}, saved at step 2; run the same command again"
        with pytest.raises(Interrupted, match=message):
            train(tiny_config(), NAME, data, tmp_path)
    assert signal.getsignal(number) is previous
    assert latest_step(tmp_path) == 2
    assert_same(train(tiny_config(), NAME, data, tmp_path), tmp_path, uninterrupted)


def test_an_interrupt_that_is_ignored_stays_so(data, tmp_path, monkeypatch, uninterrupted):
    advance = MetricWriter.advance

    def interrupted(self):
        advance(self)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MetricWriter, "advance", interrupted)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does behind &
    try:
        state = train(tiny_config(), NAME, data, tmp_path)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
    assert_same(state, tmp_path, uninterrupted)


@pytest.mark.usefixtures("foreground")
def test_a_second_interrupt_does_not_wait(data, tmp_path, monkeypatch):
    def interrupted(self):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MetricWriter, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(), NAME, data, tmp_path)
    assert latest_step(tmp_path) is None


def begun_config():
    config = tiny_config()
    config.train.start_epochs = 1
    return config


def train_from_start(data, folder):
    """Both stages, as the command does them."""
    config = begun_config()
    with FrozenCache(config, folder / "frozen") as cache:
        return train(
            config,
            NAME,
            data,
            folder / NAME,
            start=lambda: train_start(config, data, folder / "start", cache),
        )


def test_a_network_begins_from_a_trained_ordinary_one(data, tmp_path, monkeypatch):
    steps = len(data.train) // 8
    whole = train_from_start(data, tmp_path / "whole")
    started = metrics_of(tmp_path / "whole" / "start")
    assert len(started) == steps and not any("mi/new_conv" in row for row in started)
    metrics = metrics_of(tmp_path / "whole" / NAME)
    assert [row["step"] for row in metrics] == list(range(1, 2 * steps + 1))
    assert "mi/new_conv" in metrics[0]
    # The images of its first step come after the last ones of the start.
    network = make_network(begun_config(), NAME)
    batches = trainer._batches(begun_config(), network, data)
    wanted = next(itertools.islice(iter(batches), steps, None))
    seen = []
    with monkeypatch.context() as patch:
        shard = parallel.shard
        patch.setattr(parallel, "shard", lambda batch: shard(seen.append(batch) or batch))
        again = train_from_start(data, tmp_path / "again")
    np.testing.assert_array_equal(seen[steps]["image"], wanted["image"])
    for a, b in zip(leaves(again), leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("call", [2, pytest.param(5, marks=pytest.mark.thorough)])
def test_killed_in_the_start_or_after_it(data, tmp_path, monkeypatch, call):
    whole = train_from_start(data, tmp_path / "whole")
    made = []

    def killed_once(make):
        def made_step(*args, **options):
            function = make(*args, **options)

            def step(*inputs):
                made.append(1)
                if len(made) == call:
                    raise Killed
                return function(*inputs)

            return step

        return made_step

    with monkeypatch.context() as patch:
        patch.setattr(parallel, "parallel_step", killed_once(parallel.parallel_step))
        with pytest.raises(Killed):
            train_from_start(data, tmp_path / "killed")
    resumed = train_from_start(data, tmp_path / "killed")
    for a, b in zip(leaves(resumed), leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(data, tmp_path, monkeypatch):
    make = parallel.parallel_step

    def spoiled_after_step_4(step, **options):
        function, calls = make(step, **options), []

        def call(state, batch):
            calls.append(1)
            state, metrics = function(state, batch)
            if len(calls) == 5:
                metrics = metrics | {"loss": np.float32(np.nan)}
            return state, metrics

        return call

    monkeypatch.setattr(parallel, "parallel_step", spoiled_after_step_4)
    with pytest.raises(
        FloatingPointError, match=r"loss is nan at step 5, .*checkpoint of step 3 is kept; lower"
    ):
        train(tiny_config(), NAME, data, tmp_path)
    assert latest_step(tmp_path) == 3


def test_a_learning_rate_that_is_far_too_large(data, tmp_path):
    config = tiny_config()
    config.train.learning_rate = 1e30
    config.train.clip_norm = None
    config.checkpoint.every_steps = 1
    with pytest.raises(FloatingPointError, match=r"interpretable: .* (is nan|is inf|not finite)"):
        train(config, NAME, data, tmp_path)
    step = latest_step(tmp_path)
    if step is not None:
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        _, params, _ = checkpoints.restore_for_evaluation()
        checkpoints.close()
        assert all(np.isfinite(leaf).all() for leaf in leaves(params))


def test_a_full_disk_is_said_before_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(OSError, match=r"no space left for a checkpoint .*there is no"):
        train(tiny_config(), NAME, data, tmp_path)


def test_what_a_killed_save_left_is_removed(data, tmp_path):
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    (left / "state").mkdir(parents=True)
    config = tiny_config()
    config.train.epochs = 1
    train(config, NAME, data, tmp_path)
    assert latest_step(tmp_path) and not left.exists()


def test_a_checkpoint_that_cannot_be_opened_is_not_damaged(data, tmp_path, monkeypatch):
    """As where another user has written it; tensorstore and orbax raise other errors then."""
    config = tiny_config()
    config.train.epochs = 1
    train(config, NAME, data, tmp_path)
    folder = tmp_path / "checkpoints"
    before = sorted(path.name for path in folder.iterdir())
    damage(folder / str(latest_step(tmp_path)), "zeroed")

    def refused(file, mode="r"):
        raise PermissionError(13, "Permission denied", file)

    monkeypatch.setattr(checkpoint, "open", refused, raising=False)
    with pytest.raises(OSError, match=r"cannot be read now .* run the same command again"):
        train(config, NAME, data, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == before
    gc.collect()


def test_a_save_does_not_count_as_a_step_of_the_first_host(data, tmp_path, monkeypatch):
    """Orbax asks JAX by the number of the checkpoint, which JAX takes for that of the host."""
    asked = []
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", asked.append)
    config = tiny_config()
    config.train.epochs = 1
    train(config, NAME, data, tmp_path)
    assert latest_step(tmp_path) and not asked


def test_a_checkpoint_of_another_network_is_refused(data, tmp_path):
    config = tiny_config()
    config.train.epochs = 1
    train(config, NAME, data, tmp_path)
    config.model.width = 0.2
    with pytest.raises(ValueError, match="does not fit this network"):
        train(config, NAME, data, tmp_path)
    gc.collect()


def test_bad_batch_sizes(data, tmp_path):
    config = tiny_config()
    config.train.batch_size = 12
    with pytest.raises(ValueError, match="batch_size=12 is not divisible by the 8 devices"):
        check_batch_size(config)
    config.train.batch_size = 800
    with pytest.raises(ValueError, match="batch_size=800 is larger than"):
        train(config, NAME, data, tmp_path)


def zeroed(file):
    file.write_bytes(bytes(len(file.read_bytes())))


def truncated(file):
    file.write_bytes(file.read_bytes()[: len(file.read_bytes()) // 2])


def damage(folder, how):
    """Damage the files of a checkpoint that hold its arrays, or take them away."""
    if how == "removed":
        shutil.rmtree(folder / "state")
        return
    files = [file for file in (folder / "state").rglob("*") if file.is_file()]
    for file in files:
        {"zeroed": zeroed, "truncated": truncated, "flipped": flipped}[how](file)


def flipped(file):
    """Another bit in the middle of a large file: what unpacks it may not notice."""
    data = bytearray(file.read_bytes())
    if len(data) > 5_000:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


@pytest.mark.parametrize("how", ["zeroed", "truncated", "removed", "flipped"])
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(
    data, tmp_path, capfd, uninterrupted, how
):
    train(tiny_config(), NAME, data, tmp_path)
    folder = tmp_path / "checkpoints"
    latest = latest_step(tmp_path)
    before = max(int(path.name) for path in folder.iterdir() if int(path.name) < latest)
    damage(folder / str(latest), how)
    capfd.readouterr()
    # To look at it nothing is moved.
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore_for_evaluation()[0] == before
    checkpoints.close()
    assert (folder / str(latest)).exists()
    state = train(tiny_config(), NAME, data, tmp_path)
    printed = "".join(capfd.readouterr())
    assert f"the checkpoint of step {latest} in {folder} is damaged (" in printed
    assert f"the checkpoint before it, of step {before}, is taken instead" in printed
    assert "Traceback" not in printed
    assert (folder / f"damaged-{latest}-1").exists()
    assert_same(state, tmp_path, uninterrupted)
    assert latest_step(tmp_path) == latest


def test_a_checkpoint_of_a_release_without_checksums(data, tmp_path, uninterrupted):
    train(tiny_config(), NAME, data, tmp_path)
    for folder in (tmp_path / "checkpoints").glob("*/checksums"):
        shutil.rmtree(folder)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.restore_for_evaluation()[0] == latest_step(tmp_path)
    checkpoints.close()
    assert_same(train(tiny_config(), NAME, data, tmp_path), tmp_path, uninterrupted)


def test_checkpoints_that_a_training_removes_while_they_are_looked_at(data, tmp_path, monkeypatch):
    train(tiny_config(), NAME, data, tmp_path)
    folder = tmp_path / "checkpoints"
    latest = latest_step(tmp_path)
    checkpoints, read = Checkpoints(folder), Checkpoints._read

    def read_late(self, step, like=None):
        if (folder / str(latest)).exists():  # meanwhile a later one has been saved
            for old in list(folder.iterdir()):
                if old.name != str(latest):
                    shutil.rmtree(old)
            (folder / str(latest)).rename(folder / str(latest + 1))
        return read(self, step, like)

    monkeypatch.setattr(Checkpoints, "_read", read_late)
    assert checkpoints.restore_for_evaluation()[0] == latest
    assert [path.name for path in folder.iterdir()] == [str(latest + 1)]
    checkpoints.close()


def test_a_full_disk_ends_the_writing_of_metrics(tmp_path, monkeypatch):
    writer = MetricWriter(epath.Path(tmp_path), name="a", first_step=0, total_steps=3)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    for _ in range(2):  # and does not wait for anybody
        with pytest.raises(OSError, match="No space left on device"):
            writer.write(1, {"loss": 1.0})
    monkeypatch.undo()
    writer.close()


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}'])
def test_damaged_checksums_condemn_no_checkpoint(data, tmp_path, capfd, uninterrupted, content):
    train(tiny_config(), NAME, data, tmp_path)
    latest = latest_step(tmp_path)
    (tmp_path / "checkpoints" / str(latest) / "checksums" / "metadata").write_text(content)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.restore_for_evaluation()[0] == latest
    checkpoints.close()
    assert f"the hashes of the checkpoint of step {latest}" in "".join(capfd.readouterr())
    assert_same(train(tiny_config(), NAME, data, tmp_path), tmp_path, uninterrupted)


def test_masks_that_would_set_in_after_the_last_step(data, tmp_path):
    config = tiny_config()
    steps = len(data.train) // config.train.batch_size
    config.interpretable.start_epoch = config.train.epochs - 0.5 / steps
    with pytest.raises(ValueError, match=rf"not before the last of the {steps} steps of epoch 2"):
        next(iter(train_networks(config, data, tmp_path)))
    assert not (tmp_path / "interpretable").exists()
    # From the first step on they set in, however few there are.
    config.interpretable.start_epoch, config.interpretable.ramp_epochs = 0.0, 0.4
    config.train.epochs, config.train.batch_size = 1, len(data.train) // 8 * 8
    assert len(list(train_networks(config, data, tmp_path))) == 1
    config.train.batch_size += 8
    with pytest.raises(ValueError, match=r"is larger than the .* training examples; lower it"):
        next(iter(train_networks(config, data, tmp_path)))


def test_no_checkpoint_can_be_read(data, tmp_path):
    train(tiny_config(), NAME, data, tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        damage(path, "zeroed")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read; delete that folder"):
        train(tiny_config(), NAME, data, tmp_path)
    assert latest_step(tmp_path) is not None  # nothing was moved
