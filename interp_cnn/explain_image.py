"""The third job: explain what a trained network says about one image."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from interp_cnn import experiment, metrics
from interp_cnn.config import INTERPRETABLE
from interp_cnn.data.pipeline import Crop
from interp_cnn.explain import NO_PART, contributions_by_part, explanation, filter_contributions
from interp_cnn.filter_parts import filter_parts, restore_network
from interp_cnn.models import NEW_CONV
from interp_cnn.report.explanation import Highlight, draw_explanation
from interp_cnn.steps import normalise, predict_step


def explain_image(
    image: Path,
    workdir: Path,
    *,
    variant: str = INTERPRETABLE,
    box: Sequence[float] | None = None,
    filters: int = 5,
) -> str:
    """Say why a network says what it says about an image, and draw it.

    Args:
      image: file.
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
    data = _checked_image(image, box)
    config = experiment.read_config(workdir)
    restored = restore_network(config, workdir, variant)
    network, params = restored.network, restored.params
    parts = filter_parts(config, workdir, variant, restored)

    crop = Crop(network.input_size, "image" if box is None else "object")
    pixels = crop.map({"image": data, "bbox": box, "label": 0})["image"]
    mean, std = tuple(config.data.mean), config.data.std
    predict = jax.jit(functools.partial(predict_step, network=network, mean=mean, std=std))
    found = jax.device_get(predict(params, {"image": pixels[None]}))
    output = int(found["logits"][0].argmax())
    logit = float(found["logits"][0, output])
    values = np.asarray(
        filter_contributions(
            network, params, normalise(pixels[None], mean, std), layer=NEW_CONV, output=output
        )
    )[0]

    names = [name.replace("_", " ") for name in parts.names]
    shares = contributions_by_part(values, parts.part, names)
    sentence = explanation(parts.categories[output].replace("_", " "), logit, shares)
    strongest = [int(unit) for unit in np.argsort(-values, kind="stable")[:filters]]
    strongest = [unit for unit in strongest if values[unit] > 0]
    lines = [sentence, "", f"logit {logit:.2f}; the filters of {NEW_CONV} that added most to it:"]
    for unit in strongest:
        part = names[parts.part[unit]] if parts.part[unit] >= 0 else NO_PART
        lines.append(f"  filter {unit:4d}  {values[unit]:+.3f}  {part}")
    picture = workdir / "explained" / f"{image.stem}.png"
    picture.parent.mkdir(exist_ok=True)
    draw_explanation(
        picture,
        pixels,
        title=sentence,
        shares=shares,
        names=names,
        highlights=[
            Highlight(
                f"{unit} ({values[unit]:+.2f})",
                int(parts.part[unit]),
                found["positions"][NEW_CONV][0, unit],
            )
            for unit in strongest
        ],
        radius=config.eval.radius or metrics.default_radius((network.input_size,) * 2),
    )
    return "\n".join([*lines, "", f"written: {picture}"])


def _checked_image(file: Path, box: Sequence[float] | None) -> bytes:
    """The bytes of an image file that can be read and that the box fits."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; give the file of an image")
    data = file.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            width, height = image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{file} is no image that can be read; give a JPEG or PNG file") from error
    if box is not None:
        top, left, bottom, right = box
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"box is {top:g},{left:g},{bottom:g},{right:g}, {file} is {height} pixels high and"
                f" {width} wide; give ymin,xmin,ymax,xmax within that"
            )
    return data
