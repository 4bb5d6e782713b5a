"""The results of an evaluation as Markdown: readable as it is in a terminal, and rendered."""

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from interp_cnn.evaluation.results import (
    EmpiricalRadius,
    ExperimentRecord,
    LayerResult,
    NetworkResult,
    RelatedMeasures,
    Results,
)
from interp_cnn.report.paper_numbers import DATASETS, NETWORKS, PaperNumber, paper_number

# Reads one figure out of a network's or a layer's results.
Get = Callable[[Any], Any]

_ORDER = ("ordinary", "interpretable")
_DATASET_NAMES = {
    "ilsvrc_animal_part": "ILSVRC Animal-Part",
    "pascal_voc_part": "Pascal VOC Part",
    "cub_200_2011": "CUB-200-2011",
}
_MOST_CATEGORIES = 30
NO_PARTS = (
    "No parts are annotated. Points or boxes of parts would add location instability, tracking "
    "ratio and part interpretability, and a name for what each filter stands for."
)
_PAPERS_READING = "part interpretability (paper's: images on which the filter fires) ↑"
_DASH = "—"
_WIDTH = 100  # of the prose; the table is as wide as its columns need


class _Row(NamedTuple):
    name: str
    cells: Sequence[str]  # one per network
    paper: str = ""
    behind: str = ""
    heading: bool = False


class SummaryRow(NamedTuple):
    """A line of the table; a heading names the layer of the lines below it and has no figures."""

    name: str
    cells: Sequence[str]
    heading: bool


class Summary(NamedTuple):
    """An evaluation in plain text, not yet in any markup.

    Args:
      title: network, data set and category.
      about: paragraphs on the run and its data.
      networks: how many columns after the first are networks.
      header: titles of the columns that hold anything; the first, of the names, is empty.
      rows: of the table, cells as in `header[1:]`.
      notes: what the figures mean.
    """

    title: str
    about: Sequence[str]
    networks: int
    header: Sequence[str]
    rows: Sequence[SummaryRow]
    notes: Sequence[str]


def summarize(results: Results) -> Summary:
    """Text and table of an evaluation: the networks side by side, and what the figures mean.

    Args:
      results: figures of `"ordinary"`, of `"interpretable"`, or of both; one that could not be
        measured shows as a dash.

    Raises:
      ValueError: if there are no networks, or others than those two.
    """
    given = results.networks
    if not given or not set(given) <= set(_ORDER):
        raise ValueError(
            f"results.networks has {', '.join(map(repr, given)) or 'nothing'}; "
            "give the results of 'ordinary', 'interpretable' or both."
        )
    names = [name for name in _ORDER if name in given]
    networks = [given[name] for name in names]
    layers = list(dict.fromkeys(layer for network in networks for layer in network.layers))

    rows = [_accuracy_row(results, networks)]
    for layer in layers:
        found = [network.layers.get(layer) for network in networks]
        rows += _LayerRows(results, layer, found).all()
    header = ["", *names, _paper_title(results.experiment), "behind the figures"]
    lines = [[row.name, *row.cells, row.paper, row.behind] for row in rows]
    keep = [i for i in range(len(header)) if i == 0 or any(line[i] for line in lines)]
    return Summary(
        title=_title(results.experiment),
        about=_about(results),
        networks=len(names),
        header=[header[i] for i in keep],
        rows=[
            SummaryRow(row.name, [line[i] for i in keep[1:]], row.heading)
            for row, line in zip(rows, lines, strict=True)
        ],
        notes=_notes(results, networks, layers),
    )


def markdown_table(results: Results) -> str:
    """Report of an evaluation as Markdown, see `summarize`; the text ends with a newline."""
    summary = summarize(results)
    blocks = [
        f"# {_plain(summary.title)}",
        _wrapped(summary.about, bullet=""),
        _aligned(summary),
        _wrapped(summary.notes),
    ]
    return "\n\n".join(blocks) + "\n"


