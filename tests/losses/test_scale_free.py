"""Maps whose scale is normalised, and the loss of them without making them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import interp_cnn
from interp_cnn import losses

normalize_scale = jax.jit(losses.normalize_scale, static_argnames=("sharpness",))
filter_loss = jax.jit(functools.partial(losses.filter_loss, gradient="exact"))


def random_maps(shape):
    values = np.random.default_rng(0).standard_normal(shape) * 20.0
    return np.maximum(values, 0).astype(np.float32)


def test_scale_free_maps():
    x = random_maps((5, 3, 3, 2))
    x[..., 1] *= 1000
    x[3] *= 50
    np.testing.assert_allclose(
        normalize_scale(x, sharpness=30.0), reference.scale_free(x, 30.0), rtol=1e-5, atol=1e-5
    )
    # By hand, two maps of one position: r = 1 and 3, mean r = 2; 6 / (1 + 2), 18 / (3 + 2).
    np.testing.assert_allclose(
        normalize_scale(np.array([1.0, 3.0]).reshape(2, 1, 1, 1), sharpness=6.0).ravel(), [2, 3.6]
    )
    for size in (1e-4, 1e30):  # the square of the latter is no float32
        np.testing.assert_allclose(normalize_scale(x * size), normalize_scale(x), rtol=1e-5)

    def total(x):
        return filter_loss(normalize_scale(x)).sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(x)
    np.testing.assert_allclose(jax.jit(total)(7 * x), value, rtol=1e-5)
    along = (gradient * x).sum(axis=(0, 1, 2))
    size = np.sqrt((gradient**2).sum(axis=(0, 1, 2)) * (x**2).sum(axis=(0, 1, 2)))
    np.testing.assert_allclose(along / size, 0, atol=1e-5)


def scale_of(x):
    """r + mean r of maps [batch, height, width, filters]."""
    size = np.sqrt((x.astype(np.float64) ** 2).mean(axis=(1, 2)))
    return size + size.mean(axis=0)


@pytest.mark.parametrize("kind", ["exact", "paper"])
def test_the_floor_of_the_scale(kind):
    x = random_maps(SHAPE)
    x = x / scale_of(x).max()  # of scale 1
    (_, usual), _ = both_ways(x, kind)
    largest = np.abs(usual).max()
    for size in (1e-2, 1e-3, 1e-4, 1e-6, 1e-10, 1e-30, 1e-37):
        small = np.float32(size) * x
        (value, gradient), (expected_value, expected) = both_ways(small, kind)
        # The fused loss and that of scaled maps have the same floor.
        np.testing.assert_allclose(value, expected_value, rtol=2e-5, atol=1e-6)
        # Where the value is zero but for rounding, so is the gradient.
        error = max(1e-5 * np.abs(expected).max(), 1e-6 * largest / losses.scale.SMALLEST_SCALE)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=error)
        if scale_of(small).min() > losses.scale.SMALLEST_SCALE:
            np.testing.assert_allclose(size * gradient, usual, rtol=0, atol=1e-5 * largest)
        # No more than about that at the floor, however small the maps.
        assert np.abs(gradient).max() < 3 * largest / losses.scale.SMALLEST_SCALE
    # Below it, maps are divided by the floor alone.
    small = np.float32(1e-7) * x
    np.testing.assert_allclose(normalize_scale(small), small * 60 / 1e-5, rtol=1e-5)


def test_scale_free_leaves_images_out_and_survives_dead_filters():
    x = random_maps((6, 3, 3, 2))
    x[..., 1] = 0
    used = np.array([True, True, False, True, False, True])

    def total(x, used):
        return filter_loss(normalize_scale(x, where=used), where=used).sum()

    x[2] = np.nan  # whatever the padding holds
    value_and_grad = jax.jit(jax.value_and_grad(total))
    value, gradient = value_and_grad(x, used)
    expected_value, expected = value_and_grad(x[used], None)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    np.testing.assert_allclose(gradient[used], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not gradient[~used].any() and not gradient[..., 1].any()
    none = value_and_grad(x, np.zeros(6, bool))
    assert none[0] == 0 and not none[1].any()
    assert normalize_scale(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32


def test_scale_free_of_each_filter_leaves_its_images_out():
    x = random_maps((6, 3, 3, 2))
    used = np.random.default_rng(3).random((6, 2)) < 0.6
    for k in range(2):
        mine = used[:, k]
        expected = normalize_scale(x[mine][..., k : k + 1])
        np.testing.assert_allclose(
            normalize_scale(x, where=used)[mine][..., k : k + 1], expected, rtol=1e-5
        )
        assert not normalize_scale(x, where=used)[~mine][..., k].any()


SHAPE = (6, 3, 4, 2)
OPTIONS = [
    {},
    {"norm": "l2", "alpha": 0.3, "beta": np.array([1.0, 3.0], np.float32)},
    {"where": np.array([True, True, False, True, False, True])},
    {"where": np.random.default_rng(3).random((6, 2)) < 0.6},
    {"sharpness": 120.0},
    {"sharpness": 5000.0},  # exp of such scores is no float32
]


@functools.cache
def values_and_gradients(kind, sharpness, settings):
    """What `both_ways` computes, compiled once for all maps of one shape."""

    def fused(x, arrays):
        return losses.filter_loss(x, sharpness=sharpness, gradient=kind, **arrays, **dict(settings))

    def plain(x, arrays):
        used = {"where": arrays["where"]} if "where" in arrays else {}
        scaled = losses.normalize_scale(x, sharpness=sharpness, **used)
        return losses.filter_loss(scaled, gradient=kind, **arrays, **dict(settings))

    @jax.jit
    def compute(x, arrays):
        both = [jax.vjp(lambda x, loss=loss: loss(x, arrays), x) for loss in (fused, plain)]
        return [(value, *pull(jnp.array([1.0, 3.0]))) for value, pull in both]

    return compute


def both_ways(x, kind, sharpness=60.0, **options):
    """Value and gradient of the fused loss, and of the loss of the scaled maps."""
    if kind == "paper":
        options["target"] = np.random.default_rng(1).random(x.shape[::3]) < 0.6
    arrays = {name: value for name, value in options.items() if isinstance(value, np.ndarray)}
    settings = tuple((name, value) for name, value in options.items() if name not in arrays)
    compute = values_and_gradients(kind, sharpness, settings)
    return jax.device_get(compute(x, arrays))


@pytest.mark.parametrize("kind", ["exact", "paper"])
@pytest.mark.parametrize("options", OPTIONS)
def test_loss_without_scaled_maps_is_that_of_scaled_maps(options, kind):
    x = random_maps(SHAPE)
    x[0, ..., 0] *= 30
    x[1, ..., 1] = 0
    if "where" in options:
        x[4] = np.nan  # where neither of the two looks
        options = options | {"where": (options["where"].T & (np.arange(6) != 4)).T}
    (value, gradient), (expected_value, expected) = both_ways(x, kind, **options)
    assert expected_value[0] < -1e-2  # the case is not a trivial one
    np.testing.assert_allclose(value, expected_value, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["exact", "paper"])
def test_loss_without_scaled_maps_of_extreme_and_dead_maps(kind):
    x = random_maps(SHAPE)
    (value, _), _ = both_ways(x, kind)
    for size in (1e-4, 1e30):  # the square of the latter is no float32
        (scaled, gradient), _ = both_ways(x * np.float32(size), kind)
        np.testing.assert_allclose(scaled, value, rtol=1e-4)
        assert np.isfinite(gradient).all()
    (value, gradient), _ = both_ways(np.zeros(SHAPE, np.float32), kind)
    assert not value.any()
    assert np.isfinite(gradient).all()
    (value, gradient), _ = both_ways(x, kind, where=np.zeros(6, bool))
    assert not value.any() and not gradient.any()


@pytest.mark.parametrize("kind", ["exact", "paper"])
def test_loss_without_scaled_maps_of_bfloat16(kind):
    x = jnp.asarray(random_maps(SHAPE), jnp.bfloat16)
    (value, gradient), (expected_value, expected) = both_ways(x, kind)
    assert value.dtype == np.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, expected_value, rtol=2e-5)
    expected = expected.astype(np.float32)
    np.testing.assert_allclose(
        gradient.astype(np.float32), expected, rtol=0, atol=4e-3 * np.abs(expected).max()
    )


def test_the_former_name_works_and_warns():
    x = random_maps(SHAPE)
    with pytest.warns(DeprecationWarning, match="is now interp_cnn.normalize_scale") as caught:
        scaled = interp_cnn.scale_free(x, sharpness=30.0)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(scaled, losses.normalize_scale(x, sharpness=30.0))
