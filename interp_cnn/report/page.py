"""The report: a static page with its pictures beside it, that opens from disk."""

import dataclasses
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from etils import epath
from numpy.typing import NDArray

from interp_cnn.evaluation.network_filters import LayerFilters, NetworkFilters
from interp_cnn.evaluation.results import Results, known
from interp_cnn.evaluation.strongest_images import TopMaps
from interp_cnn.report import pictures
from interp_cnn.report.curves import STYLES, Curves, draw_curves
from interp_cnn.report.filter_photos import ROOMS, photo_groups
from interp_cnn.report.opening import opening, terms
from interp_cnn.report.site import environment, writing_to
from interp_cnn.report.spread import information_histogram, part_bars, tracking_histogram
from interp_cnn.report.table import summarize
from interp_cnn.report.table_notes import NO_PARTS
from interp_cnn.report.typical_filters import (
    TypicalFilter,
    best_landmark,
    follows,
    information,
    layer_discs,
    ranked_by_information,
    typical_filters,
)
from interp_cnn.workdir import PAGE


class Contribution(NamedTuple):
    """What one filter added to a logit; the filter is named as in `NetworkFilters`."""

    network: str
    layer: str
    unit: int
    part: str  # "" where no parts are known
    value: float
    colour: str = ""  # of its outline


class Answer(NamedTuple):
    """What one network says about an image, and what that rests on.

    Args:
      network: its name.
      sentence: in words, such as "cat, 98 % head, 2 % torso".
      logit: the highest one.
      probability: of its category.
      category: that the logit stands for.
      right: whether the answer is right.
      picture: the image with the places outlined where the strongest filters peak, uint8
        [height, width, 3].
      side: what the shares are of, such as "what speaks for cat".
      shares: of each part, in [0, 1].
      colours: of the parts, as in the picture.
      filters: those that contributed most.
    """

    network: str
    sentence: str
    logit: float
    probability: float
    category: str
    right: bool
    picture: NDArray[np.uint8]
    side: str
    shares: Mapping[str, float]
    colours: Mapping[str, str]
    filters: Sequence[Contribution]


class ExplainedPrediction(NamedTuple):
    """An image and what each network says about it.

    Args:
      caption: what it shows and which image it is.
      answers: of the networks.
    """

    caption: str
    answers: Sequence[Answer]


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
    several: bool  # whether other filters of the layer have another category
    part: str  # the part that it hits most often, "" where it hits none or there are none
    interpretability: float | None  # how often
    instability: float | None
    landmark: str  # the landmark that it follows best, "" for none
    tracking: float | None  # its tracking ratio
    follows: str  # both in words; without any part its mutual information
    information: float | None  # its mutual information
    images: int  # how many images it has


def write_report(
    folder: epath.Path,
    results: Results,
    networks: Sequence[NetworkFilters],
    curves: Curves,
    *,
    config: Mapping[str, Any],
    explained: Sequence[ExplainedPrediction] = (),
    figures: Sequence[ExtraFigure] = (),
) -> epath.Path:
    """Write `index.html`, a page for each filter and their pictures.

    Args:
      folder: gets them all; filters of an earlier report in it are removed.
      results: the results of the networks.
      networks: their filters.
      curves: of training, see `read_curves`.
      config: of the run; nested fields are shown with dotted names.
      explained: predictions to show.
      figures: more figures for the summary.

    Returns:
      The path of `index.html`.

    Raises:
      OSError: where the folder cannot be written.
      ValueError: see `summarize`.
    """
    summary = summarize(results)
    layer = _shown_layer(networks, results)
    typical = typical_filters(networks, layer) if networks else []
    layers = {one.network: of for one in networks for of in one.layers if of.name == layer}
    has_parts = results.data.has_parts
    histogram = tracking_histogram(layers) if has_parts else information_histogram(layers)
    drawn_curves = draw_curves(curves)
    templates = environment()
    cards = []
    with writing_to(folder) as local:
        shutil.rmtree(local / "filters", ignore_errors=True)
        (local / "filters").mkdir()
        for network in networks:
            for of in network.layers:
                found = _cards(network, of)
                cards.append(found)
                _write_filters(
                    local / "filters", templates, network, of, found, has_parts=has_parts
                )
        for index, curve in enumerate(drawn_curves):
            (local / f"curve-{index}.svg").write_text(curve.svg)
        for index, figure in enumerate(figures):
            (local / f"figure-{index}.png").write_bytes(figure.png)
        if histogram:
            (local / histogram.file).write_text(histogram.svg)
        _write_typical(local, typical)
        _write_explained(local, explained)
        page = templates.get_template("index.html.j2").render(
            summary=summary,
            opening=opening(results, layer),
            terms=terms(results, layer),
            layer=layer,
            has_parts=has_parts,
            has_regions=results.data.part_regions != "none",
            no_parts=NO_PARTS,
            typical=typical,
            bars=part_bars(layers),
            colours={name: colour for name, (colour, _) in zip(layers, STYLES, strict=False)},
            histogram=histogram,
            layers=cards,
            curves=drawn_curves,
            figures=figures,
            explained=explained,
            rooms=sum(ROOMS),
            middle=ROOMS[0],
            side=networks[0].gallery.pictures.shape[1] if networks else 0,
            pages={(c.network, c.layer, c.unit): c.page for layer in cards for c in layer},
            experiment=list(_flat(dataclasses.asdict(results.experiment))),
            config=list(_flat(config)),
            interpretable=any(c.interpretability is not None for layer in cards for c in layer),
        )
        (local / PAGE).write_text(page, encoding="utf-8")
    return folder / PAGE