# Rows.


def _accuracy_row(results: Results, networks: Sequence[NetworkResult]) -> _Row:
    return _Row(
        "accuracy ↑",
        [_percent(network.accuracy.value) for network in networks],
        _paper(results, "accuracy", _percent),
        _counts(networks, attrgetter("accuracy.images"), "images"),
    )


@dataclass(frozen=True)
class _LayerRows:
    """Rows of one layer; `found` has None for a network without that layer."""

    results: Results
    layer: str
    found: Sequence[LayerResult | None]

    @property
    def known(self) -> list[LayerResult]:
        """Figures of the networks that have the layer."""
        return [figures for figures in self.found if figures is not None]

    def cells(self, name: str, write: Callable[[Any], str]) -> list[str]:
        """A figure of each network, by its dotted name in a `LayerResult`."""
        get = attrgetter(name)
        return [_DASH if figures is None else write(get(figures)) for figures in self.found]

    def count(self, name: str, noun: str, write: Callable[[Any], str] = str) -> str:
        """How many there are behind a figure."""
        return _counts(self.known, attrgetter(name), noun, write)

    def control(self, name: str, value: float | None, behind: str) -> _Row:
        """What a unit that ignores the image scores: the same beside every network."""
        return _Row(f"- control: {name}", [_number(value)] * len(self.found), behind=behind)

    def all(self) -> list[_Row]:
        """The heading and all rows."""
        data = self.results.data
        return [
            _Row(self.layer, [""] * len(self.found), heading=True),
            *(self.location() if data.has_parts else ()),
            *(self.tracking() if data.has_parts else ()),
            *(self.parts() if data.part_regions != "none" else ()),
            *self.behaviour(),
            *self.filters(),
            *self.related(),
        ]

    def location(self) -> list[_Row]:
        """Location instability and its controls."""
        behind = self.count("location_instability.filters", "filters")
        if any(map(_left_out, self.known)):
            behind += f" ({self.count('location_instability.filters_left_out', 'left out')})"
        each = self.count("location_instability.images_per_value", "images each", _decimal)
        rows = [
            _Row(
                "location instability ↓",
                self.cells("location_instability.value", _number),
                _paper(self.results, "location_instability", _number),
                f"{behind}, {each}",
            )
        ]
        if len(self.found) == 2:
            rows.append(self.ratio_of_networks())
        controls = self.results.controls
        images = f"{controls.images} images"
        return [
            *rows,
            self.control("always at the centre", controls.center, f"{images}; tracking ratio 1"),
            self.control("random positions", controls.random, images),
        ]

    def ratio_of_networks(self) -> _Row:
        """Location instability of the second network over that of the first."""
        first, second = (
            None if figures is None else figures.location_instability.value
            for figures in self.found
        )
        ratio = second / first if first and second is not None else None
        return _Row("- interpretable / ordinary", ["", _number(ratio)], _paper_ratio(self.results))

    def tracking(self) -> list[_Row]:
        """The tracking ratio."""
        behind = self.count("tracking_ratio.filters", "filters")
        rows = [
            _Row(name, self.cells(f"tracking_ratio.{field}", write), behind=behind)
            for name, field, write in (
                ("tracking ratio ↓", "value", _number),
                ("- share of filters below 1 ↑", "below_1", _percent),
                ("- share of filters below 0.8 ↑", "below_08", _percent),
            )
        ]
        return [*rows, self.parts_followed()]

    def parts_followed(self) -> _Row:
        """How many parts the filters follow, which older results do not have."""
        found = [None if one is None else one.parts_followed for one in self.found]
        return _Row(
            "- parts that at least 5 % of the filters follow ↑",
            [_DASH if followed is None else _integer(followed.parts) for followed in found],
            behind=f"of {_counts(self.known, _all_filters, 'filters')}",
        )

    def parts(self) -> list[_Row]:
        """Part interpretability: the paper's reading, the strict one and their controls.

        The results of older evaluations have the strict one alone.
        """
        paper = _paper(self.results, "part_interpretability", _number)
        fired = all(figures.part_interpretability_fired is not None for figures in self.known)
        if not fired:
            return [
                self.of_parts("part interpretability ↑", "part_interpretability", paper),
                self.with_other_radii("part_interpretability"),
            ]
        rows = [
            self.of_parts(_PAPERS_READING, "part_interpretability_fired", paper),
            self.with_other_radii("part_interpretability_fired"),
            _Row("- images on which a filter fires", self.cells("fired_share", _percent)),
            self.of_parts("- over all images with the part ↑", "part_interpretability", ""),
        ]
        controls = self.results.part_controls
        if controls is None:
            return rows
        images = f"{controls.images} images"
        return [
            *rows,
            self.control("one disc at the centre", controls.center, images),
            self.control("one disc at random positions", controls.random, images),
        ]

    def of_parts(self, name: str, figure: str, paper: str) -> _Row:
        """One reading of part interpretability."""
        behind = ", ".join(self.count(f"{figure}.{of}", of) for of in ("filters", "images"))
        return _Row(name, self.cells(f"{figure}.value", _number), paper, behind)

    def with_other_radii(self, figure: str) -> _Row:
        """One reading of part interpretability at the smallest and the largest radius."""
        by_radius = f"{figure}.by_radius"
        radii = attrgetter(by_radius)(self.known[0])
        return _Row(
            "- with the smallest / largest radius",
            self.cells(by_radius, lambda curve: _ends(curve, 1, _number)),
            behind=f"radius {_ends(radii, 0, _decimal)}",
        )

    def behaviour(self) -> list[_Row]:
        """What the filters do where no part is annotated."""
        if any(one.behaviour is None for one in self.known):
            return []
        return [
            _Row("images on which a filter fires", self.cells("behaviour.fired_share", _percent)),
            _Row("spread of the peaks", self.cells("behaviour.peak_spread", _number)),
            _Row(
                "filters that look at the same place", self.cells("behaviour.same_place", _percent)
            ),
        ]

    def filters(self) -> list[_Row]:
        """What the filters are."""
        behind = f"of {_counts(self.known, _all_filters, 'filters')}"
        categories = _listed(self.known[0].filters_of_category)
        return [
            *(_Row(f"- filters of {_plain(name)}", self.of_category(name)) for name in categories),
            _Row("dead filters", self.cells("dead", _integer), behind=behind),
            _Row("collapsed filters", self.cells("collapsed", _integer), behind=behind),
            _Row("mutual information, nats", self.cells("mutual_information", _number)),
        ]

    def related(self) -> list[_Row]:
        """The measures of related work, where they were taken."""
        if any(figures.related is None for figures in self.known):
            return []
        rows = [
            _Row(
                "purity (PIP-Net) ↑",
                self.cells("related.purity.value", _number),
                behind=self.count("related.purity.filters", "filters"),
            ),
            _Row(
                "- share of filters above 0.5 ↑",
                self.cells("related.purity.part_related", _percent),
            ),
            _Row(
                "information on the category (CSG), nats ↑",
                self.cells("related.category_information.value", _number),
                behind=self.count("related.category_information.images", "images"),
            ),
        ]
        if any(_related(figures).patterns is None for figures in self.known):
            return rows
        behind = self.count("related.patterns.filters", "filters")
        return [
            *rows,
            *(
                _Row(name, self.cells(f"related.patterns.{field}", _number), behind=behind)
                for name, field in (
                    ("inconsistency over images (after icCNN), nats ↓", "inconsistency"),
                    ("diversity between filters (after icCNN), nats ↑", "diversity"),
                )
            ),
        ]

    def of_category(self, category: str) -> list[str]:
        """Number of filters of a category in each network."""
        return [
            _DASH if figures is None else _integer(figures.filters_of_category[category])
            for figures in self.found
        ]


