"""Shapes of receptive fields, the empirical one by occlusion, and the sensitivity to the radius."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_filters import made_results

from interp_cnn import metrics
from interp_cnn.evaluation.results import Results
from interp_cnn.report.radius_plot import draw_radius_sensitivity, radius_figures


def box_filter(sides):
    """One 'same' convolution with an all-ones kernel per side (odd), summed over the channels."""
    size = max(sides)
    kernel = np.zeros((size, size, 3, len(sides)), np.float32)
    for f, side in enumerate(sides):
        margin = (size - side) // 2
        kernel[margin : size - margin, margin : size - margin, :, f] = 1

    def predict(images):
        return jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    return jax.jit(predict)


def centers(count):
    return np.arange(count) + 0.5


def slow_field(predict, images, center_y, center_x, patch, stride, chosen):
    """One filter, one image and one patch at a time; offsets in cells -> mean fall."""
    found = {}
    for number, image in enumerate(images):
        maps = np.asarray(predict(jnp.asarray(image)[None]))[0]
        for f in range(maps.shape[2]):
            if not chosen[number, f] or maps[..., f].max() <= 0:
                continue
            i, j = np.unravel_index(maps[..., f].argmax(), maps.shape[:2])
            value = float(maps[i, j, f])
            for y in range(0, image.shape[0] - patch + 1, stride):
                for x in range(0, image.shape[1] - patch + 1, stride):
                    copy = image.copy()
                    copy[y : y + patch, x : x + patch] = 0
                    below = float(np.asarray(predict(jnp.asarray(copy)[None]))[0, i, j, f])
                    row = (y // stride) + math.floor((patch / 2 - center_y[i]) / stride + 0.5)
                    column = (x // stride) + math.floor((patch / 2 - center_x[j]) / stride + 0.5)
                    fall = max(value - below, 0) / value
                    found.setdefault((f, row, column), []).append(fall)
    return {place: np.mean(falls) for place, falls in found.items()}


def test_the_empirical_field_equals_the_slow_loop():
    rng = np.random.default_rng(0)
    images = rng.random((3, 9, 12, 3)).astype(np.float32)
    weights = rng.standard_normal((3, 3, 3, 4)).astype(np.float32)

    @jax.jit
    def predict(x):
        x = jax.lax.conv_general_dilated(
            x, weights, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.maximum(x, 0)

    chosen = rng.random((3, 4)) < 0.8
    y, x = 2 * np.arange(5) + 0.5, 2 * np.arange(6) + 1.0
    field = metrics.empirical_receptive_field(
        predict, iter(images), centers_y=y, centers_x=x, patch=4, stride=2, chosen=chosen,
        batch_size=7,
    )  # fmt: skip
    expected = np.zeros_like(field.falls)
    for (f, row, column), fall in slow_field(predict, images, y, x, 4, 2, chosen).items():
        expected[f, expected.shape[1] // 2 + row, expected.shape[2] // 2 + column] = fall
    np.testing.assert_allclose(field.falls, expected, atol=1e-6)
    assert field.spacing == 2 and (field.images <= chosen.sum(axis=0)).all() and expected.any()


def test_a_convolution_with_a_known_kernel_gets_its_support():
    # The brightest place has its whole kernel inside of the image.
    image = np.full((31, 31, 3), 0.01, np.float32)
    image[15, 15] = 1.0
    sides = (3, 5, 9)
    one_pixel = metrics.empirical_receptive_field(
        box_filter(sides),
        [np.where(image > 0.5, 0.02, image)],
        centers_y=centers(31),
        centers_x=centers(31),
        patch=1,
        stride=1,
    )
    # A patch of one pixel touches exactly the kernel's support, each pixel alike (but the bright).
    assert [(fall > 1e-4).sum() for fall in one_pixel.falls] == [side**2 for side in sides]
    for f, side in enumerate(sides):
        rows = np.flatnonzero((one_pixel.falls[f] > 1e-4).any(axis=1))
        assert len(rows) == side and rows[-1] - rows[0] == side - 1


def test_half_of_the_largest_fall_keeps_the_patch_out_of_the_radius():
    square = np.square(np.arange(41) - 20)
    bump = (1 - 1e-4 * (square[:, None] + square))[..., None].repeat(3, axis=2)
    field = metrics.empirical_receptive_field(
        box_filter((13,)), [bump], centers_y=centers(41), centers_x=centers(41),
        patch=5, stride=1,
    )  # fmt: skip
    assert field.images.tolist() == [1]
    radius = metrics.effective_radius(field)[0]
    # A square of 13 pixels has the area of a disc of 7.33; corners are cut by the threshold.
    assert radius == pytest.approx(13 / np.sqrt(np.pi), abs=0.4)
    assert metrics.effective_radius(field, threshold=0.01)[0] > radius + 1.5
    pattern = metrics.empirical_pattern(field, 0)
    assert pattern.cells.sum() == pytest.approx(np.pi * radius**2)


def test_filters_that_never_fire_have_no_radius():
    field = metrics.EmpiricalField(np.zeros((2, 3, 3), np.float32), 1.0, np.array([1, 0]))
    field.falls[0, 1, 1] = 0.5
    np.testing.assert_allclose(metrics.effective_radius(field), [1 / np.sqrt(np.pi), np.nan])


def test_top_images():
    peaks = np.array([[3.0, 0.0], [5.0, 0.0], [3.0, 2.0]])
    assert metrics.top_images(peaks, top=2).tolist() == [
        [True, False],
        [True, False],
        [False, True],
    ]


def test_three_shapes_one_region():
    centre = [[4.5, 3.5]]
    box = metrics.image_region(metrics.Box(3.0), centre, (8, 8))
    assert box.sum() == 9 and box[3:6, 2:5].all()
    disc = metrics.image_region(metrics.Disc(1.0), centre, (8, 8))
    assert disc.sum() == 5 and (disc <= box).all()
    cells = np.zeros((3, 3), bool)
    cells[1, 1:] = True  # the centre and the cell to its right, two pixels wide
    pattern = metrics.image_region(metrics.Pattern(cells, 2.0), centre, (8, 8))
    assert pattern.sum() == 8 and pattern[3:5, 2:6].all()
    both = metrics.image_region(metrics.Disc(1.0), [*centre, [0.5, 0.5]], (8, 8))
    assert both.sum() == 5 + 3
    assert not metrics.image_region(metrics.Disc(1.0), np.zeros((0, 2)), (8, 8)).any()
    # The theoretical box of a stack of layers is what its units can see.
    field = metrics.compose([(3, 1, 1), (2, 2, 0), (3, 1, 1)])
    region = metrics.image_region(metrics.Box(field.size), [[field.centers(5)[2]] * 2], (10, 10))
    assert region.sum() == field.size**2


def test_every_radius_equals_part_interpretability_of_it():
    rng = np.random.default_rng(0)
    maps = np.maximum(rng.standard_normal((10, 4, 4, 3)), 0).astype(np.float32)
    masks = np.zeros((10, 2, 16, 16), bool)
    masks[:, 0, 2:9, 3:9] = True
    masks[5:, 1, 8:, 8:] = True
    options = {"centers_y": 2 + 4 * np.arange(4), "centers_x": 2 + 4 * np.arange(4)}
    thresholds = metrics.activation_threshold(maps, quantile=0.1)
    radii = (1.5, 3.0, 6.0)
    where = rng.random((10, 3)) < 0.8
    batches = ((maps[i : i + 4], masks[i : i + 4], where[i : i + 4]) for i in range(0, 10, 4))
    values = metrics.radius_sensitivity(batches, thresholds, radii=radii, **options)
    for radius, value in zip(radii, values, strict=True):
        expected = metrics.part_interpretability(
            maps, masks, radius=radius, thresholds=thresholds, where=where, **options
        )
        np.testing.assert_array_equal(value, expected)
    assert len(np.unique(values)) > 3


def test_the_plot_of_the_radius(tmp_path):
    file = tmp_path / "radius.png"
    curves = {"ordinary": [0.1, 0.2, 0.15], "interpretable": [0.2, 0.4, 0.3]}
    draw_radius_sensitivity(file, [5, 10, 20], curves, used=15.4)
    assert file.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="'ordinary' has 3 values for 2 radii"):
        draw_radius_sensitivity(file, [5, 10], curves, used=15.4)


def test_the_plot_of_the_report():
    def results(**curves):
        tree = made_results(networks=tuple(curves), layers=("new_conv",)).to_json()
        for name, values in curves.items():
            figures = tree["networks"][name]["layers"]["new_conv"]["part_interpretability"]
            figures["by_radius"] = [list(pair) for pair in zip((8, 16, 32), values, strict=True)]
        return Results.from_json(tree)

    (figure,) = radius_figures(results(ordinary=[0.1, 0.25, 0.2], interpretable=[0.3, 0.5, 0.4]))
    assert figure.png.startswith(b"\x89PNG")
    assert "ordinary, new_conv: 0.100 at 8.0, 0.250 at 16.0, 0.200 at 32.0; " in figure.text
    assert "in pixels, images that have the part. ordinary" in figure.text
    assert radius_figures(results(ordinary=[None] * 3)) == []
    tree = results(ordinary=[0.1, 0.25, 0.2]).to_json()
    layer = tree["networks"]["ordinary"]["layers"]["new_conv"]
    by_radius = [[8, 0.5], [16, 0.75], [32, 0.6]]
    layer["part_interpretability_fired"] = layer["part_interpretability"] | {"by_radius": by_radius}
    (figure,) = radius_figures(Results.from_json(tree))
    assert "images on which the filter fires. ordinary, new_conv: 0.500 at 8.0" in figure.text


def test_what_is_refused():
    options = {"centers_y": centers(4), "centers_x": centers(4)}
    image = np.ones((4, 4, 3), np.float32)
    predict = box_filter((1,))
    with pytest.raises(ValueError, match="images is empty"):
        metrics.empirical_receptive_field(predict, [], **options)
    with pytest.raises(ValueError, match="patch is 11 and stride 3; give a patch of 1 to 4 pixels"):
        metrics.empirical_receptive_field(predict, [image], **options)
    with pytest.raises(ValueError, match=r"image 1 has shape \(2, 4, 3\); the first one had"):
        metrics.empirical_receptive_field(predict, [image, image[:2]], patch=1, stride=1, **options)
    with pytest.raises(ValueError, match="centers_y and centers_x have 4 and 4 values; the maps"):
        metrics.empirical_receptive_field(
            lambda x: predict(x)[:, :2], [image], patch=1, stride=1, **options
        )
    with pytest.raises(ValueError, match="no filter fires"):
        metrics.empirical_receptive_field(predict, [-image], patch=1, stride=1, **options)
    with pytest.raises(ValueError, match="threshold is 1"):
        metrics.effective_radius(metrics.EmpiricalField(np.ones((1, 1, 1)), 1.0, [1]), threshold=1)
    with pytest.raises(ValueError, match="batches or radii is empty"):
        metrics.radius_sensitivity([], [0.0], radii=[1.0], **options)
    with pytest.raises(ValueError, match=r"centers has shape \(2,\)"):
        metrics.image_region(metrics.Disc(1.0), [1, 2], (4, 4))
