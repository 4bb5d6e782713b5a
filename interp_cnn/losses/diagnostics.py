"""Eq. 5: the terms of the filter loss."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from interp_cnn.losses.batch import as_used, global_sum, number_of_images, without
from interp_cnn.losses.mutual_information import (
    bank_and_prior,
    log,
    negative_information,
    posterior_of,
)
from interp_cnn.templates import Norm, as_maps, check_not_negative


def filter_diagnostics(
    x: ArrayLike,
    *,
    norm: Norm = "l1",
    beta: ArrayLike = 4.0,
    alpha: float | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> dict[str, jax.Array]:
    """Terms of the filter loss (Eq. 5), in nats.

    `Loss_f = -H(T) + H(T' | X) + sum_x p(T+, x) H(T+ | X = x)` with `T' = {T^-, T^+}`.

    Args:
      x: feature maps after ReLU, see `template_mask`.
      norm: see `filter_loss`.
      beta: see `filter_loss`.
      alpha: see `filter_loss`.
      where: see `filter_loss`.
      axis_name: see `filter_loss`.

    Returns:
      float32 [filters] each: `mutual_information`; `template_entropy` H(T), the upper bound;
      `category_entropy` H(T' | X), small where images with and without the part are told apart;
      `position_entropy` sum_x p(T+, x) H(T+ | X = x), small where an image fixes the position.

    Raises:
      ValueError: see `filter_loss`.

    >>> terms = filter_diagnostics(1e4 * jnp.eye(4).reshape(4, 2, 2, 1))  # one position each
    >>> for name, values in terms.items():
    ...     print(name, round(values.item(), 2))
    mutual_information 1.11
    template_entropy 1.61
    category_entropy 0.5
    position_entropy 0.0
    """
    x = as_maps(x)
    used = as_used(where, x)
    check_not_negative(without(x, used))
    bank, prior = bank_and_prior(x, norm=norm, beta=beta, alpha=alpha)
    posterior = posterior_of(x.astype(jnp.float32), bank, prior, used, axis_name)
    images = number_of_images(x, axis_name)
    information = -negative_information(posterior, prior, images, axis_name)
    joint = prior[:, None, None] / posterior.total * posterior.unnormalised  # p(T, x)
    positive, negative = joint[:-1].sum(axis=0), joint[-1]  # p(T+, x), p(T-, x): [batch, filters]
    marginal = posterior.marginal
    log_marginal = log(marginal)
    entropy = jax.scipy.special.entr
    # sum_x p(x) H(T'|x) = sum_x (entr p(T+, x) + entr p(T-, x) + p(x) log p(x)), alike below.
    category = (entropy(positive) + entropy(negative) + marginal * log_marginal).sum(axis=0)
    position = (entropy(joint[:-1]).sum(axis=0) - entropy(positive)).sum(axis=0)
    return {
        "mutual_information": information,
        "template_entropy": jnp.full_like(information, entropy(prior).sum()),
        "category_entropy": global_sum(category, axis_name),
        "position_entropy": global_sum(position, axis_name),
    }