def _listed(categories: Iterable[str]) -> Sequence[str]:
    """Categories that get a row: not a single one, nor hundreds of species."""
    names = list(categories)
    return names if 1 < len(names) <= _MOST_CATEGORIES else ()


def _ends(curve: Sequence[Sequence[Any]], column: int, write: Callable[[Any], str]) -> str:
    return f"{write(curve[0][column])} / {write(curve[-1][column])}"


def _left_out(layer: LayerResult) -> int:
    return layer.location_instability.filters_left_out


def _related(layer: LayerResult) -> RelatedMeasures:
    assert layer.related is not None
    return layer.related


def _all_filters(layer: LayerResult) -> int:
    return layer.location_instability.filters + _left_out(layer)


def _counts(known: Sequence[Any], get: Get, noun: str, write: Callable[[Any], str] = str) -> str:
    """`512 filters`, or `510 / 512 filters` where the networks differ."""
    return f"{' / '.join(dict.fromkeys(write(get(figures)) for figures in known))} {noun}"


# Figures.


def _number(value: float | None) -> str:
    return _DASH if value is None or math.isnan(value) else f"{value:.3f}"


def _decimal(value: float | None) -> str:
    return _DASH if value is None or math.isnan(value) else f"{value:.1f}".removesuffix(".0")


