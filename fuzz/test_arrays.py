# ruff: noqa: D103
"""filter_loss, masks, scale and the metrics on maps of every kind: no NaN, no crash."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from common import cases, limited, refused
from hypothesis import strategies as st

import interp_cnn
from interp_cnn import metrics

# Few shapes and options: every combination is compiled once.
SHAPES = ((1, 1, 1, 1), (3, 2, 5, 2), (4, 7, 7, 3))
DTYPES = (np.float32, jnp.bfloat16, np.float16)
PATTERNS = (
    *("zero", "dense", "sparse", "one", "ties", "negative", "tiny", "mixed", "subnormal", "equal"),
    "huge",
)


def maps_of(pattern, shape, dtype, seed):
    """Maps of a pattern; the largest values are those that the dtype holds with some room."""
    random = np.random.default_rng(seed)
    x = random.random(shape)
    most = 1e4 if dtype == np.float16 else 1e30
    if pattern == "zero":
        x = np.zeros(shape)
    elif pattern == "sparse":
        x *= random.random(shape) > 0.9
    elif pattern == "one":
        place = np.zeros(x.size)
        place[random.integers(x.size)] = 10.0 ** random.integers(-3, 5)
        x = place.reshape(shape)
    elif pattern == "ties":
        x = np.round(x * 2)
    elif pattern == "negative":
        x = random.standard_normal(shape)
    elif pattern == "tiny":
        x *= 1e-30
    elif pattern == "mixed":
        x = x * 10.0 ** random.integers(-8, 5, shape)
    elif pattern == "subnormal":
        x *= 1e-42
    elif pattern == "equal":
        x = np.full(shape, 3.0)
    elif pattern == "huge":
        x *= most
    return jnp.asarray(x, dtype)


ARRAYS = {
    "pattern": st.sampled_from(PATTERNS),
    "shape": st.sampled_from(SHAPES),
    "dtype": st.sampled_from(DTYPES),
    "seed": st.integers(0, 2**31 - 1),
}


@functools.partial(jax.jit, static_argnames=("kind", "norm", "alpha", "free"))
def loss_and_gradient(x, target, where, beta, *, kind, norm, alpha, free):
    """Loss [filters] and the gradient of its sum."""

    def loss(x):
        options = {"target": target} if kind == "paper" else {}
        values = interp_cnn.filter_loss(
            x,
            sharpness=60.0 if free else None,
            gradient=kind,
            norm=norm,
            beta=beta,
            alpha=alpha,
            where=where,
            **options,
        )
        return values.sum(), values

    (_, values), gradient = jax.value_and_grad(loss, has_aux=True)(x)
    return values, gradient


@cases(
    0.15,
    **ARRAYS,
    kind=st.sampled_from(("exact", "paper")),
    norm=st.sampled_from(("l1", "l2")),
    alpha=st.sampled_from((None, 0.5, 1e-6)),
    beta=st.sampled_from((1e-3, 4.0, 1e3)),
    free=st.booleans(),
    left_out=st.sampled_from((0.0, 0.5, 1.0)),
)
def test_filter_loss(pattern, shape, dtype, seed, kind, norm, alpha, beta, free, left_out):
    random = np.random.default_rng(seed)
    x = maps_of(pattern, shape, dtype, seed)
    target = random.random((shape[0], shape[-1])) > 0.5
    where = random.random((shape[0], shape[-1])) >= left_out
    if not where.all() and seed % 2:  # what is left out may hold anything
        x = jnp.where(where[:, None, None, :], x, jnp.asarray(jnp.nan, x.dtype))
    with limited():
        values, gradient = loss_and_gradient(
            x, target, where, beta, gradient=kind, norm=norm, alpha=alpha, free=free
        )
    assert values.shape == shape[-1:] and values.dtype == jnp.float32
    assert np.isfinite(values).all(), values
    assert np.isfinite(np.asarray(gradient, np.float64)).all(), gradient
    # In nats, between -log(number of images) and 0, up to rounding.
    images = max(int(where.sum(axis=0).max()), 1)
    assert (values <= 1e-4).all() and (values >= -np.log(images) - 1e-3).all(), values


@functools.partial(jax.jit, static_argnames=("norm", "position"))
def masked(x, strength, beta, *, norm, position):
    """Masked maps and the gradient of their sum."""

    def total(x):
        y = interp_cnn.apply_template_mask(
            x, norm=norm, beta=beta, position=position, strength=strength
        )
        return y.astype(jnp.float32).sum(), y

    (_, y), gradient = jax.value_and_grad(total, has_aux=True)(x)
    return y, gradient


@cases(
    0.1,
    **ARRAYS,
    norm=st.sampled_from(("l1", "l2")),
    position=st.sampled_from(("argmax", "centroid")),
    beta=st.sampled_from((1e-3, 4.0, 1e3)),
    strength=st.sampled_from((0.0, 0.3, 1.0)),
)
def test_masked(pattern, shape, dtype, seed, norm, position, beta, strength):
    x = maps_of(pattern, shape, dtype, seed)
    with limited():
        y, gradient = masked(x, strength, beta, norm=norm, position=position)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    assert y.shape == shape and np.isfinite(y).all() and (y >= 0).all()
    assert np.isfinite(np.asarray(gradient, np.float64)).all()
    assert (y <= np.abs(x) * (1 + 1e-2)).all()
    if pattern != "negative":
        assert (y[x == 0] == 0).all()


@jax.jit
def free(x, where):
    """Scale-free maps and the gradient of their sum."""

    def total(x):
        y = interp_cnn.normalize_scale(x, where=where)
        return y.sum(), y

    (_, y), gradient = jax.value_and_grad(total, has_aux=True)(x)
    return y, gradient


@cases(0.1, **ARRAYS, left_out=st.sampled_from((0.0, 0.5, 1.0)))
def test_scale_free(pattern, shape, dtype, seed, left_out):
    where = np.random.default_rng(seed).random((shape[0], shape[-1])) >= left_out
    x = maps_of(pattern, shape, dtype, seed)
    with limited():
        y, gradient = free(x, where)
    assert np.isfinite(y).all()
    if dtype == np.float32:  # that of a small map may be more than float16 holds
        assert np.isfinite(gradient).all()
    # A map's root mean square is at most the sharpness.
    assert (np.square(np.asarray(y, np.float64)).mean(axis=(1, 2)) <= 60.0**2 * 1.01).all()
    assert (np.asarray(y).transpose(0, 3, 1, 2)[~where] == 0).all()


@functools.partial(jax.jit, static_argnames=("num_categories",))
def diagnosed(x, labels, *, num_categories):
    """Diagnostics and categories of filters."""
    return interp_cnn.filter_diagnostics(x), interp_cnn.filter_categories(
        x, labels, num_categories=num_categories
    )


@cases(0.05, **ARRAYS)
def test_diagnostics_and_categories(pattern, shape, dtype, seed):
    labels = np.random.default_rng(seed).integers(0, 3, shape[0])
    with limited():
        terms, found = diagnosed(maps_of(pattern, shape, dtype, seed), labels, num_categories=3)
    assert all(np.isfinite(values).all() for values in terms.values()), terms
    assert ((found >= 0) & (found < 3)).all()


# Metrics


@st.composite
def located(draw):
    """Positions, peaks, landmarks and where, wrong ones among them."""
    images, filters, landmarks = (
        draw(st.integers(0, 6)),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 3)),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    scale = draw(st.sampled_from((1e-30, 1.0, 100.0, 1e6, 1e30)))
    positions = random.random((images, filters, 2)) * scale
    peaks = random.standard_normal((images, filters)) * scale
    points = random.random((images, landmarks, 2)) * scale
    points[random.random((images, landmarks)) > 0.7] = np.nan
    if draw(st.booleans()):
        points = np.round(points / max(scale, 1e-9) * 2)  # ties, and landmarks that do not move
    for array in (positions, peaks, points):
        if array.size and draw(st.integers(0, 4)) == 0:
            array.flat[random.integers(array.size)] = draw(
                st.sampled_from((np.nan, np.inf, -np.inf, -1.0, 1e300, 0.0))
            )
    where = draw(
        st.sampled_from((None, np.ones(images, bool), random.random((images, filters)) > 0.5))
    )
    return positions, peaks, points, where


@cases(
    0.08,
    case=located(),
    size=st.sampled_from(((100, 100), (1, 1), (7, 300), 224, (0, 3), None)),
    top=st.sampled_from((2, 3, 100, 1, 0, -1)),
)
def test_location(case, size, top):
    positions, peaks, points, where = case
    options = {"top": top, "where": where}
    results = []

    def call():
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            results.append(
                metrics.location_instability(positions, peaks, points, image_size=size, **options)
            )
            results.append(metrics.tracking_ratio(positions, peaks, points, **options))
            metrics.summarize_location(positions, peaks, points, image_size=size, **options)
            if where is None or where.ndim == 1:
                metrics.instability_controls(points, image_size=size, where=where)

    if refused(call, errors=(ValueError,)):
        return
    usable = (
        peaks > 0
        if where is None
        else (peaks > 0) & metrics.threshold.as_where(where, *peaks.shape)
    )
    enough = usable.T.astype(int) @ (~np.isnan(points).any(-1)).astype(int) >= 2
    moderate = np.abs(np.nan_to_num(np.concatenate([positions.ravel(), points.ravel()]))).max(
        initial=0
    )
    if moderate < 1e100:  # squares of more are infinite
        np.testing.assert_array_equal(~np.isnan(results[0]), enough)
        assert (results[0][enough] >= 0).all() and np.isfinite(results[0][enough]).all()
        assert not np.isinf(results[1]).any()


@st.composite
def covered(draw):
    """Maps, masks and centres, wrong ones among them."""
    images, side, filters, parts = (
        draw(st.integers(0, 5)),
        draw(st.integers(1, 5)),
        draw(st.integers(0, 4)),
        draw(st.integers(0, 3)),
    )
    random = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    maps = random.standard_normal((images, side, side, filters)).astype(np.float32)
    if draw(st.booleans()):
        maps = np.maximum(maps, 0) * draw(st.sampled_from((0, 1, 1e30)))
    if maps.size and draw(st.integers(0, 5)) == 0:
        maps.flat[random.integers(maps.size)] = draw(st.sampled_from((np.nan, np.inf, -np.inf)))
    pixels = draw(st.sampled_from((1, 8, 33)))
    masks = random.random((images, parts, pixels, pixels)) > draw(st.sampled_from((0.0, 0.5, 1.0)))
    centers = np.arange(side) * draw(st.sampled_from((0.0, 1.0, 8.0, 100.0)))
    centers[-1] += draw(st.sampled_from((0.0, 0.0, 0.0, np.nan, np.inf)))
    return maps, masks, centers


@cases(
    0.06,
    case=covered(),
    radius=st.sampled_from((0.16, 0.5, 3.0, 1e9, 0.0, -1.0, np.nan, np.inf)),
    quantile=st.sampled_from((0.0, 0.005, 0.5, 0.999, 1.0, -1.0, np.nan)),
    iou=st.sampled_from((0.0, 0.2, 0.99, 1.0, np.nan)),
)
def test_part_interpretability(case, radius, quantile, iou):
    maps, masks, centers = case
    found = []

    def call():
        found.append(
            metrics.part_interpretability(
                maps,
                masks,
                centers_y=centers,
                centers_x=centers,
                radius=radius,
                quantile=quantile,
                iou=iou,
            )
        )
        metrics.summarize_parts(found[0])

    if not refused(call, errors=(ValueError,)):
        known = masks.any(axis=(0, 2, 3))
        assert ((found[0] >= 0) & (found[0] <= 1))[:, known].all()
        assert np.isnan(found[0][:, ~known]).all()


@cases(
    0.03,
    shape=st.sampled_from(SHAPES),
    pattern=st.sampled_from(PATTERNS),
    seed=st.integers(0, 2**31 - 1),
    quantile=st.floats(-0.1, 1.1),
    batch=st.integers(1, 5),
)
def test_thresholds_of_a_stream(shape, pattern, seed, quantile, batch):
    maps = np.asarray(maps_of(pattern, shape, np.float32, seed))
    found = []

    def call():
        stream = metrics.ActivationThreshold(len(maps), quantile=quantile)
        for start in range(0, len(maps), batch):
            stream.update(maps[start : start + batch])
        found.append(stream.result())

    if not refused(call, errors=(ValueError,)):
        np.testing.assert_array_equal(
            found[0], metrics.activation_threshold(maps, quantile=quantile)
        )
        share = (maps > found[0]).mean(axis=(0, 1, 2))
        assert np.isfinite(found[0]).all() and (share <= quantile + 1e-6).all()


@cases(
    0.03,
    boxes=st.lists(
        st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 4), max_size=4
    ),
    layers=st.lists(st.tuples(*[st.integers(-1, 12)] * 3), max_size=6),
    size=st.sampled_from(((5, 9), (1, 1), (0, 4), 224)),
)
def test_boxes_and_receptive_fields(boxes, layers, size):
    def call():
        array = np.array(boxes, np.float32).reshape(1, -1, 4)
        assert metrics.part_boxes_to_masks(array, size).dtype == np.bool_
        assert np.isfinite(metrics.compose(layers).centers(3)).all()
        assert metrics.default_radius(size) > 0

    refused(call, errors=(ValueError,))
