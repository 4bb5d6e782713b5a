"""The third job: explain what a trained network says about one image."""

import errno
import io
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from interp_cnn import metrics, storage
from interp_cnn.attribution import (
    NO_PART,
    explanation,
    filter_contributions,
    says_yes,
    shares_of_answer,
)
from interp_cnn.config import INTERPRETABLE
from interp_cnn.data.images import as_rgb
from interp_cnn.data.pipeline import Crop
from interp_cnn.evaluation.filter_parts import FilterParts, filter_parts, restore_network
from interp_cnn.models import NEW_CONV, Network
from interp_cnn.report.explanation_picture import Highlight, draw_explanation
from interp_cnn.training.objective import SOFTMAX
from interp_cnn.training.steps import normalise, predict_step
from interp_cnn.workdir import EXPLAINED, read_config


def explain_image(
    image: epath.Path,
    workdir: epath.Path,
    *,
    variant: str = INTERPRETABLE,
    box: Sequence[float] | None = None,
    filters: int = 5,
) -> str:
    """Say why a network says what it says about an image, and draw it.

    Args:
      image: file, on disk or in a bucket; it is turned upright as its EXIF orientation says.
      workdir: of a training run; it gets the picture, `explained/FILE-NETWORK[-box-...].png`.
      variant: of the network.
      box: (ymin, xmin, ymax, xmax) of the object in pixels of the upright image, what networks are
        trained on; the whole image by default.
      filters: number of filters that are named and drawn, those that contributed most.

    Returns:
      What there is to print: the sentence, these filters, where the picture is.

    Raises:
      FileNotFoundError: where the image, the configuration or the checkpoint is missing.
      ValueError: for an image that is none, damaged or too large, a box that does not fit it, a
        checkpoint of another network.
      OSError: where the picture cannot be written.
    """
    image, workdir = storage.as_path(image, what="IMAGE"), storage.as_path(workdir)
    photo = read_image(image)
    _check_box(box, image, photo)
    config = read_config(workdir)
    picture = workdir / EXPLAINED / _picture_name(image, variant, box)
    _make_folder(picture.parent)
    restored = restore_network(config, workdir, variant)
    network, params = restored.network, restored.params
    parts = filter_parts(config, workdir, variant, restored)

    frame = (0, 0, photo.height, photo.width) if box is None else box
    pixels = Crop(network.input_size).cut(photo, frame)
    found = explain_pixels(config, network, params, parts, pixels, filters=filters)
    lines = [
        found.sentence,
        "",
        f"logit {found.logit:.2f}; the filters of {NEW_CONV} that"
        f" {'added most to' if found.yes else 'took most from'} it:",
    ]
    lines += [f"  filter {one.unit:4d}  {one.value:+.3f}  {one.part}" for one in found.filters]
    with storage.staged_file(picture) as file:
        draw_explanation(
            file,
            pixels,
            title=found.sentence,
            shares=found.shares,
            yes=found.yes,
            names=[name.replace("_", " ") for name in parts.names],
            highlights=[
                Highlight(f"{one.unit} ({one.value:+.2f})", int(parts.part[one.unit]), one.position)
                for one in found.filters
            ],
            radius=config.eval.radius or metrics.default_radius((network.input_size,) * 2),
        )
    return "\n".join([*lines, "", f"written: {picture}"])


# Compiled once for all images of a network.
_predict = jax.jit(predict_step, static_argnames=("network", "mean", "std"))


class FilterShare(NamedTuple):
    """A filter of the new convolution: what it added, its part, where it looks (y, x)."""

    unit: int
    value: float
    part: str
    position: np.ndarray


class Explained(NamedTuple):
    """What the highest logit of an image rests on.

    Attributes:
      sentence: in words.
      logit: itself.
      yes: whether the network says yes.
      shares: of each part in what speaks for that answer.
      filters: those that added most, or for a no took most away, strongest first.
    """

    sentence: str
    logit: float
    yes: bool
    shares: dict[str, float]
    filters: list[FilterShare]


