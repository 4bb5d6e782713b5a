"""Activation thresholds and part interpretability against slow loops and hand-worked cases."""

import ml_dtypes
import numpy as np
import pytest
import reference_metrics as reference

from interp_cnn import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Activation thresholds


def test_threshold_worked_by_hand():
    # 200 positions at 0.5 %: one may lie above, so T is the second largest value.
    maps = np.arange(200, dtype=np.float32).reshape(2, 10, 10, 1)
    assert metrics.activation_threshold(maps).tolist() == [198]
    # 0.29 * 100 is 28.999999999999996 in floats, and still 29 positions.
    assert metrics.activation_threshold(maps[:1], quantile=0.29).tolist() == [70]
    tied = np.where(maps > 190, 7, maps * 0)  # nine values share the maximum: none is above it
    assert metrics.activation_threshold(tied).tolist() == [7]
    sparse = np.where(maps > 198, 7, maps * 0)  # a filter that fires once: what fires is valid
    assert metrics.activation_threshold(sparse).tolist() == [0]


@pytest.mark.parametrize("quantile", [0.0, 0.005, 0.07, 0.29])
def test_threshold_equals_the_loop_and_streaming_equals_the_whole(rng, quantile):
    maps = np.maximum(rng.standard_normal((70, 2, 5, 4)), -0.3).astype(np.float32)
    maps[..., 1] = np.round(maps[..., 1])  # ties
    maps[..., 2] = 0  # dead
    where = rng.random((70, 4)) < 0.7
    where[:, 3] = False
    for given, used in ((None, np.ones_like(where)), (where[:, 0], where[:, :1].repeat(4, 1)),
                        (where, where)):  # fmt: skip
        expected = reference.activation_threshold(maps, quantile, used)
        whole = metrics.activation_threshold(maps, quantile=quantile, where=given)
        np.testing.assert_array_equal(whole, expected)
        stream = metrics.ActivationThreshold(100, quantile=quantile)
        for start, stop in ((0, 1), (1, 30), (30, 70)):
            stream.update(maps[start:stop], where=used[start:stop])
        np.testing.assert_array_equal(stream.result(), expected)
    assert np.isnan(expected[3])


def test_a_threshold_of_float64_is_not_rounded():
    maps = np.zeros((10, 4, 4, 1))
    maps[:, :2] = 0.7  # below 0.7 in float32
    threshold = metrics.activation_threshold(maps, quantile=0.1)
    assert threshold.dtype == np.float64 and not (maps > threshold).any()
    rng = np.random.default_rng(0)
    maps = rng.random((40, 4, 4, 200))
    above = (maps > metrics.activation_threshold(maps, quantile=0.1)).sum(axis=(0, 1, 2))
    assert (above == 64).all()


def test_no_image_counts_for_any_filter():
    maps = np.ones((6, 4, 4, 2), np.float32)
    where = np.zeros(6, bool)
    assert np.isnan(metrics.activation_threshold(maps, where=where)).all()
    centers = {"centers_y": np.arange(4) * 2 + 1, "centers_x": np.arange(4) * 2 + 1}
    masks = np.ones((6, 1, 8, 8), bool)
    shares = metrics.part_interpretability(maps, masks, radius=2, where=where, **centers)
    assert np.isnan(shares).all()


def test_controls_of_masks_of_another_size():
    counts = metrics.PartControlCounts((64, 64), radius=13)
    with pytest.raises(ValueError, match=r"masks has shape \(2, 1, 32, 32\); size was given as"):
        counts.update(np.ones((2, 1, 32, 32), bool))


def test_threshold_refuses_nan_and_unannounced_images():
    maps = np.zeros((3, 2, 2, 1))
    with pytest.raises(ValueError, match="images was given as 2, but 3"):
        metrics.ActivationThreshold(2).update(maps)
    with pytest.raises(ValueError, match="update was never called"):
        metrics.ActivationThreshold(2).result()
    stream = metrics.ActivationThreshold(9)
    stream.update(maps)
    with pytest.raises(ValueError, match=r"the first ones were \[images, \*\(2, 2, 1\)"):
        stream.update(np.zeros((1, 3, 2, 1)))
    maps[1, 0, 1, 0] = np.nan
    with pytest.raises(ValueError, match="maps holds NaN"):
        metrics.activation_threshold(maps)


# Part interpretability


