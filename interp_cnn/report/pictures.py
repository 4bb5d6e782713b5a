"""The pictures of a filter's page: photos with the region outlined, maps and masks."""

import base64
import io
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure

from interp_cnn.evaluation.strongest_images import Gallery, TopMaps

# Both can be told apart with any kind of colour vision; as in `figure`.
ACTIVATIONS, MASK = "viridis", "RdBu_r"
_OUTLINE, _RIM = (255, 217, 47), (0, 0, 0)
_DIMMED = (0.65 * np.arange(256)).astype(np.uint8)  # brightness outside the region
_EMPTY = 236  # grey of a place without an image
_QUALITY = 80

Pixels = NDArray[np.uint8]


def regions(maps: NDArray[np.floating], threshold: float, disc: NDArray) -> NDArray[np.bool_]:
    """What a filter covers: the discs of all positions above its threshold, united.

    The peak always counts. From maps [images, height, width] and discs, bool [positions, side,
    side], to bool [images, side, side].
    """
    flat = maps.reshape(len(maps), -1)
    valid = (flat > threshold) | (flat == flat.max(axis=1, keepdims=True))
    return np.stack([np.logical_or.reduce(disc[positions]) for positions in valid])


def outlined(pictures: Pixels, region: NDArray[np.bool_]) -> Pixels:
    """Photos [images, side, side, 3], dark outside their region, with its outline in yellow."""
    result = np.where(region[..., None], pictures, _DIMMED[pictures])
    cross = generate_binary_structure(2, 1)[None]  # a pixel and its four neighbours
    inner, outer = binary_erosion(region, cross), binary_dilation(region, cross)
    rim = binary_dilation(outer, cross) & ~binary_erosion(inner, cross)
    result[rim] = _RIM
    result[outer & ~inner] = _OUTLINE
    return result


def photo_strip(
    gallery: Gallery, top: TopMaps, unit: int, threshold: float, disc: NDArray
) -> Image.Image:
    """A filter's strongest images side by side, its region outlined in each."""
    side = gallery.pictures.shape[1]
    tiles = np.full((top.image.shape[1], side, side, 3), _EMPTY, np.uint8)
    there = top.image[unit] >= 0
    if there.any():
        region = regions(top.maps[unit][there], threshold, disc)
        tiles[there] = outlined(gallery.pictures[top.image[unit][there]], region)
    return Image.fromarray(_side_by_side(tiles))


def save_photo(photo: Image.Image, path: Path) -> None:
    """Write a JPEG."""
    photo.save(path, format="JPEG", quality=_QUALITY)


def map_strip(maps: NDArray[np.floating], lowest: float, highest: float, colours: str) -> str:
    """Maps [images, height, width] side by side, a pixel each position, as the URI of a PNG."""
    share = (maps - lowest) / (highest - lowest if highest > lowest else 1.0)
    index = np.clip(share * 255, 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(_side_by_side(index))
    picture.putpalette(_palette(colours))
    data = io.BytesIO()
    picture.save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _side_by_side(tiles: NDArray) -> NDArray:
    """[images, height, width, ...] -> [height, images * width, ...]."""
    return np.concatenate(list(tiles), axis=1)


def _palette(colours: str) -> bytes:
    table = matplotlib.colormaps[colours](np.arange(256), bytes=True)
    return np.asarray(table)[:, :3].tobytes()
