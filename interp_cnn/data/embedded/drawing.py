"""Draws the embedded data set: animals put together from parts, on clutter, with exact masks."""

from __future__ import annotations

import dataclasses
import pickle
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from interp_cnn.data.embedded.animals import ANIMALS
from interp_cnn.data.embedded.canvas import Canvas, Coat, planes, random_coat, random_colour
from interp_cnn.data.embedded.shapes import Piece, Shape, limb, oval, spline, turned

CATEGORIES: tuple[str, ...] = tuple(ANIMALS)
PARTS: tuple[str, ...] = ("head", "torso", "legs", "tail", "wings")
WINGED = "bird"  # the one that has the last of them
MIN_PIXELS = 12  # a part with fewer visible pixels counts as hidden
MIN_SIZE = 32

_LOOSE = len(PARTS) + 1  # the owner of pixels that show a loose part; 0 is everything else
_MOST_LOOSE = 18  # loose parts behind the subject
_PAINT = (0.45, 0.64)  # share of the subject's box that parts cover, loose ones included
_LOOSE_HEADS = 0.12  # share of the pictures without an animal whose loose parts include a head


@dataclasses.dataclass(frozen=True)
class Drawing:
    """One picture and what is known about it.

    Attributes:
        image: [size, size, 3] uint8.
        category: the animal's name, None for a picture without an animal.
        bbox: [4] float32, box of the animal's visible pixels; the whole image without an animal.
        masks: visible part -> [size, size] bool; disjoint.
        boxes: visible part -> [4] float32, tight box of its mask.
        centers: visible part -> [2] float32, centroid of its mask.
        paint: share of the box that is covered by parts of animals, loose ones included.
    """

    image: np.ndarray
    category: str | None
    bbox: np.ndarray
    masks: dict[str, np.ndarray]
    boxes: dict[str, np.ndarray]
    centers: dict[str, np.ndarray]
    paint: float


def _backdrop(canvas: Canvas, rng: np.random.Generator) -> list[np.ndarray]:
    """Sky and ground, ridges, blurred lights, leaves; returns the colours that prevail."""
    u = rng.uniform
    top = random_colour(rng)
    ground = top + 0.75 * (random_colour(rng) - top)
    tilt, x, y = turned(u(-0.4, 0.4)), canvas.along, canvas.along[:, None]
    down = tilt.imag * x + tilt.real * y
    mix = np.clip((down - u(0.2, 0.7)) / u(0.15, 0.7) + 0.5, 0, 1)
    canvas.image += planes(top) + mix * planes(ground - top)
    coarse, fine = canvas.noise
    canvas.image *= 1 + u(0.01, 0.07) * coarse + u(0, 0.09) * fine
    coats = [random_coat(rng) for _ in range(2)]
    for k in range(rng.integers(0, 4)):
        level = u(0.3, 0.5) + 0.17 * k
        ridge = np.linspace(-0.2, 1.2, 8) + 1j * (level + u(0.02, 0.09) * rng.standard_normal(8))
        outline = np.concatenate([spline(ridge), [1.3 + 1.2j, -0.3 + 1.2j]])
        tint = (top + ground) / 2
        base = tint + 0.45 * (random_colour(rng) - tint)
        coat = dataclasses.replace(coats[k % 2], base=base, kind=int(rng.integers(5)))
        coat = dataclasses.replace(coat, alt=base + 0.35 * (coat.alt - base))
        canvas.paint(Shape(outline, "coat", 0), coat, complex(u(0.5, 1.2)))
    for _ in range(rng.integers(0, 6)):
        spot, r = u(0, 1) + 1j * u(0, 1), u(0.03, 0.11)
        glow = Shape(oval(spot, r, r), "alt", 0)
        canvas.paint(glow, coats[rng.integers(2)], 1 + 0j, opacity=u(0.15, 0.4))
    for _ in range(rng.integers(2, 13)):
        leaf = _leaf(rng, u(0.1, 0.24)).moved(_placed(u(0, 1) + 1j * u(0, 1), 1 + 0j))
        canvas.paint(leaf.shapes[0], coats[rng.integers(2)], 0.5 + 0j, opacity=u(0.55, 1.0))
    return [top, ground]


def _leaf(rng: np.random.Generator, length: float) -> Piece:
    way, bend = turned(rng.uniform(0, 6.3)), rng.uniform(-0.2, 0.2)
    stem = length * way * np.array([-0.6, -0.2 + 1j * bend / 2, 0.25 + 1j * bend, 0.6])
    blade = limb(stem, length * np.array([0.03, 0.17, 0.14, 0.01]) * rng.uniform(0.7, 1.4))
    return Piece("", (Shape(blade, "coat", 0.7), Shape(limb(stem, [0.004] * 4), "alt", 0, 0.9)))


