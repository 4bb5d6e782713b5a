"""Training of one network, from its latest checkpoint to the last step."""

import dataclasses
import functools
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

import grain
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from etils import epath

from interp_cnn import hosts
from interp_cnn.config import INTERPRETABLE, ORDINARY
from interp_cnn.data.pipeline import Crop, train_batches
from interp_cnn.data.prepare import Data
from interp_cnn.models import AnyNetwork, Network
from interp_cnn.training import build, parallel
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.training.frozen_cache import FrozenCache
from interp_cnn.training.optim import NEW_LAYERS, learning_rate, make_optimizer
from interp_cnn.training.state import TrainState, init_state
from interp_cnn.training.writers import MetricWriter, NoWriter
from interp_cnn.workdir import CHECKPOINTS, START


class Interrupted(SystemExit):
    """SIGTERM or Ctrl-C came, or a preemption was announced; the state is saved."""


class _StopSignal:
    """Notes SIGTERM and Ctrl-C instead of dying of them, so that the step at hand can be saved.

    A second Ctrl-C does not wait for that, and one that the process ignores, as in the background
    of a shell, stays ignored. With several hosts JAX notes SIGTERM, and tells all of them; Ctrl-C
    acts as usual.

    Attributes:
      received: the name of the signal; "" as long as there was none.
    """

    def __init__(self) -> None:
        self.received = ""
        self._several = jax.process_count() > 1
        # Python allows handlers in the main thread only; elsewhere signals act as usual.
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and not self._several
        self._notice = hosts.StopNotice()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._previous[signal.SIGINT])

    def __enter__(self) -> "_StopSignal":
        if self._ours:
            self._previous = {
                number: signal.signal(number, self._note)
                for number in (signal.SIGTERM, signal.SIGINT)
                if signal.getsignal(number) not in (signal.SIG_IGN, None)
            }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._ours:
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def stops(self) -> bool:
        """Whether to save and stop after this step; to be asked once a step."""
        return self._notice.reached() if self._several else bool(self.received)


def _batches(
    config: ml_collections.ConfigDict, network: AnyNetwork, data: Data, first: int = 0
) -> grain.IterDataset:
    return train_batches(
        data.train,
        Crop(network.input_size, config.data.crop),
        batch_size=config.train.batch_size,
        seed=config.seed,
        first_batch=first,
        shards=(jax.process_index(), jax.process_count()),
        threads=config.data.threads,
    )


def check_batch_size(config: ml_collections.ConfigDict) -> None:
    """Raise a ValueError unless the devices divide the batch."""
    size, devices = config.train.batch_size, jax.device_count()
    if size < 1 or size % devices:
        where = f" of the {jax.process_count()} hosts" if jax.process_count() > 1 else ""
        raise ValueError(
            f"config.train.batch_size={size} is not divisible by the {devices} devices{where};"
            f" set it to a multiple of {devices}"
        )


