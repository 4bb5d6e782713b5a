"""Why a network says what it says about images: what its highest logit rests on."""

import dataclasses
import io
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from interp_cnn import storage
from interp_cnn.attribution import (
    NO_PART,
    explanation,
    explanation_by_filters,
    filter_contributions,
    says_yes,
    shares_of_answer,
    speaking_for_answer,
)
from interp_cnn.data.images import as_rgb
from interp_cnn.evaluation.filter_files import FilterParts
from interp_cnn.models import AnyNetwork
from interp_cnn.training import build
from interp_cnn.training.objective import SOFTMAX
from interp_cnn.training.steps import compiled_predict_step, normalise

_NAMED = 3  # filters in a sentence


class FilterShare(NamedTuple):
    """A filter of the last interpretable layer: what it added, its part, where it looks (y, x).

    The part is "" where no parts are known.
    """

    unit: int
    value: float
    part: str
    position: np.ndarray


@dataclasses.dataclass(frozen=True)
class Explained:
    """What the highest logit of an image rests on.

    Attributes:
      sentence: the answer in words, such as "cat, 98 % head, 2 % torso".
      output: index of the category with the highest logit.
      logit: that logit.
      probability: what the network gives to that category.
      yes: whether the network says yes.
      shares: share of each part in what speaks for that answer, the largest first; none where no
        parts are known.
      filters: those that added most, or for a no took most away, strongest first: `unit`, the
        filter's number, `value`, what it added to the logit, `part`, and `position`, (y, x) of its
        peak in pixels of the input.
    """

    sentence: str
    output: int
    logit: float
    probability: float
    yes: bool
    shares: dict[str, float]
    filters: list[FilterShare]


def explain_pixels(
    config: ml_collections.ConfigDict,
    network: AnyNetwork,
    variables: Any,
    parts: FilterParts,
    pixels: np.ndarray,
    *,
    filters: int = 5,
) -> Explained:
    """Explain the highest logit of an image as the network sees it.

    Args:
      config: that the network was trained with.
      network: interpretable or not.
      variables: its variables.
      parts: that its filters stand for.
      pixels: uint8 [size, size, 3].
      filters: at most so many filters are named.
    """
    scale = build.normalisation(config)
    batch = {"image": pixels[None]}
    found = jax.device_get(compiled_predict_step(variables, batch, network=network, **scale))
    output = int(found["logits"][0].argmax())
    logit = float(found["logits"][0, output])
    image = normalise(jnp.asarray(pixels)[None], **scale)
    values = np.asarray(filter_contributions(network, variables, image, output=output))[0]
    names = [name.replace("_", " ") for name in parts.names]
    softmax = config.train.task == SOFTMAX
    yes = says_yes(logit, softmax=softmax)
    answer = parts.categories[output].replace("_", " ")
    if not yes and len(parts.categories) > 1:
        answer += ", nor any of the others"
    strongest = _strongest(values if yes else -values, filters)
    if names:
        shares = shares_of_answer(values, parts.part, names, logit=logit, softmax=softmax)
        sentence = explanation(answer, logit, shares, softmax=softmax)
    else:
        most = _strongest(speaking_for_answer(values, logit=logit, softmax=softmax), _NAMED)
        shares, sentence = {}, explanation_by_filters(answer, logit, most, softmax=softmax)
    named = [
        FilterShare(
            unit=unit,
            value=float(values[unit]),
            part=names[parts.part[unit]] if parts.part[unit] >= 0 else NO_PART * bool(names),
            position=found["positions"][network.last_layer][0, unit],
        )
        for unit in strongest
    ]
    probability = _probability(found["logits"][0], output, softmax=softmax)
    return Explained(sentence, output, logit, probability, yes, dict(shares), named)


def colour_numbers(filters: Sequence[FilterShare], parts: FilterParts) -> list[int]:
    """What decides the colour of each filter that is named: its part, -1 for none.

    Where no parts are known it is its place: filters that look at one place have one number.
    """
    if parts.names:
        return [int(parts.part[one.unit]) for one in filters]
    places = [tuple(np.asarray(one.position).tolist()) for one in filters]
    return [list(dict.fromkeys(places)).index(place) for place in places]


def _strongest(values: np.ndarray, count: int) -> list[int]:
    """The filters with the largest values above 0, at most `count`."""
    return [int(unit) for unit in np.argsort(-values, kind="stable")[:count] if values[unit] > 0]


def _probability(logits: np.ndarray, output: int, *, softmax: bool) -> float:
    """Of an output of one image, from its logits [outputs]."""
    shifted = np.asarray(logits, np.float64) - float(logits[output])
    if softmax:
        return float(1 / np.exp(np.minimum(shifted, 700)).sum())
    return float(0.5 * (1 + np.tanh(logits[output] / 2)))


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
        return as_rgb(upright, image)
    except ValueError as error:
        raise ValueError(f"{file} cannot be shown: {error}") from error


def _damaged(file: epath.Path, error: Exception) -> ValueError:
    return ValueError(f"{file} is truncated or damaged ({error}); copy it again")
