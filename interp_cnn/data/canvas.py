"""A canvas that outlines are painted on, and coats (colours, patterns) to paint them with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from interp_cnn.data.shapes import Piece, Shape, turned

_SUPERSAMPLING = 4

# One palette for animals, clutter and background, so that no colour belongs to any of them.
_PALETTE = (
    np.array(
        [
            (242, 228, 201),
            (222, 190, 142),
            (203, 150, 88),
            (186, 106, 62),
            (150, 78, 52),
            (112, 72, 54),
            (74, 58, 52),
            (58, 66, 78),
            (92, 108, 124),
            (136, 154, 164),
            (186, 198, 200),
            (120, 168, 186),
            (74, 134, 150),
            (52, 98, 104),
            (96, 128, 98),
            (138, 154, 96),
            (174, 178, 112),
            (92, 106, 58),
            (66, 84, 62),
            (214, 168, 72),
            (226, 142, 104),
            (206, 120, 118),
            (160, 96, 112),
            (128, 104, 140),
            (178, 162, 184),
            (234, 206, 190),
        ],
        np.float32,
    )
    / 255
)
_IRIS = (
    np.array([(236, 190, 70), (150, 190, 90), (110, 170, 190), (190, 120, 60)], np.float32) / 255
)
_FIXED = {
    "dark": np.array((36, 30, 34), np.float32) / 255,
    "white": np.array((250, 246, 238), np.float32) / 255,
}
_EYE_WEIGHTS = np.array((0.9, 1.6, 0.5), np.float32)  # of red, green and blue


@dataclasses.dataclass(frozen=True)
class Coat:
    """Two colours, the pattern in which they mix, and the colours of what is not coat."""

    base: np.ndarray
    alt: np.ndarray
    horn: np.ndarray
    iris: np.ndarray
    kind: int
    pitch: float
    angle: float
    phase: float

    def colour(self, paint: str, z: np.ndarray, frame: complex, noise: np.ndarray) -> np.ndarray:
        """RGB [h, w, 3], or [3] where it is the same everywhere, at the points z [h, w]."""
        if paint == "coat":
            mix = self._pattern(z, frame, noise)[..., None]
            return (self.base + mix * (self.alt - self.base)) * (1 + 0.05 * noise[1][..., None])
        return _FIXED[paint] if paint in _FIXED else getattr(self, paint)

    def _pattern(self, z: np.ndarray, frame: complex, noise: np.ndarray) -> np.ndarray:
        w = z * np.complex64(self.pitch * turned(self.angle) / frame) + np.float32(self.phase)
        u, v = w.real, w.imag
        if self.kind == 0:  # plain, softly mottled
            level = 0.12 * noise[0] - 0.3
        elif self.kind == 1:  # stripes
            level = np.sin(u + 0.9 * noise[0]) - 0.35
        elif self.kind == 2:  # spots
            level = 1.6 * np.cos(u + 0.7 * noise[0]) * np.cos(v + 0.7 * noise[1]) - 0.75
        elif self.kind == 3:  # patches
            level = np.sin(0.45 * u + 1.2 * noise[0]) + np.cos(0.4 * v + noise[0]) - 0.5
        else:  # ticked fur
            level = 0.7 * np.sin(2.2 * u + 2 * noise[1]) * np.cos(0.7 * v) - 0.1
        return np.clip(level * 2.5 + 0.5, 0, 1).astype(np.float32) * 0.9


def random_colour(
    rng: np.random.Generator, apart_from: Sequence[np.ndarray] = (), least: float = 0.0
) -> np.ndarray:
    """A colour [3] near the palette, `least` away from the given ones if one of 8 tries is."""
    tries = _PALETTE[rng.integers(len(_PALETTE), size=8)] * rng.uniform(0.88, 1.1, (8, 1))
    tries = np.clip(tries + rng.normal(0, 0.02, (8, 3)), 0.05, 0.98).astype(np.float32)
    if len(apart_from) == 0:
        return tries[0]
    differences = tries[:, None] - np.asarray(apart_from)
    gaps = np.sqrt((differences**2 * _EYE_WEIGHTS).sum(2)).min(1)
    return tries[int(np.argmax(np.minimum(gaps, least)))]


def random_coat(rng: np.random.Generator, apart_from: Sequence[np.ndarray] = ()) -> Coat:
    """A coat that stands out against the colours `apart_from`."""
    base = random_colour(rng, apart_from, 0.33)
    alt = random_colour(rng, [base], 0.22)
    return Coat(
        base,
        base + rng.uniform(0.55, 1.0) * (alt - base),
        random_colour(rng, [base, *apart_from], 0.3),
        _IRIS[rng.integers(len(_IRIS))],
        int(rng.integers(5)),
        rng.uniform(17, 34),
        rng.uniform(0, np.pi),
        rng.uniform(0, 6.3),
    )


class Canvas:
    """Picture under way and, for each pixel, how much of it every owner shows."""

    def __init__(self, size: int, owners: int, rng: np.random.Generator) -> None:
        self.size = size
        self.image = np.zeros((size, size, 3), np.float32)
        self.share = np.zeros((owners, size, size), np.float32)
        self.share[0] = 1
        self.owned = False  # no pixel has an owner yet
        self.noise = np.stack([_smooth_noise(rng, cells, size) for cells in (7, 28)])
        lean = rng.uniform(-np.pi, np.pi)
        # A light that always came from above, or edges that were always darker, would give animals
        # away to a linear classifier: so every effect of light has both signs, alike often.
        sign = rng.choice([-1.0, 1.0], 3)
        self.halo = float(sign[0] * rng.uniform(0.1, 0.3))  # shadow or glow around shapes
        self.rim = float(sign[1] * rng.uniform(0.1, 0.45))  # their edges are darker or lighter
        self.far_is_darker = bool(sign[2] > 0)
        # x and y of the way to the light.
        self.light = np.array([0.75 * np.sin(lean), -0.75 * np.cos(lean)], np.float32)
        y, x = np.mgrid[:size, :size].astype(np.float32) + 0.5
        self.z = (x + 1j * y).astype(np.complex64) / size

    def coverage(
        self, outline: np.ndarray, pad: float = 0.0
    ) -> tuple[slice, slice, Image.Image] | None:
        """Window of the canvas around an outline and how far the outline covers its pixels."""
        points = outline.view(np.float64).reshape(-1, 2) * self.size  # x, y
        (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
        x0, y0 = max(math.floor(left - pad), 0), max(math.floor(top - pad), 0)
        x1 = min(math.ceil(right + pad), self.size)
        y1 = min(math.ceil(bottom + pad), self.size)
        if x1 <= x0 or y1 <= y0:
            return None
        k = _SUPERSAMPLING
        fine = Image.new("L", ((x1 - x0) * k, (y1 - y0) * k))
        ImageDraw.Draw(fine).polygon(((points - (x0, y0)) * k).ravel().tolist(), fill=255)
        return slice(y0, y1), slice(x0, x1), fine.reduce(k)

    def paint(
        self,
        shape: Shape,
        coat: Coat,
        frame: complex,
        *,
        owner: int = 0,
        opacity: float = 1.0,
        behind: slice | None = None,
    ) -> None:
        """Paints one shape whose outline is in units of the picture, over everything so far.

        Args:
            shape: what to paint.
            coat: its colours.
            frame: scale and turn of the coat's own frame in the picture.
            owner: whose the pixels are: 0, background, or another below `owners`.
            opacity: 1 hides what is below.
            behind: these owners stay in front, although they were painted before.
        """
        thick = _thickness(shape.outline) * self.size if shape.puff else 0.0
        round_ = thick > 2  # pixels; on less no shading can be seen
        window = self.coverage(shape.outline, 0.4 * thick if round_ else 0)
        if window is None:
            return
        rows, cols, cover = window
        alpha = np.asarray(cover, np.float32)[..., None] * (opacity / 255)
        free = np.float32(1)
        if behind is not None:
            free = 1 - self.share[behind, rows, cols].sum(0)
            alpha = alpha * free[..., None]
        z, noise = self.z[rows, cols], self.noise[:, rows, cols]
        colour = coat.colour(shape.paint, z, frame, noise)
        if round_:
            soft = cover.filter(ImageFilter.GaussianBlur(0.28 * thick))
            height = np.asarray(soft, np.float32) / 255
            self._shadow(rows, cols, height * (self.halo * opacity * free), 0.28 * thick)
            k = np.float32(0.55 * thick * shape.puff)
            height *= k
            down, right = np.zeros_like(height), np.zeros_like(height)
            np.subtract(height[2:], height[:-2], out=down[1:-1])
            np.subtract(height[:, 2:], height[:, :-2], out=right[:, 1:-1])
            flat = 1 / np.sqrt(1 + down * down + right * right)
            usual = float((flat * alpha[..., 0]).sum() / max(alpha.sum(), 1e-3))
            lit = flat * (self.light[0] * right + self.light[1] * down) * np.float32(-0.5)
            lit += np.float32(self.rim) * (flat - np.float32(usual))
            colour = colour * (1 + lit)[..., None]
        under = self.image[rows, cols]
        tone = shape.tone if self.far_is_darker else 2 - shape.tone
        under += alpha * (colour * np.float32(tone) - under)
        self.owned = self.owned or owner > 0
        if self.owned:
            self.share[:, rows, cols] *= 1 - alpha[..., 0]
            self.share[owner, rows, cols] += alpha[..., 0]

    def _shadow(self, rows: slice, cols: slice, depth: np.ndarray, reach: float) -> None:
        dx, dy = np.rint(-self.light * min(reach, 0.02 * self.size)).astype(int)
        y0, y1 = max(rows.start + dy, 0), min(rows.stop + dy, self.size)
        x0, x1 = max(cols.start + dx, 0), min(cols.stop + dx, self.size)
        if y1 > y0 and x1 > x0:
            part = depth[
                y0 - rows.start - dy : y1 - rows.start - dy,
                x0 - cols.start - dx : x1 - cols.start - dx,
            ]
            self.image[y0:y1, x0:x1] *= 1 - part[..., None]

    def hidden(self, piece: Piece) -> np.ndarray:
        """For each owner [owners] the share of its pixels that `piece` would hide."""
        lost = np.zeros(len(self.share), np.float32)
        for shape in piece.shapes:
            window = self.coverage(shape.outline)
            if window is not None:
                rows, cols, cover = window
                lost += np.tensordot(self.share[:, rows, cols], np.asarray(cover, np.float32), 2)
        return lost / (255 * np.maximum(self.share.sum((1, 2)), 1))


def _thickness(outline: np.ndarray) -> float:
    """Twice the area over the perimeter: the width of a long limb."""
    steps = np.empty_like(outline)
    steps[:-1], steps[-1] = outline[1:] - outline[:-1], outline[0] - outline[-1]
    return float(abs(np.vdot(outline, steps).imag) / max(np.abs(steps).sum(), 1e-9))


def _smooth_noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