def part_case(rng, images=10, filters=5, parts=3):
    maps = np.maximum(rng.standard_normal((images, 3, 4, filters)), 0).astype(np.float32)
    maps[..., 0] = 0  # dead
    masks = np.zeros((images, parts, 19, 27), bool)
    for n in range(images):
        for k in range(parts):
            y, x = rng.integers(0, 12, 2)
            masks[n, k, y : y + rng.integers(4, 12), x : x + rng.integers(4, 14)] = True
    masks[rng.random((images, parts)) < 0.3] = False
    where = rng.random((images, filters)) < 0.7
    geometry = {"centers_y": 3.5 + 6 * np.arange(3), "centers_x": 2.0 + 7 * np.arange(4)}
    return maps, masks, where, geometry


@pytest.mark.parametrize("quantile", [0.02, 0.1, 0.6])
def test_part_interpretability_equals_the_loop(rng, quantile):
    maps, masks, where, geometry = part_case(rng)
    masks[:, 2] = False  # a part that no image has
    where[:, 4] = False  # a filter without images
    radius = 4.5  # pixel centres exactly on the circle are inside
    for given, used in ((None, np.ones_like(where)), (where, where)):
        thresholds = reference.activation_threshold(maps, quantile, used)
        hits, counts = reference.part_hits(
            maps, masks, thresholds, **geometry, radius=radius, iou=0.2, where=used
        )
        assert hits.sum() < counts.sum()
        assert hits.any() or quantile < 0.1  # single positions are too small for these parts
        result = metrics.part_interpretability(
            maps, masks, **geometry, radius=radius, quantile=quantile, where=given
        )
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(result, hits / counts)
        assert np.isnan(result[:, 2]).all()
        assert (result[0, :2] == 0).all()  # dead: associated with nothing


def test_part_hits_of_batches_add_up(rng):
    maps, masks, where, geometry = part_case(rng)
    kwargs = {"radius": 5.0, "iou": 0.1, **geometry}
    thresholds = np.float32([0, 0.3, 0.6, 0.9, 1.2])
    expected = reference.part_hits(maps, masks, thresholds, where=where, **kwargs)
    total = np.zeros((2, 5, 3), int)
    for start in (0, 3, 6, 9):
        batch = slice(start, start + 3)
        total += metrics.part_hits(
            maps[batch], masks[batch], thresholds, where=where[batch], **kwargs
        )
    np.testing.assert_array_equal(total, expected)
    one = metrics.part_hits(maps, masks, thresholds, where=where[:, 0], **kwargs)
    left_out = metrics.part_hits(maps[where[:, 0]], masks[where[:, 0]], thresholds, **kwargs)
    np.testing.assert_array_equal(one, left_out)


def test_the_iou_has_to_be_exceeded():
    # The disc of radius 0.5 around (1.5, 1.5) is one pixel; masks of 5 and 4 pixels around it.
    maps = np.ones((2, 1, 1, 1), np.float32)
    masks = np.zeros((2, 1, 4, 5), bool)
    masks[0, 0, 1] = True
    masks[1, 0, 1, :4] = True
    kwargs = {"centers_y": [1.5], "centers_x": [1.5], "radius": 0.5, "thresholds": [0.5]}
    assert metrics.part_interpretability(maps, masks, **kwargs).tolist() == [[0.5]]


def test_results_do_not_change_for_bfloat16_maps(rng):
    maps, masks, _, geometry = part_case(rng)
    low = maps.astype(ml_dtypes.bfloat16)
    low_result = metrics.part_interpretability(low, masks, **geometry, radius=5, quantile=0.1)
    high = low.astype(np.float32)
    result = metrics.part_interpretability(high, masks, **geometry, radius=5, quantile=0.1)
    np.testing.assert_array_equal(low_result, result)


def test_summary_of_parts():
    shares = np.array([[0.2, 0.5], [np.nan, 0.1], [np.nan, np.nan]])
    assert metrics.summarize_parts(shares) == (pytest.approx(0.3), 2, 1)
    assert np.isnan(metrics.summarize_parts(shares[2:]).mean)


def test_part_boxes_fill_the_pixels_whose_centres_they_hold():
    boxes = np.array(
        [[[1, 2, 3, 4], [np.nan] * 4], [[0.5, 0.6, 1.5, 9], [-5, -5, -1, -1]]], np.float32
    )
    masks = metrics.part_boxes_to_masks(boxes, (4, 6))
    assert masks.dtype == bool and masks.shape == (2, 2, 4, 6)
    expected = np.zeros_like(masks)
    expected[0, 0, 1:3, 2:4] = True
    expected[1, 0, 0, 1:] = True  # centre 0.5 is in from 0.5 on, 1.5 is out: max is exclusive
    np.testing.assert_array_equal(masks, expected)


