"""Images as people have them, as networks take them."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from interp_cnn import storage
from interp_cnn.arguments import as_count
from interp_cnn.data.images import as_rgb, cut_out
from interp_cnn.evaluation.explanations import read_image

# An array uint8 [height, width, 3], a Pillow image, or the path of a file, on disk or in a bucket.
AnyImage: TypeAlias = Any
# An array uint8 [batch, height, width, 3], or any of these one after the other.
AnyImages: TypeAlias = Any
# (ymin, xmin, ymax, xmax) in pixels of an image, None for all of it; and those of several.
Box: TypeAlias = Sequence[float] | None
Boxes: TypeAlias = Iterable[Box] | None


def batches(
    images: AnyImages, boxes: Boxes = None, *, size: int, batch_size: int
) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Batches of one shape as the network takes them, and how many images each has.

    Args:
      images: uint8 [batch, height, width, 3], or several arrays [height, width, 3], Pillow images
        or paths.
      boxes: of each image what is cut out of it, (ymin, xmin, ymax, xmax) in its pixels, or None
        for all of it; by default all of every image.
      size: side of the network's input in pixels.
      batch_size: images of a batch; the last one is filled up with black ones.

    Raises:
      ValueError: for anything that is no image, a box that does not fit its image, another number
        of boxes than of images, or a batch size below 1.
      FileNotFoundError: where a file is missing.
    """
    batch_size = as_count("batch_size", batch_size, 1, "give a whole number of at least 1")
    pixels = (
        _cut(image, box, f"images[{number}]", size)
        for number, (image, box) in enumerate(_with_boxes(_one_by_one(images), boxes))
    )
    while some := list(itertools.islice(pixels, batch_size)):
        batch = np.zeros((batch_size, size, size, 3), np.uint8)
        batch[: len(some)] = some
        yield batch, len(some)


def _cut(image: AnyImage, box: Box, name: str, size: int) -> NDArray[np.uint8]:
    """What the network sees of an image."""
    photo = as_photo(image, name)
    check_box(box, photo, name)
    return cut_out(photo, size, box)


def _with_boxes(images: Iterable[AnyImage], boxes: Boxes) -> Iterator[tuple[AnyImage, Box]]:
    """Each image with its box."""
    if boxes is None:
        yield from ((image, None) for image in images)
        return
    nothing = object()
    for image, box in itertools.zip_longest(images, boxes, fillvalue=nothing):
        if image is nothing or box is nothing:
            raise ValueError("boxes are not as many as images; give one for each, or None for all")
        yield image, box  # type: ignore[misc]


def _one_by_one(images: AnyImages) -> Iterable[AnyImage]:
    """The images of a batch."""
    if isinstance(images, str | os.PathLike | Image.Image):
        raise ValueError(f"images is one image, {images!r:.80}; give a list of images: [image]")
    if hasattr(images, "__array__"):
        array = np.asarray(images)
        if array.ndim != 4:
            raise ValueError(
                f"images has shape {array.shape}; give [batch, height, width, 3], one image as"
                " image[None]"
            )
        return array
    if not isinstance(images, Iterable):
        raise ValueError(
            f"images is of type {type(images).__name__}; give an array uint8 [batch, height, width,"
            " 3], or a list of arrays, Pillow images or paths"
        )
    return images


def as_photo(image: AnyImage, name: str = "image") -> Image.Image:
    """One image in RGB, upright where it says how it was taken.

    Args:
      image: uint8 [height, width, 3], a Pillow image or a path.
      name: what messages call it.

    Raises:
      ValueError: for anything else, or a file that is no image, damaged or too large.
      FileNotFoundError: where the file is missing.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(storage.as_path(image, what=name))
    if isinstance(image, Image.Image):
        try:
            return as_rgb(ImageOps.exif_transpose(image), image)
        except (ValueError, OSError) as error:
            raise ValueError(f"{name} cannot be shown: {error}") from error
    if not hasattr(image, "__array__"):
        raise ValueError(
            f"{name} is of type {type(image).__name__}; give an array uint8 [height, width, 3], a"
            " Pillow image or a path"
        )
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}; give uint8 [height, width, 3], RGB"
            " in 0..255"
        )
    return Image.fromarray(array)


def check_box(box: Box, photo: Image.Image, name: object) -> None:
    """Raise a ValueError unless the box is (ymin, xmin, ymax, xmax) and lies within the photo."""
    if box is None:
        return
    try:
        top, left, bottom, right = map(float, box)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"box is {box!r:.80} for {name}; give four numbers, (ymin, xmin, ymax, xmax)"
        ) from error
    if 0 <= top < bottom <= 1 and 0 <= left < right <= 1 and max(photo.size) > 1:
        raise ValueError(
            f"box is {top:g},{left:g},{bottom:g},{right:g} for {name}, one pixel at most; give"
            " pixels, not shares of the sides"
        )
    if not (0 <= top < bottom <= photo.height and 0 <= left < right <= photo.width):
        raise ValueError(
            f"box is {top:g},{left:g},{bottom:g},{right:g}, {name} is {photo.height} pixels high"
            f" and {photo.width} wide; give ymin,xmin,ymax,xmax within that"
        )
