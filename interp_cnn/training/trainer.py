"""Training of one network, from its latest checkpoint to the last step."""

import math
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import grain
import jax
import jax.numpy as jnp
import ml_collections
from etils import epath

from interp_cnn import hosts
from interp_cnn.data.pipeline import Crop, train_batches
from interp_cnn.data.prepare import Data
from interp_cnn.models import Network
from interp_cnn.training import build, parallel
from interp_cnn.training.checkpoint import Checkpoints
from interp_cnn.training.frozen_cache import FrozenCache
from interp_cnn.training.optim import learning_rate, make_optimizer
from interp_cnn.training.state import TrainState, init_state
from interp_cnn.training.writers import MetricWriter, NoWriter
from interp_cnn.workdir import CHECKPOINTS


class Interrupted(SystemExit):
    """SIGTERM came, or a preemption was announced; the state is saved."""


class _StopSignal:
    """Notes a SIGTERM instead of dying of it, so that the step at hand can be saved.

    With several hosts JAX notes it, and tells all of them.
    """

    def __init__(self) -> None:
        self.received = False
        self._several = jax.process_count() > 1
        # Python allows handlers in the main thread only; elsewhere SIGTERM acts as usual.
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and not self._several
        self._notice = hosts.StopNotice()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def __enter__(self) -> "_StopSignal":
        if self._ours:
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._ours:
            signal.signal(signal.SIGTERM, self._previous)

    def stops(self) -> bool:
        """Whether to save and stop after this step; to be asked once a step."""
        return self._notice.reached() if self._several else self.received


def _batches(
    config: ml_collections.ConfigDict, network: Network, data: Data, first: int = 0
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
) -> TrainState:
    """Train one network, or go on from its latest checkpoint.

    Args:
      config: see `interp_cnn.config`.
      variant: `"ordinary"` or `"interpretable"`.
      data: prepared data.
      folder: gets checkpoints, `metrics.jsonl` and TensorBoard events.
      cache: of the output of the frozen layers; without it every step computes it.

    Returns:
      The state after the last step.

    Raises:
      FloatingPointError: where the loss is no longer finite; the last good checkpoint is kept.
      OSError: where a checkpoint cannot be written; the earlier one is kept.
      Interrupted: after SIGTERM, when the state is saved.
    """
    check_batch_size(config)
    network = build.make_network(config, variant, len(data.categories))
    settings = config.train
    steps_per_epoch = len(data.train) // settings.batch_size
    _batches(config, network, data)  # says where the batch is too large
    total = settings.epochs * steps_per_epoch
    rate = learning_rate(
        settings.schedule,
        base=settings.learning_rate,
        factor=settings.paper_factor,
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        warmup=settings.warmup_steps,
    )
    optimizer = make_optimizer(
        rate,
        frozen=network.frozen_layers,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        rate_factors=dict(settings.rate_factors),
        clip_norm=settings.clip_norm,
    )
    objective = build.make_objective(
        config, data.train.labels, categories=len(data.categories), steps_per_epoch=steps_per_epoch
    )
    state = init_state(build.starting_params(config, network), optimizer, network)
    checkpoints = Checkpoints(folder / CHECKPOINTS, keep=config.checkpoint.keep)
    restored = checkpoints.restore(state)
    if restored is None:
        checkpoints.check_space(state)
    state = parallel.replicate(state if restored is None else restored)
    first = int(state.step)
    if first < total:
        if first:
            hosts.say(f"{variant}: resumed from the checkpoint of step {first}")
        known = data if cache is None else cache.attach(data, network, state.params)
        iterator = iter(_batches(config, network, known, first))
        step_function = build.make_step(config, network, optimizer, objective)
        writer: MetricWriter | NoWriter = NoWriter()
        if hosts.is_first():
            writer = MetricWriter(folder, name=variant, first_step=first, total_steps=total)
        try:
            with _StopSignal() as stop_signal:
                state = _loop(
                    config,
                    variant,
                    state,
                    iterator,
                    step_function,
                    checkpoints,
                    writer,
                    total,
                    rate,
                    stop_signal,
                )
        finally:
            writer.close()
    checkpoints.close()
    return state


def _not_finite(what: str, checkpoints: Checkpoints) -> FloatingPointError:
    return FloatingPointError(
        f"{what}, training stopped; {checkpoints.last_good()}; lower config.train.learning_rate or"
        " config.filter_loss.weight and start again in another --workdir"
    )


@jax.jit
def _all_finite(params: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


def _check_finite(state: TrainState, variant: str, checkpoints: Checkpoints) -> None:
    """Keep parameters that the last update spoiled out of the checkpoints."""
    if not _all_finite(state.params):
        what = f"{variant}: a parameter is not finite after step {int(state.step)}"
        raise _not_finite(what, checkpoints)


def _loop(
    config: ml_collections.ConfigDict,
    variant: str,
    state: TrainState,
    iterator: grain.DatasetIterator,
    step_function: Any,
    checkpoints: Checkpoints,
    writer: MetricWriter | NoWriter,
    total: int,
    rate: Any,
    stop_signal: _StopSignal,
) -> TrainState:
    """The steps that are left."""
    pending: list[dict[str, jax.Array]] = []  # metrics of the steps since the last look

    def look(step: int) -> None:
        """Fetch what is pending, refuse what is not finite, and write the mean."""
        fetched = jax.device_get(pending)
        pending.clear()
        for offset, metrics in enumerate(fetched):
            if not all(math.isfinite(value) for value in metrics.values()):
                wrong = next(name for name in metrics if not math.isfinite(metrics[name]))
                at = step - len(fetched) + 1 + offset
                raise _not_finite(
                    f"{variant}: {wrong} is {metrics[wrong]} at step {at}", checkpoints
                )
        if fetched:
            means = {
                name: float(sum(metrics[name] for metrics in fetched) / len(fetched))
                for name in fetched[0]
            }
            writer.write(step, means | {"learning_rate": float(rate(step - 1))})

    for step in range(int(state.step) + 1, total + 1):
        state, metrics = step_function(state, parallel.shard(next(iterator)))
        pending.append(metrics)
        writer.advance()
        stop = stop_signal.stops()
        save = stop or step == total or step % config.checkpoint.every_steps == 0
        if save or step % config.log_every_steps == 0:
            look(step)
        if save:
            _check_finite(state, variant, checkpoints)
            writer.flush()  # a run goes on behind the checkpoint, and looks for what came before it
            checkpoints.save(state, config.to_dict())
        if stop or (step == total and stop_signal.received):  # also while the last was saved
            raise Interrupted(
                f"{variant}: stopped by SIGTERM, saved at step {step};"
                " run the same command again to go on"
            )
    return state