def _thing(rng: np.random.Generator) -> Piece:
    """A stone, a twig, berries, a tuft of grass or a leaf, about 0.2 long."""
    u, kind = rng.uniform, rng.integers(5)
    if kind == 0:
        stone = oval(0j, u(0.06, 0.11), u(0.04, 0.07), u(-0.5, 0.5), u(-0.3, 0.3), 2.4)
        return Piece("", (Shape(stone),))
    if kind == 1:
        way = 0.13 * turned(u(0, 6.3))
        twig = way * np.array([-1, -0.2 + 0.15j, 1 + 1j * u(-0.3, 0.3)])
        fork = np.array([twig[1], twig[1] + way * (0.4 + 0.5j)])
        return Piece(
            "",
            (
                Shape(limb(twig, [0.014, 0.012, 0.006]), "horn", 0.6),
                Shape(limb(fork, [0.01, 0.005]), "horn", 0.6),
            ),
        )
    if kind == 2:
        shapes = []
        paint = ("dark", "iris", "alt")[rng.integers(3)]
        for at in u(-0.08, 0.08, (rng.integers(2, 6), 2)) @ (1, 1j):
            r = u(0.014, 0.03)
            shapes += [
                Shape(oval(at, r, r), paint, 0.8),
                Shape(oval(at - 0.3 * r * (1 + 1j), r / 4, r / 4), "white", 0),
            ]
        return Piece("", tuple(shapes))
    if kind == 3:
        return Piece(
            "",
            tuple(
                Shape(
                    limb(
                        [x, x + u(-0.03, 0.03) - 0.1j, complex(x + u(-0.09, 0.09), -u(0.14, 0.24))],
                        [0.009, 0.008, 0.002],
                    ),
                    "coat" if k % 2 else "alt",
                    0.5,
                )
                for k, x in enumerate(u(-0.07, 0.07, rng.integers(4, 8)))
            ),
        )
    return _leaf(rng, u(0.16, 0.26))


