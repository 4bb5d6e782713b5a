"""The filter loss of the paper, the category of a filter and the terms of the loss.

All are pure functions of feature maps `x` [batch, height, width, filters] after ReLU and return one
number per filter. With `axis_name` the batch is that of all devices along the named axis.
"""

import functools
import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from interp_cnn import templates
from interp_cnn.templates import Norm

Estimator = Literal["mi", "paper"]

_TINY = float(jnp.finfo(jnp.float32).tiny)


# Largest sharpness whose scores, at most half as large, exp may take as they are in float32.
LARGEST_SHARPNESS = 120.0


class _Scale(NamedTuple):
    """How `scale_free` scales maps: to `factor * x / top`."""

    top: jax.Array  # a filter's largest value, whose square may be no float32, [1, filters]
    size: jax.Array  # r of the maps over top, [batch, filters]
    factor: jax.Array  # sharpness / (r + mean r), [batch, filters]
    images: ArrayLike  # that the mean is over, a number, [1, 1] or [1, filters]
    sharpness: float


class _Posterior(NamedTuple):
    """What Eq. 1 and 5 are made of, for the images of one device."""

    shifted: jax.Array  # S - top of each template, [templates, batch, filters]
    unnormalised: jax.Array  # exp(shifted), zero for images left out, [templates, batch, filters]
    total: jax.Array  # its sum over the images of all devices, [templates, 1, filters]
    marginal: jax.Array  # p(x), [batch, filters]


class _Assigned(NamedTuple):
    """T_hat of every map (Eq. 4)."""

    number: jax.Array  # in the bank, [batch, filters]
    prior: jax.Array  # p(T_hat), [batch, filters]
    template: jax.Array  # [batch, height, width, filters]


def _global_sum(values: jax.Array, axis_name: str | None) -> jax.Array:
    return values if axis_name is None else jax.lax.psum(values, axis_name)


def _number_of_images(x: jax.Array, axis_name: str | None) -> int:
    """Of all devices, with those left out."""
    return len(x) if axis_name is None else len(x) * jax.lax.axis_size(axis_name)


def _log(values: jax.Array) -> jax.Array:
    """Finite at zero, where all that the logarithm is multiplied by is zero too."""
    return jnp.log(jnp.maximum(values, _TINY))


def _posterior(
    x: jax.Array,
    bank: jax.Array,
    prior: jax.Array,
    where: jax.Array | None,
    axis_name: str | None,
    factor: jax.Array | None = None,
) -> _Posterior:
    """Posterior of float32 maps x, or of scale-free maps `factor * x` with factor [batch, filters].

    Scores are linear: those of scaled maps need no scaled maps. And those of scale-free maps lie
    within half the sharpness, as |T| <= tau = 1/2 / n^2 and the mean of a map is at most its root
    mean square: no maximum need be taken out (and be found among all devices).
    """
    shifted = templates.template_scores(_without(x, where), bank)
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
    total = _global_sum(unnormalised.sum(axis=1, keepdims=True), axis_name)
    total = jnp.maximum(total, _TINY)  # zero only where no image is left
    # p(x) can be summed without another logsumexp: where every p(x|T) underflows so does its
    # weight in each sum below, and the floor keeps the logarithm finite there.
    marginal = jnp.sum(prior[:, None, None] / total * unnormalised, axis=0)
    return _Posterior(shifted, unnormalised, total, marginal)