def _shown_layer(networks: Sequence[NetworkFilters], results: Results) -> str:
    """The layer of the first screen: the last one that all have."""
    layers = list(next(iter(results.networks.values())).layers)
    there = [{layer.name for layer in network.layers} for network in networks]
    return [name for name in layers if all(name in names for names in there)][-1]


def _write_typical(folder: Path, rows: Sequence[Sequence[TypicalFilter]]) -> None:
    """A strip of photos for each of the typical filters."""
    for row, filters in enumerate(rows):
        for column, one in enumerate(filters):
            if len(one.photos):
                strip = pictures.side_by_side(one.photos)
                pictures.save_photo(strip, folder / f"typical-{row}-{column}.jpg")


def _write_explained(folder: Path, explained: Sequence[ExplainedPrediction]) -> None:
    """A photo for each answer."""
    for index, prediction in enumerate(explained):
        for column, answer in enumerate(prediction.answers):
            pictures.save_photo(answer.picture, folder / f"explained-{index}-{column}.jpg")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested fields as pairs of a dotted name and a text."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "not set" if value is None else str(value)


# Filters.


def _cards(network: NetworkFilters, layer: LayerFilters) -> list[FilterCard]:
    top = network.gallery.layers[layer.name]
    filters = len(layer.instability)
    hits = _best_parts(layer)
    landmarks = [best_landmark(layer, unit) for unit in range(filters)]
    by_information = ranked_by_information(layer)
    values = layer.terms.get("mutual_information", np.full(filters, np.nan))
    prefix = "-".join(re.sub(r"[^\w-]", "-", name) for name in (network.network, layer.name))
    return [
        FilterCard(
            network=network.network,
            layer=layer.name,
            unit=unit,
            page=f"{prefix}-{unit:03d}",
            category=layer.categories[unit],
            several=len(set(layer.categories)) > 1,
            part=hits[unit][0],
            interpretability=hits[unit][1],
            instability=known(layer.instability[unit]),
            landmark=landmarks[unit][0],
            tracking=known(landmarks[unit][1]),
            follows=information(layer, unit) if by_information else follows(*landmarks[unit]),
            information=known(values[unit]),
            images=int((top.image[unit] >= 0).sum()),
        )
        for unit in range(filters)
    ]


def _best_parts(layer: LayerFilters) -> list[tuple[str, float | None]]:
    """The part that each filter hits most often and how often; "" where it hits none."""
    return [
        (layer.parts[index].replace("_", " ") if share > 0 else "", known(share))
        for index, share in zip(*layer.best_parts(), strict=True)
    ]


def _write_filters(
    folder: Path,
    templates: jinja2.Environment,
    network: NetworkFilters,
    layer: LayerFilters,
    cards: Sequence[FilterCard],
    *,
    has_parts: bool,
) -> None:
    """A page and a strip of photos for each filter of a layer."""
    gallery = network.gallery
    top = gallery.layers[layer.name]
    disc = layer_discs(layer, gallery.pictures.shape[1])
    template = templates.get_template("filter.html.j2")
    for unit, card in enumerate(cards):
        groups = photo_groups(network, layer, unit, disc)
        if any(len(group.photos) for group in groups):
            tiles = pictures.tile_row([(group.photos, group.room) for group in groups])
            pictures.save_photo(tiles, folder / f"{card.page}.jpg")
        else:
            groups = []
        strips = _map_strips(layer, top, unit) if card.images else []
        page = template.render(
            card=card,
            has_parts=has_parts,
            no_parts=NO_PARTS,
            groups=groups,
            rooms=sum(ROOMS),
            side=gallery.pictures.shape[1],
            strips=strips,
            height=round(100 * top.maps.shape[2] / top.maps.shape[3]),
            shares=_known_columns(layer, layer.parts, layer.shares, unit),
            tracking=_known_columns(layer, layer.landmarks, layer.tracking, unit),
            terms={name: float(values[unit]) for name, values in layer.terms.items()},
            radius=layer.radius,
            before=cards[unit - 1].page if unit else None,
            after=cards[unit + 1].page if unit + 1 < len(cards) else None,
        )
        (folder / f"{card.page}.html").write_text(page, encoding="utf-8")


def _known_columns(
    layer: LayerFilters, names: Sequence[str], values: NDArray[np.floating], unit: int
) -> list[tuple[str, float]]:
    """Names and values of a filter, without parts that no object of its category has.

    Of those every filter of the category lacks the value, [filters, names].
    """
    alike = np.array([name == layer.categories[unit] for name in layer.categories], bool)
    annotated = ~np.isnan(values[alike]).all(axis=0)
    return [
        (name.replace("_", " "), float(value))
        for name, value, there in zip(names, values[unit], annotated, strict=True)
        if there
    ]


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
