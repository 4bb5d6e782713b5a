"""The streaming collector of strongest images against the naive one that holds everything."""

import numpy as np
import pytest

from interp_cnn.evaluation.strongest_images import GalleryCollector


def collected(images, maps, *, batch, **options):
    collector = GalleryCollector(**options)
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        collector.update(images[part], {name: x[part] for name, x in maps.items()})
    return collector.result()


@pytest.fixture
def stream():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (23, 8, 8, 3), np.uint8)
    maps = {
        # Whole numbers, so that many peaks are equal.
        "top": rng.integers(0, 4, (23, 3, 2, 5)).astype(np.float32),
        "new": rng.random((23, 2, 2, 3), np.float32),
    }
    maps["new"][..., 1] = 0  # a dead filter
    maps["new"][2:, ..., 2] = 0  # fires on two images alone
    return images, maps


@pytest.mark.parametrize("batch", [1, 4, 5, 23])
def test_equals_sorting_all_images(stream, batch):
    images, maps = stream
    gallery = collected(images, maps, batch=batch, top=4, side=8)
    for name, x in maps.items():
        found = gallery.layers[name]
        peaks = x.max(axis=(1, 2))
        for unit in range(x.shape[-1]):
            order = np.argsort(-peaks[:, unit], kind="stable")[:4]
            order = order[peaks[order, unit] > 0]
            there = found.image[unit] >= 0
            assert there.sum() == len(order) and there[: len(order)].all()
            assert gallery.numbers[found.image[unit][there]].tolist() == order.tolist()
            np.testing.assert_array_equal(found.peaks[unit][there], peaks[order, unit])
            np.testing.assert_array_equal(found.maps[unit][there], x[order, ..., unit])
            assert not found.peaks[unit][~there].any() and not found.maps[unit][~there].any()
    used = np.unique(np.concatenate([layer.image.ravel() for layer in gallery.layers.values()]))
    assert used[used >= 0].tolist() == list(range(len(gallery.pictures)))
    np.testing.assert_array_equal(gallery.pictures, images[gallery.numbers])
    assert not gallery.layers["new"].peaks[1].any()
    assert (gallery.layers["new"].image[2] >= 0).sum() == 2


def test_holds_no_more_pictures_than_filters_need():
    collector = GalleryCollector(top=2, side=4)
    rng = np.random.default_rng(1)
    for _ in range(50):
        maps = {"conv": rng.random((6, 2, 2, 3), np.float32)}
        collector.update(rng.integers(0, 256, (6, 16, 16, 3), np.uint8), maps)
        assert len(collector._pictures) <= 3 * 2
    pictures = collector._pictures.values()
    assert all(picture.shape == (4, 4, 3) and picture.base is None for picture in pictures)


def test_fewer_images_than_places():
    images = np.zeros((1, 4, 4, 3), np.uint8)
    gallery = collected(images, {"conv": np.ones((1, 2, 2, 2))}, batch=1, top=3, side=4)
    assert gallery.layers["conv"].image.tolist() == [[0, -1, -1]] * 2


def test_images_that_do_not_count(stream):
    images, maps = stream
    where = np.random.default_rng(5).random((23, 5)) < 0.5
    collector = GalleryCollector(top=3, side=8)
    for part in (slice(0, 9), slice(9, 23)):
        collector.update(images[part], {"top": maps["top"][part]}, {"top": where[part]})
    gallery = collector.result()
    peaks = np.where(where, maps["top"].max(axis=(1, 2)), -1)
    for unit in range(5):
        order = np.argsort(-peaks[:, unit], kind="stable")[:3]
        assert gallery.numbers[gallery.layers["top"].image[unit]].tolist() == order.tolist()


def test_nothing_fires():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    gallery = collected(images, {"conv": np.zeros((2, 2, 2, 2))}, batch=1, top=3, side=4)
    assert (gallery.layers["conv"].image == -1).all() and gallery.pictures.shape == (0, 4, 4, 3)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"maps of 'conv' have shape \(3, 2, 2, 1\).*2 images"):
        GalleryCollector().update(np.zeros((2, 4, 4, 3), np.uint8), {"conv": np.ones((3, 2, 2, 1))})
    with pytest.raises(ValueError, match="no images came"):
        GalleryCollector().result()
