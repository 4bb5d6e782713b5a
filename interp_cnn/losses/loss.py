"""The filter loss, its derivative by hand, and the function that checks what it is given."""

import functools
import warnings
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from interp_cnn import templates
from interp_cnn.losses.batch import as_used, global_sum, number_of_images, without
from interp_cnn.losses.mutual_information import (
    Posterior,
    bank_and_prior,
    exact_weights,
    negative_information,
    posterior_of,
)
from interp_cnn.losses.paper_gradient import Assigned, assigned_template, paper_weights
from interp_cnn.losses.scale import (
    LARGEST_SHARPNESS,
    Scale,
    check_sharpness,
    normalize_scale,
    scale_of,
    slope_of_scale,
)
from interp_cnn.templates import Norm, Position

Gradient = Literal["paper", "exact"]

# Values of the argument `estimator`, which is now called `gradient`.
_ESTIMATORS: dict[str, Gradient] = {"paper": "paper", "mi": "exact"}


class _Setting(NamedTuple):
    """What is no array."""

    sharpness: float | None  # of maps whose scale is normalised, None for maps as they are
    images: int  # of all devices, with those left out
    axis_name: str | None


def _scaled_posterior(
    x: jax.Array, bank: jax.Array, prior: jax.Array, where: jax.Array | None, setting: _Setting
) -> tuple[Posterior, Scale | None]:
    x, axis_name = x.astype(jnp.float32), setting.axis_name
    if setting.sharpness is None:
        return posterior_of(x, bank, prior, where, axis_name), None
    maps = without(x, where)
    scale = scale_of(maps, where, setting.sharpness, axis_name)
    return posterior_of(maps, bank, prior, where, axis_name, scale.factor / scale.top), scale


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _filter_loss(
    x: jax.Array,
    bank: jax.Array,
    prior: jax.Array,
    where: jax.Array | None,
    assigned: Assigned | None,
    setting: _Setting,
) -> jax.Array:
    posterior, _ = _scaled_posterior(x, bank, prior, where, setting)
    return negative_information(posterior, prior, setting.images, setting.axis_name)


@_filter_loss.defjvp
def _filter_loss_jvp(setting, primals, tangents):  # type: ignore[no-untyped-def]
    """Value and directional derivative.

    A derivative by hand needs few passes, and where T_hat is all that counts it is made of x and
    of small arrays alone, which the compiler can put into what comes next. As a JVP it leaves the
    transposition of the sum over devices to JAX, whose rule differs between pmap, vmap and
    shard_map.
    """
    x, bank, prior, where, assigned = primals
    images, axis_name = setting.images, setting.axis_name
    posterior, scale = _scaled_posterior(x, bank, prior, where, setting)
    value = negative_information(posterior, prior, images, axis_name)
    if assigned is None:
        weights = exact_weights(posterior, prior, images, axis_name)
        by_score = (weights * posterior.shifted).sum(axis=0)
    else:
        weights, score = paper_weights(posterior, assigned, where)
        by_score = weights * score
        weights = weights[None]
    if scale is not None:
        weights = weights * (scale.factor / scale.top)[None]
    if assigned is None:
        slope = templates.template_backprojection(weights, bank)
    else:
        slope = weights[0][:, None, None, :] * assigned.template
    if scale is not None:
        maps = without(x.astype(jnp.float32), where)
        slope = slope + slope_of_scale(maps, by_score, scale, axis_name)
    products = slope * tangents[0].astype(jnp.float32)
    return value, global_sum(products.sum(axis=(0, 1, 2)), axis_name)


def _as_gradient(gradient: Gradient, estimator: str | None) -> Gradient:
    """The gradient that is wanted, also by its former name."""
    if estimator is not None:
        if estimator not in _ESTIMATORS:
            raise ValueError(f"estimator must be 'mi' or 'paper', got {estimator!r}")
        warnings.warn(
            f"estimator={estimator!r} of filter_loss is now gradient={_ESTIMATORS[estimator]!r}",
            DeprecationWarning,
            stacklevel=3,
        )
        return _ESTIMATORS[estimator]
    if gradient not in ("paper", "exact"):
        raise ValueError(f"gradient must be 'paper' or 'exact', got {gradient!r}")
    return gradient