def _negative_information(
    posterior: _Posterior, prior: jax.Array, images: int, axis_name: str | None
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
    own = conditional - (marginal * _log(images * marginal)).sum(axis=0)
    return -_global_sum(own, axis_name)


def _exact_weights(
    posterior: _Posterior, prior: jax.Array, images: int, axis_name: str | None
) -> jax.Array:
    """Derivative of -MI by every score, [templates, batch, filters].

    `-p(T) p(x|T) (log(p(x|T) / p(x)) - sum_x' p(x'|T) log(p(x'|T) / p(x')))`.
    """
    # log(p(x|T) / p(x)) but for a number per template, which the difference cancels.
    ratio = posterior.shifted - _log(images * posterior.marginal)[None]
    products = (posterior.unnormalised * ratio).sum(axis=1, keepdims=True)
    mean = _global_sum(products, axis_name) / posterior.total
    return -prior[:, None, None] / posterior.total * posterior.unnormalised * (ratio - mean)


def _at(number: jax.Array, values: jax.Array) -> jax.Array:
    """`values[number[b, f], b, f]` of values [templates, batch, filters], [batch, filters]."""
    return jax.lax.platform_dependent(number, values, tpu=_at_by_sum, default=_at_by_gather)


def _at_by_sum(number: jax.Array, values: jax.Array) -> jax.Array:
    """Part of the pass that makes the values: a TPU's gather would want all of them in memory."""
    templates_ = jnp.arange(values.shape[0])[:, None, None]
    return jnp.where(templates_ == number[None], values, 0.0).sum(axis=0)


def _at_by_gather(number: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.take_along_axis(values, number[None], axis=0)[0]


def _paper_weights(
    posterior: _Posterior, assigned: _Assigned, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Eq. 4: the derivative by the score at T_hat, and that (shifted) score, [batch, filters]."""
    score = _at(assigned.number, posterior.shifted)
    log_conditional = score - _at(assigned.number, jnp.log(posterior.total))
    log_ratio = log_conditional - _log(posterior.marginal)
    weights = -assigned.prior * jnp.exp(log_conditional) * log_ratio
    return (weights if where is None else jnp.where(where, weights, 0.0)), score


class _Setting(NamedTuple):
    """What is no array."""

    sharpness: float | None  # of `scale_free` maps, None for maps as they are
    images: int  # of all devices, with those left out
    axis_name: str | None


def _scaled_posterior(
    x: jax.Array, bank: jax.Array, prior: jax.Array, where: jax.Array | None, setting: _Setting
) -> tuple[_Posterior, _Scale | None]:
    x, axis_name = x.astype(jnp.float32), setting.axis_name
    if setting.sharpness is None:
        return _posterior(x, bank, prior, where, axis_name), None
    maps = _without(x, where)
    used = setting.images if where is None else _images_used(where, axis_name)
    scale = _scale(maps, used, setting.sharpness, axis_name)
    return _posterior(maps, bank, prior, where, axis_name, scale.factor / scale.top), scale


def _slope_of_scale(
    x: jax.Array, by_score: jax.Array, scale: _Scale, axis_name: str | None
) -> jax.Array:
    """Derivative through the sizes of the maps, r and mean r, of the shape of x.

    Args:
      x: float32 maps, zero where images are left out.
      by_score: `sum_T S[T, x] dLoss/dS[T, x]`, [batch, filters].
      scale: of the maps.
      axis_name: mapped axis over the devices.
    """
    by_sum = -by_score * scale.factor / scale.sharpness  # dLoss/d(r + mean r)
    by_mean = _global_sum(by_sum.sum(axis=0, keepdims=True), axis_name) / scale.images
    fires = scale.size > 0
    # dr/dx = x / (positions * r)
    positions = x.shape[1] * x.shape[2]
    factor = (by_sum + by_mean) / (positions * jnp.where(fires, scale.size, 1.0))
    factor = jnp.where(fires, factor, 0.0) / scale.top
    return factor[:, None, None, :] * (x / scale.top[:, None, None, :])


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _filter_loss(
    x: jax.Array,
    bank: jax.Array,
    prior: jax.Array,
    where: jax.Array | None,
    assigned: _Assigned | None,
    setting: _Setting,
) -> jax.Array:
    posterior, _ = _scaled_posterior(x, bank, prior, where, setting)
    return _negative_information(posterior, prior, setting.images, setting.axis_name)


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
    value = _negative_information(posterior, prior, images, axis_name)
    if assigned is None:
        weights = _exact_weights(posterior, prior, images, axis_name)
        by_score = (weights * posterior.shifted).sum(axis=0)
    else:
        weights, score = _paper_weights(posterior, assigned, where)
        by_score = weights * score
        weights = weights[None]
    if scale is not None:
        weights = weights * (scale.factor / scale.top)[None]
    if assigned is None:
        slope = templates.template_backprojection(weights, bank)
    else:
        slope = weights[0][:, None, None, :] * assigned.template
    if scale is not None:
        maps = _without(x.astype(jnp.float32), where)
        slope = slope + _slope_of_scale(maps, by_score, scale, axis_name)
    products = slope * tangents[0].astype(jnp.float32)
    return value, _global_sum(products.sum(axis=(0, 1, 2)), axis_name)


def _bank_and_prior(
    x: jax.Array, norm: Norm, beta: ArrayLike, alpha: float | None
) -> tuple[jax.Array, jax.Array]:
    _, height, width, filters = x.shape
    slope = jnp.asarray(beta, jnp.float32)
    if slope.shape not in ((), (filters,)):
        raise ValueError(
            f"beta must be a number or have the shape [filters] = [{filters}],"
            f" got the shape {tuple(slope.shape)}"
        )

    def bank_of(beta: jax.Array) -> jax.Array:
        return templates.template_bank(height, width, norm=norm, beta=beta)  # type: ignore[arg-type]

    bank = jax.vmap(bank_of)(slope) if slope.ndim else bank_of(slope)
    return bank, templates.template_prior(height, width, alpha=alpha)


def _check_where(where: ArrayLike | None, x: jax.Array) -> jax.Array | None:
    """Which images count, [batch, 1] or [batch, filters]."""
    if where is None:
        return None
    used = jnp.asarray(where, bool)
    batch, filters = x.shape[0], x.shape[-1]
    if used.shape not in ((batch,), (batch, 1), (batch, filters)):
        raise ValueError(
            f"where must have the shape [batch] = [{batch}] or [batch, filters] ="
            f" [{batch}, {filters}], got {tuple(used.shape)}"
        )
    return used.reshape(batch, -1)


def _as_target(target: ArrayLike) -> jax.Array:
    """A target as bool; a ValueError for other values than False and True, or 0 and 1."""
    if getattr(target, "dtype", None) == jnp.bool_:
        return jnp.asarray(target)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(target)):
        raise ValueError(
            "target must be bool where its values are not known yet (in jax.jit or jax.grad); give"
            " a comparison such as labels[:, None] == category"
        )
    values = np.asarray(target)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            "target must hold nothing but False and True, or 0 and 1, got"
            f" {np.unique(values)[:5].tolist()}; give labels[:, None] == category"
        )
    return jnp.asarray(values, bool)


def _without(x: jax.Array, used: jax.Array | None) -> jax.Array:
    """Zero for images left out, whatever they hold (a product would keep their NaN)."""
    return x if used is None else jnp.where(used[:, None, None, :], x, 0.0)


def filter_loss(
    x: jax.Array,
    *,
    estimator: Estimator = "mi",
    target: ArrayLike | None = None,
    norm: Norm = "l1",
    beta: ArrayLike = 4.0,
    alpha: float | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Filter loss `Loss_f = -MI(X; T)` (Eq. 1) between feature maps and position templates.

    `MI = sum_T p(T) sum_x p(x|T) log(p(x|T) / p(x))` with `p(x|T) = exp(tr(x.T)) / Z_T` and
    `Z_T = sum_x exp(tr(x.T))` (Eq. 2), `p(x) = sum_T p(T) p(x|T)`. In nats,
    `0 <= MI <= min(log batch, H(T))`. Z_T couples the images, so the value belongs to the batch.

    The gradient flows to x alone. `estimator="mi"` has the exact one. `estimator="paper"` has the
    same value with the gradient of Eq. 4: Z_T and p(x) held constant, and of all templates only
    T_hat counts, the one at the map's peak for images of the filter's category and the negative
    one for all others:
    `-p(T_hat) T_hat[i, j] exp(tr(x.T_hat)) / Z_T_hat (tr(x.T_hat) - log Z_T_hat - log p(x))`.

    Args:
      x: feature maps after ReLU, [batch, height, width, filters], any floating dtype. Where the map
        is not square, n is its longer side.
      estimator: `"mi"` or `"paper"`.
      target: for `"paper"` only, bool [batch, filters] (or [batch, 1]): does the image belong to
        the filter's category?
      norm: `"l1"` or `"l2"`, see `template_bank`.
      beta: slope of the templates, a number or one per filter [filters].
      alpha: see `template_prior`.
      where: bool [batch] or [batch, filters], False for images to leave out: padding, or images
        that are not of the filter's category.
      axis_name: mapped axis (pmap, vmap or shard_map) whose members together hold the batch. The
        result is then the same on all of them.

    Returns:
      float32 [filters], each at most 0.

    Raises:
      ValueError: for an x of another rank, a missing or superfluous target, an argument of another
        shape, an unknown option.

    >>> import jax.numpy as jnp
    >>> x = 60.0 * jnp.eye(4).reshape(4, 2, 2, 1)  # four images, one position each
    >>> bool(filter_loss(x)[0] < filter_loss(x[:, :1, :1] * jnp.ones((1, 2, 2, 1)))[0])
    True
    """
    return _checked_filter_loss(
        x,
        None,
        estimator=estimator,
        target=target,
        norm=norm,
        beta=beta,
        alpha=alpha,
        where=where,
        axis_name=axis_name,
    )


def _checked_filter_loss(
    x: jax.Array,
    sharpness: float | None,
    *,
    estimator: Estimator,
    target: ArrayLike | None,
    norm: Norm,
    beta: ArrayLike,
    alpha: float | None,
    where: ArrayLike | None,
    axis_name: str | None,
) -> jax.Array:
    """`filter_loss` of maps x, or of `scale_free` ones of this sharpness."""
    x = templates.as_maps(x)
    templates.check_maps(x)
    if estimator not in ("mi", "paper"):
        raise ValueError(f"estimator must be 'mi' or 'paper', got {estimator!r}")
    bank, prior = _bank_and_prior(x, norm, beta, alpha)
    used = _check_where(where, x)
    assigned = None
    if estimator == "paper":
        if target is None:
            raise ValueError(
                "estimator='paper' needs target, a bool array [batch, filters] that says which"
                " images belong to each filter's category"
            )
        assigned = _assigned_template(x, _as_target(target), prior, norm, beta)
    elif target is not None:
        raise ValueError("target has no use with estimator='mi', which needs no labels; leave it")
    setting = _Setting(sharpness, _number_of_images(x, axis_name), axis_name)
    return _filter_loss(x, bank, prior, used, assigned, setting)


def _assigned_template(
    x: jax.Array, target: jax.Array, prior: jax.Array, norm: Norm, beta: ArrayLike
) -> _Assigned:
    batch, height, width, filters = x.shape
    if target.shape not in ((batch, filters), (batch, 1)):
        raise ValueError(
            f"target must have the shape [batch, filters] = [{batch}, {filters}] or [{batch}, 1],"
            f" got {tuple(target.shape)}"
        )
    row, column = templates.peak_position(jax.lax.stop_gradient(x))
    target = jnp.broadcast_to(target, row.shape)
    index = jnp.where(target, row * width + column, height * width)
    mask = templates.mask_at(row, column, x.shape, norm=norm, beta=beta)
    tau = 0.5 / max(height, width) ** 2
    template = tau * jnp.where(target[:, None, None, :], mask, -1.0)
    return _Assigned(index, jnp.where(target, prior[0], prior[-1]), template)


def _images_used(where: jax.Array, axis_name: str | None) -> jax.Array:
    """Number of images that count, at least 1, [1, 1] or [1, filters]."""
    number = _global_sum(where.astype(jnp.float32).sum(axis=0, keepdims=True), axis_name)
    return jnp.maximum(number, 1.0)


def _scale(x: jax.Array, images: ArrayLike, sharpness: float, axis_name: str | None) -> _Scale:
    """Of float32 maps x, zero where images are left out, see `_images_used`."""
    top = jax.lax.stop_gradient(jnp.abs(x).max(axis=(0, 1, 2)))
    if axis_name is not None:
        top = jax.lax.pmax(top, axis_name)
    top = jnp.where(top > 0, top, 1.0)
    mean_square = jnp.square(x / top[None, None, None, :]).mean(axis=(1, 2))  # [batch, filters]
    fires = mean_square > 0
    size = jnp.where(fires, jnp.sqrt(jnp.where(fires, mean_square, 1.0)), 0.0)
    total = _global_sum(size.sum(axis=0, keepdims=True), axis_name)
    both = size + total / images
    return _Scale(top[None], size, sharpness / jnp.where(both > 0, both, 1.0), images, sharpness)


def scale_free(
    x: jax.Array,
    *,
    sharpness: float = 60.0,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Maps whose size does not matter: `sharpness * x / (r + mean r)`.

    `r` is the root mean square of a map over its positions, `mean r` that of the filter over the
    batch. MI grows with the activations, so the plain loss rewards a filter for growing until it
    explodes, on all images or on a single one. That of `scale_free(x)` does not: scaling a filter
    changes nothing, so the gradient is orthogonal to the filter's maps, and an image that fires
    much more than the others gains no more than a factor of two. What is left to win is the shape
    and the position of the blob.

    Args:
      x: feature maps after ReLU, [batch, height, width, filters].
      sharpness: of the result; a typical map's root mean square is half of it. The larger, the
        closer a map need come to one blob at one position to be told from others.
      where: see `filter_loss`.
      axis_name: see `filter_loss`.

    Returns:
      float32 of the shape of x; zero for a filter that never fires and for images left out.

    Raises:
      ValueError: for an x of another rank, a where of another shape.
    """
    x = templates.as_maps(x)
    templates.check_maps(x)
    used = _check_where(where, x)
    x = _without(x.astype(jnp.float32), used)
    images: ArrayLike = _number_of_images(x, axis_name)
    if used is not None:
        images = _images_used(used, axis_name)
    scale = _scale(x, images, sharpness, axis_name)
    return x / scale.top[:, None, None, :] * scale.factor[:, None, None, :]


def scale_free_filter_loss(
    x: jax.Array,
    *,
    sharpness: float = 60.0,
    estimator: Estimator = "mi",
    target: ArrayLike | None = None,
    norm: Norm = "l1",
    beta: ArrayLike = 4.0,
    alpha: float | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """`filter_loss(scale_free(x))`, value and gradient, without making the scaled maps.

    Scores are linear in the maps, so those of x, each times one number per map, do. A third of the
    memory traffic is left.

    Args:
      x: see `scale_free`.
      sharpness: see `scale_free`.
      estimator: see `filter_loss`.
      target: see `filter_loss`.
      norm: see `filter_loss`.
      beta: see `filter_loss`.
      alpha: see `filter_loss`.
      where: see `filter_loss`.
      axis_name: see `filter_loss`.

    Returns:
      float32 [filters], each at most 0.

    Raises:
      ValueError: see `filter_loss`.
    """
    plain: float | None = sharpness
    if sharpness > LARGEST_SHARPNESS:  # exp of such a score may overflow
        x = scale_free(x, sharpness=sharpness, where=where, axis_name=axis_name)
        plain = None
    return _checked_filter_loss(
        x,
        plain,
        estimator=estimator,
        target=target,
        norm=norm,
        beta=beta,
        alpha=alpha,
        where=where,
        axis_name=axis_name,
    )


def filter_categories(
    x: jax.Array,
    labels: ArrayLike,
    *,
    num_categories: int,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Category of each filter, `c_hat = argmax_c mean_{x of c} sum_ij x_ij` (section 3.2).

    Args:
      x: feature maps after ReLU, [batch, height, width, filters].
      labels: category of each image, int [batch] in [0, num_categories).
      num_categories: number of categories. One without an image is never chosen.
      where: bool [batch], False for images to leave out, such as padding or "other" images.
      axis_name: see `filter_loss`.

    Returns:
      int32 [filters].

    Raises:
      ValueError: for an x of another rank or labels of another shape.
    """
    x = templates.as_maps(x)
    templates.check_maps(x)
    labels = jnp.asarray(labels)
    if labels.shape != x.shape[:1]:
        raise ValueError(
            f"labels must have the shape [batch] = [{x.shape[0]}], got {tuple(labels.shape)}"
        )
    members = jax.nn.one_hot(labels, num_categories, dtype=jnp.float32)
    used = _check_where(where, x)
    if used is not None:
        members = members * used[:, :1]
    activation = _without(x.astype(jnp.float32), used).sum(axis=(1, 2))
    exact = jax.lax.Precision.HIGHEST
    sums = _global_sum(jnp.einsum("bc,bf->cf", members, activation, precision=exact), axis_name)
    counts = _global_sum(members.sum(axis=0), axis_name)[:, None]
    means = jnp.where(counts > 0, sums / jnp.maximum(counts, 1.0), -jnp.inf)
    return means.argmax(axis=0)


def filter_diagnostics(
    x: jax.Array,
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
      x: feature maps after ReLU, [batch, height, width, filters].
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
    """
    x = templates.as_maps(x)
    templates.check_maps(x)
    bank, prior = _bank_and_prior(x, norm, beta, alpha)
    posterior = _posterior(x.astype(jnp.float32), bank, prior, _check_where(where, x), axis_name)
    images = _number_of_images(x, axis_name)
    information = -_negative_information(posterior, prior, images, axis_name)
    joint = prior[:, None, None] / posterior.total * posterior.unnormalised  # p(T, x)
    positive, negative = joint[:-1].sum(axis=0), joint[-1]  # p(T+, x), p(T-, x): [batch, filters]
    marginal = posterior.marginal
    log_marginal = _log(marginal)
    entropy = jax.scipy.special.entr
    # sum_x p(x) H(T'|x) = sum_x (entr p(T+, x) + entr p(T-, x) + p(x) log p(x)), alike below.
    category = (entropy(positive) + entropy(negative) + marginal * log_marginal).sum(axis=0)
    position = (entropy(joint[:-1]).sum(axis=0) - entropy(positive)).sum(axis=0)
    return {
        "mutual_information": information,
        "template_entropy": jnp.full_like(information, entropy(prior).sum()),
        "category_entropy": _global_sum(category, axis_name),
        "position_entropy": _global_sum(position, axis_name),
    }
