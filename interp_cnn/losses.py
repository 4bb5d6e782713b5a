"""The filter loss of the paper, the category of a filter and the terms of the loss.

All are pure functions of feature maps `x` [batch, height, width, filters] after ReLU and return one
number per filter. With `axis_name` the batch is that of all devices along the named axis.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from interp_cnn import templates
from interp_cnn.templates import Norm

Estimator = Literal["mi", "paper"]

_TINY = float(jnp.finfo(jnp.float32).tiny)


class _Posterior(NamedTuple):
    """What Eq. 1 and 5 are made of, for the images of one device."""

    conditional: jax.Array  # p(x|T), [templates, batch, filters]
    log_ratio: jax.Array  # log p(x|T) - log p(x), [templates, batch, filters]
    marginal: jax.Array  # p(x), [1, batch, filters]


def _global_sum(values: jax.Array, axis_name: str | None) -> jax.Array:
    return values if axis_name is None else jax.lax.psum(values, axis_name)


def _posterior(
    x: jax.Array, bank: jax.Array, prior: jax.Array, where: jax.Array | None, axis_name: str | None
) -> _Posterior:
    scores = templates.template_scores(x, bank)
    if where is not None:
        scores = jnp.where(where[None], scores, -jnp.inf)
    # log p(x|T) = S - log Z_T, a logsumexp over the images of all devices.
    top = scores.max(axis=1, keepdims=True)
    if axis_name is not None:
        top = jax.lax.pmax(top, axis_name)
    shifted = scores - jnp.where(jnp.isfinite(top), top, 0.0)
    unnormalised = jnp.exp(shifted)
    total = _global_sum(unnormalised.sum(axis=1, keepdims=True), axis_name)
    total = jnp.maximum(total, _TINY)  # zero only where no image is left
    conditional = unnormalised / total
    # p(x) can be summed without another logsumexp: where every p(x|T) underflows so does its
    # weight in each sum below, and the floor keeps the logarithm finite there.
    marginal = jnp.sum(prior[:, None, None] * conditional, axis=0, keepdims=True)
    log_ratio = shifted - jnp.log(total) - jnp.log(jnp.maximum(marginal, _TINY))
    if where is not None:
        log_ratio = jnp.where(where[None], log_ratio, 0.0)
    return _Posterior(conditional, log_ratio, marginal)


def _divergence(posterior: _Posterior, axis_name: str | None) -> jax.Array:
    """`sum_x p(x|T) log(p(x|T) / p(x))` of every template, [templates, 1, filters]."""
    products = posterior.conditional * posterior.log_ratio
    return _global_sum(products.sum(axis=1, keepdims=True), axis_name)


def _negative_information(divergence: jax.Array, prior: jax.Array) -> jax.Array:
    return -jnp.einsum("t,tf->f", prior, divergence[:, 0], precision=jax.lax.Precision.HIGHEST)


@functools.partial(jax.custom_jvp, nondiff_argnums=(5,))
def _filter_loss(
    x: jax.Array,
    bank: jax.Array,
    prior: jax.Array,
    where: jax.Array | None,
    slope_at: tuple[jax.Array, jax.Array] | None,
    axis_name: str | None,
) -> jax.Array:
    posterior = _posterior(x, bank, prior, where, axis_name)
    return _negative_information(_divergence(posterior, axis_name), prior)


@_filter_loss.defjvp
def _filter_loss_jvp(axis_name, primals, tangents):  # type: ignore[no-untyped-def]
    """Value and directional derivative.

    A derivative by hand needs one pass and keeps one array of the size of x for the backward pass.
    As a JVP it leaves the transposition of the sum over devices to JAX, whose rule differs between
    pmap, vmap and shard_map.
    """
    x, bank, prior, where, slope_at = primals
    posterior = _posterior(x, bank, prior, where, axis_name)
    divergence = _divergence(posterior, axis_name)
    if slope_at is None:
        # dMI/dS[T, x] = p(T) p(x|T) (log(p(x|T) / p(x)) - sum_x' p(x'|T) log(p(x'|T) / p(x'))).
        weights = prior[:, None, None] * posterior.conditional * (posterior.log_ratio - divergence)
        slope = -templates.template_backprojection(weights, bank)
    else:
        index, template = slope_at  # T_hat: [batch, filters] and [batch, height, width, filters]
        conditional, log_ratio = (
            jnp.take_along_axis(values, index[None], axis=0)[0] for values in posterior[:2]
        )
        slope = -(prior[index] * conditional * log_ratio)[:, None, None, :] * template  # Eq. 4
    tangent = _global_sum(jnp.sum(slope * tangents[0], axis=(0, 1, 2)), axis_name)
    return _negative_information(divergence, prior), tangent


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
    x = templates.as_maps(x)
    templates.check_maps(x)
    if estimator not in ("mi", "paper"):
        raise ValueError(f"estimator must be 'mi' or 'paper', got {estimator!r}")
    bank, prior = _bank_and_prior(x, norm, beta, alpha)
    used = _check_where(where, x)
    x = x.astype(jnp.float32)
    slope_at = None
    if estimator == "paper":
        if target is None:
            raise ValueError(
                "estimator='paper' needs target, a bool array [batch, filters] that says which"
                " images belong to each filter's category"
            )
        slope_at = _assigned_template(x, _as_target(target), norm, beta)
    elif target is not None:
        raise ValueError("target has no use with estimator='mi', which needs no labels; leave it")
    return _filter_loss(x, bank, prior, used, slope_at, axis_name)


def _assigned_template(
    x: jax.Array, target: jax.Array, norm: Norm, beta: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """T_hat of every map: its index in the bank and the template itself."""
    batch, height, width, filters = x.shape
    if target.shape not in ((batch, filters), (batch, 1)):
        raise ValueError(
            f"target must have the shape [batch, filters] = [{batch}, {filters}] or [{batch}, 1],"
            f" got {tuple(target.shape)}"
        )
    fixed = jax.lax.stop_gradient(x)
    row, column = templates.peak_position(fixed)
    target = jnp.broadcast_to(target, row.shape)
    index = jnp.where(target, row * width + column, height * width)
    mask = templates.mask_at(row, column, x.shape, norm=norm, beta=beta)
    tau = 0.5 / max(height, width) ** 2
    return index, tau * jnp.where(target[:, None, None, :], mask, -1.0)


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
    # The largest value is taken out first, so that squares neither overflow nor underflow.
    top = jax.lax.stop_gradient(jnp.abs(x).max(axis=(0, 1, 2)))
    if axis_name is not None:
        top = jax.lax.pmax(top, axis_name)
    x = x / jnp.where(top > 0, top, 1.0)[None, None, None, :]
    mean_square = jnp.square(x).mean(axis=(1, 2))  # [batch, filters]
    fires = mean_square > 0
    size = jnp.where(fires, jnp.sqrt(jnp.where(fires, mean_square, 1.0)), 0.0)
    weights = jnp.ones((len(x), 1)) if used is None else used.astype(jnp.float32)
    images = jnp.maximum(_global_sum(weights.sum(axis=0), axis_name), 1.0)
    mean_size = _global_sum(size.sum(axis=0), axis_name) / images  # left-out images are zero
    scale = size + mean_size[None]
    factor = sharpness / jnp.where(scale > 0, scale, 1.0)
    return x * factor[:, None, None, :]


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
    information = -_negative_information(_divergence(posterior, axis_name), prior)
    joint = prior[:, None, None] * posterior.conditional  # p(T, x)
    positive, negative = joint[:-1].sum(axis=0), joint[-1]  # p(T+, x), p(T-, x): [batch, filters]
    marginal = posterior.marginal[0]
    log_marginal = jnp.log(jnp.maximum(marginal, _TINY))
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
