"""What a metric can see that it was given wrongly, and the example of the documentation."""

import re

import numpy as np
import pytest
from repository import ROOT

from interp_cnn import metrics

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.random((6, 4, 4, 3), np.float32)
CENTERS = {"centers_y": np.arange(4) * 8 + 4.0, "centers_x": np.arange(4) * 8 + 4.0}
POSITIONS = RANDOM.uniform(0, 32, (6, 3, 2))
PEAKS = RANDOM.random((6, 3))
LANDMARKS = RANDOM.uniform(1, 32, (6, 2, 2))
MASKS = RANDOM.random((6, 2, 32, 32)) > 0.5
SIZE = (32, 32)


def instability(landmarks=LANDMARKS, positions=POSITIONS, **options):
    return metrics.location_instability(
        positions, PEAKS, landmarks, **{"image_size": SIZE} | options
    )


def instability_of(*arrays, **options):
    return metrics.location_instability(*arrays, image_size=SIZE, **options)


def tracking(landmarks):
    return metrics.tracking_ratio(POSITIONS, PEAKS, landmarks)


def hits(maps=MAPS, masks=MASKS, **options):
    return metrics.part_hits(maps, masks, np.full(3, 0.5), **{"radius": 5, **CENTERS} | options)


def occluded(**options):
    """Of a network whose maps are the image, 4 pixels at a time."""
    images = RANDOM.random((6, 16, 16, 3), np.float32)
    centers = 4 * np.arange(4) + 0.5
    return metrics.empirical_receptive_field(
        lambda x: x[:, ::4, ::4], images, **{"centers_y": centers, "centers_x": centers} | options
    )


def with_zeros(number):
    points = LANDMARKS.copy()
    points[:number, 0] = 0
    return points


class OfAnotherLibrary:
    """An array that JAX does not know, such as one of PyTorch."""

    def __init__(self, array):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype)


def test_peaks_of_an_array_of_another_library():
    found = metrics.peaks(OfAnotherLibrary(MAPS), **CENTERS)
    for ours, expected in zip(found, metrics.peaks(MAPS, **CENTERS), strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int32])
def test_peaks_of_whole_numbers_rank_as_numbers(kind):
    peaks = (4 * PEAKS).astype(kind)
    for function in (metrics.tracking_ratio, instability_of):
        for ours, expected in zip(
            function(POSITIONS, peaks, LANDMARKS, top=3),
            function(POSITIONS, peaks.astype(np.float32), LANDMARKS, top=3),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, expected)


def test_a_region_of_no_centre_and_of_whole_sides():
    empty = metrics.image_region(metrics.Disc(2.0), [], (8.0, 8))
    assert empty.shape == (8, 8) and not empty.any()


@pytest.mark.parametrize("top", [0, 1, 2.5])
def test_a_spread_is_that_of_two_images_at_least(top):
    with pytest.raises(ValueError, match=f"top is {top}; a spread needs at least 2 images"):
        metrics.peak_spread(POSITIONS, PEAKS, image_size=SIZE, top=top)


def controls(size):
    return metrics.instability_controls(LANDMARKS, image_size=size)