def _percent(value: float | None) -> str:
    return _DASH if value is None or math.isnan(value) else f"{100 * value:.2f} %"


def _integer(value: int | None) -> str:
    return _DASH if value is None else str(value)


def _plain(text: object) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]<>|~])", r"\\\1", line)
    # GitHub's Markdown leaves an underscore inside a word alone.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


# The paper's side.


def _paper_number(results: Results, metric: str) -> PaperNumber | None:
    experiment = results.experiment
    return paper_number(
        metric,
        network=experiment.network,
        dataset=experiment.dataset,
        category=experiment.category,
        task=experiment.task,
    )


def _paper(results: Results, metric: str, write: Callable[[float], str]) -> str:
    figure = _paper_number(results, metric)
    if figure is None:
        return ""
    return f"{write(figure.ordinary)} → {write(figure.interpretable)} ({figure.scope})"


def _paper_ratio(results: Results) -> str:
    figure = _paper_number(results, "location_instability")
    return "" if figure is None else _number(figure.interpretable / figure.ordinary)


def _paper_title(experiment: ExperimentRecord) -> str:
    dataset, network = experiment.dataset, experiment.network
    if dataset not in DATASETS or network not in NETWORKS:
        return ""
    return f"paper ({DATASETS[dataset]}, {NETWORKS[network]})"


# Layout and prose.


