"""Position templates and the masks made of them: pure functions of arrays.

Symbols as in the paper: `n` is the side of a square map (the longer side of any other),
`mu = (i, j)` a position, `mu_hat` the position of a map's peak, `T_mu` the positive template of a
position, `T^-` the negative one, `tau = 0.5 / n^2`, `beta = 4`, `alpha = n^2 / (1 + n^2)`.
"""

import warnings
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from interp_cnn.arguments import as_number

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


def is_traced(value: Any) -> bool:
    """Whether a value, or one in a list of them, is not known until a compiled function runs."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def as_maps(x: ArrayLike, name: str = "x") -> jax.Array:
    """The batch of feature maps [batch, height, width, filters] that `x` is.

    Raises:
      ValueError: for a dict, a list of the maps of several layers, an array of another rank, an
        empty one, or one of whole numbers, bool or complex numbers.
    """
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
    if maps.ndim != 4:
        raise ValueError(
            f"{name} must have the shape [batch, height, width, filters], got {tuple(maps.shape)};"
            " add the axes that are missing (a single map is x[None, :, :, None])"
        )
    if 0 in maps.shape:
        raise ValueError(f"{name} must not be empty, got the shape {tuple(maps.shape)}")
    if not jnp.issubdtype(maps.dtype, jnp.floating):
        raise ValueError(
            f"{name} must hold real floating-point numbers, got {maps.dtype}; give"
            f" {'the real part' if maps.dtype.kind == 'c' else f'{name}.astype(float)'}"
        )
    return maps


def check_not_negative(x: jax.Array) -> None:
    """Raise a ValueError for maps with negative values, where the values are known."""
    if isinstance(x, jax.core.Tracer) or not x.is_fully_addressable:
        return
    with jax.ensure_compile_time_eval():  # also of a constant in a function that is compiled
        negative = bool((x < 0).any())
    if negative:
        raise ValueError(
            "x must not hold negative values; give the maps after ReLU, jax.nn.relu(x)"
        )


def _check_slope(beta: ArrayLike) -> None:
    """Raise a ValueError unless a slope, or each of several, is above 0, where it is known."""
    if not is_traced(beta):
        values = np.asarray(beta)
        if values.dtype.kind in "OSU":
            raise ValueError(f"beta must be a number, got {beta!r}")
        if not np.all((values > 0) & np.isfinite(values)):
            raise ValueError(f"beta must be above 0, got {beta}")


def _check_strength(strength: ArrayLike) -> None:
    """Raise a ValueError for a strength that is no number, or outside [0, 1] where it is known."""
    if np.shape(strength):
        raise ValueError(f"strength must be a number, got the shape {np.shape(strength)}")
    if not is_traced(strength):
        values = np.asarray(strength)
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError(f"strength must lie in [0, 1], got {strength}")


def as_slope(beta: ArrayLike, filters: int) -> jax.Array:
    """`beta` as float32, [] or [filters]; a ValueError for another shape or one not above 0."""
    _check_slope(beta)
    slope = jnp.asarray(beta, jnp.float32)
    if slope.shape not in ((), (filters,)):
        raise ValueError(
            f"beta must be a number or have the shape [filters] = [{filters}],"
            f" got the shape {tuple(slope.shape)}"
        )
    return slope


def template_bank(
    height: int, width: int, *, norm: Norm = "l1", beta: float = 4.0, tau: float | None = None
) -> jax.Array:
    """All templates of a map size (section 3.1 of the paper).

    `T_mu[i, j] = tau * max(1 - beta * ||(i, j) - mu|| / n, -1)` and `T^-[i, j] = -tau`.

    Args:
      height: rows of the map.
      width: columns of the map.
      norm: `"l1"` as in the paper, or `"l2"` for round templates.
      beta: slope of a template, above 0; larger is narrower.
      tau: amplitude; `0.5 / n^2` unless given.

    Returns:
      float32 [height * width + 1, height, width] in [-tau, tau]: the positive templates in
      row-major order of mu, the negative one last.

    Raises:
      ValueError: for an empty map, an unknown norm, or a beta that is not above 0.

    >>> template_bank(1, 2, beta=1.0, tau=1.0).tolist()
    [[[1.0, 0.5]], [[0.5, 1.0]], [[-1.0, -1.0]]]
    """
    _check_size(height, width)
    _check_slope(beta)
    if np.ndim(beta):
        raise ValueError(f"beta must be a number, got the shape {np.shape(beta)}")
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

    >>> template_prior(1, 3).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    _check_size(height, width)
    positions = height * width
    alpha = positions / (1.0 + positions) if alpha is None else alpha
    if isinstance(alpha, jax.core.Tracer):
        raise ValueError(
            "alpha must be a number, got a traced one; give it as a constant of the compiled"
            " function (static_argnames of jax.jit)"
        )
    if not 0.0 < as_number("alpha", alpha) < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
    positive = jnp.full((positions,), alpha / positions, jnp.float32)
    return jnp.concatenate([positive, jnp.full((1,), 1.0 - alpha, jnp.float32)])


def template_scores(x: ArrayLike, bank: ArrayLike) -> jax.Array:
    """`S[x, T] = tr(x.T) = sum_ij x_ij T_ij` (Eq. 2) for every map and template.

    Args:
      x: feature maps, [batch, height, width, filters].
      bank: templates of `template_bank`, [templates, height, width], or [filters, templates,
        height, width] where every filter has templates of its own.

    Returns:
      float32 [templates, batch, filters].

    Raises:
      ValueError: for an x that is no batch of maps, or a bank of another map size or number of
        filters.

    >>> x = jnp.array([[0.0, 8.0]]).reshape(1, 1, 2, 1)  # one map of 1 x 2, its peak at the right
    >>> template_scores(x, template_bank(1, 2))[:, 0, 0].tolist()  # left, right, nothing
    [-1.0, 1.0, -1.0]
    """
    x, bank = as_maps(x), jnp.asarray(bank)
    _, height, width, filters = x.shape
    if bank.shape[-2:] != (height, width) or bank.shape[:-3] not in ((), (filters,)):
        raise ValueError(
            f"bank must have the shape [templates, {height}, {width}] or [{filters}, templates,"
            f" {height}, {width}] for maps of the shape {tuple(x.shape)}, got {tuple(bank.shape)}"
        )
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


def argmax_position(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Row and column of the largest value of maps [batch, height, width, filters], int32."""
    batch, height, width, filters = x.shape
    flat = x.reshape(batch, height * width, filters)
    first = jax.lax.platform_dependent(flat, tpu=_argmax, default=_argmax_in_two_passes)
    return first // width, first % width


