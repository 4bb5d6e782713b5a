"""Scale-free maps, and what a filter lacks of the wanted information."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


SHAPE = (6, 3, 4, 2)
OPTIONS = [
    {},
    {"norm": "l2", "alpha": 0.3, "beta": np.array([1.0, 3.0], np.float32)},
    {"where": np.array([True, True, False, True, False, True])},
    {"where": np.random.default_rng(3).random((6, 2)) < 0.6},
    {"sharpness": 120.0},
    {"sharpness": 5000.0},  # exp of such scores is no float32
]


def both_ways(x, estimator, sharpness=60.0, **options):
    """Value and gradient of the fused loss, and of the loss of the scaled maps."""
    if estimator == "paper":
        options["target"] = np.random.default_rng(1).random(x.shape[::3]) < 0.6

    def fused(x):
        return losses.scale_free_filter_loss(x, sharpness=sharpness, estimator=estimator, **options)

    def plain(x):
        used = {"where": options["where"]} if "where" in options else {}
        scaled = losses.scale_free(x, sharpness=sharpness, **used)
        return losses.filter_loss(scaled, estimator=estimator, **options)

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradient(loss, x):
        value, pull = jax.vjp(loss, x)
        return value, *pull(jnp.array([1.0, 3.0]))

    return [jax.device_get(value_and_gradient(loss, x)) for loss in (fused, plain)]


@pytest.mark.parametrize("estimator", ["mi", "paper"])
@pytest.mark.parametrize("options", OPTIONS)
def test_loss_without_scaled_maps_is_that_of_scaled_maps(options, estimator):
    x = random_maps(SHAPE)
    x[0, ..., 0] *= 30
    x[1, ..., 1] = 0
    if "where" in options:
        x[4] = np.nan  # where neither of the two looks
        options = options | {"where": (options["where"].T & (np.arange(6) != 4)).T}
    (value, gradient), (expected_value, expected) = both_ways(x, estimator, **options)
    assert expected_value[0] < -1e-2  # the case is not a trivial one
    np.testing.assert_allclose(value, expected_value, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("estimator", ["mi", "paper"])
def test_loss_without_scaled_maps_of_extreme_and_dead_maps(estimator):
    x = random_maps(SHAPE)
    (value, _), _ = both_ways(x, estimator)
    for size in (1e-30, 1e30):  # their squares are no float32
        (scaled, gradient), _ = both_ways(x * np.float32(size), estimator)
        np.testing.assert_allclose(scaled, value, rtol=1e-4)
        assert np.isfinite(gradient).all()
    (value, gradient), _ = both_ways(np.zeros(SHAPE, np.float32), estimator)
    assert not value.any()
    assert np.isfinite(gradient).all()
    (value, gradient), _ = both_ways(x, estimator, where=np.zeros(6, bool))
    assert not value.any() and not gradient.any()


@pytest.mark.parametrize("estimator", ["mi", "paper"])
def test_loss_without_scaled_maps_of_bfloat16(estimator):
    x = jnp.asarray(random_maps(SHAPE), jnp.bfloat16)
    (value, gradient), (expected_value, expected) = both_ways(x, estimator)
    assert value.dtype == np.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, expected_value, rtol=2e-5)
    expected = expected.astype(np.float32)
    np.testing.assert_allclose(
        gradient.astype(np.float32), expected, rtol=0, atol=4e-3 * np.abs(expected).max()
    )