def filter_loss(
    x: ArrayLike,
    *,
    gradient: Gradient = "paper",
    target: ArrayLike | None = None,
    sharpness: float | None = None,
    norm: Norm = "l1",
    beta: ArrayLike = 4.0,
    alpha: float | None = None,
    position: Position = "argmax",
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    estimator: str | None = None,
) -> jax.Array:
    """Filter loss `Loss_f = -MI(X; T)` (Eq. 1) between feature maps and position templates.

    `MI = sum_T p(T) sum_x p(x|T) log(p(x|T) / p(x))` with `p(x|T) = exp(tr(x.T)) / Z_T` and
    `Z_T = sum_x exp(tr(x.T))` (Eq. 2), `p(x) = sum_T p(T) p(x|T)`. In nats,
    `0 <= MI <= min(log batch, H(T))`. Z_T couples the images, so the value belongs to the batch.

    The gradient flows to x alone; the value is the same with both. `gradient="paper"` is that of
    Eq. 4: Z_T and p(x) held constant, and of all templates only T_hat counts, the one at the map's
    peak for images of the filter's category and the negative one for all others:
    `-p(T_hat) T_hat[i, j] exp(tr(x.T_hat)) / Z_T_hat (tr(x.T_hat) - log Z_T_hat - log p(x))`.
    `gradient="exact"` is that of the value. It needs no labels, but the largest MI is that of
    peaks scattered over all positions, to which it drives the filters.

    Args:
      x: feature maps after ReLU, see `template_mask`. Where a map is not square, n is its longer
        side.
      gradient: `"paper"` or `"exact"`.
      target: whether the image belongs to the filter's category, bool [batch, filters] (or
        [batch, 1]); `"paper"` needs it, `"exact"` has no use for it.
      sharpness: with a number, the loss is that of `normalize_scale(x, sharpness=sharpness)`, with
        a third of the memory traffic; 60 is a good one. None takes the maps as they are.
      norm: `"l1"` or `"l2"`, see `template_bank`.
      beta: slope of the templates, above 0, a number or one per filter [filters]. Templates are
        constants: the gradient by beta is zero, so it cannot be learned.
      alpha: prior probability of the part, see `template_prior`.
      position: where the positive template of `gradient="paper"` sits, `"argmax"` or `"centroid"`,
        see `peak_position`. Give the mask the same one. The value does not depend on it.
      where: bool [batch] or [batch, filters], False for images to leave out: padding, or images
        that are not of the filter's category.
      axis_name: mapped axis (pmap, vmap or shard_map) whose members together hold the batch. The
        result is then the same on all of them. Without it each has the loss of its own images;
        that it is missing, here or in `normalize_scale`, cannot be seen.
      estimator: former name of `gradient`, `"paper"` or `"mi"` (exact); it will be removed in the
        next release.

    Returns:
      float32 [filters], each at most 0.

    Raises:
      ValueError: for an x that is no batch of maps, a missing or superfluous target, an argument of
        another shape or out of range, an unknown option.

    >>> x = 60.0 * jnp.eye(4).reshape(4, 2, 2, 1)  # four images, one position each
    >>> target = jnp.ones((4, 1), bool)  # all of the filter's category
    >>> round(filter_loss(x, target=target).item(), 2)
    -1.11
    >>> abs(round(filter_loss(x[:1], gradient="exact").item(), 2))  # one image tells nothing
    0.0
    """
    gradient = _as_gradient(gradient, estimator)
    x = templates.as_maps(x)
    used = as_used(where, x)
    templates.check_not_negative(without(x, used))
    templates.check_position(position)
    if sharpness is not None:
        sharpness = check_sharpness(sharpness)
    if gradient == "exact" and target is not None:
        raise ValueError(
            "target has no use with gradient='exact', which needs no labels; leave it, or take"
            " gradient='paper'"
        )
    if gradient == "paper" and target is None:
        raise ValueError(
            "gradient='paper' needs target: give target=labels[:, None] == category, which says for"
            " each image whether it belongs to the filter's category, or gradient='exact', which"
            " needs no labels"
        )
    bank, prior = bank_and_prior(x, norm=norm, beta=beta, alpha=alpha)
    assigned = None
    if target is not None:
        assigned = assigned_template(x, target, prior, norm=norm, beta=beta, position=position)
    if sharpness is not None and sharpness > LARGEST_SHARPNESS:  # exp of such a score may overflow
        x = normalize_scale(x, sharpness=sharpness, where=used, axis_name=axis_name)
        sharpness = None
    setting = _Setting(sharpness, number_of_images(x, axis_name), axis_name)
    return _filter_loss(x, bank, prior, used, assigned, setting)