def check_position(position: Position) -> None:
    """Raise a ValueError for an unknown position."""
    if position not in ("argmax", "centroid"):
        raise ValueError(f"position must be 'argmax' or 'centroid', got {position!r}")


def peak_position(x: ArrayLike, *, position: Position = "argmax") -> tuple[jax.Array, jax.Array]:
    """Row and column `mu_hat` of each map's peak.

    Args:
      x: feature maps, [batch, height, width, filters].
      position: `"argmax"` (the paper; the first in row-major order where several tie), or
        `"centroid"` (the authors' code): the mean position weighted by the positive activations,
        rounded to the nearest position (the exact half upwards); the middle for a map without any.

    Returns:
      Two int32 arrays [batch, filters].

    Raises:
      ValueError: for an x that is no batch of maps or an unknown position.

    >>> x = jnp.array([[9.0, 0.0, 0.0], [8.0, 0.0, 8.0]]).reshape(1, 2, 3, 1)
    >>> row, column = peak_position(x)
    >>> row.item(), column.item()
    (0, 0)
    >>> row, column = peak_position(x, position="centroid")
    >>> row.item(), column.item()
    (1, 1)
    """
    x = as_maps(x)
    check_position(position)
    return argmax_position(x) if position == "argmax" else _centroid_position(x)


