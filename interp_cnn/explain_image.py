"""The third job: explain what a trained network says about one image."""

import errno
import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath
from PIL import Image

from interp_cnn import experiment, metrics, storage
from interp_cnn.config import INTERPRETABLE
from interp_cnn.data.pipeline import Crop
from interp_cnn.explain import NO_PART, contributions_by_part, explanation, filter_contributions
from interp_cnn.filter_parts import FilterParts, filter_parts, restore_network
from interp_cnn.models import NEW_CONV, Network
from interp_cnn.objective import SOFTMAX
from interp_cnn.report.explanation import Highlight, draw_explanation
from interp_cnn.steps import normalise, predict_step


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
      image: file, on disk or in a bucket.
      workdir: of a training run; it gets the picture, `explained/NAME.png`.
      variant: of the network.
      box: (ymin, xmin, ymax, xmax) of the object in pixels, what networks are trained on; the
        whole image by default.
      filters: number of filters that are named and drawn, those that contributed most.

    Returns:
      What there is to print: the sentence, these filters, where the picture is.

    Raises:
      FileNotFoundError: where the image, the configuration or the checkpoint is missing.
      ValueError: for an image that is none, a box that does not fit it, a checkpoint of another
        network.
      OSError: where the picture cannot be written.
    """
    image, workdir = storage.as_path(image, what="IMAGE"), storage.as_path(workdir)
    data = _checked_image(image, box)
    config = experiment.read_config(workdir)
    picture = workdir / "explained" / f"{image.stem}.png"
    _make_folder(picture.parent)
    restored = restore_network(config, workdir, variant)
    network, params = restored.network, restored.params
    parts = filter_parts(config, workdir, variant, restored)

    crop = Crop(network.input_size, "image" if box is None else "object")
    pixels = crop.map({"image": data, "bbox": box, "label": 0})["image"]
    found = explain_pixels(config, network, params, parts, pixels, filters=filters)
    lines = [
        found.sentence,
        "",
        f"logit {found.logit:.2f}; the filters of {NEW_CONV} that added most to it:",
    ]
    lines += [f"  filter {one.unit:4d}  {one.value:+.3f}  {one.part}" for one in found.filters]
    with storage.staged_file(picture) as file:
        draw_explanation(
            file,
            pixels,
            title=found.sentence,
            shares=found.shares,
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
      shares: of each part in what speaks for it.
      filters: those that added most, strongest first.
    """

    sentence: str
    logit: float
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
    shares = contributions_by_part(values, parts.part, names)
    strongest = [
        FilterShare(
            unit=int(unit),
            value=float(values[unit]),
            part=names[parts.part[unit]] if parts.part[unit] >= 0 else NO_PART,
            position=found["positions"][NEW_CONV][0, unit],
        )
        for unit in np.argsort(-values, kind="stable")[:filters]
        if values[unit] > 0
    ]
    category = parts.categories[output].replace("_", " ")
    sentence = explanation(category, logit, shares, softmax=config.train.task == SOFTMAX)
    return Explained(sentence, logit, dict(shares), strongest)


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


def _checked_image(file: epath.Path, box: Sequence[float] | None) -> bytes:
    """The bytes of an image file that can be read and that the box fits."""
    try:
        data = storage.read(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} does not exist; give the file of an image") from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            width, height = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} is no image that can be read; give a JPEG or PNG file") from error
    if box is not None:
        top, left, bottom, right = box
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"box is {top:g},{left:g},{bottom:g},{right:g}, {file} is {height} pixels high and"
                f" {width} wide; give ymin,xmin,ymax,xmax within that"
            )
    return data
