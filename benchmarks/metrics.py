"""Time and peak memory of the metrics: 512 filters, 1,000 images, 14 x 14 maps, 224 x 224 masks.

    python benchmarks/metrics.py [--images 1000] [--filters 512]

Memory is what the function allocates beside its arguments (NumPy only: that of `peaks` is JAX's).
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

import jax
import numpy as np

from interp_cnn import metrics

SIDE, PARTS, LANDMARKS = 224, 5, 3


def measure(name: str, function: Callable[[], object], *, memory: bool = True) -> float:
    """Prints and returns the seconds of one call; its memory is that of a second, traced call."""
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    peak = "-"
    if memory:
        tracemalloc.start()
        function()
        peak = f"{tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB"
        tracemalloc.stop()
    print(f"{name:44s} {seconds:8.2f} s {peak:>10s}", flush=True)
    return seconds


def dense_hits(maps, masks, thresholds, centers, radius):
    """Part hits of a few images with float32 matrix products over all pixels, to compare with."""
    pixel = np.arange(SIDE) + 0.5
    square = np.square(pixel - centers[:, None])
    discs = (square[:, None, :, None] + square[None, :, None, :] <= radius**2).reshape(
        len(centers) ** 2, -1
    )
    discs = discs.astype(np.float32)
    hits = np.zeros((maps.shape[-1], masks.shape[1]), np.int64)
    for x, mask in zip(maps, masks, strict=True):
        valid = (x.reshape(-1, maps.shape[-1]) > thresholds).T.astype(np.float32)
        active = valid.any(axis=1)
        region = (valid[active] @ discs > 0).astype(np.float32)
        part = mask.reshape(len(mask), -1).astype(np.float32)
        common = region @ part.T
        union = region.sum(axis=1)[:, None] + part.sum(axis=1) - common
        hits[active] += (common / union > 0.2) & part.any(axis=1)
    return hits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--filters", type=int, default=512)
    flags = parser.parse_args()
    images, filters = flags.images, flags.filters
    rng = np.random.default_rng(0)
    field = metrics.ReceptiveField(offset=8, stride=16)
    centers = field.centers(14)
    maps = rng.standard_normal((images, 14, 14, filters), np.float32)
    np.maximum(maps - 1, 0, out=maps)
    corners = rng.uniform(0, 150, (images, PARTS, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 90, corners.shape)], axis=-1)
    boxes[rng.random((images, PARTS)) < 0.2] = np.nan
    masks = metrics.part_boxes_to_masks(boxes, (SIDE, SIDE))
    landmarks = rng.uniform(0, SIDE, (images, LANDMARKS, 2))
    print(f"{images} images, {filters} filters, {PARTS} parts, {LANDMARKS} landmarks")

    def all_peaks():
        batches = [
            metrics.peaks(maps[i : i + 32], centers_y=centers, centers_x=centers)
            for i in range(0, images, 32)
        ]
        return [np.concatenate(values) for values in zip(*jax.device_get(batches), strict=True)]

    positions, peaks = all_peaks()
    measure("peaks", all_peaks, memory=False)
    size = (SIDE, SIDE)
    measure(
        "location_instability",
        lambda: metrics.location_instability(positions, peaks, landmarks, image_size=size),
    )
    measure("tracking_ratio", lambda: metrics.tracking_ratio(positions, peaks, landmarks))
    measure(
        "instability_controls", lambda: metrics.instability_controls(landmarks, image_size=size)
    )
    measure(
        "summarize_location",
        lambda: metrics.summarize_location(positions, peaks, landmarks, image_size=size),
    )
    thresholds = metrics.activation_threshold(maps)
    measure("activation_threshold", lambda: metrics.activation_threshold(maps))
    radius = metrics.default_radius(size)
    kwargs = {"centers_y": centers, "centers_x": centers, "radius": radius}
    packed = measure(
        "part_interpretability, thresholds given",
        lambda: metrics.part_interpretability(maps, masks, thresholds=thresholds, **kwargs),
    )
    few = min(10, images)
    start = time.perf_counter()
    expected = dense_hits(maps[:few], masks[:few], thresholds, centers, radius)
    dense = (time.perf_counter() - start) * images / few
    hits, _ = metrics.part_hits(maps[:few], masks[:few], thresholds, **kwargs)
    if not np.array_equal(hits, expected):
        raise SystemExit("part_hits differs from the matrix products")
    print(f"packed bits over matrix products ({few} images, scaled up): {packed / dense:.3f}")


if __name__ == "__main__":
    main()
