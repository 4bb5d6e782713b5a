"""Linen layers: the interpretable layer, and local response normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from interp_cnn import templates
from interp_cnn.templates import Norm, Position

# Collection of the maps that masks are applied to.
FEATURE_MAPS = "feature_maps"


class TemplateMask(nn.Module):
    """Interpretable layer: `max(x * M_mu_hat, 0)`, see `apply_template_mask`. No parameters.

    It also sows its input, the maps that the filter loss and the metrics need, as `x` of the
    collection `feature_maps`: `apply(..., mutable=["feature_maps"])` returns them.

    Attributes:
      norm: `"l1"` or `"l2"`.
      beta: slope of the mask, above 0, a number or one per filter.
      position: `"argmax"` or `"centroid"`.
      enabled: False passes the maps on as they are (the ordinary network).
    """

    norm: Norm = "l1"
    beta: ArrayLike = 4.0
    position: Position = "argmax"
    enabled: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, strength: ArrayLike = 1.0) -> jax.Array:
        """Mask feature maps [batch, height, width, filters]; for `strength` see there."""
        self.hand_out(x)
        if not self.enabled:
            return x
        return templates.apply_template_mask(
            x, norm=self.norm, beta=self.beta, position=self.position, strength=strength
        )

    def hand_out(self, x: jax.Array) -> None:
        """Sow maps, which `__call__` does with those that it gets."""
        self.sow(FEATURE_MAPS, "x", x, reduce_fn=lambda _, new: new, init_fn=lambda: None)


def local_response_norm(
    x: jax.Array, *, size: int, bias: float, alpha: float, beta: float
) -> jax.Array:
    """Normalise over neighbouring channels: `x / (bias + alpha * sum x^2)^beta`.

    `alpha` multiplies the sum itself (MatConvNet's convention; Caffe's is `size` times larger).

    Args:
      x: [batch, height, width, channels].
      size: odd number of neighbouring channels in the sum, zero outside.
      bias: added to the sum.
      alpha: factor of the sum.
      beta: exponent.

    Returns:
      The shape and dtype of x.
    """
    # float32: squares of bfloat16 activations lose most of their digits.
    values = x.astype(jnp.float32)
    total = jax.lax.reduce_window(
        jnp.square(values), 0.0, jax.lax.add, (1, 1, 1, size), (1, 1, 1, 1), "SAME"
    )
    return (values * (bias + alpha * total) ** -beta).astype(x.dtype)