@pytest.mark.parametrize("size", [224, (224,), (224, 224, 3), None, "ab", (0, 4), (np.nan, 4)])
@pytest.mark.parametrize(
    "call",
    [
        lambda size: instability(image_size=size),
        controls,
        metrics.default_radius,
        lambda size: metrics.collapsed_filters(POSITIONS, PEAKS, image_size=size),
        lambda size: metrics.part_boxes_to_masks(np.zeros((1, 1, 4)), size),
        lambda size: metrics.image_region(metrics.Disc(1.0), [[1, 1]], size),
    ],
)
def test_a_size_is_height_and_width(call, size):
    with pytest.raises(ValueError, match=r"size is .*; give \(height, width\) in pixels"):
        call(size)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: instability(LANDMARKS / 32), r"landmarks lie all within 0\.\.1"),
        (lambda: controls(SIZE) and instability(with_zeros(2)), r"exactly \(0, 0\) 2 times of 12"),
        (lambda: tracking(LANDMARKS / 32), r"landmarks lie all within 0\.\.1"),
        (lambda: tracking(with_zeros(2)), r"exactly \(0, 0\) 2 times of 12"),
        (
            lambda: instability(
                np.array([20, 60]) * LANDMARKS[..., ::-1] / 32, image_size=(60, 20)
            ),
            r"outside of the image of 60 x 20 \(height x width\), as \(x, y\) never",
        ),
        (lambda: instability(np.where(LANDMARKS > 30, np.inf, LANDMARKS)), "infinite values"),
        (lambda: instability(positions=np.full_like(POSITIONS, np.inf)), "positions holds infin"),
        (lambda: instability(top=2.5), r"top is 2.5; a spread needs"),
        (lambda: instability(top=True), r"top is True; a spread needs"),
        (lambda: instability(where=np.full(6, -1)), "where has other values than False and True"),
        (lambda: instability(where=np.full(6, np.nan)), "where has other values"),
        (lambda: hits(radius=0.16), r"radius is 0.16; give a number of pixels of the masks"),
        (lambda: hits(radius=np.nan), "radius is nan"),
        (lambda: hits(masks=MASKS[:, :, :4, :4]), "centers_y reaches to 28, the masks have 4"),
        (lambda: hits(maps=MAPS + 0j), "maps is complex64; give real numbers"),
        (lambda: hits(centers_y=np.full(4, np.nan)), "centers_y holds values that are not finite"),
        (lambda: metrics.part_boxes_to_masks(np.zeros((1, 1, 4)), (8.5, 8)), "whole numbers of"),
        (lambda: metrics.image_region(metrics.Disc(1.0), [[1, 1]], (8, 8.5)), "whole numbers of"),
        (lambda: metrics.compose([(3, 2)]), r"layers holds \(3, 2\); give \(kernel, stride, pad\)"),
        (lambda: occluded(chosen=np.ones((2, 3), bool)), r"chosen has shape \(2, 3\); give \[imag"),
        (lambda: occluded(chosen=np.ones((6, 2), bool)), r"chosen has shape \(6, 2\)"),
        (lambda: occluded(batch_size=0), "batch_size is 0"),
        (lambda: occluded(stride=1.5), "stride is 1.5"),
        (lambda: occluded(fill=[1, 2]), r"fill has shape \(2,\); give a number or \[3\]"),
        (lambda: metrics.empirical_pattern(occluded(), 3), "unit is 3; give 0 to 2"),
        (lambda: metrics.empirical_pattern(occluded(), -1), "unit is -1; give 0 to 2"),
        (lambda: metrics.ActivationThreshold(2.5), "images is 2.5; give the number of images"),
        (
            lambda: metrics.collapsed_filters(POSITIONS, PEAKS, image_size=SIZE, tolerance=np.nan),
            "tolerance is nan",
        ),
    ],
)
def test_what_can_be_recognised(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_may_be_right_is_let_through():
    instability()
    many = np.concatenate([LANDMARKS] * 10)
    many[0, 0] = 0  # one of 120 may well lie there
    metrics.instability_controls(many, image_size=SIZE)
    metrics.instability_controls(np.zeros((4, 1, 2)), image_size=SIZE)
    instability(where=np.ones(6, int))
    hits(maps=MAPS > 0.5)
    hits(radius=0.5)


def test_the_example_of_the_documentation(capsys):
    page = (ROOT / "docs" / "metrics.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(code, names)
    assert names["instability"].shape == names["ratio"].shape == (8, 2)
    assert names["shares"].shape == (8, 2) and 0 < names["controls"].center < 1
    assert capsys.readouterr().out.startswith("PartSummary(mean=0.")
