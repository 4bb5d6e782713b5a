"""Scale-free maps, and what a filter lacks of the wanted information."""

import jax
import jax.numpy as jnp
import numpy as np
import reference

from interp_cnn import losses

scale_free = jax.jit(losses.scale_free, static_argnames=("sharpness",))
filter_loss = jax.jit(losses.filter_loss)


def random_maps(shape):
    values = np.random.default_rng(0).standard_normal(shape) * 20.0
    return np.maximum(values, 0).astype(np.float32)


def test_scale_free_maps():
    x = random_maps((5, 3, 3, 2))
    x[..., 1] *= 1000
    x[3] *= 50
    np.testing.assert_allclose(
        scale_free(x, sharpness=30.0), reference.scale_free(x, 30.0), rtol=1e-5, atol=1e-5
    )
    # By hand, two maps of one position: r = 1 and 3, mean r = 2; 6 / (1 + 2), 18 / (3 + 2).
    np.testing.assert_allclose(
        scale_free(np.array([1.0, 3.0]).reshape(2, 1, 1, 1), sharpness=6.0).ravel(), [2, 3.6]
    )
    for size in (1e-30, 1e30):  # their squares are no float32
        np.testing.assert_allclose(scale_free(x * size), scale_free(x), rtol=1e-5)

    def total(x):
        return filter_loss(scale_free(x)).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(x)
    np.testing.assert_allclose(jax.jit(total)(7 * x), value, rtol=1e-5)
    along = (gradient * x).sum(axis=(0, 1, 2))
    size = np.sqrt((gradient**2).sum(axis=(0, 1, 2)) * (x**2).sum(axis=(0, 1, 2)))
    np.testing.assert_allclose(along / size, 0, atol=1e-5)


def test_scale_free_leaves_images_out_and_survives_dead_filters():
    x = random_maps((6, 3, 3, 2))
    x[..., 1] = 0
    used = np.array([True, True, False, True, False, True])

    def total(x, used):
        return filter_loss(scale_free(x, where=used), where=used).sum()

    x[2] = np.nan  # whatever the padding holds
    value_and_grad = jax.jit(jax.value_and_grad(total))
    value, gradient = value_and_grad(x, used)
    expected_value, expected = value_and_grad(x[used], None)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient[used], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not gradient[~used].any() and not gradient[..., 1].any()
    none = value_and_grad(x, np.zeros(6, bool))
    assert none[0] == 0 and not none[1].any()
    assert scale_free(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32


def test_scale_free_of_each_filter_leaves_its_images_out():
    x = random_maps((6, 3, 3, 2))
    used = np.random.default_rng(3).random((6, 2)) < 0.6
    for k in range(2):
        mine = used[:, k]
        expected = scale_free(x[mine][..., k : k + 1])
        np.testing.assert_allclose(
            scale_free(x, where=used)[mine][..., k : k + 1], expected, rtol=1e-5
        )
        assert not scale_free(x, where=used)[~mine][..., k].any()
