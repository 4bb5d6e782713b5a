"""Eq. 4: the derivative by the score at the template that every map is assigned to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from interp_cnn import templates
from interp_cnn.losses.batch import as_yes_or_no
from interp_cnn.losses.mutual_information import Posterior, log
from interp_cnn.templates import Norm, Position, is_traced


class Assigned(NamedTuple):
    """T_hat of every map (Eq. 4)."""

    number: jax.Array  # in the bank, [batch, filters]
    prior: jax.Array  # p(T_hat), [batch, filters]
    template: jax.Array  # [batch, height, width, filters]


def _as_target(target: ArrayLike) -> jax.Array:
    """A target as bool; its values must be known, or it must be bool."""
    if getattr(target, "dtype", None) == jnp.bool_:
        return jnp.asarray(target)
    if is_traced(target):
        raise ValueError(
            "target must be bool where its values are not known yet (in jax.jit or jax.grad); give"
            " a comparison such as labels[:, None] == category"
        )
    return as_yes_or_no("target", target)


def assigned_template(
    x: jax.Array,
    target: ArrayLike,
    prior: jax.Array,
    *,
    norm: Norm,
    beta: ArrayLike,
    position: Position,
) -> Assigned:
    """T_hat: the template at a map's peak for images of the category, else the negative one."""
    target = _as_target(target)
    batch, height, width, filters = x.shape
    if target.shape not in ((batch, filters), (batch, 1)):
        raise ValueError(
            f"target must have the shape [batch, filters] = [{batch}, {filters}] or [{batch}, 1],"
            f" got {tuple(target.shape)}"
        )
    row, column = templates.peak_position(jax.lax.stop_gradient(x), position=position)
    target = jnp.broadcast_to(target, row.shape)
    index = jnp.where(target, row * width + column, height * width)
    mask = templates.mask_at(row, column, x.shape, norm=norm, beta=beta)
    tau = 0.5 / max(height, width) ** 2
    template = tau * jnp.where(target[:, None, None, :], mask, -1.0)
    return Assigned(index, jnp.where(target, prior[0], prior[-1]), template)


def _at(number: jax.Array, values: jax.Array) -> jax.Array:
    """`values[number[b, f], b, f]` of values [templates, batch, filters], [batch, filters]."""
    # A gather has to be told how its result is sharded where arrays are by their types.
    if jax.sharding.AxisType.Explicit in jax.typeof(values).sharding.mesh.axis_types:
        return _at_by_sum(number, values)
    return jax.lax.platform_dependent(number, values, tpu=_at_by_sum, default=_at_by_gather)


def _at_by_sum(number: jax.Array, values: jax.Array) -> jax.Array:
    """Part of the pass that makes the values: a TPU's gather would want all of them in memory."""
    templates_ = jnp.arange(values.shape[0])[:, None, None]
    return jnp.where(templates_ == number[None], values, 0.0).sum(axis=0)


def _at_by_gather(number: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.take_along_axis(values, number[None], axis=0)[0]


def paper_weights(
    posterior: Posterior, assigned: Assigned, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Eq. 4: the derivative by the score at T_hat, and that (shifted) score, [batch, filters]."""
    score = _at(assigned.number, posterior.shifted)
    log_conditional = score - _at(assigned.number, jnp.log(posterior.total))
    log_ratio = log_conditional - log(posterior.marginal)
    weights = -assigned.prior * jnp.exp(log_conditional) * log_ratio
    return (weights if where is None else jnp.where(where, weights, 0.0)), score