def test_data_without_part_regions():
    maps = np.ones((2, 3, 3, 4), np.float32)
    options = {"centers_y": np.arange(3), "centers_x": np.arange(3), "radius": 1.0}
    hits, counts = metrics.part_hits(maps, np.zeros((2, 0, 8, 8), bool), np.zeros(4), **options)
    assert hits.shape == counts.shape == (4, 0)


# Over the images on which a filter fires


def test_images_fired_on_are_those_with_a_valid_position(rng):
    maps, masks, where, geometry = part_case(rng)
    masks[:, 2] = False
    how = {"radius": 5.0, "thresholds": np.float32([0, 1.2, 1.6, 2.0, 9.0]), **geometry}
    fires = (maps > how["thresholds"]).any(axis=(1, 2))
    strict = metrics.part_interpretability(maps, masks, where=where, **how)
    fired = metrics.part_interpretability(maps, masks, where=where, images="fired", **how)
    # The same as the strict reading with all other images left out.
    expected = metrics.part_interpretability(maps, masks, where=where & fires, **how)
    np.testing.assert_array_equal(fired, expected)
    assert np.isnan(fired[[0, 4]]).all()  # these fire on no image
    assert (strict[[0, 4], :2] == 0).all() and (fired[1:4, :2] > strict[1:4, :2]).any()
    with pytest.raises(ValueError, match="images is 'some'; give 'all' or 'fired'"):
        metrics.part_interpretability(maps, masks, images="some", **how)


def test_both_readings_of_a_stream(rng):
    maps, masks, where, geometry = part_case(rng)
    thresholds, radii = np.float32([0, 1.2, 1.6, 2.0, 9.0]), [4.0, 6.5]
    streams = []
    for images in (slice(0, 3), slice(3, 10)):  # of two hosts
        stream = metrics.PartShares(thresholds, radii=radii, **geometry)
        for n in range(images.start, images.stop):
            stream.update(maps[n : n + 1], masks[n : n + 1], where[n : n + 1])
        streams.append(stream.kept())
    counts = {name: streams[0][name] + streams[1][name] for name in streams[0]}
    for images in ("all", "fired"):
        for found, radius in zip(metrics.PartShares.of_counts(counts, images), radii, strict=True):
            how = {"thresholds": thresholds, "radius": radius, "images": images, **geometry}
            expected = metrics.part_interpretability(maps, masks, where=where, **how)
            np.testing.assert_array_equal(found, expected)
    fires = (maps > thresholds).any(axis=(1, 2)) & where
    np.testing.assert_allclose(
        metrics.PartShares.fired_shares(counts), fires.sum(axis=0) / where.sum(axis=0)
    )
    counts["images"][:] = 0
    assert np.isnan(metrics.PartShares.fired_shares(counts)).all()


def test_controls_of_part_interpretability(rng):
    size, radius = (30, 45), 7.0
    masks = np.zeros((6, 3, *size), bool)
    for n in range(6):
        y, x = rng.integers(0, (12, 25))
        masks[n, 0, y : y + 15, x : x + 15] = True
    masks[:4, 1, 10:20, 17:28] = True  # at the centre of four images, absent in two
    stream = metrics.PartControlCounts(size, radius=radius)
    for n in range(0, 6, 2):
        stream.update(masks[n : n + 2])
    hits = np.zeros((15, 15, 3))
    for i in range(15):
        for j in range(15):
            center = [(i + 0.5) / 15 * size[0], (j + 0.5) / 15 * size[1]]
            region = metrics.image_region(metrics.Disc(radius), [center], size)
            common, union = (
                (op(region, masks)).sum(axis=(2, 3)) for op in (np.minimum, np.maximum)
            )
            hits[i, j] = ((common / union) > 0.2).sum(axis=0)
    found = stream.result()
    assert found.center == max(hits[7, 7, 0] / 6, hits[7, 7, 1] / 4) == 1.0
    assert found.random == pytest.approx(max(hits[..., 0].mean() / 6, hits[..., 1].mean() / 4))
    empty = metrics.PartControlCounts(size, radius=radius)
    with pytest.raises(ValueError, match="is empty; give at least one"):
        empty.result()
    empty.update(masks[:, 2:])
    assert np.isnan(empty.result()).all()
