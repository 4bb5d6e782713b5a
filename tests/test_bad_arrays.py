"""What is no batch of maps, no target or no number is refused by name, compiled or not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import interp_cnn

MAPS = np.ones((2, 3, 3, 4), np.float32)
FUNCTIONS = (
    functools.partial(interp_cnn.filter_loss, gradient="exact"),
    functools.partial(interp_cnn.filter_loss, gradient="exact", sharpness=60.0),
    functools.partial(interp_cnn.filter_categories, labels=np.array([0, 1]), num_categories=2),
    interp_cnn.normalize_scale,
    interp_cnn.filter_diagnostics,
    interp_cnn.apply_template_mask,
    interp_cnn.template_mask,
)


@pytest.mark.parametrize("function", FUNCTIONS)
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


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.complex64, np.bool_, np.int32, np.uint8])
def test_maps_are_floating_point_numbers(function, dtype):
    for call in (function, jax.jit(function)):
        with pytest.raises(ValueError, match="x must hold real floating-point numbers, got"):
            call(MAPS.astype(dtype))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_maps_are_not_negative_where_that_is_known(function):
    maps = MAPS.copy()
    maps[1, 2, 0, 3] = -1e-3
    for given in (maps, jnp.asarray(maps), jnp.asarray(maps, jnp.bfloat16)):
        with pytest.raises(ValueError, match=r"give the maps after ReLU, jax.nn.relu\(x\)"):
            function(given)
    constant = jnp.asarray(maps)
    with pytest.raises(ValueError, match="x must not hold negative values"):
        jax.jit(lambda: function(constant))()
    jax.jit(function)(maps)  # cannot be seen


def test_what_is_left_out_may_be_negative():
    maps = MAPS.copy()
    maps[1] = -1
    used = np.array([True, False])
    assert np.isfinite(interp_cnn.filter_loss(maps, gradient="exact", where=used)).all()
    assert not interp_cnn.normalize_scale(maps, where=used)[1].any()


@pytest.mark.parametrize("where", [np.array([-1, 1]), np.array([0.5, 1]), np.array([np.nan, 1])])
def test_a_where_of_anything_but_yes_and_no(where):
    with pytest.raises(ValueError, match="where must hold nothing but False and True"):
        interp_cnn.filter_loss(MAPS, gradient="exact", where=where)


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
        interp_cnn.filter_loss(MAPS, gradient="paper", target=target)


def test_a_target_of_0_and_1_is_bool():
    def gradient(target):
        return jax.grad(lambda x: interp_cnn.filter_loss(x, gradient="paper", target=target).sum())(
            jnp.asarray(np.random.default_rng(0).random(MAPS.shape, np.float32))
        )

    wanted = gradient(np.array([[True], [False]]))
    for kind in (int, float, np.uint8):
        np.testing.assert_array_equal(gradient(np.array([[1], [0]], kind)), wanted)
    np.testing.assert_array_equal(gradient([[1], [0]]), wanted)


def test_a_target_whose_values_are_not_known_yet():
    def loss(target):
        return interp_cnn.filter_loss(MAPS, gradient="paper", target=target)

    target = jnp.array([[1], [0]])
    with pytest.raises(ValueError, match="target must be bool where its values are not known"):
        jax.jit(loss)(target)
    np.testing.assert_array_equal(jax.jit(loss)(target == 1), loss(target))


def test_a_traced_alpha():
    with pytest.raises(ValueError, match="alpha must be a number, got a traced one"):
        jax.jit(lambda alpha: interp_cnn.filter_loss(MAPS, gradient="exact", alpha=alpha))(0.5)
    np.testing.assert_allclose(
        jax.jit(lambda x: interp_cnn.filter_loss(x, gradient="exact", alpha=0.5))(MAPS),
        interp_cnn.filter_loss(MAPS, gradient="exact", alpha=0.5),
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interp_cnn.template_bank(3, 3, beta=np.array([1.0, 2, 4])), "beta must be a num"),
        (lambda: interp_cnn.template_bank(3, 3, beta="4"), "beta must be a number, got '4'"),
        (lambda: interp_cnn.template_prior(3, 3, alpha=np.array([0.5, 0.4])), "alpha must be a n"),
        (lambda: interp_cnn.template_prior(3, 3, alpha="a"), "alpha must be a number, got 'a'"),
        (lambda: interp_cnn.normalize_scale(MAPS, sharpness=np.array([60.0])), "sharpness must b"),
        (lambda: interp_cnn.filter_loss(MAPS, sharpness="60"), "sharpness must be a number"),
    ],
)
def test_what_is_one_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_strength_is_one_number():
    for wrong in (np.ones(3), np.ones(4), np.ones((2, 1)), [0.5]):
        with pytest.raises(ValueError, match=r"strength must be a number, got the shape \("):
            interp_cnn.apply_template_mask(MAPS, strength=wrong)
