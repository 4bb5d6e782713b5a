"""What pixels an image file stands for, whatever its mode: 8-bit RGB, as people see it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, TiffImagePlugin

_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def as_rgb(image: Image.Image, opened: Image.Image | None = None) -> Image.Image:
    """An image in 8-bit RGB.

    16-bit grey levels are scaled to 8 bits, transparent pixels are white, other modes (grey,
    palette, CMYK) are converted. The pixels stay where they are stored: an EXIF orientation is not
    applied, since the published annotations count stored pixels.

    Args:
      image: an image of any mode.
      opened: the image as it was opened, where `image` is a copy that was turned and has lost what
        the file says of its pixels.

    Raises:
      ValueError: for pixels of 32 bits, which have no white.
    """
    source = image if opened is None else opened
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.int64)
        if _white_is_zero(source):
            levels = 65535 - levels
        if "transparency" in image.info:  # the level that stands for nothing
            levels[levels == image.info["transparency"]] = 65535
        # Only these say that they have 16 bits; what looks like 8 bits in others would be black.
        unknown = image.mode == "I" and source.format not in ("PNG", "PPM")
        dark = unknown and 0 < levels.max(initial=0) <= 255
        if levels.min(initial=0) < 0 or levels.max(initial=0) > 65535 or dark:
            raise ValueError("its pixels have 32 bits; save it with 8 or 16")
        # 65535 becomes 255.
        image = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in _ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    return image if image.mode == "RGB" else image.convert("RGB")


def _white_is_zero(image: Image.Image) -> bool:
    """Whether a TIFF counts from white: Pillow turns levels of 8 bits round, not those of 16."""
    tags = getattr(image, "tag_v2", {})
    return image.mode != "I" and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def cut_out(
    photo: Image.Image, size: int, frame: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """A rectangle of a photo as networks see it: stretched to a square, aspect not kept.

    Args:
      photo: an image in RGB.
      size: side of the result in pixels.
      frame: (ymin, xmin, ymax, xmax) in continuous pixels of the photo; all of it by default.

    Returns:
      uint8 [size, size, 3].
    """
    top, left, bottom, right = (0, 0, photo.height, photo.width) if frame is None else frame
    image = photo.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(image)
