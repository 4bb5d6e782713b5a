"""The report: a static page with its pictures beside it, that opens from disk."""

import dataclasses
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from etils import epath
from numpy.typing import NDArray
from PIL import Image

from interp_cnn.evaluation.results import Results
from interp_cnn.evaluation.strongest_images import LayerFilters, NetworkFilters, TopMaps
from interp_cnn.receptive_field import discs
from interp_cnn.report import pictures
from interp_cnn.report.curves import Curves, draw_curves
from interp_cnn.report.site import environment, writing_to
from interp_cnn.report.table import summarize


class Contribution(NamedTuple):
    """What one filter added to a logit; the filter is named as in `NetworkFilters`."""

    network: str
    layer: str
    unit: int
    part: str
    value: float


class ExplainedPrediction(NamedTuple):
    """A prediction and what it rests on.

    Args:
      sentence: in words, such as "cat, 61 % head, 22 % torso".
      caption: which image it is.
      picture: uint8 [height, width, 3].
      shares: of each part in the logit, in [0, 1].
      filters: those that contributed most.
    """

    sentence: str
    caption: str
    picture: NDArray[np.uint8]
    shares: Mapping[str, float]
    filters: Sequence[Contribution]


class ExtraFigure(NamedTuple):
    """One more figure for the summary: its title, what it shows in words, the bytes of a PNG."""

    title: str
    text: str
    png: bytes


class FilterCard(NamedTuple):
    """A filter in the gallery; None is what could not be measured."""

    network: str
    layer: str
    unit: int
    page: str  # name of its files, without the ending
    category: str
    part: str  # the part that it hits most often, "" where it hits none or there are none
    interpretability: float | None  # how often
    instability: float | None
    landmark: str  # the landmark that it follows best, "" for none
    tracking: float | None  # its tracking ratio
    images: int  # how many images it has
    places: int  # for how many there is room
    drawn: bool  # whether they were drawn


