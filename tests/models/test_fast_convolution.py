"""Convolution with a gradient of its own: that of `jax.lax`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from interp_cnn.models import fast_convolution


def _normal(*shape, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape), dtype)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, ((1, 2), (0, 1))])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_convolution_is_that_of_xla(monkeypatch, stride, padding, dtype):
    monkeypatch.setattr(fast_convolution, "_LARGE_PRODUCT", 1)
    x = _normal(2, 7, 6, 4, dtype=dtype)
    layer = functools.partial(
        nn.Conv, 3, (3, 3), strides=stride, padding=padding, dtype=dtype, use_bias=False
    )
    params = layer().init(jax.random.key(0), x)

    def loss(params, x, **options):
        return jnp.square(layer(**options).apply(params, x).astype(jnp.float32)).sum()

    wanted = jax.value_and_grad(loss, (0, 1))(params, x)
    fast = functools.partial(loss, conv_general_dilated=fast_convolution.convolution)
    assert "dot_general" in str(jax.make_jaxpr(jax.grad(fast))(params, x))
    found = jax.jit(jax.value_and_grad(fast, (0, 1)))(params, x)
    tolerance = 1e-5 if dtype == jnp.float32 else 0.03
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(
            np.float32(one), np.float32(other), rtol=tolerance, atol=tolerance * 30
        )


def test_small_grouped_and_dilated_convolutions_are_left_to_xla():
    x = _normal(1, 5, 5, 512)
    for options in ({"features": 8}, {"features": 512, "feature_group_count": 2}):
        layer = nn.Conv(
            kernel_size=(3, 3), conv_general_dilated=fast_convolution.convolution, **options
        )
        params = jax.eval_shape(layer.init, jax.random.key(0), x)
        gradient = jax.grad(lambda params, layer=layer: layer.apply(params, x).sum())
        assert "dot_general" not in str(jax.make_jaxpr(gradient)(params))
