"""Eq. 1 and 2: the posterior of a batch, its mutual information and the exact derivative."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from interp_cnn import templates
from interp_cnn.losses.batch import global_sum, without
from interp_cnn.templates import Norm

_TINY = float(jnp.finfo(jnp.float32).tiny)


class Posterior(NamedTuple):
    """What Eq. 1 and 5 are made of, for the images of one device."""

    shifted: jax.Array  # S - top of each template, [templates, batch, filters]
    unnormalised: jax.Array  # exp(shifted), zero for images left out, [templates, batch, filters]
    total: jax.Array  # its sum over the images of all devices, [templates, 1, filters]
    marginal: jax.Array  # p(x), [batch, filters]


def bank_and_prior(
    x: jax.Array, *, norm: Norm, beta: ArrayLike, alpha: float | None
) -> tuple[jax.Array, jax.Array]:
    """The templates of maps x, of each filter where beta is, and their prior probabilities."""
    _, height, width, filters = x.shape
    slope = templates.as_slope(beta, filters)

    def bank_of(beta: jax.Array) -> jax.Array:
        return templates.template_bank(height, width, norm=norm, beta=beta)  # type: ignore[arg-type]

    bank = jax.vmap(bank_of)(slope) if slope.ndim else bank_of(slope)
    return bank, templates.template_prior(height, width, alpha=alpha)


def log(values: jax.Array) -> jax.Array:
    """Finite at zero, where all that the logarithm is multiplied by is zero too."""
    return jnp.log(jnp.maximum(values, _TINY))


def posterior_of(
    x: jax.Array,
    bank: jax.Array,
    prior: jax.Array,
    where: jax.Array | None,
    axis_name: str | None,
    factor: jax.Array | None = None,
) -> Posterior:
    """Posterior of float32 maps x, or of scaled maps `factor * x` with factor [batch, filters].

    Scores are linear: those of scaled maps need no scaled maps. And those of `normalize_scale` lie
    within half the sharpness, as |T| <= tau = 1/2 / n^2 and the mean of a map is at most its root
    mean square: no maximum need be taken out (and be found among all devices).
    """
    shifted = templates.template_scores(without(x, where), bank)
    if factor is not None:
        shifted = shifted * factor[None]
    else:
        # log p(x|T) = S - log Z_T, a logsumexp over the images of all devices.
        used = shifted if where is None else jnp.where(where[None], shifted, -jnp.inf)
        top = used.max(axis=1, keepdims=True)
        if axis_name is not None:
            top = jax.lax.pmax(top, axis_name)
        shifted = shifted - jnp.where(jnp.isfinite(top), top, 0.0)
    unnormalised = jnp.exp(shifted)
    if where is not None:
        unnormalised = jnp.where(where[None], unnormalised, 0.0)
    total = global_sum(unnormalised.sum(axis=1, keepdims=True), axis_name)
    total = jnp.maximum(total, _TINY)  # zero only where no image is left
    # p(x) can be summed without another logsumexp: where every p(x|T) underflows so does its
    # weight in each sum below, and the floor keeps the logarithm finite there.
    marginal = jnp.sum(prior[:, None, None] / total * unnormalised, axis=0)
    return Posterior(shifted, unnormalised, total, marginal)


def negative_information(
    posterior: Posterior, prior: jax.Array, images: int, axis_name: str | None
) -> jax.Array:
    """`-MI = H(X|T) - H(X)`, [filters].

    Both entropies are counted from that of images that are all as likely, log(images): they are
    small then where MI is, and their difference loses few digits. Over devices only one number per
    filter is summed.
    """
    # images * p(x|T) and images * p(x), 1 where a template or all of them tell nothing.
    log_conditional = posterior.shifted - (jnp.log(posterior.total) - math.log(images))
    products = posterior.unnormalised * log_conditional
    conditional = (prior[:, None] / posterior.total[:, 0] * products.sum(axis=1)).sum(axis=0)
    marginal = posterior.marginal
    own = conditional - (marginal * log(images * marginal)).sum(axis=0)
    # Rounding may leave a value above 0 where images tell nothing.
    return jnp.minimum(-global_sum(own, axis_name), 0.0)


def exact_weights(
    posterior: Posterior, prior: jax.Array, images: int, axis_name: str | None
) -> jax.Array:
    """Derivative of -MI by every score, [templates, batch, filters].

    `-p(T) p(x|T) (log(p(x|T) / p(x)) - sum_x' p(x'|T) log(p(x'|T) / p(x')))`.
    """
    # log(p(x|T) / p(x)) but for a number per template, which the difference cancels.
    ratio = posterior.shifted - log(images * posterior.marginal)[None]
    products = (posterior.unnormalised * ratio).sum(axis=1, keepdims=True)
    mean = global_sum(products, axis_name) / posterior.total
    return -prior[:, None, None] / posterior.total * posterior.unnormalised * (ratio - mean)
