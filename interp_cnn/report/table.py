"""The results of an evaluation as Markdown: readable as it is in a terminal, and rendered."""

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from interp_cnn.report.paper_numbers import DATASETS, NETWORKS, PaperNumber, paper_number

Tree = Mapping[str, Any]
Get = Callable[[Tree], Any]

_ORDER = ("ordinary", "interpretable")
_DATASET_NAMES = {
    "ilsvrc_animal_part": "ILSVRC Animal-Part",
    "pascal_voc_part": "Pascal VOC Part",
    "cub_200_2011": "CUB-200-2011",
}
_FILTERS_OF = "filters_of_category"
_MOST_CATEGORIES = 30
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


def summarize(results: Tree) -> Summary:
    """Text and table of an evaluation: the networks side by side, and what the figures mean.

    Args:
      results: what the evaluator writes to `metrics.json`: `experiment`, `data`, `controls`, and
        under `networks` the results of `ordinary`, of `interpretable`, or of both. None and NaN
        stand for a figure that could not be measured, and show as a dash.

    Raises:
      ValueError: if there are no networks, or others than those two.
    """
    found = results["networks"]
    if not found or not set(found) <= set(_ORDER):
        raise ValueError(
            f"results['networks'] has {', '.join(map(repr, found)) or 'nothing'}; "
            "give the results of 'ordinary', 'interpretable' or both."
        )
    names = [name for name in _ORDER if name in found]
    networks = [found[name] for name in names]
    layers = list(dict.fromkeys(layer for network in networks for layer in network["layers"]))

    rows = [_accuracy_row(results, networks)]
    for layer in layers:
        rows += _layer_rows(results, layer, [network["layers"].get(layer) for network in networks])
    header = ["", *names, _paper_title(results["experiment"]), "behind the figures"]
    lines = [[row.name, *row.cells, row.paper, row.behind] for row in rows]
    keep = [i for i in range(len(header)) if i == 0 or any(line[i] for line in lines)]
    return Summary(
        title=_title(results["experiment"]),
        about=_about(results),
        networks=len(names),
        header=[header[i] for i in keep],
        rows=[
            SummaryRow(row.name, [line[i] for i in keep[1:]], row.heading)
            for row, line in zip(rows, lines, strict=True)
        ],
        notes=_notes(results, networks, layers),
    )


def markdown_table(results: Tree) -> str:
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


def _accuracy_row(results: Tree, networks: Sequence[Tree]) -> _Row:
    return _Row(
        "accuracy ↑",
        [_percent(network["accuracy"]["value"]) for network in networks],
        _paper(results, "accuracy", _percent),
        _counts(networks, _at("accuracy", "images"), "images"),
    )


