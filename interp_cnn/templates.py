"""Position templates and the masks made of them: pure functions of arrays.

Symbols as in the paper: `n` is the side of a square map (the longer side of any other),
`mu = (i, j)` a position, `mu_hat` the position of a map's peak, `T_mu` the positive template of a
position, `T^-` the negative one, `tau = 0.5 / n^2`, `beta = 4`, `alpha = n^2 / (1 + n^2)`.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Norm = Literal["l1", "l2"]
Position = Literal["argmax", "centroid"]

# The scores enter an exponential: bfloat16 or TF32 products would not do.
_EXACT = jax.lax.Precision.HIGHEST


def _distance(rows: jax.Array, columns: jax.Array, norm: Norm) -> jax.Array:
    """Length of the offset (rows, columns); the two broadcast against each other."""
    if norm == "l1":
        return jnp.abs(rows) + jnp.abs(columns)
    if norm == "l2":
        return jnp.sqrt(jnp.square(rows) + jnp.square(columns))
    raise ValueError(f"norm must be 'l1' or 'l2', got {norm!r}")


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"height and width must be at least 1, got {height} x {width}")


def as_maps(x: ArrayLike, name: str = "x") -> jax.Array:
    """The array that `x` is; a ValueError for a dict, or a list of the maps of several layers."""
    try:
        maps = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be one array [batch, height, width, filters], got {type(x).__name__};"
            " give the maps of one layer"
        ) from error
    if isinstance(x, list | tuple) and maps.ndim == 5:
        raise ValueError(
            f"{name} must be one array [batch, height, width, filters], got a {type(x).__name__}"
            f" of {len(x)}; give the maps of one layer, such as the first of them"
        )
    return maps


def check_maps(x: jax.Array, name: str = "x") -> None:
    """Raise a ValueError unless `x` is a batch of feature maps [batch, height, width, filters]."""
    if x.ndim != 4:
        raise ValueError(
            f"{name} must have the shape [batch, height, width, filters], got {tuple(x.shape)};"
            " add the axes that are missing (a single map is x[None, :, :, None])"
        )
    if 0 in x.shape:
        raise ValueError(f"{name} must not be empty, got the shape {tuple(x.shape)}")


def template_bank(
    height: int, width: int, *, norm: Norm = "l1", beta: float = 4.0, tau: float | None = None
) -> jax.Array:
    """All templates of a map size (section 3.1 of the paper).

    `T_mu[i, j] = tau * max(1 - beta * ||(i, j) - mu|| / n, -1)` and `T^-[i, j] = -tau`.

    Args:
      height: rows of the map.
      width: columns of the map.
      norm: `"l1"` as in the paper, or `"l2"` for round templates.
      beta: slope of a template; larger is narrower.
      tau: amplitude; `0.5 / n^2` unless given.

    Returns:
      float32 [height * width + 1, height, width] in [-tau, tau]: the positive templates in
      row-major order of mu, the negative one last.

    Raises:
      ValueError: for an empty map or an unknown norm.

    >>> template_bank(1, 2, beta=1.0, tau=1.0).tolist()
    [[[1.0, 0.5]], [[0.5, 1.0]], [[-1.0, -1.0]]]
    """
    _check_size(height, width)
    n = max(height, width)
    amplitude = 0.5 / n**2 if tau is None else tau
    rows = jnp.arange(height, dtype=jnp.float32)
    columns = jnp.arange(width, dtype=jnp.float32)
    distance = _distance(
        (rows[None, :] - rows[:, None])[:, None, :, None],
        (columns[None, :] - columns[:, None])[None, :, None, :],
        norm,
    )
    positive = jnp.maximum(1.0 - beta * distance / n, -1.0).reshape(-1, height, width)
    return amplitude * jnp.concatenate([positive, jnp.full((1, height, width), -1.0)])


def template_prior(height: int, width: int, *, alpha: float | None = None) -> jax.Array:
    """Prior probability of each template: `p(T_mu) = alpha / n^2`, `p(T^-) = 1 - alpha`.

    Args:
      height: rows of the map.
      width: columns of the map.
      alpha: probability that an image shows the filter's part, in (0, 1). Unless given,
        `n^2 / (1 + n^2)` with `n^2 = height * width`: all templates are equally likely.

    Returns:
      float32 [height * width + 1], summing to 1; the negative template last.

    Raises:
      ValueError: for an empty map or an alpha outside (0, 1).
    """
    _check_size(height, width)
    positions = height * width
    alpha = positions / (1.0 + positions) if alpha is None else alpha
    if isinstance(alpha, jax.core.Tracer):
        raise ValueError(
            "alpha must be a number, got a traced one; give it as a constant of the compiled"
            " function (static_argnames of jax.jit)"
        )
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    positive = jnp.full((positions,), alpha / positions, jnp.float32)
    return jnp.concatenate([positive, jnp.full((1,), 1.0 - alpha, jnp.float32)])


def template_scores(x: jax.Array, bank: jax.Array) -> jax.Array:
    """`S[x, T] = tr(x.T) = sum_ij x_ij T_ij` (Eq. 2) for every map and template.

    Args:
      x: [batch, height, width, filters].
      bank: [templates, height, width], or [filters, templates, height, width] where every
        filter has templates of its own.

    Returns:
      float32 [templates, batch, filters].
    """
    x = x.astype(jnp.float32)
    if bank.ndim == 4:
        return jnp.einsum("fthw,bhwf->tbf", bank, x, precision=_EXACT)
    return jax.lax.platform_dependent(
        x, bank, tpu=_scores_by_einsum, default=_scores_by_one_product
    )


def _scores_by_einsum(x: jax.Array, bank: jax.Array) -> jax.Array:
    """For TPUs, where a convolution takes maps as they lie and sums are made as it goes."""
    return jnp.einsum("bhwf,thw->tbf", x, bank, precision=_EXACT)


def _scores_by_one_product(x: jax.Array, bank: jax.Array) -> jax.Array:
    # One plain matrix product, [templates, positions] @ [positions, batch * filters]: templates
    # stay the leading axis, so everything that follows is elementwise over long contiguous rows.
    batch, height, width, filters = x.shape
    columns = x.reshape(batch, height * width, filters).swapaxes(0, 1)
    scores = jnp.dot(
        bank.reshape(-1, height * width),
        columns.reshape(height * width, batch * filters),
        precision=_EXACT,
    )
    return scores.reshape(-1, batch, filters)


def template_backprojection(weights: jax.Array, bank: jax.Array) -> jax.Array:
    """`sum_T w_T T` for every map: the transpose of `template_scores`.

    Args:
      weights: [templates, batch, filters].
      bank: as in `template_scores`.

    Returns:
      float32 [batch, height, width, filters].
    """
    if bank.ndim == 4:
        return jnp.einsum("fthw,tbf->bhwf", bank, weights, precision=_EXACT)
    return jax.lax.platform_dependent(
        weights, bank, tpu=_maps_by_einsum, default=_maps_by_one_product
    )


def _maps_by_einsum(weights: jax.Array, bank: jax.Array) -> jax.Array:
    return jnp.einsum("tbf,thw->bhwf", weights, bank, precision=_EXACT)


def _maps_by_one_product(weights: jax.Array, bank: jax.Array) -> jax.Array:
    number, batch, filters = weights.shape
    _, height, width = bank.shape
    columns = jnp.dot(
        bank.reshape(number, height * width).T,
        weights.reshape(number, batch * filters),
        precision=_EXACT,
    )
    maps = columns.reshape(height * width, batch, filters).swapaxes(0, 1)
    return maps.reshape(batch, height, width, filters)


def _argmax(flat: jax.Array) -> jax.Array:
    """Index of the first maximum along axis 1, int32: one pass, a reduction over pairs."""
    return flat.argmax(axis=1).astype(jnp.int32)


def _argmax_in_two_passes(flat: jax.Array) -> jax.Array:
    """The same for backends that do not vectorise a reduction over pairs (the CPU's)."""
    peak = flat.max(axis=1, keepdims=True)
    index = jax.lax.broadcasted_iota(jnp.int32, flat.shape, 1)
    # A map with a NaN attains no maximum; position 0 keeps the index in range.
    return jnp.where(flat == peak, index, flat.shape[1]).min(axis=1) % flat.shape[1]


def peak_position(x: jax.Array, *, position: Position = "argmax") -> tuple[jax.Array, jax.Array]:
    """Row and column `mu_hat` of each map's peak.

    Args:
      x: [batch, height, width, filters].
      position: `"argmax"` (the paper; the first in row-major order where several tie), or
        `"centroid"` (the authors' code): the mean position weighted by the positive activations,
        rounded to the nearest position (the exact half upwards); the middle for a map without any.

    Returns:
      Two int32 arrays [batch, filters].

    Raises:
      ValueError: for an x that is no batch of maps or an unknown position.
    """
    x = as_maps(x)
    check_maps(x)
    batch, height, width, filters = x.shape
    if position == "argmax":
        flat = x.reshape(batch, height * width, filters)
        first = jax.lax.platform_dependent(flat, tpu=_argmax, default=_argmax_in_two_passes)
        return first // width, first % width
    if position == "centroid":
        weights = jnp.maximum(x.astype(jnp.float32), 0.0)
        total = weights.sum(axis=(1, 2))
        safe = jnp.where(total > 0, total, 1.0)

        def centre(axis: int, size: int) -> jax.Array:
            along = weights.sum(axis=3 - axis)  # [batch, size, filters]
            mean = jnp.einsum("bsf,s->bf", along, jnp.arange(size, dtype=jnp.float32)) / safe
            mean = jnp.where(total > 0, mean, (size - 1) / 2.0)
            return jnp.clip(jnp.floor(mean + 0.5), 0, size - 1).astype(jnp.int32)

        return centre(1, height), centre(2, width)
    raise ValueError(f"position must be 'argmax' or 'centroid', got {position!r}")


def template_mask(
    x: jax.Array, *, norm: Norm = "l1", beta: ArrayLike = 4.0, position: Position = "argmax"
) -> jax.Array:
    """Mask `M = T_mu_hat / tau` around each map's peak (section 3 of the paper).

    `M[i, j] = max(1 - beta * ||(i, j) - mu_hat|| / n, -1)`: 1 at the peak, clipped at -1. No label
    is needed; every map gets the positive template of its own peak. No gradient flows through it.

    Args:
      x: feature maps after ReLU, [batch, height, width, filters].
      norm: `"l1"` or `"l2"`, see `template_bank`.
      beta: slope, a number or one per filter [filters].
      position: `"argmax"` or `"centroid"`, see `peak_position`.

    Returns:
      float32 of the shape of x, in [-1, 1].

    Raises:
      ValueError: for an x that is no batch of maps, a beta of another length, an unknown option.
    """
    x = as_maps(x)
    mu_row, mu_column = peak_position(jax.lax.stop_gradient(x), position=position)
    return mask_at(mu_row, mu_column, x.shape, norm=norm, beta=beta)


def mask_at(
    mu_row: jax.Array,
    mu_column: jax.Array,
    shape: tuple[int, ...],
    *,
    norm: Norm,
    beta: ArrayLike,
) -> jax.Array:
    """The mask around given positions [batch, filters] as float32 of the given shape."""
    _, height, width, filters = shape
    slope = jnp.asarray(beta, jnp.float32)
    if slope.shape not in ((), (filters,)):
        raise ValueError(
            f"beta must be a number or have the shape [filters] = [{filters}],"
            f" got the shape {tuple(slope.shape)}"
        )
    slope = jnp.broadcast_to(slope, (filters,)) / max(height, width)
    rows = jnp.arange(height)[None, :, None, None] - mu_row[:, None, None, :]
    columns = jnp.arange(width)[None, None, :, None] - mu_column[:, None, None, :]
    distance = _distance(rows.astype(jnp.float32), columns.astype(jnp.float32), norm)
    return jnp.maximum(1.0 - slope[None, None, None, :] * distance, -1.0)


def masked(
    x: jax.Array,
    *,
    norm: Norm = "l1",
    beta: ArrayLike = 4.0,
    position: Position = "argmax",
    strength: ArrayLike = 1.0,
) -> jax.Array:
    """Masked maps `max(x * M_mu_hat, 0)`: what an interpretable layer passes on.

    Args:
      x: feature maps after ReLU, [batch, height, width, filters].
      norm: see `template_mask`.
      beta: see `template_mask`.
      position: see `template_mask`.
      strength: s in [0, 1]; the mask is `1 - s + s * M_mu_hat`. 1 is the paper's mask, 0 none: for
        masks that set in while a network trains.

    Returns:
      The shape and dtype of x; each map keeps only its strongest blob.

    Raises:
      ValueError: see `template_mask`.
    """
    x = as_maps(x)
    mask = template_mask(x, norm=norm, beta=beta, position=position)
    if not (isinstance(strength, float | int) and strength == 1):
        mask = 1.0 - jnp.asarray(strength) * (1.0 - mask)
    return jnp.maximum(x.astype(jnp.float32) * mask, 0.0).astype(x.dtype)
