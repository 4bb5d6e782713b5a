"""What is no batch of maps, no target or no number is refused by name, compiled or not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import interp_cnn

MAPS = np.ones((2, 3, 3, 4), np.float32)
FUNCTIONS = (
    interp_cnn.filter_loss,
    interp_cnn.scale_free,
    interp_cnn.filter_diagnostics,
    interp_cnn.masked,
    interp_cnn.template_mask,
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({"conv": MAPS}, "x must be one array .* got dict; give the maps of one layer"),
        (None, "x must be one array .* got NoneType"),
        ("maps", "x must be one array .* got str"),
        ([MAPS], "x must be one array .* got a list of 1; give the maps of one layer"),
        ((MAPS, MAPS), "got a tuple of 2"),
        ((MAPS, MAPS[:, :2]), "x must be one array .* got tuple"),
    ],
)
def test_maps_are_one_array(function, maps, message):
    with pytest.raises(ValueError, match=message):
        function(maps)


@pytest.mark.parametrize(
    "target",
    [
        np.array([[-1], [1]]),  # the paper's convention
        np.array([[2], [0]]),  # labels
        np.array([[0.5], [1.0]]),
        np.array([[np.nan], [1.0]]),
        np.array([["a"], ["b"]]),
    ],
)
def test_a_target_of_anything_but_yes_and_no(target):
    with pytest.raises(ValueError, match="target must hold nothing but False and True"):
        interp_cnn.filter_loss(MAPS, estimator="paper", target=target)


def test_a_target_of_0_and_1_is_bool():
    def gradient(target):
        return jax.grad(
            lambda x: interp_cnn.filter_loss(x, estimator="paper", target=target).sum()
        )(jnp.asarray(np.random.default_rng(0).random(MAPS.shape, np.float32)))

    wanted = gradient(np.array([[True], [False]]))
    for kind in (int, float, np.uint8):
        np.testing.assert_array_equal(gradient(np.array([[1], [0]], kind)), wanted)
    np.testing.assert_array_equal(gradient([[1], [0]]), wanted)


def test_a_target_whose_values_are_not_known_yet():
    def loss(target):
        return interp_cnn.filter_loss(MAPS, estimator="paper", target=target)

    target = jnp.array([[1], [0]])
    with pytest.raises(ValueError, match="target must be bool where its values are not known"):
        jax.jit(loss)(target)
    np.testing.assert_array_equal(jax.jit(loss)(target == 1), loss(target))


def test_a_traced_alpha():
    with pytest.raises(ValueError, match="alpha must be a number, got a traced one"):
        jax.jit(lambda alpha: interp_cnn.filter_loss(MAPS, alpha=alpha))(0.5)
    np.testing.assert_allclose(
        jax.jit(lambda x: interp_cnn.filter_loss(x, alpha=0.5))(MAPS),
        interp_cnn.filter_loss(MAPS, alpha=0.5),
        atol=1e-6,
    )
