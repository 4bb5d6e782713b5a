"""Six animals in side view as lists of parts, each part a list of outlines (pure geometry).

Animals look to the right, their body is about one unit long and the middle of it is at 0.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable

import numpy as np

from interp_cnn.data.embedded.shapes import Piece, Shape, limb, oval, spline, turned


def _eye(centre: complex, radius: float) -> list[Shape]:
    return [
        Shape(oval(centre, radius, radius * 1.08), "iris", 0.4),
        Shape(oval(centre + 0.12 * radius, radius * 0.62, radius * 0.74), "dark", 0),
        Shape(oval(centre + radius * (0.3 - 0.34j), radius * 0.27, radius * 0.27), "white", 0),
    ]


def _leg(
    hip: complex,
    length: float,
    width: float,
    swing: float,
    bend: float,
    tone: float,
    foot: float = 1.3,
    sole: str = "coat",
) -> Piece:
    knee = hip + 0.5j * length * turned(-swing)
    ankle = knee + 0.5j * length * turned(-swing - bend)
    return Piece(
        "legs",
        (
            Shape(
                oval(ankle + width * (0.45 * foot - 0.15j), width * foot, width * 0.8),
                sole,
                0.8,
                tone,
            ),
            Shape(limb([hip, knee, ankle], [width * 1.35, width, width * 0.85]), "coat", 1, tone),
        ),
    )


def _four_legs(
    rng: np.random.Generator,
    hips: complex,
    shoulder: complex,
    length: float,
    width: float,
    swing: float = 0.4,
    sole: str = "coat",
    foot: float = 1.3,
) -> tuple[list[Piece], list[Piece]]:
    """The two far legs and the two near ones, each back leg first."""

    def pair(tone: float, shift: complex) -> list[Piece]:
        legs = []
        for joint, knee in ((hips, -1), (shoulder, 1)):
            angle, bend = rng.uniform(-swing, swing), rng.uniform(0, 0.4) * knee
            legs.append(_leg(joint + shift, length, width, angle, bend, tone, foot, sole))
        return legs

    return pair(0.72, 0.07 - 0.02j), pair(1.0, 0j)


def _turned_about(
    shapes: list[Shape], pivot: complex, angle: float, size: float = 1.0
) -> tuple[Shape, ...]:
    turn = size * turned(angle)
    return Piece("", tuple(shapes)).moved(lambda z: pivot + turn * (z - pivot)).shapes


def cat(rng: np.random.Generator) -> list[Piece]:
    """Long body, round face seen from the front with pointed ears, long curved tail."""
    u = rng.uniform
    arch = u(-0.07, 0.05)
    far, near = _four_legs(rng, -0.36 + 0.1j, 0.27 + 0.1j, u(0.36, 0.48), 0.062)
    torso = Shape(limb([-0.36 + 0.02j, -0.02 + 1j * arch, 0.3], [0.17, u(0.15, 0.19), 0.17]))
    lift, curl = u(-0.6, 1.0), u(-0.9, 0.9)
    steps = np.cumsum([0, *(0.17 * turned(np.pi + lift + curl * k) for k in (0, 0.8, 1.6, 2.4))])
    tail = Shape(limb(-0.46 - 0.06j + steps, [0.05, 0.045, 0.045, 0.045, 0.035]))
    at = 0.42 + u(-0.06, 0.1) + 1j * u(-0.34, -0.1)
    face = []
    for side in (-1, 1):
        tip, inner = at + side * 0.19 - 0.36j, at + side * 0.03 - 0.17j
        ear = np.array([inner, tip, at + side * 0.235 - 0.06j])
        face.append(Shape(spline(ear, closed=True), "coat", 0.6))
        face.append(Shape(spline(ear * 0.6 + 0.4 * ear.mean(), closed=True), "alt", 0.3))
    face += [
        Shape(oval(at, 0.245, 0.2, power=2.3)),
        Shape(oval(at - 0.065 + 0.09j, 0.085, 0.07), "alt", 0.5),
        Shape(oval(at + 0.065 + 0.09j, 0.085, 0.07), "alt", 0.5),
        Shape(
            spline(at + np.array([-0.04 + 0.045j, 0.04 + 0.045j, 0.09j]), closed=True), "dark", 0.3
        ),
    ]
    for side in (-1, 1):
        face += _eye(at + side * 0.1 - 0.04j, 0.052)
        for lean in (-0.02, 0.04):
            start = at + side * 0.1 + 0.09j
            whisker = [start, start + side * 0.1 + 0.7j * lean, start + side * 0.19 + 2j * lean]
            face.append(Shape(limb(whisker, [0.006, 0.005, 0.003]), "white", 0))
    head = Piece("head", _turned_about(face, at, u(-0.4, 0.4), 1.2))
    return [*far, Piece("tail", (tail,)), Piece("torso", (torso,)), *near, head]


def bird(rng: np.random.Generator) -> list[Piece]:
    """Egg-shaped body, two thin legs, a fan of a tail, wings folded or raised, a beak."""
    u = rng.uniform
    lean = u(-0.5, 0.1)
    turn = turned(lean)
    torso = Shape(oval(0j, 0.4, 0.26, lean, 0.18))
    spread, lift = u(0.12, 0.3), u(-0.35, 0.25)
    feathers = []
    for k in (-1, 1, 0):
        way = -turn * turned(lift + k * spread)
        base = -0.28 * turn
        feathers.append(
            Shape(
                limb([base, base + 0.25 * way, base + 0.5 * way], [0.06, 0.07, 0.055]),
                "alt" if k else "coat",
                0.7,
                0.9 if k else 1.0,
            )
        )
    legs = []
    for tone, along in ((0.75, 0.1), (1.0, -0.02)):
        hip = along * turn + 0.2j
        ankle = hip + u(0.24, 0.34) * 1j * turned(u(-0.35, 0.35))
        toes = [
            Shape(limb([ankle, ankle + t], [0.026, 0.018]), "horn", 0.4, tone)
            for t in (0.13 + 0.02j, 0.09 + 0.06j, -0.07 + 0.03j)
        ]
        shin = Shape(limb([hip, ankle], [0.04, 0.026]), "horn", 0.6, tone)
        thigh = Shape(oval(hip, 0.075, 0.11), "coat", 0.8, tone)
        legs.append(Piece("legs", (*toes, shin, thigh)))
    raised = u() < 0.5
    opening = u(1.0, 2.1) if raised else u(-0.15, 0.35)
    wings = []
    for tone, shift in ((0.75, 0.1), (1.0, 0.0)):
        root = turn * (0.14 + shift - 0.06j)
        way = -turn * turned(opening + (0.3 * u() if shift else 0))
        shapes = [
            Shape(
                limb(
                    root + way * np.array([0.1, s + 0.14j * k, e + 0.34j * k]), [0.1, 0.085, 0.04]
                ),
                "alt",
                0.6,
                tone * (0.9 + 0.05 * k),
            )
            for k, s, e in ((-1, 0.3, 0.46), (-0.5, 0.36, 0.58), (0, 0.38, 0.66))
        ]
        cover = oval(root + 0.15 * way, 0.2, 0.115, cmath.phase(way), -0.2)
        shapes.append(Shape(cover, "coat", 0.8, tone))
        wings.append(Piece("wings", tuple(shapes)))
    at = turn * 0.36 + complex(u(-0.03, 0.06), u(-0.24, -0.12))
    gape, drop = u(0.0, 0.07), u(-0.01, 0.02)
    tip = at + 0.42 + 1j * drop
    face = [
        Shape(
            spline(
                [at + 0.14 - 0.01j, at + 0.17 + 0.1j, tip - 0.08 + 1j * (0.05 + gape)], closed=True
            ),
            "horn",
            0.4,
            0.8,
        ),
        Shape(
            spline([at + 0.12 + 0.04j, at + 0.13 - 0.1j, at + 0.28 - 0.06j, tip], closed=True),
            "horn",
            0.7,
        ),
        Shape(limb([at - 0.08 - 0.12j, at - 0.16 - 0.22j, at - 0.25 - 0.25j], [0.06, 0.04, 0.015])),
        Shape(oval(at, 0.2, 0.185)),
        Shape(oval(at + 0.09 + 0.06j, 0.085, 0.07), "alt", 0.4),
        *_eye(at + 0.07 - 0.05j, 0.056),
    ]
    head = Piece("head", _turned_about(face, at, u(-0.5, 0.4), 1.1))
    far = [wings[0]] if raised else []
    return [*far, Piece("tail", tuple(feathers)), *legs, Piece("torso", (torso,)), head, wings[1]]


def deer(rng: np.random.Generator) -> list[Piece]:
    """Slender body on long legs, long neck, wedge of a head with branched antlers, short tail."""
    u = rng.uniform
    far, near = _four_legs(rng, -0.3 + 0.06j, 0.28 + 0.06j, u(0.5, 0.64), 0.043, 0.3, "dark", 1.0)
    torso = [Shape(limb([-0.28, 0.03 + 0.02j, 0.3], [0.15, 0.13, 0.145]))]
    rise = u(0.55, 1.35)  # of the neck, in radians above the horizon
    nape = 0.33 - 0.04j + u(0.36, 0.44) * turned(-rise)
    torso.insert(0, Shape(limb([0.26, 0.33 - 0.08j, nape], [0.13, 0.095, 0.07])))
    scut = [-0.4 - 0.05j, -0.47 + 0.02j, -0.49 + 0.13j * u(0.2, 1)]
    tail = Shape(limb(scut, [0.05, 0.055, 0.03]))
    face = []
    for tone, shift, side in ((0.75, 0.05, 0.6), (1.0, 0.0, 0.0)):
        base = nape + shift - 0.06j
        sweep = u(-0.1, 0.1) + side
        curve = np.array([0, 0.35 - 0.09j, 0.75 - 0.02j, 1 + 0.14j])
        beam = base + 0.42 * turned(-1.9 + sweep) * curve
        face.append(Shape(limb(beam, [0.026, 0.024, 0.022, 0.014]), "horn", 0.5, tone))
        for k, length in ((1, 0.16), (2, 0.15)):
            tine = [
                beam[k],
                beam[k] + length * 0.5 * turned(-0.9 + sweep),
                beam[k] + length * turned(-1.15 + sweep),
            ]
            face.append(Shape(limb(tine, [0.02, 0.018, 0.011]), "horn", 0.5, tone))
    way = turned(u(0.15, 0.5))
    ear = [nape - 0.03 - 0.04j, nape - 0.12 - 0.1j, nape - 0.2 - 0.11j * u(0.2, 1.6)]
    face += [
        Shape(limb([nape - 0.01, nape + 0.14 * way, nape + 0.31 * way], [0.105, 0.085, 0.06])),
        Shape(oval(nape + 0.335 * way + 0.02j, 0.05, 0.05), "alt", 0.5),
        Shape(oval(nape + 0.372 * way - 0.012j, 0.03, 0.028), "dark", 0.4),
        Shape(limb(ear, [0.04, 0.055, 0.015]), "coat", 0.7),
        *_eye(nape + 0.09 * way - 0.04j, 0.04),
    ]
    head = Piece("head", _turned_about(face, nape, u(-0.25, 0.35), 1.15))
    return [*far, Piece("tail", (tail,)), Piece("torso", tuple(torso)), *near, head]


def elephant(rng: np.random.Generator) -> list[Piece]:
    """Heavy body on pillars, big ear, trunk and tusk, thin tail with a tuft."""
    u = rng.uniform
    far, near = _four_legs(rng, -0.26 + 0.08j, 0.22 + 0.1j, u(0.36, 0.44), 0.088, 0.22, "alt", 0.98)
    torso = Shape(limb([-0.22 + 0.02j, 0.02 - 0.03j, 0.22], [0.23, 0.25, 0.22]))
    end = -0.52 + u(-0.1, 0.06) + 1j * u(0.14, 0.26)
    tail = (
        Shape(oval(end, 0.035, 0.055), "dark", 0.5),
        Shape(limb([-0.4 - 0.08j, -0.5, end], [0.03, 0.022, 0.016])),
    )
    at = 0.42 + u(-0.04, 0.05) + 1j * u(-0.26, -0.1)
    curl, first = u(-0.75, 0.55), u(0.95, 1.35)
    steps = np.cumsum([0, *(0.125 * turned(first - curl * k) for k in (-0.2, 0.5, 1.3, 2.2))])
    trunk = at + 0.15 + 0.06j + steps
    flap = u(-0.2, 0.2)
    ear = np.array(
        [
            0.05 - 0.12j,
            -0.1 - 0.25j,
            -0.26 - 0.2j,
            -0.3 - 0.02j,
            -0.22 + 0.17j,
            -0.08 + 0.2j,
            0.03 + 0.06j,
        ]
    ) * turned(flap)
    tusk = at + 0.13 + 0.12j + np.array([0, 0.09 + 0.1j, 0.21 + 0.1j])
    face = [
        Shape(limb(trunk, [0.11, 0.088, 0.07, 0.056, 0.045])),
        Shape(limb(tusk, [0.036, 0.032, 0.014]), "horn", 0.7),
        Shape(oval(at, 0.215, 0.21, power=2.2)),
        Shape(spline(at + ear, closed=True), "coat", 0.9),
        Shape(spline(at + ear.mean() + 0.72 * (ear - ear.mean()), closed=True), "alt", 0.4),
        *_eye(at + 0.1 - 0.05j, 0.04),
    ]
    head = Piece("head", _turned_about(face, at, u(-0.35, 0.25)))
    return [*far, Piece("tail", tail), Piece("torso", (torso,)), *near, head]


def rabbit(rng: np.random.Generator) -> list[Piece]:
    """Crouching pear of a body, long hind foot, ball of a tail, long upright ears."""
    u = rng.uniform
    lean = u(-0.45, -0.1)
    torso = Shape(oval(0.04, 0.36, 0.235, lean, -0.12))
    haunch = -0.14 + 0.1j
    hind = []
    for tone, shift in ((0.72, 0.09 - 0.01j), (1.0, 0j)):
        heel = haunch + shift + 0.17j
        sole = limb([heel - 0.06, heel + 0.08, heel + u(0.2, 0.3)], [0.05, 0.05, 0.045])
        hind.append(
            Piece(
                "legs",
                (
                    Shape(sole, "coat", 0.8, tone),
                    Shape(oval(haunch + shift, 0.185, 0.17, u(-0.4, 0.4)), "coat", 0.9, tone),
                ),
            )
        )
    fore = [
        _leg(0.24 + 0.06j + s, u(0.24, 0.3), 0.05, u(-0.5, 0.35), 0.1, tone)
        for tone, s in ((0.72, 0.07), (1.0, 0j))
    ]
    puff = -0.37 + 0.06j + 1j * u(-0.1, 0.08)
    tail = (Shape(oval(puff, 0.095, 0.09), "alt", 1.0),)
    at = 0.34 + u(-0.06, 0.08) + 1j * u(-0.36, -0.2)
    face = []
    for side in (-1, 1):
        lay = side * u(0.05, 0.45) + u(-0.12, 0.12)
        root, way = at + side * 0.075 - 0.1j, -1j * turned(lay)
        bend = turned(u(-0.35, 0.35))
        ear = root + 0.4 * way * np.array([0, 0.55, 0.55 + 0.45 * bend])
        face.append(Shape(limb(ear, [0.055, 0.078, 0.04]), "coat", 0.8))
        face.append(Shape(limb(0.75 * ear + 0.25 * ear[1], [0.022, 0.042, 0.018]), "alt", 0.3))
    face += [
        Shape(oval(at, 0.17, 0.185, power=2.2)),
        Shape(oval(at - 0.05 + 0.1j, 0.07, 0.06), "alt", 0.6),
        Shape(oval(at + 0.05 + 0.1j, 0.07, 0.06), "alt", 0.6),
        Shape(oval(at + 0.16j, 0.035, 0.045, power=3), "white", 0.2),
        Shape(oval(at + 0.06j, 0.032, 0.024), "dark", 0.3),
    ]
    for side in (-1, 1):
        face += _eye(at + side * 0.09 - 0.03j, 0.045)
    head = Piece("head", _turned_about(face, at, u(-0.35, 0.35), 1.15))
    far, near = [fore[0], hind[0]], [fore[1], hind[1]]
    return [*far, Piece("tail", tail), Piece("torso", (torso,)), *near, head]


def turtle(rng: np.random.Generator) -> list[Piece]:
    """Domed shell with a rim and plates, stubby legs, pointed tail, blunt head on a neck."""
    u = rng.uniform
    high = u(0.4, 0.52)
    dome = np.array(
        [
            -0.46 + 0.07j,
            -0.4 - 0.86j * high,
            -0.14 - 1j * high,
            0.16 - 0.98j * high,
            0.38 - 0.72j * high,
            0.46 + 0.07j,
            0.1j,
        ]
    )
    shell = [Shape(spline(dome, closed=True))]
    for x, lean in ((-0.21, -0.08), (0.0, 0.0), (0.21, 0.08)):
        seam = [x + 0.06j, x - 0.45j * high, x - lean * 0.5 - 0.9j * high + 1j * abs(x) * 0.25]
        shell.append(Shape(limb(seam, [0.014, 0.014, 0.012]), "alt", 0, 0.8))
    shell.append(
        Shape(
            limb([-0.36 - 0.42j * high, -0.42j * high, 0.34 - 0.42j * high], [0.012, 0.014, 0.012]),
            "alt",
            0,
            0.8,
        )
    )
    rim = limb([-0.46 + 0.08j, 0.12j, 0.46 + 0.08j], [0.055, 0.06, 0.055])
    shell.append(Shape(rim, "alt", 0.8))
    legs = []
    for tone, shift in ((0.72, 0.1 - 0.01j), (1.0, 0j)):
        for hip, side in ((-0.3 + 0.1j, -0.35), (0.25 + 0.1j, 0.35)):
            swing = side + u(-0.4, 0.4)
            legs.append(_leg(hip + shift, u(0.26, 0.34), 0.085, swing, 0, tone, 1.15))
    tip = -0.64 + 1j * u(0.06, 0.24)
    tail = (Shape(limb([-0.4 + 0.1j, -0.52 + 0.11j, tip], [0.06, 0.045, 0.01])),)
    rise = u(-0.1, 0.75)
    at = 0.46 + 0.02j + u(0.2, 0.3) * turned(-rise)
    neck = Shape(limb([0.36 + 0.06j, 0.45 + 0.02j, at], [0.095, 0.09, 0.09]), "coat", 0.8)
    face = [
        Shape(oval(at + 0.05, 0.175, 0.13, 0.06, 0.12, 2.3)),
        Shape(
            limb([at + 0.09 + 0.06j, at + 0.16 + 0.05j, at + 0.21 + 0.02j], [0.01, 0.012, 0.008]),
            "dark",
            0,
        ),
        Shape(oval(at + 0.19 - 0.03j, 0.014, 0.014), "dark", 0),
        Shape(oval(at + 0.085 - 0.04j, 0.068, 0.062), "alt", 0.4),
        *_eye(at + 0.09 - 0.045j, 0.048),
    ]
    head = Piece("head", (neck, *_turned_about(face, at, u(-0.4, 0.35))))
    return [*legs[:2], Piece("tail", tail), head, *legs[2:], Piece("torso", tuple(shell))]


ANIMALS: dict[str, Callable[[np.random.Generator], list[Piece]]] = {
    "bird": bird,
    "cat": cat,
    "deer": deer,
    "elephant": elephant,
    "rabbit": rabbit,
    "turtle": turtle,
}