def train(
    config: ml_collections.ConfigDict,
    variant: str,
    data: Data,
    folder: epath.Path,
    cache: FrozenCache | None = None,
    *,
    start: Callable[[], Any] | None = None,
    name: str | None = None,
) -> TrainState:
    """Train one network, or go on from its latest checkpoint.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      variant: `"ordinary"` or `"interpretable"`.
      data: prepared data.
      folder: the folder for checkpoints, `metrics.jsonl` and TensorBoard events.
      cache: the output of the frozen layers; without it every step computes it.
      start: makes the variables that training begins from, and is called where there is no
        checkpoint; None begins from those of `build.starting_variables`.
      name: what progress and messages call the network; None for the variant.

    Returns:
      The state after the last step.

    Raises:
      FloatingPointError: where the loss is no longer finite; the last good checkpoint is kept.
      OSError: where a checkpoint cannot be written; the earlier one is kept.
      Interrupted: after SIGTERM or Ctrl-C, when the state is saved.
    """
    name = name or variant
    check_batch_size(config)
    network = build.make_network(config, variant, len(data.categories))
    _batches(config, network, data)  # says where the batch is too large
    steps_per_epoch = len(data.train) // config.train.batch_size
    total = config.train.epochs * steps_per_epoch
    rate = _learning_rate(config, steps_per_epoch)
    optimizer = _optimizer(config, network, rate)
    objective = build.make_objective(
        config, data.train.labels, categories=len(data.categories), steps_per_epoch=steps_per_epoch
    )
    state = init_state(build.starting_variables(config, network), optimizer, network)
    checkpoints = Checkpoints(folder / CHECKPOINTS, keep=config.checkpoint.keep, tidy=True)
    restored = checkpoints.restore(state)
    if restored is None:
        checkpoints.check_space(state)
        if start is not None:
            del state  # frees its memory while the start is trained
            state = init_state(start(), optimizer, network)
    state = parallel.replicate(state if restored is None else restored)
    first = int(state.step)
    if first < total:
        if first:
            hosts.say(f"{name}: resumed from the checkpoint of step {first}")
        known = data if cache is None else cache.attach(data, network, state.variables)
        # The images go on where those of the network that training began from ended.
        seen = 0 if start is None else config.train.start_epochs * steps_per_epoch
        writer: MetricWriter | NoWriter = NoWriter()
        if hosts.is_first():
            writer = MetricWriter(folder, name=name, first_step=first, total_steps=total)
        try:
            with _StopSignal() as stop_signal:
                loop = _Loop(
                    config=config,
                    name=name,
                    step_function=build.make_step(config, network, optimizer, objective),
                    rate=rate,
                    total=total,
                    checkpoints=checkpoints,
                    writer=writer,
                    stop_signal=stop_signal,
                )
                state = loop.run(state, iter(_batches(config, network, known, seen + first)))
        finally:
            writer.close()
    checkpoints.close()
    return state


def train_start(
    config: ml_collections.ConfigDict,
    data: Data,
    folder: epath.Path,
    cache: FrozenCache | None = None,
) -> Any:
    """Variables of the ordinary network that all networks of a run begin from.

    It is trained for `config.train.start_epochs` epochs, or read where it is done.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      data: prepared data.
      folder: the folder for its checkpoints and metrics.
      cache: the output of the frozen layers; without it every step computes it.

    Raises:
      FloatingPointError, OSError, Interrupted: as `train`.
    """
    before = config.copy_and_resolve_references()
    before.train.epochs = config.train.start_epochs
    return jax.device_get(train(before, ORDINARY, data, folder, cache, name=START).variables)


def train_networks(
    config: ml_collections.ConfigDict,
    data: Data,
    workdir: epath.Path,
    cache: FrozenCache | None = None,
) -> Iterator[tuple[str, TrainState]]:
    """Train the networks of a configuration one after the other, from their common start.

    Args:
      config: the configuration of the run, see `interp_cnn.config`.
      data: prepared data.
      workdir: the work directory, with a folder for each network.
      cache: the output of the frozen layers; without it every step computes it.

    Yields:
      The name of a network, and its state after the last step.

    Raises:
      ValueError: where masks and filter loss would never set in, or as `train`.
      FloatingPointError, OSError, Interrupted: as `train`.
    """
    if INTERPRETABLE in config.networks:
        _check_start(config, len(data.train) // config.train.batch_size)
    start = None
    if config.train.start_epochs:
        start = functools.cache(lambda: train_start(config, data, workdir / START, cache))
    for variant in config.networks:
        yield variant, train(config, variant, data, workdir / variant, cache, start=start)


def _check_start(config: ml_collections.ConfigDict, steps_per_epoch: int) -> None:
    """Raise a ValueError where masks and filter loss would set in after the last step."""
    start, epochs = config.interpretable.start_epoch, config.train.epochs
    if start <= 0 or not steps_per_epoch:  # too large a batch is said elsewhere
        return
    last = epochs - 1 / steps_per_epoch
    if start > last or (start == last and config.interpretable.ramp_epochs):
        raise ValueError(
            f"config.interpretable.start_epoch={start:g} is not before the last of the"
            f" {steps_per_epoch} steps of epoch {epochs}: neither filter loss nor masks would ever"
            " set in; lower it"
        )


def _learning_rate(config: ml_collections.ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    return learning_rate(
        config.train.schedule,
        base=config.train.learning_rate,
        factor=config.train.paper_factor,
        epochs=config.train.epochs,
        steps_per_epoch=steps_per_epoch,
        warmup=config.train.warmup_steps,
    )


def _optimizer(
    config: ml_collections.ConfigDict, network: AnyNetwork, rate: optax.Schedule
) -> optax.GradientTransformation:
    return make_optimizer(
        rate,
        frozen=network.frozen_layers,
        momentum=config.train.momentum,
        weight_decay=config.train.weight_decay,
        rate_factors=dict(config.train.rate_factors),
        clip_norm=config.train.clip_norm,
        new_layers=NEW_LAYERS if isinstance(network, Network) else None,
    )


@jax.jit
def _all_finite(variables: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables)]).all()


