"""How badly trivial classifiers do on the embedded data.

Run `python benchmarks/embedded_baselines.py`.

Ridge regression on raw pixels, colours and edge statistics of the animals' boxes, as the networks
get them, on pictures that were held out. Of seven regularisers the one that is best on the held-out
pictures is taken, so the figures are upper bounds. Three minutes on one core.
"""

import argparse

import numpy as np
from PIL import Image

from interp_cnn.data.embedded.drawing import CATEGORIES, draw_example

_STRENGTHS = 10.0 ** np.arange(-3, 4)


def crops(category: str | None, count: int, size: int) -> np.ndarray:
    """The first pictures of a category, cut out by the box: [count, size, size, 3] in 0 to 1."""
    result = np.empty((count, size, size, 3), np.float32)
    for index in range(count):
        drawing = draw_example(category, index)
        top, left, bottom, right = (float(v) for v in drawing.bbox)
        crop = Image.fromarray(drawing.image).resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
        )
        result[index] = np.asarray(crop)
    return result / 255


def pixels(images: np.ndarray, size: int) -> np.ndarray:
    """Raw pixels averaged to size x size."""
    n, side = len(images), images.shape[1]
    step = side // size
    return images.reshape(n, size, step, size, step, 3).mean((2, 4)).reshape(n, -1)


def colours(images: np.ndarray) -> np.ndarray:
    """Joint colour histogram of 6 x 6 x 6 bins, mean and deviation of each channel."""
    n = len(images)
    bins = np.minimum((images * 6).astype(int), 5) @ (36, 6, 1)
    histogram = np.stack([np.bincount(b.ravel(), minlength=216) for b in bins]) / bins[0].size
    return np.concatenate(
        [np.sqrt(histogram), images.mean((1, 2)).reshape(n, 3), images.std((1, 2)).reshape(n, 3)], 1
    )


def edges(images: np.ndarray) -> np.ndarray:
    """How much edge of which direction and strength at three scales, and the size of the object."""
    grey = images.mean(3)
    features = []
    for step in (1, 2, 4):
        n, side = len(grey), grey.shape[1] // step
        small = grey.reshape(n, side, step, side, step).mean((2, 4))
        down, right = np.gradient(small, axis=(1, 2))
        strength = np.hypot(down, right).reshape(n, -1)
        angle = (np.arctan2(down, right) % np.pi / np.pi * 8).astype(int).reshape(n, -1) % 8
        features += [np.where(angle == k, strength, 0).mean(1) for k in range(8)]
        features += list(np.quantile(strength, (0.25, 0.5, 0.75, 0.9, 0.97), axis=1))
    # Area: the share of pixels unlike the border's mean colour, at several distances from it.
    border = np.concatenate(
        [images[:, :3].reshape(len(images), -1, 3), images[:, -3:].reshape(len(images), -1, 3)], 1
    ).mean(1)
    distance = np.abs(images - border[:, None, None]).sum(3)
    features += [(distance > t).mean((1, 2)) for t in (0.2, 0.4, 0.8)]
    return np.stack(features, 1)


def held_out_accuracy(features: np.ndarray, labels: np.ndarray, test: np.ndarray) -> float:
    """Accuracy of the best ridge classifier, in the dual form: features [n, d], labels [n]."""
    train = ~test
    scaled = (features - features[train].mean(0)) / (features[train].std(0) + 1e-6)
    kernel = (scaled @ scaled[train].T) / features.shape[1]
    targets = np.eye(labels.max() + 1)[labels[train]]
    bias = targets.mean(0)
    values, vectors = np.linalg.eigh(kernel[train].astype(np.float64))
    rotated = vectors.T @ (targets - bias)
    best = 0.0
    for strength in _STRENGTHS:
        weights = vectors @ (rotated / (np.maximum(values, 0) + strength)[:, None])
        guess = (kernel[test] @ weights + bias).argmax(1)
        best = max(best, float((guess == labels[test]).mean()))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="pictures of each class")
    count = parser.parse_args().count
    images = {c: crops(c, count, 96) for c in (*CATEGORIES, None)}
    every_third = np.arange(count) % 3 == 0
    tables = {
        "pixels 96 x 96": lambda x: pixels(x, 96),
        "pixels 32 x 32": lambda x: pixels(x, 32),
        "colours": colours,
        "edges and area": edges,
    }
    features = {name: {c: f(x) for c, x in images.items()} for name, f in tables.items()}
    print(f"{count} pictures of each class, one third held out; accuracy, best of 7 regularisers")
    print(f"{'task':<22}" + "".join(f"{name:>16}" for name in tables))
    tasks: dict[str, tuple[str | None, ...]] = {f"{c} / other": (c, None) for c in CATEGORIES}
    tasks["6 categories"] = CATEGORIES
    tasks["6 categories + other"] = (*CATEGORIES, None)
    for task, classes in tasks.items():
        labels = np.repeat(np.arange(len(classes)), count)
        test = np.tile(every_third, len(classes))
        row = [
            held_out_accuracy(np.concatenate([f[c] for c in classes]), labels, test)
            for f in features.values()
        ]
        print(f"{task:<22}" + "".join(f"{accuracy:>16.3f}" for accuracy in row), flush=True)


if __name__ == "__main__":
    main()