def _placed(
    at: complex, frame: complex, mirror: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    return lambda z: at + frame * (-z.conj() if mirror else z)


def _middle(piece: Piece) -> complex:
    z = piece.points
    return complex(z.real.min() + z.real.max(), z.imag.min() + z.imag.max()) / 2


def _trimmed(piece: Piece, rng: np.random.Generator) -> Piece:
    """A head's first shapes only: an ear, antlers, a trunk or a beak without the face."""
    return Piece(piece.part, piece.shapes[: rng.integers(1, 4)]) if piece.part == "head" else piece


def _loose_part(pool: list[list[Piece]], rng: np.random.Generator) -> Piece:
    pieces = pool[rng.integers(len(pool))]
    piece = _trimmed(pieces[rng.integers(len(pieces))], rng)
    middle = _middle(piece)
    return piece.moved(lambda z: z - middle)


def _scattered(
    pieces: list[Piece], pool: list[list[Piece]], rng: np.random.Generator
) -> list[Piece]:
    """As many parts in the same box, partly exchanged for those of other animals, turned, apart."""
    u = rng.uniform
    points = np.concatenate([p.points for p in pieces])
    low, high = (complex(f(points.real), f(points.imag)) for f in (np.min, np.max))
    result: list[Piece] = []
    taken: list[complex] = []

    def put(piece: Piece) -> None:
        across, down = u(0.08, 0.92, (2, 8))
        spots = low + across * (high - low).real + 1j * down * (high - low).imag
        room = [min((abs(spot - other) for other in taken), default=0.0) for spot in spots]
        spot, middle, turn = spots[int(np.argmax(room))], _middle(piece), turned(u(-0.9, 0.9))
        taken.append(spot)
        result.append(piece.moved(lambda z: z - middle).moved(_placed(spot, turn, u() < 0.5)))

    with_head = u() < _LOOSE_HEADS
    for k in rng.permutation(len(pieces)):
        piece = pieces[k]
        swaps = [p for animal in pool for p in animal if p.part == piece.part]
        if swaps and u() < 0.7:
            piece = swaps[rng.integers(len(swaps))]
        if piece.part == "head" and not with_head:
            put(_trimmed(piece, rng))
            bulk = next(p for p in pool[0] if p.part == "torso")
            piece = Piece("head", bulk.moved(lambda z: 0.62 * z).shapes)
        put(piece)
    return result


def _fill(
    canvas: Canvas,
    rng: np.random.Generator,
    pool: list[list[Piece]],
    coats: list[Coat],
    corner: complex,
    scale: float,
    extent: complex,
) -> None:
    """Puts loose parts behind the subject until parts cover as much of its box as in any picture.

    How many that takes may depend on the size of the picture: hence a generator of its own.
    """
    u, wanted = rng.uniform, rng.uniform(*_PAINT)
    low, high = corner * canvas.size, (corner + scale * extent) * canvas.size
    box = canvas.share[0, int(low.imag) : int(high.imag), int(low.real) : int(high.real)]
    for count in range(_MOST_LOOSE):
        if count > 0 and 1 - box.mean() > wanted:
            break
        # The first one may lie anywhere.
        at = complex(u(0, 1), u(0, 1))
        if count > 0:
            at = corner + scale * complex(at.real * extent.real, at.imag * extent.imag)
        frame, coat = turned(u(-0.9, 0.9)) * scale * u(0.6, 1.1), coats[rng.integers(len(coats))]
        piece = _loose_part(pool, rng).moved(_placed(at, frame, bool(u() < 0.5)))
        for shape in piece.shapes:
            canvas.paint(shape, coat, frame, owner=_LOOSE, behind=slice(1, _LOOSE))


def draw_example(category: str | None, index: int, *, seed: int = 0, size: int = 128) -> Drawing:
    """Draws picture number `index` of a category; the same arguments give the same bytes.

    Colours, patterns, light and clutter have the same distribution in all categories. A picture
    without an animal is a window as large as an animal's box and shows as many parts, of all
    categories, apart from each other; a loose head with its face is rare in it.

    Args:
        category: one of `CATEGORIES`, or None for a picture without an animal.
        index: number of the picture within its category, >= 0.
        seed: seed of the whole data set, >= 0.
        size: side of the square picture in pixels, at least 32; the scene does not depend on it.

    Returns:
        The picture with masks, boxes and centres of its visible parts.

    Raises:
        ValueError: for an unknown category, a negative number or a size that is too small.
    """
    if category is not None and category not in CATEGORIES:
        raise ValueError(f"category is {category!r}; choose {', '.join(CATEGORIES)} or None.")
    if size < MIN_SIZE:
        raise ValueError(f"size is {size}; draw pictures of at least {MIN_SIZE} pixels a side.")
    if index < 0 or seed < 0:
        raise ValueError(f"index is {index} and seed is {seed}; both must be 0 or more.")
    rng = np.random.default_rng([seed, zlib.crc32((category or "other").encode()), index])
    u = rng.uniform
    canvas = Canvas(size, _LOOSE + 1, rng)
    prevailing = _backdrop(canvas, rng)

    name = category or CATEGORIES[rng.integers(len(CATEGORIES))]
    tilt, mirror = turned(u(-0.42, 0.42)), bool(u() < 0.5)
    pieces = [p.moved(_placed(0j, tilt, mirror)) for p in ANIMALS[name](rng)]
    others = [c for c in CATEGORIES if c != category]
    pool = [ANIMALS[others[k]](rng) for k in rng.permutation(len(others))[:3]]
    points = np.concatenate([p.points for p in pieces])
    low = complex(points.real.min(), points.imag.min())
    extent = complex(points.real.max(), points.imag.max()) - low
    scale = u(0.64, 0.92) / max(extent.real, extent.imag)
    free = 0.96 - scale * extent.real + 1j * (0.96 - scale * extent.imag)
    corner = 0.02 + u() * free.real + 1j * (0.02 + u() * free.imag)
    if category is None:
        pieces = _scattered(pieces, pool, rng)
    pieces = [p.moved(lambda z: corner + scale * (z - low)) for p in pieces]

    coats = [random_coat(rng, prevailing[:1]) for _ in range(3)]
    for _ in range(rng.integers(0, 8)):
        piece = _thing(rng).moved(_placed(u(0, 1) + 1j * u(0, 1), complex(u(0.6, 1.2))))
        coat = coats[rng.integers(3)]
        for shape in piece.shapes:
            canvas.paint(shape, coat, 0.5 + 0j)

    coat = random_coat(rng, prevailing)
    for piece in pieces:
        owner = PARTS.index(piece.part) + 1
        for shape in piece.shapes:
            canvas.paint(shape, coat, scale * tilt, owner=owner)
    _fill(canvas, rng.spawn(1)[0], pool, coats, corner, scale, extent)

    for _ in range(rng.integers(0, 5)):
        at = corner + scale * (u(-0.1, 1.1) * extent.real + 1j * u(0.1, 1.1) * extent.imag)
        piece = _thing(rng) if u() < 0.7 else _loose_part(pool, rng).moved(lambda z: 0.3 * z)
        piece = piece.moved(_placed(at, complex(u(0.7, 1.3))))
        coat = coats[rng.integers(3)]
        hidden = canvas.hidden(piece)[1:_LOOSE]
        if hidden[0] < 0.08 and hidden.max() < 0.4:  # the head above all stays in sight
            for shape in piece.shapes:
                canvas.paint(shape, coat, 0.5 + 0j, owner=_LOOSE if piece.part else 0)
    return _finished(canvas, rng, category, corner, scale * extent)


def _finished(
    canvas: Canvas,
    rng: np.random.Generator,
    category: str | None,
    corner: complex,
    extent: complex,
) -> Drawing:
    """Light and lens, then masks and boxes; without an animal the window where it would be."""
    size, u = canvas.size, rng.uniform
    tilt, x, y = turned(u(0, 6.3)), canvas.along - 0.5, canvas.along[:, None] - 0.5
    warm = np.array([1 + u(-0.04, 0.05), 1, 1 + u(-0.05, 0.04)], np.float32)
    slope, darker = tilt.real * x - tilt.imag * y, x * x + y * y  # across, and from the middle
    light = u(0.92, 1.08) * (1 + u(0, 0.35) * slope - u(0.0, 0.3) * darker)
    scene = canvas.image * light * planes(warm)
    haze = planes(scene.mean((1, 2))) * u(0.8, 1.2)
    pixels = np.clip((haze + u(0.75, 1.1) * (scene - haze)) * 255 + 0.5, 0, 255).astype(np.uint8)
    picture = Image.merge("RGB", [Image.fromarray(plane) for plane in pixels])
    picture = picture.filter(ImageFilter.GaussianBlur(u(0, 0.6) * size / 128))
    owner = canvas.share.argmax(0)
    whole = np.array([0, 0, size, size], np.float32)
    if category is None:
        a, b = corner * size, (corner + extent) * size
        window = (float(a.real), float(a.imag), float(b.real), float(b.imag))
        picture = picture.resize((size, size), Image.Resampling.BICUBIC, box=window)
        x0, y0, x1, y1 = (int(v) for v in window)
        paint = float((owner[y0:y1, x0:x1] > 0).mean())
        return Drawing(np.asarray(picture), None, whole, {}, {}, {}, paint)
    masks, boxes, centers = {}, {}, {}
    for k, part in enumerate(PARTS, 1):
        mask = owner == k
        if mask.sum() >= MIN_PIXELS:
            masks[part], boxes[part] = mask, _tight_box(mask)
            centers[part] = _centroid(mask)
    corners = np.stack(list(boxes.values()))
    bbox = np.concatenate([corners[:, :2].min(0), corners[:, 2:].max(0)])
    y0, x0, y1, x1 = bbox.astype(int)
    paint = float((owner[y0:y1, x0:x1] > 0).mean())
    return Drawing(np.asarray(picture), category, bbox, masks, boxes, centers, paint)


def _centroid(mask: np.ndarray) -> np.ndarray:
    along = np.arange(len(mask)) + 0.5
    return np.array([mask.sum(1) @ along, mask.sum(0) @ along], np.float32) / np.float32(mask.sum())


def _tight_box(mask: np.ndarray) -> np.ndarray:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], cols[0], rows[-1] + 1, cols[-1] + 1], np.float32)


