"""Receptive fields, location metrics and accuracy: slow loops, hand-worked cases, invariants."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_metrics as reference

from interp_cnn import metrics

IMAGE_SIZE = (96, 160)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_case(rng, images=40, filters=7, landmarks=3):
    """Positions on a grid, peaks with ties, dead and rarely firing filters, missing landmarks."""
    positions = rng.integers(0, 6, (images, filters, 2)).astype(np.float32) * 16 + 8
    peaks = rng.integers(-2, 5, (images, filters)).astype(np.float32)
    peaks[:, 0] = 0  # dead
    peaks[1:, 1] = -1  # fires once at most
    peaks[0, 1] = 1
    positions[:, 2] = (40, 24)  # collapsed
    points = rng.uniform(0, 96, (images, landmarks, 2)).astype(np.float32)
    points[rng.random((images, landmarks)) < 0.3] = np.nan
    points[3, 0, 1] = np.nan  # half a point is none
    points[:, 2] = np.where(np.isnan(points[:, 2]), np.nan, 17.3)  # never moves
    where = rng.random((images, filters)) < 0.8
    return positions, peaks, points, where


# Receptive fields


@pytest.mark.parametrize(
    ("layers", "one_based_offset", "stride", "size"),
    [
        # Paper: 8.5 + 16 i for VGG-16, 18 + 16 i for AlexNet and VGG-M, 21 + 12 i for VGG-S, in
        # 1-based pixel centres, which are continuous pixels plus 0.5.
        ([*([(3, 1, 1)] * 2 + [(2, 2, 0)]) * 2, *([(3, 1, 1)] * 3 + [(2, 2, 0)]) * 2]
         + [(3, 1, 1)] * 3, 8.5, 16, 196),
        ([(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0)] + [(3, 1, 1)] * 3, 18, 16, 163),
        ([(7, 2, 0), (3, 2, 0), (5, 2, 1), (3, 2, 0)] + [(3, 1, 1)] * 3, 18, 16, 139),
        ([(7, 2, 0), (3, 3, 0), (5, 1, 0), (2, 2, 0)] + [(3, 1, 1)] * 3, 21, 12, 113),
    ],
    ids=["VGG-16", "AlexNet", "VGG-M", "VGG-S"],
)  # fmt: skip
def test_receptive_fields_of_the_papers_networks(layers, one_based_offset, stride, size):
    field = metrics.compose(layers)
    assert field == metrics.ReceptiveField(one_based_offset - 0.5, stride, size)
    np.testing.assert_array_equal(field.centers(3) + 0.5, one_based_offset + stride * np.arange(3))


def test_receptive_field_is_where_gradients_arrive():
    layers = [(3, 2, 1), (2, 1, 0), (5, 3, 2)]

    def output(x):
        x = x[None, :, None]
        for kernel, stride, pad in layers:
            kernel_values = jnp.ones((kernel, 1, 1))
            x = jax.lax.conv_general_dilated(
                x, kernel_values, (stride,), [(pad, 0)], dimension_numbers=("NWC", "WIO", "NWC")
            )
        return x[0, :, 0]

    field = metrics.compose(layers)
    touched = np.flatnonzero(jax.jacobian(output)(jnp.zeros(60))[4])
    assert len(touched) == field.size
    assert (touched[0] + touched[-1] + 1) / 2 == field.centers(5)[4]


def test_default_radius_is_a_share_of_the_side():
    assert metrics.default_radius((224, 224)) == pytest.approx(0.2 * 224)
    assert metrics.default_radius((100, 400)) == pytest.approx(0.2 * 200)


# Peaks


def test_peaks_equal_the_loop_and_may_be_streamed(rng):
    maps = rng.integers(0, 4, (9, 3, 5, 4)).astype(np.float32)  # many ties
    maps[:, :, :, 3] = 0
    centers_y, centers_x = np.array([2.0, 7.5, 9.0]), 4.0 + 8 * np.arange(5)
    positions, values = metrics.peaks(maps, centers_y=centers_y, centers_x=centers_x)
    assert positions.dtype == values.dtype == jnp.float32
    for n in range(9):
        for f in range(4):
            place, value = reference.peak(maps[n, :, :, f], centers_y, centers_x)
            assert tuple(positions[n, f].tolist()) == place
            assert values[n, f] == value
    batches = [
        metrics.peaks(maps[s : s + 4], centers_y=centers_y, centers_x=centers_x) for s in (0, 4, 8)
    ]
    np.testing.assert_array_equal(np.concatenate([b[0] for b in batches]), positions)
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), values)


# Location instability and tracking ratio


def test_location_instability_worked_by_hand():
    # Distances 5, 10 and (lowest peak, left out by top=2) 0; their std(ddof=1) is sqrt(12.5).
    positions = np.array([[[3, 4]], [[6, 8]], [[0, 0]]], np.float32)
    peaks = np.array([[2], [3], [1]], np.float32)
    landmarks = np.zeros((3, 1, 2), np.float32)
    result = metrics.location_instability(positions, peaks, landmarks, image_size=(30, 40), top=2)
    np.testing.assert_allclose(result, [[np.sqrt(12.5) / 50]], rtol=1e-14)


def test_tracking_ratio_worked_by_hand():
    # The landmark moves by (0, 4) and (3, 0), the filter follows half of it.
    landmarks = np.array([[[10, 10]], [[10, 14]], [[13, 10]]], np.float32)
    peaks = np.ones((3, 2), np.float32)
    half = 10 + (landmarks - 10) / 2
    against = 10 - (landmarks - 10)
    result = metrics.tracking_ratio(np.concatenate([half, against], axis=1), peaks, landmarks)
    np.testing.assert_allclose(result, [[0.5], [2.0]], rtol=1e-14)


@pytest.mark.parametrize("top", [2, 5, 100])
def test_location_metrics_equal_the_loops(rng, top):
    positions, peaks, points, where = random_case(rng)
    everything = np.ones_like(where)
    for given, used in ((None, everything), (where[:, 3], where[:, [3] * 7]), (where, where)):
        result = metrics.location_instability(
            positions, peaks, points, image_size=IMAGE_SIZE, top=top, where=given
        )
        expected = reference.location_instability(positions, peaks, points, IMAGE_SIZE, top, used)
        np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-13)
        result = metrics.tracking_ratio(positions, peaks, points, top=top, where=given)
        expected = reference.tracking_ratio(positions, peaks, points, top, used)
        np.testing.assert_allclose(result, expected, rtol=1e-10)
        assert np.isnan(result[:2]).all() and np.isnan(result[:, 2]).all()
        assert not np.isnan(result[2:, :2]).any()


def test_where_equals_leaving_the_images_out_even_if_they_hold_nan(rng):
    positions, peaks, points, where = random_case(rng)
    keep = where[:, 0]
    padded_positions, padded_peaks = positions.copy(), peaks.copy()
    padded_positions[~keep] = np.nan
    padded_peaks[~keep] = np.nan
    kwargs = {"image_size": IMAGE_SIZE, "top": 6}
    left_out = metrics.summarize_location(positions[keep], peaks[keep], points[keep], **kwargs)
    padded = metrics.summarize_location(
        padded_positions, padded_peaks, points, where=keep, **kwargs
    )
    assert padded == left_out


def test_a_constant_unit_has_tracking_ratio_one_and_is_not_below_one(rng):
    points = rng.uniform(0, 96, (50, 3, 2))  # float64, so that differences are rounded
    points[rng.random((50, 3)) < 0.3] = np.nan
    constant = rng.uniform(0, 96, (200, 2))
    positions = np.broadcast_to(constant, (50, 200, 2))
    peaks = rng.random((50, 200)).astype(np.float32) + 1
    ratio = metrics.tracking_ratio(positions, peaks, points)
    np.testing.assert_allclose(ratio, 1, rtol=1e-12)
    summary = metrics.summarize_location(positions, peaks, points, image_size=IMAGE_SIZE)
    assert summary.below_1 == 0
    assert summary.collapsed == 200


def test_a_unit_on_the_landmark_scores_zero(rng):
    points = rng.uniform(0, 96, (30, 1, 2)).astype(np.float32)
    peaks = np.ones((30, 1), np.float32)
    shifted = points + np.float32(8)
    np.testing.assert_allclose(metrics.tracking_ratio(shifted, peaks, points), 0, atol=1e-6)
    result = metrics.location_instability(shifted, peaks, points, image_size=IMAGE_SIZE)
    np.testing.assert_allclose(result, 0, atol=1e-6)


def test_order_of_images_does_not_matter_without_ties(rng):
    positions, _, points, where = random_case(rng)
    peaks = rng.permutation(40 * 7).reshape(40, 7).astype(np.float32) + 1
    shuffle = rng.permutation(40)
    kwargs = {"image_size": IMAGE_SIZE, "top": 9}
    result = metrics.location_instability(positions, peaks, points, where=where, **kwargs)
    shuffled = metrics.location_instability(
        positions[shuffle], peaks[shuffle], points[shuffle], where=where[shuffle], **kwargs
    )
    np.testing.assert_allclose(result, shuffled, rtol=1e-12)


# Controls


def test_center_control_is_the_instability_of_a_constant_unit(rng):
    _, _, points, where = random_case(rng)
    keep = where[:, 0]
    height, width = IMAGE_SIZE
    positions = np.broadcast_to(np.float32([height / 2, width / 2]), (40, 1, 2))
    result = metrics.location_instability(
        positions, np.ones((40, 1)), points, image_size=IMAGE_SIZE, where=keep
    )
    controls = metrics.instability_controls(points, image_size=IMAGE_SIZE, where=keep)
    assert controls.center == pytest.approx(result.mean(), rel=1e-12)
    assert controls.images == np.sum(keep & ~np.isnan(points).any(axis=2).all(axis=1))


def test_random_control_is_the_expected_variance_of_random_units(rng):
    points = rng.uniform(-10, 100, (30, 2, 2))  # also beside the image
    points[:12, 1] = np.nan
    points[0, 0] = 0  # in a corner
    positions = rng.uniform(size=(30, 20_000, 2)) * IMAGE_SIZE
    peaks = np.ones(positions.shape[:2])
    result = metrics.location_instability(positions, peaks, points, image_size=IMAGE_SIZE)
    expected = np.sqrt(np.mean(result**2, axis=0)).mean()
    controls = metrics.instability_controls(points, image_size=IMAGE_SIZE)
    assert controls.random == pytest.approx(expected, rel=3e-3)
    assert controls.random == pytest.approx(result.mean(), rel=2e-2)


def test_controls_leave_out_landmarks_of_fewer_than_two_images(rng):
    points = rng.uniform(0, 90, (5, 2, 2))
    alone = metrics.instability_controls(points[:, :1], image_size=IMAGE_SIZE)
    points[1:, 1] = np.nan
    assert metrics.instability_controls(points, image_size=IMAGE_SIZE) == alone
    nothing = metrics.instability_controls(np.full((5, 2, 2), np.nan), image_size=IMAGE_SIZE)
    assert np.isnan([nothing.center, nothing.random]).all() and nothing.images == 0


# Collapsed and dead filters, summary


@pytest.mark.parametrize("top", [3, 100])
def test_collapsed_and_dead_filters_equal_the_loops(rng, top):
    positions, peaks, _, where = random_case(rng)
    for tolerance in (0.05, 0.21):
        result = metrics.collapsed_filters(
            positions, peaks, image_size=IMAGE_SIZE, top=top, tolerance=tolerance, where=where
        )
        spreads = [reference.spread(positions, peaks, f, top, where) for f in range(7)]
        limit = tolerance * np.hypot(*IMAGE_SIZE)
        assert result.tolist() == [s is not None and s < limit for s in spreads]
        assert result[2] and not result[0]
    np.testing.assert_array_equal(
        metrics.dead_filters(peaks, where=where), [not (peaks[where[:, f], f] > 0).any()
                                                  for f in range(7)],
    )  # fmt: skip


def test_summary_is_made_of_the_single_figures(rng):
    positions, peaks, points, _ = random_case(rng)
    where = np.arange(40) < 30
    kwargs = {"top": 8, "where": where}
    summary = metrics.summarize_location(
        positions, peaks, points, image_size=IMAGE_SIZE, tolerance=0.2, **kwargs
    )
    instability = metrics.location_instability(
        positions, peaks, points, image_size=IMAGE_SIZE, **kwargs
    )
    ratio = metrics.tracking_ratio(positions, peaks, points, **kwargs)
    best = np.nanmin(ratio[2:], axis=1)
    assert summary.instability == pytest.approx(np.nanmean(instability[2:], axis=1).mean())
    assert (summary.filters, summary.filters_left_out) == (5, 2)
    assert summary.tracking_ratio == pytest.approx(best.mean())
    assert summary.tracking_filters == 5
    assert summary.below_1 == np.mean(best < 1 - 1e-6)
    assert summary.below_08 == np.mean(best < 0.8)
    assert summary.dead == 1
    assert summary.images == np.sum(~np.isnan(points[:30]).any(axis=2).all(axis=1))
    everything = np.broadcast_to(where[:, None], peaks.shape)
    sizes = [
        len(reference.pairs(positions, peaks, points, f, k, 8, everything))
        for f in range(2, 7) for k in range(3)
    ]  # fmt: skip
    assert summary.images_per_value == pytest.approx(np.mean(sizes))


def test_summary_of_nothing_is_nan_not_a_crash():
    summary = metrics.summarize_location(
        np.zeros((3, 2, 2)), np.zeros((3, 2)), np.zeros((3, 1, 2)), image_size=IMAGE_SIZE
    )
    assert np.isnan([summary.instability, summary.tracking_ratio, summary.below_1]).all()
    assert (summary.filters, summary.filters_left_out, summary.dead) == (0, 2, 2)


# Accuracy


def test_the_order_of_the_images_does_not_matter_for_the_accuracy():
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(3001, 6)), random.random((3001, 6)) < 0.5
    orders = [random.permutation(3001) for _ in range(5)]
    assert len({float(metrics.accuracy(logits[i], targets[i])[0]) for i in orders}) == 1


def test_a_logit_that_is_not_a_number_is_wrong():
    logits = np.array([[np.nan, 0.0], [1.0, np.nan], [1.0, 0.0]])
    assert [float(value) for value in metrics.accuracy(logits, np.zeros(3, int))] == [1, 3]
    targets = np.array([[0, 0], [1, 0], [1, 0]])
    assert [float(value) for value in metrics.accuracy(logits, targets)] == [2, 3]


def test_accuracy_of_the_argmax_and_of_the_sign():
    logits = np.array([[2.0, 1.0], [-1.0, 3.0], [0.0, 5.0]])
    assert metrics.accuracy(logits, np.array([0, 1, 0])) == (2, 3)
    assert metrics.accuracy(logits, np.array([0, 1, 0]), np.array([1, 0.5, 0])) == (1.5, 1.5)
    targets = np.array([[1, 0], [0, 1], [0, 0]])  # right: 1 of 2, 2 of 2, 1 of 2 (0 says no)
    assert metrics.accuracy(logits, targets) == (2, 3)
    assert jax.jit(metrics.accuracy)(logits[:, :1], targets[:, :1], np.ones(3)) == (3, 3)


# Bad input, imports, doctests


P, V, L = np.zeros((4, 3, 2)), np.ones((4, 3)), np.zeros((4, 2, 2))
X, M, T = np.zeros((4, 2, 3, 5), np.float32), np.zeros((4, 2, 8, 9), bool), np.zeros(5)
G = {"centers_y": np.arange(2), "centers_x": np.arange(3), "radius": 2}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.peaks(X[0], centers_y=[1, 2], centers_x=[1, 2, 3]), "maps has shape"),
        (lambda: metrics.peaks(X, centers_y=[1], centers_x=[1, 2, 3]), "centers_y has shape"),
        (lambda: metrics.tracking_ratio(P[..., 0], V, L), "positions has shape"),
        (lambda: metrics.tracking_ratio(P, V[0], L), "peaks has shape"),
        (lambda: metrics.tracking_ratio(P, V, L[:3]), "landmarks has shape .* with 4 images"),
        (lambda: metrics.tracking_ratio(P, V * np.nan, L), "peaks holds NaN"),
        (lambda: metrics.tracking_ratio(P * np.nan, V, L), "positions holds NaN"),
        (lambda: metrics.tracking_ratio(P, V, L, top=1), "top is 1"),
        (lambda: metrics.tracking_ratio(P, V, L, where=np.ones(3)), "where must have the shape"),
        (lambda: metrics.location_instability(P, V, L, image_size=(0, 3)), "image_size is"),
        (lambda: metrics.instability_controls(L[0], image_size=(9, 9)), "landmarks has shape"),
        (lambda: metrics.instability_controls(L, image_size=(9, 9), where=[True]), "where must"),
        (lambda: metrics.dead_filters(V[0]), "peaks has shape"),
        (lambda: metrics.activation_threshold(X, quantile=1), "quantile is 1"),
        (lambda: metrics.activation_threshold(X[0]), "maps has shape"),
        (lambda: metrics.ActivationThreshold(0), "images is 0"),
        (lambda: metrics.part_interpretability(X, M[:3], **G), "masks has shape"),
        (lambda: metrics.part_hits(X, M.astype(np.uint8), T, **G), "masks is uint8"),
        (lambda: metrics.part_hits(X, M, T[:2], **G), "thresholds has shape"),
        (lambda: metrics.part_hits(X, M, T, **{**G, "centers_x": [1]}), "centers_x has shape"),
        (lambda: metrics.part_hits(X, M, T, **{**G, "radius": 0}), "radius is 0"),
        (lambda: metrics.part_hits(X, M, T, **G, iou=1), "iou is 1"),
        (lambda: metrics.summarize_parts(T), "interpretability has shape"),
        (lambda: metrics.part_boxes_to_masks(P, (3, 3)), "boxes has shape"),
        (lambda: metrics.accuracy(V[0], V[0]), "logits has shape"),
        (lambda: metrics.accuracy(V, np.zeros(3)), "labels has shape"),
        (lambda: metrics.accuracy(V[:, :1], np.zeros(4)), "one output has no argmax"),
        (lambda: metrics.accuracy(V, np.zeros(4), np.ones(3)), "weight has shape"),
        (lambda: metrics.compose([(3, 0, 1)]), "layers holds"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_importing_the_metrics_needs_numpy_and_jax_only():
    heavy = "flax", "tensorflow", "tensorflow_datasets", "matplotlib", "scipy", "optax", "grain"
    code = f"import sys, jax; before = set(sys.modules); import interp_cnn.metrics; print([m for m in {heavy} if m in set(sys.modules) - before])"  # noqa: E501
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
