"""From an evaluation to what the page shows of predictions."""

from collections.abc import Sequence

from interp_cnn.evaluation.explanations import Explained, colour_numbers
from interp_cnn.evaluation.predictions import ExplainedImage, MeasuredNetwork
from interp_cnn.evaluation.sampled_images import label_name
from interp_cnn.report import pictures
from interp_cnn.report.colours import NO_PART, part_colour
from interp_cnn.report.page import Answer, Contribution, ExplainedPrediction

_SIDE = 320  # pixels of the picture of a prediction


def explained_predictions(
    networks: Sequence[MeasuredNetwork], images: Sequence[ExplainedImage], *, layer: str
) -> list[ExplainedPrediction]:
    """What the page shows of predictions that were explained.

    Args:
      networks: the networks that were explained, in the order of `images[...].explained`.
      images: the images and what each network says about them.
      layer: the layer of the filters that are named.
    """
    return [
        ExplainedPrediction(
            image.caption,
            [
                _answer(one, found, image, layer)
                for one, found in zip(networks, image.explained, strict=True)
            ],
        )
        for image in images
    ]


def _answer(
    measured: MeasuredNetwork, found: Explained, image: ExplainedImage, layer: str
) -> Answer:
    parts, radius = measured.parts, measured.evaluation.layers[layer].radius
    category = label_name(parts.categories, found.output + 1)
    shown = {name: share for name, share in found.shares.items() if share >= 0.005}
    names = [name.replace("_", " ") for name in parts.names]
    colours = {name: part_colour(index) for index, name in enumerate(names)}
    numbers = colour_numbers(found.filters, parts)
    looked = [(number, one.position) for number, one in zip(numbers, found.filters, strict=True)]
    return Answer(
        network=measured.variant,
        sentence=found.sentence,
        logit=found.logit,
        probability=found.probability,
        category=category,
        right=image.label == (found.output + 1 if found.yes else 0),
        picture=pictures.looks_at(image.pixels, looked, radius, side=_SIDE),
        side=f"what speaks {'for' if found.yes else 'against'} {category}",
        shares=shown,
        colours={name: colours.get(name, NO_PART) for name in shown},
        filters=[
            Contribution(
                measured.variant, layer, one.unit, one.part, one.value, part_colour(number)
            )
            for one, number in zip(found.filters, numbers, strict=True)
        ],
    )
