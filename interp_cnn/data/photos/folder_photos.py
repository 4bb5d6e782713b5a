"""The content of photos in folders: what can be used, upright and in RGB, and a hash of it."""

import functools
import hashlib
import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from interp_cnn.data.images import as_rgb
from interp_cnn.data.photos.folder_layout import Folder
from interp_cnn.data.photos.photo_files import HOW_TO_SKIP

MOST_BYTES = 2**28  # of a file
_AS_THEY_ARE = ("JPEG", "MPO", "PNG")
_QUALITY = 95  # of turned JPEG photos
_ORIENTATION = 0x0112  # of EXIF


class UnusablePhoto(ValueError):
    """A photo that cannot be used, and why; `kind` is what it counts as."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def read_photo(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        UnusablePhoto: if it is missing or huge.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UnusablePhoto(
                "too large images",
                f"has {size:,} bytes, at most {MOST_BYTES:,} are read: scale it down",
            )
        return path.read_bytes()
    except OSError as error:
        raise UnusablePhoto(
            "missing images", f"cannot be read ({error.strerror}): copy it again"
        ) from error


def upright(data: bytes) -> tuple[Image.Image, bool]:
    """A photo in 8-bit RGB as viewers show it, and whether its bytes stand for the same pixels.

    Raises:
        UnusablePhoto: if it is damaged or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        image.load()  # decodes all of it: a truncated file shows only here
        shown = ImageOps.exif_transpose(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusablePhoto(
            "too large images",
            f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels, the most that are read: scale it"
            " down",
        ) from error
    except UnidentifiedImageError as error:
        raise UnusablePhoto(
            "damaged images", "is no image that can be read: copy it again"
        ) from error
    except Exception as error:  # Pillow raises whatever a damaged file leads it into
        raise UnusablePhoto("damaged images", f"is damaged ({error}): copy it again") from error
    try:
        rgb = as_rgb(shown, image)
    except ValueError as error:
        raise UnusablePhoto("damaged images", f"cannot be used: {error}") from error
    kept = image.format in _AS_THEY_ARE and image.mode == "RGB" and rgb is shown
    return rgb, kept and image.getexif().get(_ORIENTATION, 1) not in range(2, 9)


def stored_bytes(data: bytes) -> bytes:
    """An RGB photo that is upright as it is stored: the file's own bytes where it is one.

    Others become PNG, and JPEG photos that are turned JPEG of high quality, which is a tenth of the
    size.
    """
    image, kept = upright(data)
    if kept:
        return data
    with Image.open(io.BytesIO(data)) as original:
        turned_jpeg = original.format in ("JPEG", "MPO") and original.mode == "RGB"
    file = io.BytesIO()
    if turned_jpeg:
        image.save(file, "JPEG", quality=_QUALITY)
    else:
        image.save(file, "PNG")
    return file.getvalue()


@functools.lru_cache(maxsize=1_000_000)
def _digest(path: Path, changed: int, size: int) -> bytes:
    return hashlib.sha256(read_photo(path)).digest()


def digests(folder: Folder, *, skip_damaged: bool) -> dict[str, bytes]:
    """A hash of the content of each photo by its name; photos that are left out have none.

    A photo that stays as it is is read once for all calls.

    Args:
        folder: the folder.
        skip_damaged: leave photos out that cannot be read, instead of stopping.

    Raises:
        ValueError: if a photo cannot be read.
    """
    found = {}
    for photo in folder.photos:
        try:
            try:
                state = photo.path.stat()
                key = (state.st_mtime_ns, state.st_size)
            except OSError:
                key = (0, 0)  # read_photo says what is wrong
            found[photo.name] = _digest(photo.path, *key)
        except UnusablePhoto as error:
            if not skip_damaged:
                raise refused(photo.path, error) from error
    return found


def refused(path: Path, error: UnusablePhoto) -> ValueError:
    """The error that stops at a photo that cannot be used."""
    return ValueError(f"The image {path} {error}, or leave such images out, {HOW_TO_SKIP}.")
