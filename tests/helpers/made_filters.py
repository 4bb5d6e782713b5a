"""Filters, results and curves of a report, made by hand: no training, no network."""

import numpy as np

from interp_cnn.evaluation.network_filters import LayerFilters, NetworkFilters
from interp_cnn.evaluation.results import Results
from interp_cnn.evaluation.sampled_images import Sample, SampledMaps
from interp_cnn.evaluation.strongest_images import SIDE, GalleryCollector, resized

NASTY = "<script>alert('x')</script> & \"quotes\""
PARTS = ("head", "front_legs", "<b>tail</b>")
LANDMARKS = ("head", "neck")


def layer_results(instability):
    return {
        "location_instability": {
            "value": instability,
            "filters": 6,
            "filters_left_out": 1,
            "images_per_value": 9.5,
        },
        "tracking_ratio": {"value": 0.8, "filters": 6, "below_1": 0.5, "below_0.8": 0.25},
        "part_interpretability": {
            "value": 0.5,
            "filters": 6,
            "images": 9,
            "radius": 15.4,
            "by_radius": [[7.7, 0.25], [15.4, 0.5], [30.8, 0.375]],
        },
        "filters_of_category": {NASTY: 7},
        "dead": 1,
        "collapsed": 0,
        "mutual_information": 0.4,
        "receptive_field": {"offset": 8.0, "stride": 16.0, "size": 75.0},
    }


def made_results(networks=("ordinary", "interpretable"), layers=("top_conv", "new_conv")):
    tree = {
        "experiment": {
            "network": "small",
            "category": NASTY,
            "task": "single",
            "dataset": "embedded_animals",
            "image_size": 96,
            "date": "2026-11-23T12:00:00+00:00",
            "device": "8 x cpu",
            "versions": {"jax": "0.10.2", "numpy": "2.4.0"},
        },
        "data": {
            "train_images": 80,
            "test_images": 40,
            "test_objects": 20,
            "location_images": 20,
            "location_split": "test",
            "parts": list(PARTS),
            "categories": [NASTY],
            "landmarks": list(LANDMARKS),
            "part_regions": "masks",
        },
        "controls": {"center": 0.03, "random": 0.146, "images": 20},
        "networks": {
            network: {
                "step": 100,
                "accuracy": {"value": 0.9, "images": 40},
                "layers": {layer: layer_results(0.1) for layer in layers},
            }
            for network in networks
        },
    }
    return Results.from_json(tree)


def made_photos(count, size=96):
    """Smooth colours with a bright disc on each."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:size, :size]
    photos = np.zeros((count, size, size, 3), np.uint8)
    for photo in photos:
        centre, radius = rng.uniform(0.25, 0.75, 2) * size, size / 6
        photo[:] = np.linspace(0.5, 1, size)[:, None, None] * rng.integers(60, 200, 3)
        photo[np.hypot(y - centre[0], x - centre[1]) < radius] = rng.integers(0, 256, 3)
    return photos


def made_network(network="interpretable", *, filters=7, layers=("top_conv", "new_conv")):
    """Filter 0 of each layer is dead and unknown in everything; the others have some figure."""
    rng = np.random.default_rng(len(network))
    photos, side = made_photos(9), 6
    collector = GalleryCollector(top=4)
    y, x = np.mgrid[:side, :side]
    maps = {}
    for layer in layers:
        centres = rng.uniform(0, side - 1, (2, len(photos), 1, 1, filters))
        distance = np.hypot(y[None, :, :, None] - centres[0], x[None, :, :, None] - centres[1])
        maps[layer] = np.maximum(3 - distance, 0) * rng.uniform(0.5, 2, (len(photos), 1, 1, 1))
        maps[layer][..., 0] = 0
    collector.update(photos, maps)
    gallery = collector.result()
    sample = made_sample()
    return NetworkFilters(
        network=network,
        gallery=gallery,
        captions=[f"{NASTY} {number}.jpg" for number in gallery.numbers],
        sample=sample,
        layers=[_layer(name, gallery.layers[name], rng, filters) for name in layers],
    )


def made_sample():
    """Twelve images: of each category four, and four of other things."""
    rng = np.random.default_rng(3)
    images = made_photos(12)
    categories = (("cat", NASTY, "") * 4)[: len(images)]
    return Sample(
        images=images,
        pictures=np.stack([resized(image, SIDE) for image in images]),
        categories=categories,
        landmarks=rng.uniform(0, 96, (len(images), len(LANDMARKS), 2)).astype(np.float32),
        captions=tuple(f"sampled {number}.jpg" for number in range(len(images))),
    )


def _sampled(rng, filters):
    """Filter 0 fires on nothing."""
    maps = rng.random((12, 6, 6, filters), np.float32)
    maps[..., 0] = 0
    peak = maps.reshape(12, 36, filters).argmax(axis=1)
    positions = np.stack([peak // 6, peak % 6], axis=-1) * 16.0 + 8
    return SampledMaps(maps, positions.astype(np.float32), maps.max(axis=(1, 2)))


def _layer(name, top, rng, filters):
    def unknown_first(values):
        values[0] = np.nan
        return values

    shares = unknown_first(rng.random((filters, len(PARTS))))
    shares[-1] = 0  # the last filter hits no part
    centers = (np.arange(6) + 0.5) * 16
    masks = np.clip(1 - 2 * rng.random(top.maps.shape), -1, 1)
    return LayerFilters(
        name=name,
        categories=["cat" if unit % 2 else NASTY for unit in range(filters)],
        parts=PARTS,
        shares=shares,
        landmarks=LANDMARKS,
        tracking=unknown_first(rng.uniform(0.3, 1.5, (filters, len(LANDMARKS)))),
        instability=unknown_first(rng.uniform(0.03, 0.15, filters)),
        terms={
            "mutual_information": rng.random(filters),
            "template_entropy": np.full(filters, 3.6),
            "category_entropy": rng.random(filters),
            "position_entropy": rng.random(filters),
        },
        thresholds=np.full(filters, 1.5),
        centers_y=centers,
        centers_x=centers,
        radius=15.4,
        image_size=96,
        masks=masks if name == "new_conv" else None,
        sampled=_sampled(rng, filters),
    )


def made_curves(networks=("ordinary", "interpretable")):
    steps = np.arange(10, 1010, 10)
    return {
        name: [
            {
                "step": int(step),
                "loss": float(0.7 * np.exp(-step / (300 + 100 * i))),
                "accuracy": float(1 - 0.5 * np.exp(-step / 300)),
                "mi/new_conv": 0.1 + 0.3 * i * float(step) / 1000,
            }
            for step in steps
        ]
        for i, name in enumerate(networks)
    }