def _layer_rows(results: Tree, layer: str, found: Sequence[Tree | None]) -> list[_Row]:
    """Rows of one layer; `found` has None for a network without that layer."""
    known = [figures for figures in found if figures is not None]

    def cells(get: Get, write: Callable[[Any], str]) -> list[str]:
        return [_DASH if figures is None else write(get(figures)) for figures in found]

    def count(get: Get, noun: str, write: Callable[[Any], str] = str) -> str:
        return _counts(known, get, noun, write)

    behind = [count(_at("location_instability", "filters"), "filters")]
    if any(map(_left_out, known)):
        behind[0] += f" ({count(_left_out, 'left out')})"
    behind.append(count(_at("location_instability", "images_per_value"), "images each", _decimal))
    get = _at("location_instability", "value")
    values = [None if figures is None else get(figures) for figures in found]
    rows = [
        _Row(layer, [""] * len(found), heading=True),
        _Row(
            "location instability ↓",
            [_number(value) for value in values],
            _paper(results, "location_instability", _number),
            ", ".join(behind),
        ),
    ]
    if len(values) == 2:
        ratio = None
        if not any(map(_missing, values)) and values[0]:
            ratio = values[1] / values[0]
        rows.append(_Row("- interpretable / ordinary", ["", _number(ratio)], _paper_ratio(results)))
    controls = results["controls"]
    images = f"{controls['images']} images"
    of_all = f"of {count(_all_filters, 'filters')}"
    tracked = count(_at("tracking_ratio", "filters"), "filters")
    return [
        *rows,
        _Row(
            "- control: always at the centre",
            [_number(controls["center"])] * len(found),
            behind=f"{images}; tracking ratio 1",
        ),
        _Row(
            "- control: random positions",
            [_number(controls["random"])] * len(found),
            behind=images,
        ),
        _Row("tracking ratio ↓", cells(_at("tracking_ratio", "value"), _number), behind=tracked),
        _Row(
            "- share of filters below 1 ↑",
            cells(_at("tracking_ratio", "below_1"), _percent),
            behind=tracked,
        ),
        _Row(
            "- share of filters below 0.8 ↑",
            cells(_at("tracking_ratio", "below_0.8"), _percent),
            behind=tracked,
        ),
        _Row(
            "part interpretability ↑",
            cells(_at("part_interpretability", "value"), _number),
            _paper(results, "part_interpretability", _number),
            ", ".join(count(_at("part_interpretability", of), of) for of in ("filters", "images")),
        ),
        _Row(
            "- with the smallest / largest radius",
            cells(_by_radius, lambda curve: _ends(curve, 1, _number)),
            behind=f"radius {_ends(_by_radius(known[0]), 0, _decimal)}",
        ),
        *[
            _Row(f"- filters of {_plain(category)}", cells(_at(_FILTERS_OF, category), _integer))
            for category in _listed(known[0][_FILTERS_OF])
        ],
        _Row("dead filters", cells(_at("dead"), _integer), behind=of_all),
        _Row("collapsed filters", cells(_at("collapsed"), _integer), behind=of_all),
        _Row("mutual information, nats", cells(_at("mutual_information"), _number)),
    ]


def _listed(categories: Sequence[str]) -> Sequence[str]:
    """Categories that get a row: not a single one, nor hundreds of species."""
    return categories if 1 < len(categories) <= _MOST_CATEGORIES else ()


def _at(*keys: str) -> Get:
    """What reads one figure out of a network's or a layer's results."""

    def get(tree: Tree) -> Any:
        for key in keys:
            tree = tree[key]
        return tree

    return get


_by_radius = _at("part_interpretability", "by_radius")


def _ends(curve: Sequence[Sequence[Any]], column: int, write: Callable[[Any], str]) -> str:
    return f"{write(curve[0][column])} / {write(curve[-1][column])}"


def _left_out(layer: Tree) -> int:
    return layer["location_instability"]["filters_left_out"]


def _all_filters(layer: Tree) -> int:
    return layer["location_instability"]["filters"] + _left_out(layer)


def _counts(known: Sequence[Tree], get: Get, noun: str, write: Callable[[Any], str] = str) -> str:
    """`512 filters`, or `510 / 512 filters` where the networks differ."""
    return f"{' / '.join(dict.fromkeys(write(get(figures)) for figures in known))} {noun}"


# Figures.


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)


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


def _paper_figure(results: Tree, metric: str) -> PaperNumber | None:
    experiment = results["experiment"]
    return paper_number(
        metric,
        network=experiment["network"],
        dataset=experiment["dataset"],
        category=experiment["category"],
        task=experiment["task"],
    )


def _paper(results: Tree, metric: str, write: Callable[[float], str]) -> str:
    figure = _paper_figure(results, metric)
    if figure is None:
        return ""
    return f"{write(figure.ordinary)} → {write(figure.interpretable)} ({figure.scope})"


def _paper_ratio(results: Tree) -> str:
    figure = _paper_figure(results, "location_instability")
    return "" if figure is None else _number(figure.interpretable / figure.ordinary)


def _paper_title(experiment: Tree) -> str:
    dataset, network = experiment["dataset"], experiment["network"]
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


def _title(experiment: Tree) -> str:
    network = NETWORKS.get(experiment["network"], experiment["network"])
    dataset = _DATASET_NAMES.get(experiment["dataset"], experiment["dataset"])
    return f"{network} on {dataset}: {experiment['category']}"


