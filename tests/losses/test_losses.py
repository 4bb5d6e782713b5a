"""Filter loss, categories and diagnostics: slow float64 loops, numbers by hand, invariants."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.test_util import check_grads

import interp_cnn
from interp_cnn import losses, templates
from interp_cnn.losses import paper_gradient

STATIC = ("gradient", "norm", "alpha", "position")
# Exact unless a test says otherwise: that needs no target.
filter_loss = jax.jit(
    functools.partial(losses.filter_loss, gradient="exact"), static_argnames=STATIC
)
filter_diagnostics = jax.jit(losses.filter_diagnostics, static_argnames=("norm", "alpha"))
filter_categories = jax.jit(losses.filter_categories, static_argnames=("num_categories",))

GRADIENTS = ("exact", "paper")
SQUARE, WIDE, TALL = (5, 3, 3, 2), (3, 2, 4, 2), (4, 4, 2, 3)


def random_maps(shape, seed=0, scale=20.0):
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return np.maximum(values, 0).astype(np.float32)


def random_target(shape, seed=1):
    return np.random.default_rng(seed).random((shape[0], shape[-1])) < 0.6


@functools.partial(jax.jit, static_argnames=STATIC)
def _value_and_gradient(x, **options):
    def total(x):
        value = losses.filter_loss(x, **options)
        return value.sum(), value

    return jax.value_and_grad(total, has_aux=True)(x)


def value_and_gradient(x, kind="exact", target=None, **options):
    """Value [filters] and the gradient of its sum; the target is for `"paper"` alone."""
    if kind == "exact":
        target = None
    elif target is None:
        target = random_target(x.shape)
    (_, value), gradient = _value_and_gradient(x, gradient=kind, target=target, **options)
    return np.asarray(value), np.asarray(gradient)


def assert_close(actual, expected, relative=1e-5):
    """Equal up to a fraction of the largest entry."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max())


CASES = [
    (SQUARE, {}),
    (WIDE, {"norm": "l2", "alpha": 0.3}),
    (TALL, {"beta": np.array([0.8, 2.0, 4.0], np.float32)}),
    ((6, 4, 4, 1), {"alpha": 0.9, "beta": 3.0}),
]


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize(("shape", "options"), CASES)
def test_value_and_gradient_are_the_equations(shape, options, kind):
    x, target = random_maps(shape), random_target(shape)
    value, gradient = value_and_gradient(x, kind, target, **options)
    expected_value = reference.filter_loss(x, **options)
    assert (expected_value < -0.03).all()  # the case is not a trivial one
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    if kind == "exact":
        expected = reference.exact_gradient(x, **options)
    else:
        expected = reference.paper_gradient(x, target, **options)
    assert_close(gradient, expected)


def test_one_target_for_all_filters():
    x, target = random_maps(SQUARE), np.array([[True], [False], [True], [True], [False]])
    _, gradient = value_and_gradient(x, "paper", target)
    assert_close(gradient, reference.paper_gradient(x, target))


def test_the_assigned_template_sits_where_the_mask_does():
    # Two blobs, the stronger one at a corner: argmax and centroid differ on every map.
    x = np.zeros((3, 5, 5, 2), np.float32)
    for k in range(3):
        x[k, 0, k, :] = 90
        x[k, 3:, 2:4, :] = 70 - 10 * k
    argmax, centroid = (templates.peak_position(x, position=p) for p in ("argmax", "centroid"))
    assert (np.asarray(argmax[0]) != centroid[0]).all()
    target = np.array([[True, True], [True, False], [True, True]])
    value, at_argmax = value_and_gradient(x, "paper", target)
    other_value, at_centroid = value_and_gradient(x, "paper", target, position="centroid")
    np.testing.assert_array_equal(other_value, value)
    assert_close(at_argmax, reference.paper_gradient(x, target))
    assert_close(at_centroid, reference.paper_gradient(x, target, position="centroid"))
    assert np.abs(at_centroid - at_argmax).max() > 0.1 * np.abs(at_argmax).max()
    # The gradient of an image of the category is one number times the mask.
    mask = interp_cnn.template_mask(x, position="centroid")
    for k, f in zip(*np.nonzero(target), strict=True):
        ratio = at_centroid[k, ..., f] / mask[k, ..., f]
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    # The exact gradient assigns no template.
    _, exact = value_and_gradient(x)
    np.testing.assert_array_equal(value_and_gradient(x, position="centroid")[1], exact)


