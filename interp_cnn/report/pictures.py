"""Photos with a region outlined, and maps and masks: the pictures of all pages and figures."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure

from interp_cnn.evaluation.strongest_images import resized
from interp_cnn.receptive_field import Disc, image_region
from interp_cnn.report.colours import part_colour

# Both can be told apart with any kind of colour vision.
ACTIVATIONS, MASK = "viridis", "RdBu_r"
OUTLINE = "#ffd92f"
_DIMMED = (0.6 * np.arange(256)).astype(np.uint8)  # brightness outside the region
_EMPTY = 236  # grey of a place without an image
_QUALITY = 80

Pixels = NDArray[np.uint8]


def regions(maps: NDArray[np.floating], threshold: float, disc: NDArray) -> NDArray[np.bool_]:
    """What a filter covers: the discs of all positions above its threshold, united.

    The peak always counts, but where a filter does not fire it covers nothing. From maps
    [images, height, width] and discs, bool [positions, side, side], to bool [images, side, side].
    """
    flat = maps.reshape(len(maps), -1)
    peak = flat.max(axis=1, keepdims=True)
    valid = ((flat > threshold) | (flat == peak)) & (flat > 0)
    return np.stack([np.logical_or.reduce(disc[positions]) for positions in valid])


def region_over_image(pictures: Pixels, region: NDArray[np.bool_]) -> Pixels:
    """Photos [images, side, side, 3], dark outside their region, which has a yellow outline."""
    result = np.where(region[..., None], pictures, _DIMMED[pictures])
    return draw_outline(result, region)


def draw_outline(
    pictures: Pixels,
    region: NDArray[np.bool_],
    colour: str = OUTLINE,
    *,
    width: int = 1,
    rim: int = 0,
) -> Pixels:
    """Photos with the outline of their region.

    Args:
      pictures: uint8 [images, side, side, 3].
      region: bool [images, side, side].
      colour: of the outline.
      width: of the outline in pixels.
      rim: grey value of a line of one pixel around the outline, which sets it off.

    Returns:
      New photos, alike.
    """
    line = outline(region)
    for _ in range(width - 1):
        line |= outline(region | line)
    result = pictures.copy()
    result[outline(region | line)] = rim
    result[line] = [round(255 * channel) for channel in to_rgb(colour)]
    return result


def looks_at(
    image: Pixels,
    filters: Sequence[tuple[int, NDArray[np.floating]]],
    radius: float,
    *,
    side: int,
) -> Pixels:
    """A photo with the places where filters look, outlined in the colours of their parts.

    Args:
      image: uint8 [size, size, 3].
      filters: of each its part, -1 for none, and where it peaks, (y, x) in pixels of the image.
      radius: of the disc around each peak, in pixels of the image; the discs of the filters of one
        part are united.
      side: of the result in pixels.

    Returns:
      uint8 [side, side, 3].
    """
    scale = side / len(image)
    result = resized(image, side)[None]
    for part in sorted({part for part, _ in filters}):
        peaks = np.array([peak for of, peak in filters if of == part], float)
        region = image_region(Disc(radius * scale), peaks * scale, (side, side))
        result = draw_outline(result, region[None], part_colour(part), width=2, rim=255)
    return result[0]


def outline(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels just outside a region, or just inside it where it meets the picture's border.

    From bool [images, height, width] to the same shape.
    """
    cross = generate_binary_structure(2, 1)[None]  # a pixel and its four neighbours
    outside = binary_dilation(region, cross) & ~region
    inside = region & ~binary_erosion(region, cross)  # beyond the border there is no region
    inside[:, 1:-1, 1:-1] = False
    return outside | inside


def tile_row(groups: Sequence[tuple[Pixels, int]]) -> Pixels:
    """Groups of photos side by side in one picture, [side, tiles * side, 3].

    Args:
      groups: photos [images, side, side, 3], and for how many there is room; the rest is grey.
    """
    rooms = []
    for photos, room in groups:
        missing = ((0, room - len(photos)), (0, 0), (0, 0), (0, 0))
        rooms.append(np.pad(photos, missing, constant_values=_EMPTY))
    return side_by_side(np.concatenate(rooms))


def save_photo(photo: Pixels, path: Path) -> None:
    """Write a JPEG."""
    Image.fromarray(photo).save(path, format="JPEG", quality=_QUALITY)


def map_strip(maps: NDArray[np.floating], lowest: float, highest: float, colours: str) -> str:
    """Maps [images, height, width] side by side, a pixel each position, as the URI of a PNG."""
    share = (maps - lowest) / (highest - lowest if highest > lowest else 1.0)
    index = np.clip(share * 255, 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(side_by_side(index))
    picture.putpalette(_palette(colours))
    data = io.BytesIO()
    picture.save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def side_by_side(tiles: NDArray) -> NDArray:
    """[images, height, width, ...] -> [height, images * width, ...]."""
    return np.concatenate(list(tiles), axis=1)


def _palette(colours: str) -> bytes:
    table = matplotlib.colormaps[colours](np.arange(256), bytes=True)
    return np.asarray(table)[:, :3].tobytes()
