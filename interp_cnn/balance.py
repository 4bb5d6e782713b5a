"""How hard the filter loss pulls, in terms of the gradient of the task."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from interp_cnn.losses import Estimator, filter_loss, scale_free
from interp_cnn.templates import Norm

_TINY = float(jnp.finfo(jnp.float32).tiny)


def balanced_filter_loss(
    x: jax.Array,
    *,
    ratio: ArrayLike = 0.5,
    sharpness: float = 60.0,
    estimator: Estimator = "mi",
    target: ArrayLike | None = None,
    norm: Norm = "l1",
    beta: ArrayLike = 4.0,
    alpha: float | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Pass maps on as they are, and add the filter loss to the gradient that comes back (Eq. 3).

    With g the gradient of the task that arrives at the maps and h that of the summed filter loss of
    `scale_free(x)`, the gradient that leaves is `g + ratio * |g| / |h| * h`; the norms are over all
    maps of the layer and of all devices. Below a ratio of 1 the sum still descends on the task. The
    network needs no other term in its loss, and a forward pass alone is unchanged:

        maps, loss = balanced_filter_loss(maps)
        maps = masked(maps)

    Args:
      x: feature maps after ReLU, [batch, height, width, filters].
      ratio: norm of the filter loss's gradient in units of the task's.
      sharpness: see `scale_free`.
      estimator: see `filter_loss`, as all the others.
      target: see there.
      norm: see there.
      beta: see there.
      alpha: see there.
      axis_name: see there.

    Returns:
      x, and the filter loss of the scale-free maps, float32 [filters], which has no gradient.

    Raises:
      ValueError: as `filter_loss`.
    """

    def loss(maps: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = filter_loss(
            scale_free(maps, sharpness=sharpness, axis_name=axis_name),
            estimator=estimator,
            target=target,
            norm=norm,
            beta=beta,
            alpha=alpha,
            axis_name=axis_name,
        )
        return values.sum(), values

    pull, values = jax.grad(loss, has_aux=True)(jax.lax.stop_gradient(x))
    return _add_gradient(axis_name, x, ratio, pull.astype(jnp.float32)), jax.lax.stop_gradient(
        values
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _add_gradient(
    axis_name: str | None, x: jax.Array, ratio: ArrayLike, pull: jax.Array
) -> jax.Array:
    return x


def _forward(
    axis_name: str | None, x: jax.Array, ratio: ArrayLike, pull: jax.Array
) -> tuple[jax.Array, tuple[ArrayLike, jax.Array]]:
    return x, (ratio, pull)


def _backward(
    axis_name: str | None, saved: tuple[ArrayLike, jax.Array], gradient: jax.Array
) -> tuple[Any, Any, Any]:
    ratio, pull = saved
    task = gradient.astype(jnp.float32)
    squares = jnp.stack([jnp.square(task).sum(), jnp.square(pull).sum()])
    if axis_name is not None:
        squares = jax.lax.psum(squares, axis_name)
    pulls = squares[1] > _TINY  # not in a layer that never fires
    factor = jnp.where(pulls, ratio * jnp.sqrt(squares[0] / jnp.where(pulls, squares[1], 1.0)), 0.0)
    return (task + factor * pull).astype(gradient.dtype), None, None


_add_gradient.defvjp(_forward, _backward)