def write_report(
    folder: epath.Path,
    results: Results,
    networks: Sequence[NetworkFilters],
    curves: Curves,
    *,
    config: Mapping[str, Any],
    explained: Sequence[ExplainedPrediction] = (),
    figures: Sequence[ExtraFigure] = (),
    drawn: int | None = None,
) -> epath.Path:
    """Write `index.html`, a page for each filter and their pictures.

    Args:
      folder: gets them all; filters of an earlier report in it are removed.
      results: figures of the networks.
      networks: their filters.
      curves: of training, see `read_curves`.
      config: of the run; nested fields are shown with dotted names.
      explained: predictions to show.
      figures: more figures for the summary.
      drawn: how many filters of each layer get pictures, those of the highest part
        interpretability, or the lowest tracking ratio where it is unknown; None for all.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: where the folder cannot be written.
      ValueError: see `summarize`.
    """
    summary = summarize(results)
    drawn_curves = draw_curves(curves)
    templates = environment()
    cards = []
    with writing_to(folder) as local:
        shutil.rmtree(local / "filters", ignore_errors=True)
        (local / "filters").mkdir()
        for network in networks:
            for layer in network.layers:
                found = _cards(network, layer, drawn)
                cards.append(found)
                _write_filters(local / "filters", templates, network, layer, found)
        for index, curve in enumerate(drawn_curves):
            (local / f"curve-{index}.svg").write_text(curve.svg)
        for index, figure in enumerate(figures):
            (local / f"figure-{index}.png").write_bytes(figure.png)
        for index, prediction in enumerate(explained):
            picture = Image.fromarray(prediction.picture)
            pictures.save_photo(picture, local / f"explained-{index}.jpg")
        page = templates.get_template("index.html.j2").render(
            summary=summary,
            layers=cards,
            curves=drawn_curves,
            figures=figures,
            explained=explained,
            pages={(c.network, c.layer, c.unit): c.page for layer in cards for c in layer},
            experiment=list(_flat(dataclasses.asdict(results.experiment))),
            config=list(_flat(config)),
            interpretable=any(c.interpretability is not None for layer in cards for c in layer),
        )
        (local / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested fields as pairs of a dotted name and a text."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "not set" if value is None else str(value)


# Filters.


def _cards(network: NetworkFilters, layer: LayerFilters, drawn: int | None) -> list[FilterCard]:
    top = network.gallery.layers[layer.name]
    filters = len(layer.instability)
    part, interpretability = _best(*layer.best_parts(), layer.parts)
    part = [name if value else "" for name, value in zip(part, interpretability, strict=True)]
    landmark, tracking = _best(*layer.best_landmarks(), layer.landmarks)
    known = [value for value in interpretability if value is not None]
    rank = interpretability if known else [None if v is None else -v for v in tracking]
    order = sorted(range(filters), key=lambda f: (rank[f] is None, -(rank[f] or 0.0)))
    chosen = set(order[:drawn])
    prefix = "-".join(re.sub(r"[^\w-]", "_", name) for name in (network.network, layer.name))
    return [
        FilterCard(
            network=network.network,
            layer=layer.name,
            unit=unit,
            page=f"{prefix}-{unit:03d}",
            category=layer.categories[unit],
            part=part[unit],
            interpretability=interpretability[unit],
            instability=_known(layer.instability[unit]),
            landmark=landmark[unit],
            tracking=tracking[unit],
            images=int((top.image[unit] >= 0).sum()),
            places=top.image.shape[1],
            drawn=unit in chosen,
        )
        for unit in range(filters)
    ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _best(
    index: NDArray[np.integer], values: NDArray[np.floating], names: Sequence[str]
) -> tuple[list[str], list[float | None]]:
    """Name and value of each filter's best part or landmark; "" and None where there is none."""
    spaced = [*_spaced(names), ""]  # the last one, for -1
    return [spaced[of] for of in index], [_known(value) for value in values]


def _write_filters(
    folder: Path,
    templates: jinja2.Environment,
    network: NetworkFilters,
    layer: LayerFilters,
    cards: Sequence[FilterCard],
) -> None:
    """A page and a strip of photos for each filter of a layer."""
    gallery = network.gallery
    top = gallery.layers[layer.name]
    scale = gallery.pictures.shape[1] / layer.image_size
    disc = discs(
        np.asarray(layer.centers_y) * scale,
        np.asarray(layer.centers_x) * scale,
        layer.radius * scale,
        gallery.pictures.shape[1:3],
    ).reshape(-1, *gallery.pictures.shape[1:3])
    template = templates.get_template("filter.html.j2")
    for unit, card in enumerate(cards):
        strips = []
        if card.drawn and card.images:
            strip = pictures.photo_strip(gallery, top, unit, layer.thresholds[unit], disc)
            pictures.save_photo(strip, folder / f"{card.page}.jpg")
            strips = _map_strips(layer, top, unit)
        page = template.render(
            card=card,
            strips=strips,
            captions=[
                (network.captions[image], float(peak))
                for image, peak in zip(top.image[unit], top.peaks[unit], strict=True)
                if image >= 0
            ],
            height=round(100 * top.maps.shape[2] / top.maps.shape[3]),
            shares=list(zip(_spaced(layer.parts), layer.shares[unit].tolist(), strict=True)),
            tracking=list(
                zip(_spaced(layer.landmarks), layer.tracking[unit].tolist(), strict=True)
            ),
            terms={name: float(values[unit]) for name, values in layer.terms.items()},
            radius=layer.radius,
            before=cards[unit - 1].page if unit else None,
            after=cards[unit + 1].page if unit + 1 < len(cards) else None,
        )
        (folder / f"{card.page}.html").write_text(page, encoding="utf-8")


def _spaced(names: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in names]


def _map_strips(layer: LayerFilters, top: TopMaps, unit: int) -> list[tuple[str, str, str]]:
    """Heading, explanation and URI of the raw maps, the masks and the masked maps of a filter."""
    raw, peak = top.maps[unit], float(top.peaks[unit].max())
    strips = [
        (
            "Feature map",
            "after ReLU",
            pictures.map_strip(raw, 0, peak, pictures.ACTIVATIONS),
        )
    ]
    if layer.masks is not None:
        mask = layer.masks[unit]
        masked = np.maximum(raw * mask, 0)
        strips += [
            ("Mask", "around the peak", pictures.map_strip(mask, -1, 1, pictures.MASK)),
            (
                "Masked map",
                "what goes on to the next layer",
                pictures.map_strip(masked, 0, peak, pictures.ACTIVATIONS),
            ),
        ]
    return strips
