"""What a plan will cost: time and disk of each run, without training any."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from etils import epath
from tqdm import tqdm

from interp_cnn.config import INTERPRETABLE, ORDINARY
from interp_cnn.data.categories import named_categories
from interp_cnn.data.pipeline import NONE
from interp_cnn.data.prepare import EMBEDDED, open_builder
from interp_cnn.evaluation.results import Results
from interp_cnn.models import AnyNetwork
from interp_cnn.reproduce.execute import finished, folder_of, measured_seconds
from interp_cnn.reproduce.plan import Run
from interp_cnn.reproduce.tables import CATEGORIES, Experiment
from interp_cnn.training import build, parallel
from interp_cnn.training.frozen_cache import frozen_variables, output_bytes
from interp_cnn.training.optim import make_optimizer
from interp_cnn.training.state import init_state, init_variables
from interp_cnn.workdir import begun

_GIB = 2**30
_ASSUMED_IMAGES = 2000  # for training, of data that are not prepared
_PROBE_STEPS = 3


class Cost(NamedTuple):
    """Of one run.

    Attributes:
      name: the name of the run.
      state: "done", "begun", "new" or "impossible".
      seconds: the time of a run from the start; 0 where it is done, None where it cannot be told.
      disk: bytes of its checkpoints; None where it cannot be told.
      how: where the seconds are from, or why there are none.
    """

    name: str
    state: str
    seconds: float | None
    disk: int | None
    how: str


class _Probed(NamedTuple):
    """Seconds for one image: of a training step, and of its frozen layers, 0 if none are."""

    step: float
    frozen: float


def estimate(
    planned: Sequence[Run],
    workdir: epath.Path,
    impossible: Mapping[Experiment, str] = MappingProxyType({}),
) -> list[Cost]:
    """Time and disk of every run.

    A run costs as much as (start_epochs + (epochs + 1) x networks) x training images times the time
    of one image; the one epoch stands for the evaluation. That time is the one of a finished run of
    the same network in the work directory that had the machine alone, or else of a probe: a few
    training steps on noise. Where the run will keep the output of the frozen layers, they cost
    their time once for each image.

    Args:
      planned: the runs, from `plan`.
      workdir: the folder with the runs that are done.
      impossible: what cannot be trained, with the reason.
    """
    done = {run.name: finished(run, workdir) for run in planned}
    measured = _measured(planned, done, workdir)
    probed: dict[str, _Probed | str] = {}
    costs = []
    for run in planned:
        network = run.config.model.name
        if done[run.name] is not None:
            costs.append(Cost(run.name, "done", 0.0, _disk(run), "finished"))
            continue
        if run.experiment in impossible:
            costs.append(Cost(run.name, "impossible", None, None, impossible[run.experiment]))
            continue
        if network in measured:
            of_image, how = _Probed(measured[network], 0.0), "time of a finished run"
        else:
            if network not in probed:
                tqdm.write(f"timing a few steps of {network} ...", file=sys.stderr)
                probed[network] = _probe(run)
            rate = probed[network]
            if isinstance(rate, str):
                costs.append(Cost(run.name, "new", None, None, rate))
                continue
            of_image, how = rate, "probe of a few steps"
        images, counted = _training_images(run)
        seconds = _seconds(run, of_image, images)
        state = "begun" if begun(folder_of(run, workdir)) else "new"
        costs.append(Cost(run.name, state, seconds, _disk(run), f"{how}, {images} {counted}"))
    return costs


def as_text(costs: Sequence[Cost]) -> str:
    """The list of runs with their costs, and the sum."""
    lines = []
    for cost in costs:
        known = cost.seconds is not None and cost.disk is not None
        cost_text = f"{_hours(cost.seconds)}, {_gib(cost.disk)}" if known else "unknown"
        lines.append(f"{cost.name}: {cost.state}, {cost_text} ({cost.how})")
    left = [cost for cost in costs if cost.state in ("begun", "new")]
    seconds = sum(cost.seconds or 0 for cost in left)
    disk = sum(cost.disk or 0 for cost in left)
    lines.append(
        f"{len(costs)} runs, {len(left)} of them to do: about {_hours(seconds)} one after"
        f" another and {_gib(disk)} for their checkpoints; prepared data sets, reports, the output"
        " of frozen layers while a run lasts and what begun runs have done already are not counted"
    )
    return "\n".join(lines)


def _hours(seconds: float | None) -> str:
    return f"{(seconds or 0) / 3600:.2f} h"


def _gib(size: int | None) -> str:
    return f"{(size or 0) / _GIB:.2f} GiB"


def _images_seen(run: Run, images: int) -> int:
    train = run.config.train
    passes = train.start_epochs + (train.epochs + 1) * len(run.config.networks)
    return passes * images


def _seconds(run: Run, of_image: _Probed, images: int) -> float:
    """That a run takes, from the time of one image and the number of training images."""
    seen = _images_seen(run, images)
    if not of_image.frozen:
        return of_image.step * seen
    network = build.make_network(run.config, ORDINARY, _outputs(run))
    test = images // 2
    if output_bytes(network, train=images, test=test) > run.config.data.cache_gib * _GIB:
        return of_image.step * seen
    # Training images pass the frozen layers mirrored too.
    once = of_image.frozen * (2 * images + test)
    return once + max(of_image.step - of_image.frozen, 0.0) * seen


def _measured(
    planned: Sequence[Run], done: Mapping[str, Results | None], workdir: epath.Path
) -> dict[str, float]:
    """Seconds for one image of each network, of the last finished run that was timed."""
    result = {}
    for run in planned:
        results, seconds = done[run.name], measured_seconds(run, workdir)
        if results is not None and seconds is not None:
            seen = _images_seen(run, results.data.train_images)
            result[run.config.model.name] = seconds / seen
    return result


def _training_images(run: Run) -> tuple[int, str]:
    """Their number, and how it is known."""
    data = run.config.data
    builder = open_builder(
        data.name, data.category, data_dir=data.data_dir or None, skip_damaged=data.skip_damaged
    )
    others = data.negatives != NONE
    if builder.info.splits:
        images = builder.info.splits["train"].num_examples
        if not others:
            counts = {c: n["examples"] for c, n in builder.info.metadata["summary"].items()}
            images = round(images * (1 - counts.get("other", 0) / sum(counts.values())))
        return images, "prepared images"
    if data.name == EMBEDDED:
        config = builder.builder_config
        images = config.num_per_category * len(config.categories) + others * config.num_other
        return round(images * 2 / 3), "images"  # the test split has a third
    return _ASSUMED_IMAGES, "images assumed, the data are not prepared"


def _outputs(run: Run) -> int:
    return len(named_categories(run.experiment.category, CATEGORIES[run.experiment.dataset]))


def _optimizer(run: Run, network: AnyNetwork) -> optax.GradientTransformation:
    train = run.config.train
    return make_optimizer(
        optax.constant_schedule(0.0),
        frozen=network.frozen_layers,
        rate_factors=dict(train.rate_factors),
        clip_norm=train.clip_norm,
    )


def _disk(run: Run) -> int:
    """Bytes of the checkpoints of all networks: the state, as often as it is kept."""
    config = run.config
    network = build.make_network(config, ORDINARY, _outputs(run))
    optimizer = _optimizer(run, network)
    shapes = jax.eval_shape(
        lambda: init_state(init_variables(network, config.seed), optimizer, network)
    )
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    return size * config.checkpoint.keep * len(config.networks)


def _probe(run: Run) -> _Probed | str:
    """Seconds for one image, or why they cannot be told."""
    config = run.config
    outputs = _outputs(run)
    size = config.train.batch_size
    random = np.random.default_rng(0)
    try:
        network = build.make_network(config, INTERPRETABLE, outputs)
        labels = random.integers(outputs > 1, outputs + 1, size).astype(np.int32)
        objective = build.make_objective(config, labels, categories=outputs, steps_per_epoch=1)
        side = network.input_size
        images = random.integers(0, 256, (size, side, side, 3)).astype(np.uint8)
        batch = parallel.shard({"image": images, "label": labels})
    except ValueError as error:
        return str(error)
    optimizer = _optimizer(run, network)
    state = parallel.replicate(init_state(init_variables(network, config.seed), optimizer, network))
    frozen = 0.0
    if network.frozen_through is not None:
        compute = build.make_frozen_step(config, network)
        layers = frozen_variables(network, state.variables)
        frozen = _time(lambda: compute(layers, {"image": batch["image"]})) / size
    step = build.make_step(config, network, optimizer, objective)

    def one_step() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return _Probed(_time(one_step) / size, frozen)


def _time(function: Callable[[], Any]) -> float:
    """Seconds of one call, after a first one that compiles."""
    jax.block_until_ready(function())
    start = time.perf_counter()
    for _ in range(_PROBE_STEPS):
        result = function()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / _PROBE_STEPS
