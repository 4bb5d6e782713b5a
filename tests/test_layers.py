"""The interpretable layer in a network of one's own: linen, nnx, plain JAX; response normalisation.

The three examples are those of the README.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import interp_cnn
from interp_cnn.layers import TemplateMask, local_response_norm


@pytest.fixture(scope="module")
def batch():
    """Bright squares at random places: red in one category, blue in the other."""
    rng = np.random.default_rng(0)
    images = 0.1 * rng.random((16, 10, 10, 3), np.float32)
    labels = np.arange(16) % 2
    for image, label in zip(images, labels, strict=True):
        row, column = rng.integers(0, 7, 2)
        image[row : row + 3, column : column + 3, 2 * label] = 1
    return jnp.asarray(images), jnp.asarray(labels)


class LinenNetwork(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Conv(8, (3, 3))(images))
        x = TemplateMask(name="mask")(x)
        return nn.Dense(2)(x.reshape(len(x), -1))


def test_linen_network(batch):
    images, labels = batch
    network = LinenNetwork()
    params = jax.jit(network.init)(jax.random.key(0), images)["params"]
    assert "mask" not in params  # it has no parameters

    def loss_of(params):
        logits, sown = network.apply({"params": params}, images, mutable=["feature_maps"])
        x = sown["feature_maps"]["mask"]["x"]
        task = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        filters = interp_cnn.filter_loss(x, gradient="exact", sharpness=60.0).mean()
        return task + filters, filters

    @jax.jit
    def step(params):
        (_, filters), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.05 * g, params, gradient), filters

    losses = []
    for _ in range(20):
        params, filters = step(params)
        losses.append(filters)
    assert losses[-1] < 1.2 * losses[0] < 0
    # Prediction: no label, nothing sown, nothing returned beside the logits.
    assert network.apply({"params": params}, images).shape == (16, 2)


class NnxNetwork(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.head = nnx.Linear(8 * 10 * 10, 2, rngs=rngs)

    def __call__(self, images):
        x = nnx.relu(self.conv(images))
        return self.head(interp_cnn.apply_template_mask(x).reshape(len(x), -1)), x


def test_nnx_network(batch):
    images, labels = batch
    network = NnxNetwork(nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.sgd(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(network, optimizer):
        def loss_of(network):
            logits, x = network(images)
            task = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            filters = interp_cnn.filter_loss(x, gradient="exact", sharpness=60.0).mean()
            return task + filters, filters

        (_, filters), gradient = nnx.value_and_grad(loss_of, has_aux=True)(network)
        optimizer.update(network, gradient)
        return filters

    losses = [step(network, optimizer) for _ in range(20)]
    assert losses[-1] < 1.2 * losses[0] < 0


def test_plain_jax(batch):
    images, labels = batch
    keys = jax.random.split(jax.random.key(0))
    params = {
        "conv": jax.random.normal(keys[0], (3, 3, 3, 8)) / np.sqrt(27),
        "head": jax.random.normal(keys[1], (10 * 10 * 8, 2)) / np.sqrt(800),
    }

    def loss_of(params):
        x = jax.lax.conv_general_dilated(
            images, params["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x)
        logits = interp_cnn.apply_template_mask(x).reshape(len(x), -1) @ params["head"]
        task = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()
        filters = interp_cnn.filter_loss(x, gradient="exact", sharpness=60.0).mean()
        return task + filters, filters

    @jax.jit
    def step(params):
        (_, filters), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.05 * g, params, gradient), filters

    losses = []
    for _ in range(20):
        params, filters = step(params)
        losses.append(filters)
    assert losses[-1] < 1.2 * losses[0] < 0


def test_mask_layer_sows_its_input_and_masks():
    x = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)
    for options in ({"beta": 2.0}, {"norm": "l2", "position": "centroid"}):
        y, sown = TemplateMask(**options).apply({}, x, mutable=["feature_maps"])
        np.testing.assert_array_equal(sown["feature_maps"]["x"], x)
        np.testing.assert_allclose(y, interp_cnn.apply_template_mask(x, **options), rtol=1e-6)
        # Without the collection the output is all there is.
        np.testing.assert_array_equal(TemplateMask(**options).apply({}, x), y)
    y, sown = TemplateMask(enabled=False).apply({}, x, mutable=["feature_maps"])
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(sown["feature_maps"]["x"], x)


def test_local_response_norm_is_the_loop():
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 9)) * 10
    expected = np.zeros_like(x)
    for c in range(9):
        total = sum(x[..., k] ** 2 for k in range(max(c - 2, 0), min(c + 3, 9)))
        expected[..., c] = x[..., c] / (2.0 + 0.01 * total) ** 0.75
    options = {"size": 5, "bias": 2.0, "alpha": 0.01, "beta": 0.75}
    y = local_response_norm(jnp.asarray(x, jnp.float32), **options)
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=1e-6)
    rounded = jnp.asarray(x, jnp.bfloat16)
    y = local_response_norm(rounded, **options)
    assert y.dtype == jnp.bfloat16
    exact = local_response_norm(rounded.astype(jnp.float32), **options)
    np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))
    # By hand: one channel, x = 3, size 1: 3 / (1 + 9 * 1/3) ** 0.5 = 1.5.
    one = local_response_norm(jnp.full((1, 1, 1, 1), 3.0), size=1, bias=1.0, alpha=1 / 3, beta=0.5)
    np.testing.assert_allclose(one, 1.5, rtol=1e-6)
