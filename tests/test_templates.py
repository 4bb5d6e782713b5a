"""Templates, prior and masks: slow loops, hand-worked 2 x 2 maps, dtypes, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import interp_cnn
from interp_cnn import templates

# Compiled: faster than one small operation after the other.
template_mask = jax.jit(interp_cnn.template_mask, static_argnames=("norm", "position"))
template_bank = jax.jit(
    interp_cnn.template_bank, static_argnames=("height", "width", "norm", "tau")
)
peak_position = jax.jit(templates.peak_position, static_argnames=("position",))
apply_template_mask = jax.jit(interp_cnn.apply_template_mask, static_argnames=("norm", "position"))

SQUARE, WIDE, TALL = (4, 5, 5, 3), (3, 3, 6, 2), (2, 7, 4, 2)


def random_maps(shape, seed=0, scale=20.0):
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return np.maximum(values, 0).astype(np.float32)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize(("size", "beta"), [((4, 4), 4.0), ((3, 5), 1.5), ((6, 2), 0.7)])
def test_bank_is_the_papers(size, norm, beta):
    bank = template_bank(*size, norm=norm, beta=beta)
    expected = reference.template_bank(*size, norm=norm, beta=beta)
    assert bank.shape == (size[0] * size[1] + 1, *size) and bank.dtype == jnp.float32
    np.testing.assert_allclose(bank, expected, rtol=1e-6, atol=1e-9)


def test_bank_of_a_2_by_2_map_by_hand():
    # n = 2, tau = 0.5 / 4 = 1/8. Neighbours are 1 away, the opposite corner 2 (l1), sqrt(2) (l2).
    # beta = 1: 1 - 1/2 = 1/2 and 1 - 2/2 = 0; l2: 1 - sqrt(2)/2 = .292893.
    bank = interp_cnn.template_bank(2, 2, beta=1.0)
    expected = [
        [[1, 0.5], [0.5, 0]],
        [[0.5, 1], [0, 0.5]],
        [[0.5, 0], [1, 0.5]],
        [[0, 0.5], [0.5, 1]],
        [[-1, -1], [-1, -1]],
    ]
    np.testing.assert_allclose(bank, np.array(expected) / 8, rtol=1e-6)
    round_bank = interp_cnn.template_bank(2, 2, beta=1.0, norm="l2", tau=1.0)
    np.testing.assert_allclose(round_bank[0], [[1, 0.5], [0.5, 0.292893]], rtol=1e-5)
    # beta = 4: 1 - 4/2 = -1 already at a neighbour, so all but the peak is clipped.
    sharp = interp_cnn.template_bank(2, 2)
    np.testing.assert_allclose(sharp[2], [[-0.125, -0.125], [0.125, -0.125]], rtol=1e-6)


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_prior(alpha):
    prior = interp_cnn.template_prior(3, 4, alpha=alpha)
    assert prior.dtype == jnp.float32
    np.testing.assert_allclose(prior, reference.template_prior(3, 4, alpha=alpha), rtol=1e-6)
    np.testing.assert_allclose(prior.sum(), 1, rtol=1e-6)
    if alpha is None:  # the paper's: all n^2 + 1 alike
        np.testing.assert_allclose(prior, 1 / 13, rtol=1e-5)
    else:
        np.testing.assert_allclose(prior[-1], 0.7, rtol=1e-6)


@pytest.mark.parametrize("position", ["argmax", "centroid"])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize(
    ("shape", "beta"), [(WIDE, 4.0), (TALL, np.array([0.6, 2.5], np.float32))], ids=["one", "each"]
)
def test_mask_is_the_loops(shape, beta, norm, position):
    x = random_maps(shape)
    options = {"norm": norm, "beta": beta, "position": position}
    mask = template_mask(x, **options)
    expected = reference.template_mask(x, **options)
    np.testing.assert_allclose(mask, expected, atol=1e-6)
    assert mask.max() == 1 and mask.min() >= -1
    np.testing.assert_allclose(
        apply_template_mask(x, **options), np.maximum(x * expected, 0), rtol=1e-5, atol=1e-5
    )


def test_mask_of_a_2_by_2_map_by_hand():
    x = jnp.array([[0.0, 3.0], [1.0, 2.0]])[None, :, :, None]
    # argmax: mu = (0, 1). beta = 1: neighbours 1/2, the opposite corner 0.
    np.testing.assert_allclose(template_mask(x, beta=1.0)[0, :, :, 0], [[0.5, 1], [0, 0.5]])
    np.testing.assert_allclose(apply_template_mask(x, beta=1.0)[0, :, :, 0], [[0, 3], [0, 1]])
    np.testing.assert_allclose(apply_template_mask(x)[0, :, :, 0], [[0, 3], [0, 0]])
    # centroid: rows (1 + 2) / 6 = 1/2, rounded up to 1; columns (3 + 2) / 6 = .83, rounded to 1.
    centred = apply_template_mask(x, beta=1.0, position="centroid")
    np.testing.assert_allclose(centred[0, :, :, 0], [[0, 1.5], [0.5, 2]])


def test_ties_and_empty_maps():
    flat = np.ones((1, 3, 4, 1))
    row, column = peak_position(flat)
    assert (row.item(), column.item()) == (0, 0)  # the first in row-major order
    two = np.zeros((1, 3, 4, 1), np.float32)
    two[0, 1, 3] = two[0, 2, 0] = 5
    row, column = peak_position(two)
    assert (row.item(), column.item()) == (1, 3)
    row, column = peak_position(np.zeros((1, 3, 5, 1)), position="centroid")
    assert (row.item(), column.item()) == (1, 2)  # the middle
    assert not apply_template_mask(np.zeros((1, 3, 4, 1))).any()


def test_mask_moves_with_the_map():
    x = np.zeros((1, 9, 9, 1), np.float32)
    x[0, 2:5, 3:6, 0] = [[1, 2, 1], [2, 7, 2], [1, 2, 1]]
    for position in ("argmax", "centroid"):
        mask = template_mask(x, beta=2.0, position=position)
        moved = template_mask(np.roll(x, (2, 1), (1, 2)), beta=2.0, position=position)
        np.testing.assert_allclose(moved[:, 2:, 1:], mask[:, :-2, :-1], atol=1e-6)


def test_bfloat16_maps():
    x = jnp.asarray(random_maps(SQUARE), jnp.bfloat16)
    mask = template_mask(x)
    assert mask.dtype == jnp.float32
    np.testing.assert_array_equal(mask, template_mask(x.astype(jnp.float32)))
    assert apply_template_mask(x).dtype == jnp.bfloat16
    gradient = jax.grad(lambda x: apply_template_mask(x).astype(jnp.float32).sum())(x)
    assert gradient.dtype == jnp.bfloat16


def test_gradient_of_masked_takes_the_mask_as_constant():
    x = jnp.asarray(random_maps(WIDE))
    gradient = jax.grad(lambda x: apply_template_mask(x, beta=1.0).sum())(x)
    mask = reference.template_mask(x, beta=1.0)
    active = np.asarray(x) > 0  # what is not active the ReLU before the mask blocks
    np.testing.assert_allclose(np.asarray(gradient)[active], np.maximum(mask, 0)[active], atol=1e-6)


@pytest.mark.parametrize("position", ["argmax", "centroid"])
def test_jit_and_vmap(position):
    x = jnp.asarray(random_maps((2, *WIDE)))
    expected = np.stack([apply_template_mask(part, position=position) for part in x])
    mapped = jax.vmap(lambda x: apply_template_mask(x, position=position))(x)
    np.testing.assert_allclose(mapped, expected, rtol=1e-6)


@pytest.mark.parametrize("per_filter", [False, True])
def test_scores_are_traces_and_backprojection_is_their_transpose(per_filter):
    x = random_maps(WIDE)
    banks = np.stack([reference.template_bank(3, 6, beta=beta) for beta in (2.0, 3.0)])
    banks = banks.astype(np.float32) if per_filter else banks[[0, 0]].astype(np.float32)
    bank = jnp.asarray(banks if per_filter else banks[0])
    scores = templates.template_scores(jnp.asarray(x), bank)
    for f in range(2):
        expected = reference.scores(x[..., f], banks[f].astype(np.float64))
        np.testing.assert_allclose(scores[:, :, f].T, expected, rtol=1e-5, atol=1e-5)
    weights = np.random.default_rng(1).standard_normal(scores.shape).astype(np.float32)
    back = templates.template_backprojection(jnp.asarray(weights), bank)
    np.testing.assert_allclose((back * x).sum(), (scores * weights).sum(), rtol=1e-4)
    np.testing.assert_allclose(
        back, np.einsum("tbf,fthw->bhwf", weights, banks), rtol=1e-4, atol=1e-6
    )


def test_the_former_name_works_and_warns():
    x = random_maps(WIDE)
    with pytest.warns(DeprecationWarning, match="is now interp_cnn.apply_template_mask") as caught:
        y = interp_cnn.masked(x, beta=2.0)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(y, interp_cnn.apply_template_mask(x, beta=2.0))


MAPS = np.ones((2, 3, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: interp_cnn.template_bank(0, 3), "height and width"),
        (lambda: interp_cnn.template_bank(3, 3, norm="max"), "norm"),
        (lambda: interp_cnn.template_prior(3, 0), "height and width"),
        (lambda: interp_cnn.template_prior(3, 3, alpha=0.0), "alpha"),
        (lambda: interp_cnn.template_prior(3, 3, alpha=1.0), "alpha"),
        (lambda: interp_cnn.template_prior(3, 3, alpha=-0.1), "alpha"),
        (lambda: interp_cnn.template_prior(3, 3, alpha=float("nan")), "alpha"),
        (lambda: interp_cnn.template_mask(MAPS[0]), r"x must .*\(3, 3, 4\)"),
        (lambda: interp_cnn.template_bank(3, 3, beta=0.0), "beta must be above 0, got 0.0"),
        (lambda: interp_cnn.template_mask(MAPS, beta=-4.0), "beta must be above 0, got -4.0"),
        (lambda: interp_cnn.template_mask(MAPS, beta=np.inf), "beta must be above 0, got inf"),
        (lambda: interp_cnn.template_mask(MAPS, beta=np.array([1, 2, 3, np.nan])), "beta must be"),
        (lambda: interp_cnn.apply_template_mask(MAPS, strength=2), r"strength .*\[0, 1\], got 2"),
        (lambda: interp_cnn.apply_template_mask(MAPS, strength=np.nan), "strength must lie"),
        (lambda: interp_cnn.peak_position(MAPS[0]), "x must"),
        (lambda: interp_cnn.template_scores(MAPS, np.ones((5, 2, 2))), r"bank .*\(5, 2, 2\)"),
        (lambda: interp_cnn.template_scores(MAPS, np.ones((3, 5, 3, 3))), "bank must have"),
        (lambda: interp_cnn.template_scores(MAPS, np.ones(3)), "bank must have"),
        (lambda: interp_cnn.apply_template_mask(MAPS[0]), "x must"),
        (lambda: interp_cnn.apply_template_mask(MAPS[:, :, :0]), "x must not be empty"),
        (lambda: interp_cnn.apply_template_mask(MAPS, norm="max"), "norm"),
        (lambda: interp_cnn.apply_template_mask(MAPS, position="mean"), "position"),
        (lambda: interp_cnn.apply_template_mask(MAPS, beta=np.ones(3)), r"beta .*4.*\(3,\)"),
        (lambda: interp_cnn.apply_template_mask(MAPS, beta=np.ones((4, 1))), "beta"),
    ],
)
def test_bad_input_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()