@dataclasses.dataclass(frozen=True)
class _Loop:
    """The steps that are left, and what is written on the way.

    Attributes:
      config: the configuration of the run.
      name: the name of the network, for messages.
      step_function: `step(state, sharded batch)`, as `build.make_step` returns it.
      rate: the learning rate as a function of the step.
      total: the number of the last step.
      checkpoints: the checkpoints that are saved.
      writer: what takes the metrics.
      stop_signal: what says whether to save and stop.
    """

    config: ml_collections.ConfigDict
    name: str
    step_function: Callable[..., Any]
    rate: optax.Schedule
    total: int
    checkpoints: Checkpoints
    writer: MetricWriter | NoWriter
    stop_signal: _StopSignal

    def run(self, state: TrainState, batches: Iterator[dict[str, np.ndarray]]) -> TrainState:
        """Train from a state to the last step.

        Raises:
          FloatingPointError, OSError, Interrupted: as `train`.
        """
        config = self.config
        pending: list[dict[str, jax.Array]] = []  # metrics of the steps since the last look
        for step in range(int(state.step) + 1, self.total + 1):
            state, metrics = self.step_function(state, parallel.shard(next(batches)))
            pending.append(metrics)
            self.writer.advance()
            stop = self.stop_signal.stops()
            save = stop or step == self.total or step % config.checkpoint.every_steps == 0
            if save or step % config.log_every_steps == 0:
                self._write(step, pending)
                pending.clear()
            if save:
                self._check_finite(state)
                # A run goes on behind the checkpoint, and looks for what came before it.
                self.writer.flush()
                self.checkpoints.save(state, config.to_dict())
            # It may also have come while the last state was saved.
            if stop or (step == self.total and self.stop_signal.received):
                raise Interrupted(
                    f"{self.name}: stopped by {self.stop_signal.received or 'SIGTERM'}, saved at"
                    f" step {step};"
                    " run the same command again to go on"
                )
        return state

    def _write(self, step: int, pending: Sequence[dict[str, jax.Array]]) -> None:
        """Refuse metrics that are not finite, and write the mean of those up to a step."""
        fetched = jax.device_get(pending)
        for at, metrics in enumerate(fetched, step - len(fetched) + 1):
            for name, value in metrics.items():
                if not math.isfinite(value):
                    raise self._not_finite(f"{name} is {value} at step {at}")
        means = {
            name: float(sum(metrics[name] for metrics in fetched) / len(fetched))
            for name in fetched[0]
        }
        rate = float(self.rate(step - 1))
        self.writer.write(step, means | {"learning_rate": rate})

    def _check_finite(self, state: TrainState) -> None:
        """Keep parameters that the last update spoiled out of the checkpoints."""
        if not _all_finite(state.variables):
            raise self._not_finite(f"a parameter is not finite after step {int(state.step)}")

    def _not_finite(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{self.name}: {what}, training stopped; {self.checkpoints.last_good()}; lower"
            " config.train.learning_rate or config.filter_loss.weight and start again in another"
            " --workdir"
        )