def _centroid_position(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    _, height, width, _ = x.shape
    weights = jnp.maximum(x.astype(jnp.float32), 0.0)
    total = weights.sum(axis=(1, 2))
    safe = jnp.where(total > 0, total, 1.0)

    def centre(axis: int, size: int) -> jax.Array:
        along = weights.sum(axis=3 - axis)  # [batch, size, filters]
        mean = jnp.einsum("bsf,s->bf", along, jnp.arange(size, dtype=jnp.float32)) / safe
        mean = jnp.where(total > 0, mean, (size - 1) / 2.0)
        return jnp.clip(jnp.floor(mean + 0.5), 0, size - 1).astype(jnp.int32)

    return centre(1, height), centre(2, width)


def template_mask(
    x: ArrayLike, *, norm: Norm = "l1", beta: ArrayLike = 4.0, position: Position = "argmax"
) -> jax.Array:
    """Mask `M = T_mu_hat / tau` around each map's peak (section 3 of the paper).

    `M[i, j] = max(1 - beta * ||(i, j) - mu_hat|| / n, -1)`: 1 at the peak, clipped at -1. No label
    is needed; every map gets the positive template of its own peak. The mask is a constant for x:
    no gradient flows through it.

    Args:
      x: feature maps after ReLU, [batch, height, width, filters], float32 or any other floating
        dtype. Negative values are refused where they are known, which they are not in `jax.jit`.
      norm: `"l1"` or `"l2"`, see `template_bank`.
      beta: slope, above 0, a number or one per filter [filters].
      position: `"argmax"` or `"centroid"`, see `peak_position`.

    Returns:
      float32 of the shape of x, in [-1, 1].

    Raises:
      ValueError: for an x that is no batch of maps, a beta of another length or not above 0, an
        unknown option.

    >>> x = jnp.array([[0.0, 3.0], [1.0, 2.0]]).reshape(1, 2, 2, 1)
    >>> template_mask(x, beta=1.0)[0, :, :, 0].tolist()
    [[0.5, 1.0], [0.0, 0.5]]
    """
    x = as_maps(x)
    check_not_negative(x)
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
    slope = jnp.broadcast_to(as_slope(beta, filters), (filters,)) / max(height, width)
    rows = jnp.arange(height, dtype=jnp.int32)[None, :, None, None] - mu_row[:, None, None, :]
    columns = jnp.arange(width, dtype=jnp.int32)[None, None, :, None] - mu_column[:, None, None, :]
    distance = _distance(rows.astype(jnp.float32), columns.astype(jnp.float32), norm)
    return jnp.maximum(1.0 - slope[None, None, None, :] * distance, -1.0)


def apply_template_mask(
    x: ArrayLike,
    *,
    norm: Norm = "l1",
    beta: ArrayLike = 4.0,
    position: Position = "argmax",
    strength: ArrayLike = 1.0,
) -> jax.Array:
    """Masked maps `max(x * M_mu_hat, 0)`: what an interpretable layer passes on.

    Args:
      x: feature maps after ReLU, see `template_mask`.
      norm: see `template_mask`.
      beta: see `template_mask`.
      position: see `template_mask`.
      strength: s in [0, 1]; the mask is `1 - s + s * M_mu_hat`. 1 is the paper's mask, 0 none: for
        masks that set in while a network trains.

    Returns:
      The shape and dtype of x; each map keeps only its strongest blob. Its peak stays as it is, so
      that a maximum over the whole map is the same with and without a mask.

    Raises:
      ValueError: see `template_mask`; for a strength outside [0, 1], where it is known.

    >>> x = jnp.array([[0.0, 3.0], [1.0, 2.0]]).reshape(1, 2, 2, 1)
    >>> apply_template_mask(x, beta=1.0)[0, :, :, 0].tolist()
    [[0.0, 3.0], [0.0, 1.0]]
    """
    x = as_maps(x)
    mask = template_mask(x, norm=norm, beta=beta, position=position)
    _check_strength(strength)
    if not (isinstance(strength, float | int) and strength == 1):
        mask = 1.0 - jnp.asarray(strength) * (1.0 - mask)
    return jnp.maximum(x.astype(jnp.float32) * mask, 0.0).astype(x.dtype)


def masked(x: ArrayLike, **options: Any) -> jax.Array:
    """Former name of `apply_template_mask`; it will be removed in the next release."""
    warnings.warn(
        "interp_cnn.masked is now interp_cnn.apply_template_mask, with the same arguments",
        DeprecationWarning,
        stacklevel=2,
    )
    return apply_template_mask(x, **options)
