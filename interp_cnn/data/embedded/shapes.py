"""Outlines of simple shapes: limbs, ovals, curves (pure geometry, NumPy).

A point of the plane is the complex number x + iy with y downwards, so that a turn is a product.
"""

from __future__ import annotations

import cmath
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

Points = Sequence[complex] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Shape:
    """One filled outline.

    Attributes:
        outline: [points] complex, closed.
        paint: the material: coat, alt (the coat's second colour), horn, dark, iris or white.
        puff: how rounded it is shaded, 0 is flat.
        tone: factor on its brightness; below 1 on the far side.
    """

    outline: np.ndarray
    paint: str = "coat"
    puff: float = 1.0
    tone: float = 1.0


@dataclasses.dataclass(frozen=True)
class Piece:
    """One movable piece of an animal, such as one leg: its part and its shapes, back first."""

    part: str
    shapes: tuple[Shape, ...]

    def moved(self, change: Callable[[np.ndarray], np.ndarray]) -> Piece:
        """The piece with `change` applied to every outline."""
        return Piece(
            self.part, tuple(Shape(change(s.outline), s.paint, s.puff, s.tone) for s in self.shapes)
        )

    @property
    def points(self) -> np.ndarray:
        """All points of all outlines, [points] complex."""
        return np.concatenate([s.outline for s in self.shapes])


def turned(angle: float) -> complex:
    """The factor that turns by `angle` radians, clockwise on the screen."""
    return cmath.rect(1.0, angle)


_STEPS = 6  # samples on every stretch of a curve
_CAP = np.exp(1j * np.linspace(np.pi / 2, -np.pi / 2, 8))
_CIRCLE = np.exp(2j * np.pi * np.arange(32) / 32)


@functools.cache
def _catmull_rom(count: int, closed: bool) -> np.ndarray:
    """Weight of each of `count` points in each sample of their curve, [samples, count]."""
    t = np.arange(_STEPS) / _STEPS
    rows = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    basis = np.stack(rows, 1) / 2  # [steps, 4]
    p = np.eye(count)
    ends = (p[-1:], p[:2]) if closed else (2 * p[:1] - p[1:2], 2 * p[-1:] - p[-2:-1])
    q = np.concatenate([ends[0], p, ends[1]])
    samples = np.concatenate([basis @ q[k : k + 4] for k in range(len(q) - 3)])
    return samples if closed else np.concatenate([samples, p[-1:]])


def spline(points: Points, closed: bool = False) -> np.ndarray:
    """Catmull-Rom curve through `points`, 6 samples on every stretch."""
    return _catmull_rom(len(points), closed) @ np.asarray(points)


def limb(points: Points, widths: Sequence[float] | np.ndarray) -> np.ndarray:
    """Outline of a round-ended limb along `points` with half-width `widths` at each of them."""
    middle, half = spline(points), spline(widths)
    ahead = np.empty_like(middle)
    ahead[1:-1] = middle[2:] - middle[:-2]
    ahead[0], ahead[-1] = middle[1] - middle[0], middle[-1] - middle[-2]
    ahead /= np.maximum(np.abs(ahead), 1e-9)
    front = middle[-1] + half[-1] * ahead[-1] * _CAP
    back = middle[0] - half[0] * ahead[0] * _CAP
    side = 1j * ahead * half
    return np.concatenate([middle + side, front, (middle - side)[::-1], back])


def oval(
    centre: complex, rx: float, ry: float, angle: float = 0, taper: float = 0, power: float = 2
) -> np.ndarray:
    """Outline of an egg: `taper` > 0 widens its front; `power` > 2 makes it more of a box."""
    x, y = _CIRCLE.real, _CIRCLE.imag
    if power != 2:
        x, y = (np.sign(f) * np.abs(f) ** (2 / power) for f in (x, y))
    return centre + turned(angle) * (rx * x + 1j * ry * y * (1 + taper * x))
