"""A canvas that outlines are painted on, and coats (colours, patterns) to paint them with."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from interp_cnn.data.embedded.shapes import Piece, Shape, turned

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

    def layers(
        self, paint: str, x: np.ndarray, y: np.ndarray, frame: complex, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """RGB colours [3, k] and how much of each at the points x [w], y [h]: [k, h, w].

        Where the amount is the same everywhere it is [1, 1, 1].
        """
        if paint == "coat":
            amounts = np.empty((2, len(y), len(x)), np.float32)
            np.multiply(noise[1], np.float32(0.05), out=amounts[0])
            amounts[0] += 1
            np.multiply(amounts[0], self._pattern(x, y, frame, noise), out=amounts[1])
            return self._base_and_change, amounts
        colour = _FIXED[paint] if paint in _FIXED else getattr(self, paint)
        return colour[:, None], np.ones((1, 1, 1), np.float32)

    @functools.cached_property
    def _base_and_change(self) -> np.ndarray:
        return np.stack([self.base, self.alt - self.base], 1)

    def _pattern(
        self, x: np.ndarray, y: np.ndarray, frame: complex, noise: np.ndarray
    ) -> np.ndarray:
        turn = self.pitch * turned(self.angle) / frame
        u = (turn.real * x + self.phase) + (-turn.imag * y)[:, None]
        if self.kind == 0:  # plain, softly mottled
            level = 0.12 * noise[0] - 0.3
        elif self.kind == 1:  # stripes
            level = np.sin(u + 0.9 * noise[0]) - 0.35
        else:
            v = turn.imag * x + (turn.real * y)[:, None]
            if self.kind == 2:  # spots
                level = 1.6 * np.cos(u + 0.7 * noise[0]) * np.cos(v + 0.7 * noise[1]) - 0.75
            elif self.kind == 3:  # patches
                level = np.sin(0.45 * u + 1.2 * noise[0]) + np.cos(0.4 * v + noise[0]) - 0.5
            else:  # ticked fur
                level = 0.7 * np.sin(2.2 * u + 2 * noise[1]) * np.cos(0.7 * v) - 0.1
        return 0.9 * np.minimum(np.maximum(level * 2.5 + 0.5, 0), 1)


def random_colour(
    rng: np.random.Generator, apart_from: Sequence[np.ndarray] = (), least: float = 0.0
) -> np.ndarray:
    """A colour [3] near the palette, `least` away from the given ones if one of 8 tries is."""
    tries = _PALETTE[rng.integers(len(_PALETTE), size=8)] * rng.uniform(0.88, 1.1, (8, 1))
    tries = np.clip(tries + rng.normal(0, 0.02, (8, 3)), 0.05, 0.98).astype(np.float32)
    if len(apart_from) == 0:
        return tries[0]
    gaps = ((tries[:, None] - np.asarray(apart_from)) ** 2 @ _EYE_WEIGHTS).min(1)
    return tries[int(np.argmax(np.minimum(gaps, least**2)))]


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


def planes(colour: np.ndarray) -> np.ndarray:
    """A colour [3] as [3, 1, 1], to be spread over an image [3, h, w]."""
    return colour[:, None, None]


class Canvas:
    """Picture under way and, for each pixel, how much of it every owner shows.

    Colours come first, `image` is [3, size, size]: NumPy is slow over an innermost axis of 3.
    """

    def __init__(self, size: int, owners: int, rng: np.random.Generator) -> None:
        self.size = size
        self.image = np.zeros((3, size, size), np.float32)
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
        self._fine = Image.new("L", (size * _SUPERSAMPLING, size * _SUPERSAMPLING))
        self._pen = ImageDraw.Draw(self._fine)
        # Middles of the pixels in a row or column, in units of the picture.
        self.along = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(size)

    def coverage(
        self, outline: np.ndarray, pad: float = 0.0
    ) -> tuple[slice, slice, Image.Image] | None:
        """Window of the canvas around an outline and how far the outline covers its pixels."""
        k = _SUPERSAMPLING
        points = outline.view(np.float64).reshape(-1, 2) * (self.size * k)  # x, y
        left, top, right, bottom = (points.min(0) / k).tolist() + (points.max(0) / k).tolist()
        x0, y0 = max(math.floor(left - pad), 0), max(math.floor(top - pad), 0)
        x1 = min(math.ceil(right + pad), self.size)
        y1 = min(math.ceil(bottom + pad), self.size)
        if x1 <= x0 or y1 <= y0:
            return None
        window = (0, 0, (x1 - x0) * k, (y1 - y0) * k)
        self._fine.paste(0, window)
        self._pen.polygon((points - (x0 * k, y0 * k)).ravel().tolist(), fill=255)
        return slice(y0, y1), slice(x0, x1), self._fine.reduce(k, window)

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
            owner: the one that the pixels belong to: 0, background, or another below `owners`.
            opacity: 1 hides what is below.
            behind: these owners stay in front, although they were painted before.
        """
        thick = _thickness(shape.outline) * self.size if shape.puff else 0.0
        round_ = thick > 2  # pixels; on less no shading can be seen
        window = self.coverage(shape.outline, 0.4 * thick if round_ else 0)
        if window is None:
            return
        rows, cols, cover = window
        alpha = _grey(cover) * np.float32(opacity / 255)
        free = np.float32(1)
        if behind is not None:
            free = 1 - self.share[behind, rows, cols].sum(0)
            alpha *= free
        colours, amounts = coat.layers(
            shape.paint, self.along[cols], self.along[rows], frame, self.noise[:, rows, cols]
        )
        tone = np.float32(shape.tone if self.far_is_darker else 2 - shape.tone)
        bright = alpha * tone
        if round_:
            soft = cover.filter(ImageFilter.GaussianBlur(0.28 * thick))
            height = _grey(soft) * np.float32(1 / 255)
            self._shadow(rows, cols, height * (self.halo * opacity * free), 0.28 * thick)
            height *= np.float32(0.55 * thick * shape.puff)
            down, right = np.zeros((2, *height.shape), np.float32)
            np.subtract(height[2:], height[:-2], out=down[1:-1])
            np.subtract(height[:, 2:], height[:, :-2], out=right[:, 1:-1])
            flat = 1 / np.sqrt(1 + down * down + right * right)
            usual = np.vdot(flat, alpha) / max(alpha.sum(), 1e-3)
            facing = (-0.5 * self.light[0]) * right + (-0.5 * self.light[1]) * down
            bright *= flat * (facing + np.float32(self.rim)) + (1 - np.float32(self.rim) * usual)
        under, kept = self.image[:, rows, cols], 1 - alpha
        under *= kept
        under += (colours @ (amounts * bright).reshape(len(amounts), -1)).reshape(under.shape)
        self.owned = self.owned or owner > 0
        if self.owned:
            self.share[:, rows, cols] *= kept
            self.share[owner, rows, cols] += alpha

    def _shadow(self, rows: slice, cols: slice, depth: np.ndarray, reach: float) -> None:
        dx, dy = np.rint(-self.light * min(reach, 0.02 * self.size)).astype(int)
        y0, y1 = max(rows.start + dy, 0), min(rows.stop + dy, self.size)
        x0, x1 = max(cols.start + dx, 0), min(cols.stop + dx, self.size)
        if y1 > y0 and x1 > x0:
            part = depth[
                y0 - rows.start - dy : y1 - rows.start - dy,
                x0 - cols.start - dx : x1 - cols.start - dx,
            ]
            self.image[:, y0:y1, x0:x1] *= 1 - part

    def hidden(self, piece: Piece) -> np.ndarray:
        """For each owner [owners] the share of its pixels that `piece` would hide."""
        lost = np.zeros(len(self.share), np.float32)
        for shape in piece.shapes:
            window = self.coverage(shape.outline)
            if window is not None:
                rows, cols, cover = window
                lost += np.tensordot(self.share[:, rows, cols], _grey(cover).astype(np.float32), 2)
        return lost / (255 * np.maximum(self.share.sum((1, 2)), 1))


def _thickness(outline: np.ndarray) -> float:
    """Twice the area over the perimeter: the width of a long limb."""
    steps = np.empty_like(outline)
    steps[:-1], steps[-1] = outline[1:] - outline[:-1], outline[0] - outline[-1]
    return float(abs(np.vdot(outline, steps).imag) / max(np.abs(steps).sum(), 1e-9))


def _grey(image: Image.Image) -> np.ndarray:
    """A grey image as uint8 [height, width]; on small ones np.asarray takes half as long again."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width)


def _smooth_noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))