def _about(results: Tree) -> list[str]:
    experiment, data = results["experiment"], results["data"]
    size = experiment["image_size"]
    versions = [f"{name} {version}" for name, version in experiment["versions"].items()]
    run = [f"{size} x {size} pixels", experiment["date"], experiment["device"], *versions]
    steps = [f"{name} at step {found['step']}" for name, found in results["networks"].items()]
    landmarks, parts = (", ".join(data[k]) or "none" for k in ("landmarks", "parts"))
    return [
        f"{', '.join(run)}. Networks: {', '.join(steps)}.",
        f"{data['train_images']} training images, {data['test_images']} test images with "
        f"{data['test_objects']} objects. Landmarks: {landmarks}. Parts: {parts}.",
    ]


def _notes(results: Tree, networks: Sequence[Tree], layers: Sequence[str]) -> list[str]:
    data = results["data"]
    if data["location_split"] == "all":
        images = (
            f"all {data['location_images']} annotated images, training images among them, as in "
            "the authors' code"
        )
    else:
        images = f"the {data['location_images']} annotated test images"
    notes = [
        "↑ higher is better, ↓ lower is better, — could not be measured.",
        "Location instability: spread of the distance between a filter's peak and a landmark, in "
        "image diagonals, over the images with the highest peaks per filter and landmark ('images "
        "each' is their mean number), "
        f"out of {images}. Filters with fewer than two images are left out. A unit that ignores "
        "the image can score well on it: hence the two controls, from the landmarks alone.",
        "Tracking ratio: spread of peak minus landmark over the spread of the landmark, same "
        "images, best landmark of each filter, mean over filters. Any constant position has 1; "
        "below 1 the filter follows the part.",
        "Part interpretability: share of the images on which a filter's region overlaps its best "
        "part with an IoU above 0.2, mean over filters. " + _radius_note(networks, layers),
    ]
    if "empirical_radius" in results:
        notes.append(_empirical_note(results["empirical_radius"]))
    if data["part_regions"] == "boxes":
        notes.append(
            "This data set has no part masks: filled part boxes served as masks, so part "
            "interpretability does not compare with figures measured on masks."
        )
    if data["part_regions"] == "none":
        notes.append(
            "The parts of this data set are points without regions, so there is no part "
            "interpretability."
        )
    if len(data["categories"]) > 1:
        notes.append(
            "Each filter is measured on the objects of its own category, the one that it is most "
            "active on."
        )
    notes.append(
        "Dead filters fire on no image; the peaks of collapsed ones hardly vary over images. "
        "Mutual information (Eq. 1) is that of the scale-free maps of 32 images, mean over filters."
    )
    return [*notes, *_paper_notes(results)]


def _radius_note(networks: Sequence[Tree], layers: Sequence[str]) -> str:
    """The radius of the discs, per layer where the layers differ."""
    radii = {}
    for layer in layers:
        found = [network["layers"][layer] for network in networks if layer in network["layers"]]
        radii[layer] = _counts(found, _at("part_interpretability", "radius"), "pixels", _decimal)
    listed = ", ".join(f"{radius} ({layer})" for layer, radius in radii.items())
    if len(set(radii.values())) == 1:
        listed = next(iter(radii.values()))
    return (
        f"A region is made of discs of radius {listed}; the paper does not give its radius, and "
        "the figure moves with it: those with half and twice the radius stand below it."
    )


def _empirical_note(measured: Tree) -> str:
    found = ", ".join(
        f"{one['mean']:.1f} ± {one['spread']:.1f} ({name}, {one['filters']} filters)"
        for name, one in measured["networks"].items()
    )
    return (
        f"The radius is that of empirical receptive fields of the new conv, {found}, measured by "
        f"occluding {measured['images']} images; their mean serves all networks."
    )


def _paper_notes(results: Tree) -> list[str]:
    experiment = results["experiment"]
    figures = [_paper_figure(results, m) for m in ("accuracy", "location_instability")]
    scopes = list(dict.fromkeys(figure.scope for figure in figures if figure is not None))
    if not scopes:
        return ["The paper has no figures for this network and data set."]
    means = [scope for scope in scopes if scope.startswith("mean of")]
    notes = []
    if means:
        marked, category = " and ".join(means), experiment["category"]
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