def _aligned(summary: Summary) -> str:
    """The table, with columns padded to one width."""
    header = [_plain(title) for title in summary.header]
    lines = [
        [f"**{_plain(row.name)}**" if row.heading else _plain(row.name), *map(_plain, row.cells)]
        for row in summary.rows
    ]
    widths = [max(3, *(len(line[i]) for line in [header, *lines])) for i in range(len(header))]
    right = range(1, 1 + summary.networks)

    def written(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |"

    rule = [
        "-" * (width - 1) + ":" if i in right else "-" * width for i, width in enumerate(widths)
    ]
    return "\n".join(map(written, [header, rule, *lines]))


def _wrapped(paragraphs: Sequence[str], bullet: str = "- ") -> str:
    indent = " " * len(bullet)
    return ("\n" if bullet else "\n\n").join(
        textwrap.fill(
            _plain(text),
            _WIDTH,
            initial_indent=bullet,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for text in paragraphs
    )


def _title(experiment: ExperimentRecord) -> str:
    network = NETWORKS.get(experiment.network, experiment.network)
    dataset = _DATASET_NAMES.get(experiment.dataset, experiment.dataset)
    return f"{network} on {dataset}: {experiment.category}"


def _about(results: Results) -> list[str]:
    experiment, data = results.experiment, results.data
    size = experiment.image_size
    versions = [f"{name} {version}" for name, version in experiment.versions.items()]
    run = [f"{size} x {size} pixels", experiment.date, experiment.device, *versions]
    steps = [f"{name} at step {found.step}" for name, found in results.networks.items()]
    landmarks, parts = (", ".join(names) or "none" for names in (data.landmarks, data.parts))
    annotated = f"Landmarks: {landmarks}. Parts: {parts}."
    return [
        f"{', '.join(run)}. Networks: {', '.join(steps)}.",
        f"{data.train_images} training images, {data.test_images} test images with "
        f"{data.test_objects} objects. {annotated if data.has_parts else NO_PARTS}",
    ]


def _notes(results: Results, networks: Sequence[NetworkResult], layers: Sequence[str]) -> list[str]:
    data = results.data
    if data.location_split == "all":
        images = (
            f"all {data.location_images} annotated images, training images among them, as in "
            "the authors' code"
        )
    else:
        images = f"the {data.location_images} annotated test images"
    notes = ["↑ higher is better, ↓ lower is better, — could not be measured."]
    if data.has_parts:
        notes += _location_notes(images)
    else:
        notes += _behaviour_notes(networks, layers, images)
    if data.part_regions != "none":
        notes += [
            "Part interpretability: share of the images on which a filter's region overlaps its "
            "best part with an IoU above 0.2, mean over filters. " + _radius_note(networks, layers),
            *_reading_note(networks),
        ]
    if results.empirical_radius is not None:
        notes.append(_empirical_note(results.empirical_radius, layers[-1]))
    if data.part_regions == "boxes":
        notes.append(
            "This data set has no part masks: filled part boxes served as masks, so part "
            "interpretability does not compare with figures measured on masks."
        )
    if data.part_regions == "none" and data.has_parts:
        notes.append(
            "The parts of this data set are points without regions, so there is no part "
            "interpretability."
        )
    if len(data.categories) > 1:
        notes.append(
            "Each filter is measured on the objects of its own category, the one that it is most "
            "active on."
        )
    notes.append(
        "Dead filters fire on no image; the peaks of collapsed ones hardly vary over images. "
        "Mutual information (Eq. 1) is that of the scale-free maps of "
        f"{_information_images(networks)} images, mean over filters."
    )
    return [*notes, *_related_note(networks), *_paper_notes(results)]


def _location_notes(images: str) -> list[str]:
    """What location instability and tracking ratio are, measured on `images`."""
    return [
        "Location instability: spread of the distance between a filter's peak and a landmark, in "
        "image diagonals, over the images with the highest peaks per filter and landmark ('images "
        "each' is their mean number), "
        f"out of {images}. Filters with fewer than two images are left out. A unit that ignores "
        "the image can score well on it: hence the two controls, from the landmarks alone.",
        "Tracking ratio: spread of peak minus landmark over the spread of the landmark, same "
        "images, best landmark of each filter, mean over filters. Any constant position has 1; "
        "below 1 the filter follows the part.",
    ]


def _behaviour_notes(
    networks: Sequence[NetworkResult], layers: Sequence[str], images: str
) -> list[str]:
    """What the figures of filters without parts are, measured on `images`."""
    return [
        f"Filters are measured on {images.replace('annotated ', '')}. A filter fires on an image "
        "that has one of its highest 0.5 % of activations. Spread of the peaks: how far a filter's "
        "peak roams over the images with the highest ones, in image diagonals; random positions "
        "have 0.29. Filters that look at the same place: the share of the images on which two "
        f"filters have their peaks less than {_radii(networks, layers)} apart, mean over pairs.",
    ]


def _reading_note(networks: Sequence[NetworkResult]) -> list[str]:
    """Which images the two readings of part interpretability count; older results have one."""
    layers = [layer for network in networks for layer in network.layers.values()]
    if any(layer.part_interpretability_fired is None for layer in layers):
        return []
    return [
        "The paper does not say over which images the share is taken. Its figures are of the size "
        "of those over the images on which the filter fires, that is, has an activation among its "
        "highest 0.5 %; this rewards a filter that fires on few images, hence their share and the "
        "stricter figure over all images with the part. Units that ignore the image, with a region "
        "of one disc, score the two controls."
    ]


def _related_note(networks: Sequence[NetworkResult]) -> list[str]:
    """What the measures of related work are, where they were taken."""
    layers = [layer for network in networks for layer in network.layers.values()]
    found = [layer.related for layer in layers if layer.related is not None]
    if not found:
        return []
    purity, patterns = found[0].purity, found[0].patterns
    note = (
        "Measures of related work. Purity (PIP-Net): share of the patches of"
        f" {_decimal(purity.patch)} pixels around a filter's {purity.top} highest peaks that"
        " contain its purest landmark. Information on the category (CSG): mutual information of the"
        " mean of a map and the category that it tells most about, over all test images."
    )
    if patterns is not None:
        note += (
            " Inconsistency and diversity (readings of icCNN): entropy of the part that a filter's"
            " valid activations lie in, mean over filters, and that of all filters together; both"
            f" lie between 0 and {_number(math.log(patterns.regions))}."
        )
    return [note]


def _information_images(networks: Sequence[NetworkResult]) -> int:
    """Number of images behind a mutual information; older results do not say it."""
    layers = [layer for network in networks for layer in network.layers.values()]
    return next((of.mutual_information_images for of in layers if of.mutual_information_images), 32)


def _radius_note(networks: Sequence[NetworkResult], layers: Sequence[str]) -> str:
    """The radius of the discs, per layer where the layers differ."""
    listed = _radii(networks, layers)
    return (
        f"A region is made of discs of radius {listed}; the paper does not give its radius, and "
        "the figure moves with it: those with half and twice the radius stand below it."
    )


def _radii(networks: Sequence[NetworkResult], layers: Sequence[str]) -> str:
    """The radius of the regions in words."""
    radii = {}
    for layer in layers:
        found = [network.layers[layer] for network in networks if layer in network.layers]
        radii[layer] = _counts(
            found, attrgetter("part_interpretability.radius"), "pixels", _decimal
        )
    listed = ", ".join(f"{radius} ({layer})" for layer, radius in radii.items())
    if len(set(radii.values())) == 1:
        listed = next(iter(radii.values()))
    return listed


def _empirical_note(measured: EmpiricalRadius, layer: str) -> str:
    found = ", ".join(
        f"{one.mean:.1f} ± {one.spread:.1f} ({name}, {one.filters} filters)"
        for name, one in measured.networks.items()
    )
    return (
        f"The radius is that of empirical receptive fields of the {layer.replace('_', ' ')}, "
        f"{found}, measured by occluding {measured.images} images; their mean serves all networks."
    )


def _paper_notes(results: Results) -> list[str]:
    experiment = results.experiment
    figures = [_paper_number(results, m) for m in ("accuracy", "location_instability")]
    scopes = list(dict.fromkeys(figure.scope for figure in figures if figure is not None))
    if not scopes:
        return ["The paper has no figures for this network and data set."]
    means = [scope for scope in scopes if scope.startswith("mean of")]
    notes = []
    if means:
        marked, category = " and ".join(means), experiment.category
        notes.append(
            f"The paper's figures (ordinary → interpretable) marked '{marked}' are means over that "
            f"many categories; ours are those of {category}."
        )
    notes.append(
        "The paper gives one figure per network, which stands beside every layer here. The "
        "authors' code measures the output of the new conv before ReLU and mask, we measure each "
        "layer after ReLU and before its mask; on ILSVRC and VOC it takes all annotated images."
    )
    return notes
