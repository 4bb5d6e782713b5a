"""SGD with the paper's schedule, per-group factors and frozen layers, made of optax."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

# Layers that every network gets anew; the paper's weight decay spares their biases.
NEW_LAYERS = ("new_conv", "fc6", "fc7", "fc8")


def paper_schedule(*, epochs: int, factor: float = 1.0) -> tuple[float, ...]:
    """Learning rate of each epoch: `logspace(-4, -5, 10)`, then 1e-5, times a factor.

    Args:
      epochs: number of epochs (50 in the paper).
      factor: k of the network: 30 for AlexNet and VGG-M, 10 for VGG-S, 1 for VGG-16.
    """
    rates = np.concatenate([np.logspace(-4, -5, 10), np.full(max(epochs - 10, 0), 1e-5)])
    return tuple(float(rate) for rate in factor * rates[:epochs])


def learning_rate(
    schedule: str, *, base: float, factor: float, epochs: int, steps_per_epoch: int, warmup: int
) -> optax.Schedule:
    """Learning rate as a function of the step.

    Args:
      schedule: `"paper"` (see `paper_schedule`), `"constant"`, or `"cosine"` down to zero.
      base: peak learning rate of the constant and cosine schedules.
      factor: the factor k of the paper's schedule.
      epochs: length of the run.
      steps_per_epoch: length of an epoch.
      warmup: steps of linear warm-up of the cosine schedule.

    Raises:
      ValueError: for an unknown schedule.
    """
    if schedule == "paper":
        rates = paper_schedule(epochs=epochs, factor=factor)
        return optax.join_schedules(
            [optax.constant_schedule(rate) for rate in rates],
            [steps_per_epoch * epoch for epoch in range(1, epochs)],
        )
    if schedule == "constant":
        return optax.constant_schedule(base)
    if schedule == "cosine":
        total = epochs * steps_per_epoch
        warmup = min(warmup, total - 1)
        return optax.warmup_cosine_decay_schedule(0.0, base, warmup, total)
    raise ValueError(f"schedule must be 'paper', 'constant' or 'cosine', got {schedule!r}")


def _names(path: tuple[Any, ...]) -> str:
    return "/".join(key.key for key in path)


def make_optimizer(
    rate: optax.Schedule,
    *,
    frozen: Sequence[str] = (),
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    rate_factors: Mapping[str, float] | None = None,
    clip_norm: float | None = None,
    new_layers: Sequence[str] | None = NEW_LAYERS,
) -> optax.GradientTransformation:
    """SGD with momentum.

    Args:
      rate: learning rate as a function of the step.
      frozen: layers that are not trained; they have no momentum and no weight decay.
      momentum: the momentum of the gradients.
      weight_decay: the decay of all trained parameters but the biases of the new layers.
      rate_factors: regular expression of a parameter's path, such as `"fc8/.*"` or `".*/bias"`, ->
        factor of its learning rate. The first that matches counts.
      clip_norm: largest norm of the whole gradient; None does not clip.
      new_layers: layers that no weights are published for; None for all.

    Raises:
      ValueError: (at init) for an expression that matches no parameter.
    """
    factors = dict(rate_factors or {})
    # Labels are in the names of a checkpoint's arrays; they must not be those of the other groups.
    patterns = {
        f"factor {pattern}" if pattern in ("trained", "frozen") else pattern: pattern
        for pattern in factors
    }

    def group(path: tuple[Any, ...], _: jax.Array) -> str:
        if path[0].key in frozen:
            return "frozen"
        for label, pattern in patterns.items():
            if re.fullmatch(pattern, _names(path)):
                return label
        return "trained"

    def groups(params: Any) -> Any:
        labels = jax.tree_util.tree_map_with_path(group, params)
        unused = set(patterns) - set(jax.tree.leaves(labels))
        if unused:
            raise ValueError(
                f"rate_factors: {patterns[sorted(unused)[0]]!r} matches no trained parameter;"
                " patterns are compared with paths such as 'fc8/bias'"
            )
        return labels

    def decays(params: Any) -> Any:
        def decayed(path: tuple[Any, ...], _: jax.Array) -> bool:
            is_new = new_layers is None or path[0].key in new_layers
            return not (path[-1].key == "bias" and is_new)

        return jax.tree_util.tree_map_with_path(decayed, params)

    def sgd(factor: float) -> optax.GradientTransformation:
        return optax.chain(
            optax.masked(optax.add_decayed_weights(weight_decay), decays),
            optax.sgd(lambda step: factor * rate(step), momentum=momentum),
        )

    partition = optax.partition(
        {"trained": sgd(1.0), "frozen": optax.set_to_zero()}
        | {label: sgd(factors[pattern]) for label, pattern in patterns.items()},
        groups,
    )
    if clip_norm is None:
        return partition
    return optax.chain(optax.clip_by_global_norm(clip_norm), partition)
