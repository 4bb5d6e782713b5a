"""Controls of location instability: what units that ignore the image score."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from interp_cnn.arguments import check_landmarks_in_pixels
from interp_cnn.metrics.location import Bool, Float, as_landmarks, diagonal_of
from interp_cnn.metrics.threshold import as_where


class InstabilityControls(NamedTuple):
    """What units that ignore the image score as location instability (mean over landmarks)."""

    center: float  # always at the centre of the image
    random: float  # uniformly random positions
    images: int  # images that have at least one landmark


def instability_controls(
    landmarks: ArrayLike, *, image_size: tuple[int, int], where: ArrayLike | None = None
) -> InstabilityControls:
    """Location instability of two units that ignore the image, from the landmarks alone.

    `center` is D of the constant position (h / 2, w / 2). `random` is D of independent uniform
    positions in the image, as the root of the expected variance of the distance, in closed form:
    `E[std^2] = mean_n Var(d_n) + var_n(E[d_n])` (no seed). Both use all images that have the
    landmark; neither would change, but for noise, on a `top` chosen without looking at them.

    Args:
      landmarks: p_k, [images, landmarks, 2] in pixels, NaN = missing.
      image_size: (h, w) of the input in pixels.
      where: bool [images], which images count.

    Returns:
      Both, as the mean over the landmarks that at least two images have (NaN if there are none).

    Raises:
      ValueError: wrong shapes.
    """
    points = as_landmarks(landmarks)
    diagonal = diagonal_of(image_size)
    check_landmarks_in_pixels(points, image_size)
    height, width = image_size
    present: Bool = ~np.isnan(points).any(axis=-1) & as_where(where, len(points), 1)
    center, random = [], []
    for k in range(points.shape[1]):
        y, x = points[present[:, k], k].T
        if len(y) < 2:
            continue
        center.append(np.std(np.hypot(y - height / 2, x - width / 2), ddof=1))
        mean, square = _uniform_distance(y, x, height, width)
        random.append(np.sqrt(np.mean(square - mean**2) + np.var(mean, ddof=1)))
    return InstabilityControls(
        center=float(np.mean(center)) / diagonal if center else float("nan"),
        random=float(np.mean(random)) / diagonal if random else float("nan"),
        images=int(present.any(axis=1).sum()),
    )


def _uniform_distance(y: Float, x: Float, height: int, width: int) -> tuple[Float, Float]:
    """Mean distance, and mean squared distance, of points to a uniform point of the image."""

    def corner(a: Float, b: Float) -> Float:
        # Integral of sqrt(u^2 + v^2) over [0, a] x [0, b]; odd in a and in b.
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = np.where(a == 0, 0, a**3 * np.arcsinh(b / np.abs(a))) + np.where(
                b == 0, 0, b**3 * np.arcsinh(a / np.abs(b))
            )
        return a * b * np.hypot(a, b) / 3 + sides / 6

    total = (
        corner(height - y, width - x)
        - corner(-y, width - x)
        - corner(height - y, -x)
        + corner(-y, -x)
    )
    square = (y - height / 2) ** 2 + (x - width / 2) ** 2 + (height**2 + width**2) / 12
    return total / (height * width), square