def explain_pixels(
    config: ml_collections.ConfigDict,
    network: Network,
    params: Any,
    parts: FilterParts,
    pixels: np.ndarray,
    *,
    filters: int = 5,
) -> Explained:
    """Explain the highest logit of an image as the network sees it.

    Args:
      config: that the network was trained with.
      network: interpretable or not.
      params: its parameters.
      parts: that its filters stand for.
      pixels: uint8 [size, size, 3].
      filters: at most so many filters are named.
    """
    mean, std = tuple(config.data.mean), config.data.std
    found = jax.device_get(
        _predict(params, {"image": pixels[None]}, network=network, mean=mean, std=std)
    )
    output = int(found["logits"][0].argmax())
    logit = float(found["logits"][0, output])
    values = np.asarray(
        filter_contributions(
            network,
            params,
            normalise(jnp.asarray(pixels)[None], mean, std),
            layer=NEW_CONV,
            output=output,
        )
    )[0]
    names = [name.replace("_", " ") for name in parts.names]
    softmax = config.train.task == SOFTMAX
    yes = says_yes(logit, softmax=softmax)
    shares = shares_of_answer(values, parts.part, names, logit=logit, softmax=softmax)
    side = values if yes else -values
    strongest = [
        FilterShare(
            unit=int(unit),
            value=float(values[unit]),
            part=names[parts.part[unit]] if parts.part[unit] >= 0 else NO_PART,
            position=found["positions"][NEW_CONV][0, unit],
        )
        for unit in np.argsort(-side, kind="stable")[:filters]
        if side[unit] > 0
    ]
    category = parts.categories[output].replace("_", " ")
    sentence = explanation(category, logit, shares, softmax=softmax)
    return Explained(sentence, logit, yes, dict(shares), strongest)


def _make_folder(folder: epath.Path) -> None:
    """Make the folder of the picture, before anything is computed for it."""
    if storage.is_remote(folder):
        storage.check_writable(folder)
        return
    try:
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OSError(
            f"the explanation cannot be written to {folder} ({error.strerror}); make it a directory"
            " that can be written"
        ) from error


def _picture_name(image: epath.Path, variant: str, box: Sequence[float] | None) -> str:
    """A name that no other file, network or box has."""
    where = "" if box is None else f"-box-{'-'.join(f'{edge:g}' for edge in box)}"
    return f"{image.name}-{variant}{where}.png"


def read_image(file: epath.Path) -> Image.Image:
    """An image in RGB, upright as its EXIF orientation says.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: for a file that is no image, or one that is damaged or too large.
    """
    if not storage.is_remote(file) and file.is_dir():
        raise ValueError(f"{file} is a directory; give the file of one image")
    try:
        data = storage.read(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; give the file of an image") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, the most that are read;"
            " scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{file} is no image that can be read; give a JPEG or PNG file") from error
    except OSError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file leads it into
        raise _damaged(file, error) from error
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except Exception as error:
        raise _damaged(file, error) from error
    try:
        return as_rgb(upright)
    except ValueError as error:
        raise ValueError(f"{file} cannot be shown: {error}") from error


def _damaged(file: epath.Path, error: Exception) -> ValueError:
    return ValueError(f"{file} is truncated or damaged ({error}); copy it again")


def _check_box(box: Sequence[float] | None, file: epath.Path, photo: Image.Image) -> None:
    """Raise a ValueError unless the box lies within the image."""
    if box is None:
        return
    top, left, bottom, right = box
    if not (0 <= top < bottom <= photo.height and 0 <= left < right <= photo.width):
        raise ValueError(
            f"box is {top:g},{left:g},{bottom:g},{right:g}, {file} is {photo.height} pixels high"
            f" and {photo.width} wide; give ymin,xmin,ymax,xmax within that"
        )