# Two images on 2 x 2 maps: n = 2, tau = 1/8, beta = 4, so a template is +-1/8 everywhere, + at its
# peak; five templates of probability 1/5. An activation of 8 ln 3 has the score +-ln 3.


def hand_maps(*images):
    return (8 * math.log(3) * np.array(images, np.float64))[..., None].astype(np.float32)


def test_opposite_corners_by_hand():
    x = hand_maps([[1, 0], [0, 0]], [[0, 0], [0, 1]])
    # T_00: exp(S) = 3 and 1/3, so p(x|T_00) = .9, .1; T_11: .1, .9; all others .5, .5.
    # p(x) = (.9 + .5 + .5 + .1 + .5) / 5 = .5.
    # MI = 2/5 (.9 ln 1.8 + .1 ln .2) = .4 (.5290080 - .1609438) = .1472257.
    value, exact = value_and_gradient(x)
    np.testing.assert_allclose(value, [-0.1472257], rtol=1e-6)
    # dMI/dS[T_00, x_1] = 1/5 * .9 (ln 1.8 - D) with D = .9 ln 1.8 + .1 ln .2, = 1/5 * .9 * .1 ln 9
    # = .0395500; that of T_11 is its negative. Times T_00 - T_11: 1/4 at the one, -1/4 at the other
    # corner, 0 between.
    g = 0.0098875
    np.testing.assert_allclose(exact[0, ..., 0], [[-g, 0], [0, g]], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(exact[1, ..., 0], [[g, 0], [0, -g]], rtol=1e-5, atol=1e-8)
    # Eq. 4, first image of the category: -1/5 * .9 ln 1.8 * T_00 = -.1058016 * (+-1/8). The second
    # is not: p(x|T^-) = p(x), the logarithm is 0.
    value, paper = value_and_gradient(x, "paper", np.array([[True], [False]]))
    np.testing.assert_allclose(value, [-0.1472257], rtol=1e-6)
    g = 0.0132252
    np.testing.assert_allclose(paper[0, ..., 0], [[-g, g], [g, g]], rtol=1e-5)
    np.testing.assert_allclose(paper[1], 0, atol=1e-8)


def test_a_corner_and_nothing_by_hand():
    x = hand_maps([[1, 0], [0, 0]], [[0, 0], [0, 0]])
    # T_00: exp(S) = 3 and 1: .75, .25. All four others: 1/3 and 1: .25, .75.
    # p(x) = (.75 + 4 * .25) / 5 = .35 and .65.
    # MI = 1/5 (.75 ln(.75/.35) + .25 ln(.25/.65)) + 4/5 (.25 ln(.25/.35) + .75 ln(.75/.65))
    #    = .0665454 + .0185661 = .0851115.
    targets = np.array([[True], [True]])
    value, paper = value_and_gradient(x, "paper", targets)
    np.testing.assert_allclose(value, [-0.0851115], rtol=2e-6)
    # -1/5 * .75 ln(.75/.35) / 8 = -.0142901 and, the empty map's peak being the first position,
    # -1/5 * .25 ln(.25/.65) / 8 = +.0059719.
    a, b = 0.0142901, 0.0059719
    np.testing.assert_allclose(paper[0, ..., 0], [[-a, a], [a, a]], rtol=1e-5)
    np.testing.assert_allclose(paper[1, ..., 0], [[b, -b], [-b, -b]], rtol=2e-5)
    # Neither of the category, T^- = -1/8: 1/5 * .25 ln(.25/.35) / 8 = -.00210295 everywhere and
    # 1/5 * .75 ln(.75/.65) / 8 = +.00268314.
    _, paper = value_and_gradient(x, "paper", ~targets)
    np.testing.assert_allclose(paper[0], -0.00210295, rtol=1e-5)
    np.testing.assert_allclose(paper[1], 0.00268314, rtol=1e-5)


def test_check_grads():
    x = jnp.asarray(random_maps(SQUARE, scale=10) + 0.5)
    for options in ({}, {"beta": np.array([2.0, 3.0], np.float32), "alpha": 0.3, "norm": "l2"}):
        check_grads(
            jax.jit(lambda x, options=options: filter_loss(x, **options)),
            (x,), order=1, modes=["fwd", "rev"], eps=0.3, atol=2e-3, rtol=2e-3,
        )  # fmt: skip


def test_forward_mode_of_eq_4_is_its_gradient():
    x, target = random_maps(WIDE), random_target(WIDE)
    direction = random_maps(WIDE, seed=3)
    _, slope = jax.jvp(
        lambda x: filter_loss(x, gradient="paper", target=target), (x,), (direction,)
    )
    expected = (reference.paper_gradient(x, target) * direction).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(slope, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_extreme_maps_are_finite(kind):
    rng = np.random.default_rng(0)
    shape = (6, 5, 5, 4)
    x = 1e4 * rng.random(shape)
    x[..., 1] = 0  # never fires
    x[..., 2] = 1e4  # the same everywhere
    x[..., 3] = 0
    for k in range(6):
        x[k, k % 5, k // 5, 3] = 1e4  # one position each: fully told apart
    x = x.astype(np.float32)
    value, gradient = value_and_gradient(x, kind, random_target(shape))
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(value[[1, 2]], 0, atol=1e-6)
    np.testing.assert_allclose(value, reference.filter_loss(x), rtol=1e-4, atol=1e-6)
    if kind == "exact":
        np.testing.assert_allclose(gradient[..., [1, 2]], 0, atol=1e-7)


def test_one_image_tells_nothing():
    value, gradient = value_and_gradient(random_maps((1, 3, 3, 2)))
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)
    for seed in range(5):  # not above 0 by rounding either
        maps = random_maps((1, 7, 7, 64), seed)
        assert (np.asarray(filter_loss(maps)) <= 0).all()
        assert (np.asarray(filter_diagnostics(maps)["mutual_information"]) >= 0).all()


@pytest.mark.parametrize("kind", GRADIENTS)
def test_where_leaves_images_out(kind):
    x, target = random_maps((6, 3, 4, 2)), random_target((6, 3, 4, 2))
    used = np.array([True, False, True, True, False, True])
    x[1] *= 100  # would dominate
    x[4] = np.nan  # whatever the padding holds
    value, gradient = value_and_gradient(x, kind, target, where=used)
    expected_value, expected = value_and_gradient(x[used], kind, target[used])
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    assert_close(gradient[used], expected)
    assert not gradient[~used].any()
    for none in (np.zeros(6, bool), np.zeros(6, np.float32)):
        value, gradient = value_and_gradient(x, kind, target, where=none)
        assert not value.any() and not gradient.any()
    all_of_them, _ = value_and_gradient(x[:4], kind, target[:4], where=np.ones(4, bool))
    np.testing.assert_allclose(all_of_them, filter_loss(x[:4]), rtol=1e-6)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_where_of_each_filter(kind):
    shape = (6, 3, 4, 2)
    x, target, used = random_maps(shape), random_target(shape), random_target(shape, seed=5)
    value, gradient = value_and_gradient(x, kind, target, where=used)
    for k in range(2):
        mine = used[:, k]
        options = (kind, target[mine, k : k + 1])
        expected_value, expected = value_and_gradient(x[mine][..., k : k + 1], *options)
        np.testing.assert_allclose(value[k], expected_value[0], rtol=1e-5)
        assert_close(gradient[mine][..., k : k + 1], expected)
        assert not gradient[~mine][..., k].any()


@pytest.mark.parametrize("kind", GRADIENTS)
def test_order_of_images_and_filters(kind):
    shape = (5, 3, 3, 4)
    x, target = random_maps(shape), random_target(shape)
    beta = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    value, gradient = value_and_gradient(x, kind, target, beta=beta)
    images, filters = np.array([3, 1, 4, 0, 2]), np.array([2, 0, 3, 1])
    shuffled = value_and_gradient(x[images], kind, target[images], beta=beta)
    np.testing.assert_allclose(shuffled[0], value, rtol=1e-5)
    assert_close(shuffled[1], gradient[images])
    swapped = value_and_gradient(x[..., filters], kind, target[:, filters], beta=beta[filters])
    np.testing.assert_allclose(swapped[0], value[filters], rtol=1e-6)
    assert_close(swapped[1], gradient[..., filters])
    # Filters are independent: another one's maps change nothing.
    other = x.copy()
    other[..., 0] = random_maps(shape, seed=9)[..., 0]
    changed = value_and_gradient(other, kind, target, beta=beta)
    np.testing.assert_allclose(changed[0][1:], value[1:], rtol=1e-6)
    assert_close(changed[1][..., 1:], gradient[..., 1:])


def test_symmetries_of_the_map():
    x = random_maps((5, 4, 4, 2))
    value = filter_loss(x)
    for turned in (x[:, ::-1], x[:, :, ::-1], x.swapaxes(1, 2)):
        np.testing.assert_allclose(filter_loss(turned), value, rtol=1e-5)
    wide = random_maps(WIDE)
    np.testing.assert_allclose(filter_loss(wide), filter_loss(wide.swapaxes(1, 2)), rtol=1e-5)


def test_a_constant_per_template_changes_nothing():
    # One image c added to all maps adds tr(c.T) to all scores of T, another number for every T.
    x = random_maps(SQUARE)
    common = random_maps((1, *SQUARE[1:]), seed=5)
    np.testing.assert_allclose(filter_loss(x + common), filter_loss(x), rtol=1e-5)
    _, gradient = value_and_gradient(x)
    # So the exact gradient sums to zero over the images, at every position.
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-6 * np.abs(gradient).max() * 5)


@pytest.mark.parametrize("alpha", [None, 0.05, 0.95])
def test_bounds(alpha):
    prior = interp_cnn.template_prior(3, 3, alpha=alpha)
    entropy = -float((prior * jnp.log(prior)).sum())
    for images in (4, 20):
        x = np.zeros((images, 3, 3, 3), np.float32)
        x[..., 0] = random_maps((images, 3, 3), scale=5)
        x[..., 1] = random_maps((images, 3, 3), scale=5000)
        for k in range(images):  # every position once, then empty maps: as much as can be told
            if k < 9:
                x[k, k // 3, k % 3, 2] = 1e4
        information = -np.asarray(filter_loss(x, alpha=alpha))
        assert (information >= -1e-6).all()
        assert (information <= min(math.log(images), entropy) + 1e-5).all()


def test_upper_bounds_are_reached():
    # 9 positions and nothing: every template its own image, MI = H(T) = log 10 = log N.
    x = 1e4 * np.concatenate([np.eye(9), np.zeros((1, 9))]).reshape(10, 3, 3, 1)
    np.testing.assert_allclose(filter_loss(x.astype(np.float32)), -math.log(10), rtol=1e-5)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_bfloat16(kind):
    x = jnp.asarray(random_maps(WIDE), jnp.bfloat16)
    value, gradient = value_and_gradient(x, kind)
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    exact_value, exact = value_and_gradient(x.astype(jnp.float32), kind)
    np.testing.assert_allclose(value, exact_value, rtol=1e-6)
    assert_close(gradient.astype(np.float32), exact, relative=4e-3)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_jit_and_vmap_over_another_axis(kind):
    x = jnp.stack([random_maps(SQUARE, seed) for seed in range(3)])
    target = np.stack([random_target(SQUARE, seed) for seed in range(3)])

    def loss(x, target, used):
        if kind == "exact":
            return filter_loss(x, where=used)
        return filter_loss(x, gradient=kind, target=target, where=used)

    used = np.ones((3, 5), bool)
    used[1, 3:] = False
    together = jax.jit(jax.vmap(loss))(x, target, used)
    gradients = jax.jit(jax.grad(lambda x: jax.vmap(loss)(x, target, used).sum()))(x)
    for k in range(3):
        value, gradient = value_and_gradient(x[k], kind, target[k], where=used[k])
        np.testing.assert_allclose(together[k], value, rtol=1e-5)
        assert_close(gradients[k], gradient)


def test_a_step_lowers_the_loss():
    for kind in GRADIENTS:
        x = random_maps((6, 4, 4, 3), scale=8)
        target = np.ones((6, 3), bool)
        first, gradient = value_and_gradient(x, kind, target)
        then = filter_loss(x - 100 * gradient)
        assert (np.asarray(then) < first).all(), kind


def test_the_forms_for_tpus_equal_the_others():
    x = jnp.asarray(random_maps((4, 3, 5, 2)))
    x = x.at[0, ..., 0].set(0.0).at[1, ..., 1].set(7.0)  # ties
    bank = templates.template_bank(3, 5)
    scores = templates._scores_by_einsum(x, bank)
    np.testing.assert_allclose(scores, templates._scores_by_one_product(x, bank), rtol=1e-5)
    weights = jnp.asarray(random_maps(scores.shape, seed=4))
    assert_close(
        templates._maps_by_einsum(weights, bank), templates._maps_by_one_product(weights, bank)
    )
    flat = x.reshape(4, 15, 2)
    np.testing.assert_array_equal(
        templates._argmax(flat), templates._argmax_in_two_passes(flat), strict=True
    )
    number = jnp.array([[0, 15], [3, 3], [7, 2], [15, 0]])
    np.testing.assert_array_equal(
        paper_gradient._at_by_sum(number, scores), paper_gradient._at_by_gather(number, scores)
    )


# Categories and diagnostics


def test_categories_by_hand():
    # Sums of the images: 4, 8 | 10 | 1, 7. Means of filter 0: 6, 10, 4; category 1 is its own.
    sums = np.array([4.0, 8.0, 10.0, 1.0, 7.0])
    x = np.zeros((5, 2, 2, 2), np.float32)
    x[..., 0] = (sums / 4)[:, None, None]
    x[:, 0, 0, 1] = 20 - sums  # means 14, 10, 16: category 2
    labels = np.array([0, 0, 1, 2, 2])
    categories = filter_categories(x, labels, num_categories=4)
    assert categories.tolist() == [1, 2] and categories.dtype == jnp.int32
    # Without the third image, category 1 has none and is never chosen.
    used = np.array([True, True, False, True, True])
    kept = filter_categories(x, labels, num_categories=4, where=used)
    assert kept.tolist() == [0, 2]


def test_categories_are_the_loops():
    x = random_maps((12, 3, 4, 7))
    labels = np.random.default_rng(2).integers(0, 4, 12)
    np.testing.assert_array_equal(
        filter_categories(x, labels, num_categories=4),
        reference.filter_categories(x, labels, 4),
    )
    used = np.arange(12) < 9
    padded = np.where(used[:, None, None, None], x, np.nan)
    np.testing.assert_array_equal(
        filter_categories(padded, labels, num_categories=4, where=used),
        reference.filter_categories(x[used], labels[used], 4),
    )


@pytest.mark.parametrize(("shape", "options"), CASES[:3])
def test_diagnostics_are_the_loops_and_add_up(shape, options):
    x = random_maps(shape)
    terms = filter_diagnostics(x, **options)
    expected = reference.diagnostics(x, **options)
    assert terms.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(terms[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    # Eq. 5 is Eq. 1.
    total = -terms["template_entropy"] + terms["category_entropy"] + terms["position_entropy"]
    np.testing.assert_allclose(total, filter_loss(x, **options), atol=3e-6)


def test_diagnostics_where_and_extreme_maps():
    x = random_maps((5, 3, 3, 3), scale=1e4)
    x[..., 1] = 0
    used = np.array([True, True, False, True, False])
    terms = filter_diagnostics(x, where=used)
    for name, values in filter_diagnostics(x[used]).items():
        assert np.isfinite(values).all()
        np.testing.assert_allclose(terms[name], values, rtol=1e-5, atol=1e-6, err_msg=name)
    expected = reference.diagnostics(x[used])
    np.testing.assert_allclose(terms["category_entropy"], expected["category_entropy"], atol=1e-3)
    # A filter that never fires tells nothing: MI 0, H(T'|X) = H(T'), log 9 nats of position.
    np.testing.assert_allclose(terms["mutual_information"][1], 0, atol=1e-6)
    np.testing.assert_allclose(terms["position_entropy"][1], 0.9 * math.log(9), rtol=1e-5)
    for values in filter_diagnostics(x, where=np.zeros(5, bool)).values():
        assert np.isfinite(values).all()


# The gradient is called by name

MAPS = np.ones((2, 3, 3, 4), np.float32)
LABELS = np.zeros(2, np.int32)


def test_the_former_name_of_the_gradient_works_and_warns():
    x, target = random_maps(SQUARE), random_target(SQUARE)

    def total(x, **options):
        return losses.filter_loss(x, **options).sum()

    for former, present, labels in (("mi", "exact", {}), ("paper", "paper", {"target": target})):
        with pytest.warns(DeprecationWarning, match=f"is now gradient='{present}'") as caught:
            gradient = jax.grad(total)(x, estimator=former, **labels)
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(gradient, jax.grad(total)(x, gradient=present, **labels))
    with pytest.raises(ValueError, match="estimator must be 'mi' or 'paper', got 'exact'"):
        losses.filter_loss(x, estimator="exact")


def test_the_gradient_of_the_paper_is_the_default():
    x, target = random_maps(SQUARE), random_target(SQUARE)
    gradient = jax.grad(lambda x: losses.filter_loss(x, target=target).sum())(x)
    assert_close(gradient, reference.paper_gradient(x, target))


def test_a_gradient_by_beta_is_zero():
    x = jnp.asarray(random_maps(SQUARE))
    slope = jax.grad(lambda beta: losses.filter_loss(x, gradient="exact", beta=beta).sum())(3.0)
    assert slope == 0


# Bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: interp_cnn.filter_loss(MAPS[0]), r"x must .*\(3, 3, 4\)"),
        (lambda: interp_cnn.filter_loss(MAPS[None]), "x must"),
        (lambda: interp_cnn.filter_loss(MAPS[:0]), "x must not be empty"),
        (lambda: interp_cnn.filter_loss(MAPS[:, :0]), "x must not be empty"),
        (lambda: interp_cnn.filter_loss(MAPS, gradient="right"), "gradient .*'right'"),
        (lambda: interp_cnn.filter_loss(MAPS), "give target=.*, or gradient='exact'"),
        (
            lambda: interp_cnn.filter_loss(MAPS, gradient="exact", target=np.ones((2, 4), bool)),
            "target has no use",
        ),
        (
            lambda: interp_cnn.filter_loss(MAPS, gradient="paper", target=np.ones((2, 3), bool)),
            r"target .*\[2, 4\].*\(2, 3\)",
        ),
        (
            lambda: interp_cnn.filter_loss(MAPS, gradient="paper", target=np.ones(2, bool)),
            "target",
        ),
        (lambda: interp_cnn.filter_loss(MAPS, gradient="exact", norm="max"), "norm .*'max'"),
        (
            lambda: interp_cnn.filter_loss(MAPS, gradient="exact", beta=np.ones(3)),
            r"beta .*4.*\(3,\)",
        ),
        (lambda: interp_cnn.filter_loss(MAPS, gradient="exact", beta=np.ones((1, 4))), "beta"),
        (lambda: interp_cnn.filter_loss(MAPS, gradient="exact", alpha=0.0), "alpha"),
        (lambda: interp_cnn.filter_loss(MAPS, gradient="exact", alpha=1.5), "alpha .*1.5"),
        (
            lambda: interp_cnn.filter_loss(MAPS, gradient="exact", where=np.ones(3, bool)),
            r"where .*2.*\(3,\)",
        ),
        (
            lambda: interp_cnn.filter_loss(MAPS, gradient="exact", where=np.ones((2, 9), bool)),
            "where",
        ),
        (lambda: interp_cnn.filter_loss(MAPS, gradient="exact", position="mean"), "position"),
        (lambda: interp_cnn.filter_loss(MAPS, gradient="exact", sharpness=0.0), "sharpness .*0"),
        (lambda: interp_cnn.normalize_scale(MAPS[0]), "x must"),
        (lambda: interp_cnn.normalize_scale(MAPS, sharpness=-1.0), "sharpness .*-1"),
        (lambda: interp_cnn.normalize_scale(MAPS, sharpness=math.nan), "sharpness .*nan"),
        (
            lambda: jax.jit(lambda s: interp_cnn.normalize_scale(MAPS, sharpness=s))(60.0),
            "sharpness must be a number, got a traced one",
        ),
        (lambda: interp_cnn.normalize_scale(MAPS, where=np.ones(3, bool)), "where"),
        (lambda: interp_cnn.filter_diagnostics(MAPS[0]), "x must"),
        (lambda: interp_cnn.filter_diagnostics(MAPS, alpha=2.0), "alpha"),
        (lambda: interp_cnn.filter_diagnostics(MAPS, where=np.ones(3, bool)), "where"),
        (lambda: interp_cnn.filter_categories(MAPS[0], LABELS, num_categories=1), "x must"),
        (lambda: interp_cnn.filter_categories(MAPS, LABELS[:1], num_categories=1), "labels"),
        (
            lambda: interp_cnn.filter_categories(
                MAPS, LABELS, num_categories=1, where=np.ones(3, bool)
            ),
            "where",
        ),
        (
            lambda: interp_cnn.filter_categories(MAPS, LABELS + 1, num_categories=1),
            r"labels lie in 1\.\.1; give indices from 0 to 0, and where=False",
        ),
        (
            lambda: interp_cnn.filter_categories(MAPS, LABELS - 1, num_categories=1),
            r"labels lie in -1\.\.-1",
        ),
        (
            lambda: interp_cnn.filter_categories(MAPS, LABELS > 0, num_categories=1),
            "labels is bool; give the index",
        ),
        (
            lambda: interp_cnn.filter_categories(MAPS, LABELS, num_categories=0),
            "num_categories is 0; give a whole number",
        ),
    ],
)
def test_bad_input_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()