def encoded_example(category: str | None, index: int, seed: int, size: int) -> dict[str, Any]:
    """The picture as the data set stores it, image and masks as PNG; `label` is left to the caller.

    Args:
        category: the category, as in `draw_example`, and so are the other arguments.
        index: number of the picture.
        seed: the seed of the data set.
        size: side of the picture.

    Returns:
        `image`, `photo_id`, `bbox` and the list `parts`.
    """
    drawing = draw_example(category, index, seed=seed, size=size)
    parts = [
        {
            "name": part,
            "center": drawing.centers[part],
            "box": drawing.boxes[part],
            "mask": _png(mask.astype(np.uint8) * 255, 1),
        }
        for part, mask in drawing.masks.items()
    ]
    return {
        "image": _png(drawing.image, 0),
        "photo_id": f"{category or 'other'}_{seed}_{index:05d}",
        "bbox": drawing.bbox,
        "parts": parts,
    }


def _png(pixels: np.ndarray, level: int) -> bytes:
    """Pixels uint8 [height, width] or [height, width, 3] as PNG, deflated at `level`, unfiltered.

    Pillow cannot leave the filters out. At level 0 a picture is written 25 times and read 10 times
    as fast as from its fastest file; ArrayRecord compresses once more, so the disk sees the same.
    """
    rows = pixels.reshape(len(pixels), -1)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), level)  # rows begin with 0
    colours = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def serve() -> None:
    """Reads a pickled list of `encoded_example`'s arguments, writes pickled results in order."""
    for arguments in pickle.load(sys.stdin.buffer):
        pickle.dump(encoded_example(*arguments), sys.stdout.buffer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
