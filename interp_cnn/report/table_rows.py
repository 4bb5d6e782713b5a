"""The rows of the table of an evaluation: accuracy, and the figures of one layer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from interp_cnn.evaluation.results import LayerResult, NetworkResult, RelatedMeasures, Results
from interp_cnn.report.table_figures import (
    DASH,
    counts,
    decimal,
    integer,
    number,
    paper_figures,
    paper_ratio,
    percent,
)

_MOST_CATEGORIES = 30
_PAPERS_READING = "part interpretability (paper's: images on which the filter fires) ↑"


class Row(NamedTuple):
    """A line of the table, not yet in any markup; a heading has empty cells."""

    name: str
    cells: Sequence[str]  # one per network
    paper: str = ""
    behind: str = ""
    heading: bool = False


def accuracy_rows(results: Results, networks: Sequence[NetworkResult]) -> list[Row]:
    """Accuracy of all networks, and what a network would have that never says yes."""
    accuracy = Row(
        "accuracy ↑",
        [percent(network.accuracy.value) for network in networks],
        paper_figures(results, "accuracy", percent),
        counts(networks, attrgetter("accuracy.images"), "images"),
    )
    data = results.data
    answers = data.test_images * len(data.categories)
    if results.experiment.task == "multi_softmax" or not answers:
        return [accuracy]
    never = percent(1 - data.test_objects / answers)
    return [accuracy, Row("- control: always no", [never] * len(networks))]


@dataclass(frozen=True)
class LayerRows:
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
        return [DASH if figures is None else write(get(figures)) for figures in self.found]

    def count(self, name: str, noun: str, write: Callable[[Any], str] = str) -> str:
        """How many there are behind a figure."""
        return counts(self.known, attrgetter(name), noun, write)

    def control(self, name: str, value: float | None, behind: str) -> Row:
        """What a unit that ignores the image scores: the same beside every network."""
        return Row(f"- control: {name}", [number(value)] * len(self.found), behind=behind)

    def all(self) -> list[Row]:
        """The heading and all rows."""
        data = self.results.data
        return [
            Row(self.layer, [""] * len(self.found), heading=True),
            *(self.location() if data.has_parts else ()),
            *(self.tracking() if data.has_parts else ()),
            *(self.parts() if data.part_regions != "none" else ()),
            *self.behaviour(),
            *self.filters(),
            *self.related(),
        ]

    def location(self) -> list[Row]:
        """Location instability and its controls."""
        behind = self.count("location_instability.filters", "filters")
        if any(map(_left_out, self.known)):
            behind += f" ({self.count('location_instability.filters_left_out', 'left out')})"
        each = self.count("location_instability.images_per_value", "images each", decimal)
        rows = [
            Row(
                "location instability ↓",
                self.cells("location_instability.value", number),
                paper_figures(self.results, "location_instability", number),
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

    def ratio_of_networks(self) -> Row:
        """Location instability of the second network over that of the first."""
        first, second = (
            None if figures is None else figures.location_instability.value
            for figures in self.found
        )
        ratio = second / first if first and second is not None else None
        return Row("- interpretable / ordinary", ["", number(ratio)], paper_ratio(self.results))

    def tracking(self) -> list[Row]:
        """The tracking ratio."""
        behind = self.count("tracking_ratio.filters", "filters")
        rows = [
            Row(name, self.cells(f"tracking_ratio.{field}", write), behind=behind)
            for name, field, write in (
                ("tracking ratio ↓", "value", number),
                ("- share of filters below 1 ↑", "below_1", percent),
                ("- share of filters below 0.8 ↑", "below_08", percent),
            )
        ]
        return [*rows, self.parts_followed()]

    def parts_followed(self) -> Row:
        """How many parts the filters follow, which older results do not have."""
        return Row(
            "- parts that at least 5 % of the filters follow ↑",
            self.cells("parts_followed", lambda of: integer(None if of is None else of.parts)),
            behind=f"of {counts(self.known, _all_filters, 'filters')}",
        )

    def parts(self) -> list[Row]:
        """Part interpretability: the paper's reading, the strict one and their controls.

        The results of older evaluations have the strict one alone.
        """
        paper = paper_figures(self.results, "part_interpretability", number)
        fired = all(figures.part_interpretability_fired is not None for figures in self.known)
        if not fired:
            return [
                self.of_parts("part interpretability ↑", "part_interpretability", paper),
                self.with_other_radii("part_interpretability"),
            ]
        rows = [
            self.of_parts(_PAPERS_READING, "part_interpretability_fired", paper),
            self.with_other_radii("part_interpretability_fired"),
            Row("- images on which a filter fires", self.cells("fired_share", percent)),
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

    def of_parts(self, name: str, figure: str, paper: str) -> Row:
        """One reading of part interpretability."""
        behind = ", ".join(self.count(f"{figure}.{of}", of) for of in ("filters", "images"))
        return Row(name, self.cells(f"{figure}.value", number), paper, behind)

    def with_other_radii(self, figure: str) -> Row:
        """One reading of part interpretability at the smallest and the largest radius."""
        by_radius = f"{figure}.by_radius"
        radii = attrgetter(by_radius)(self.known[0])
        return Row(
            "- with the smallest / largest radius",
            self.cells(by_radius, lambda curve: _ends(curve, 1, number)),
            behind=f"radius {_ends(radii, 0, decimal)}",
        )

    def behaviour(self) -> list[Row]:
        """What the filters do where no part is annotated."""
        if any(one.behaviour is None for one in self.known):
            return []
        return [
            Row("images on which a filter fires", self.cells("behaviour.fired_share", percent)),
            Row("spread of the peaks", self.cells("behaviour.peak_spread", number)),
            Row("filters that look at the same place", self.cells("behaviour.same_place", percent)),
        ]

    def filters(self) -> list[Row]:
        """What the filters are."""
        behind = f"of {counts(self.known, _all_filters, 'filters')}"
        categories = _listed(self.known[0].filters_of_category)
        return [
            *(Row(f"- filters of {name}", self.of_category(name)) for name in categories),
            Row("dead filters", self.cells("dead", integer), behind=behind),
            Row("collapsed filters", self.cells("collapsed", integer), behind=behind),
            Row("mutual information, nats", self.cells("mutual_information", number)),
        ]

    def related(self) -> list[Row]:
        """The measures of related work, where they were taken."""
        if any(figures.related is None for figures in self.known):
            return []
        rows = [
            Row(
                "purity (PIP-Net) ↑",
                self.cells("related.purity.value", number),
                behind=self.count("related.purity.filters", "filters"),
            ),
            Row(
                "- share of filters above 0.5 ↑",
                self.cells("related.purity.part_related", percent),
            ),
            Row(
                "information on the category (CSG), nats ↑",
                self.cells("related.category_information.value", number),
                behind=self.count("related.category_information.images", "images"),
            ),
        ]
        if any(_related(figures).patterns is None for figures in self.known):
            return rows
        behind = self.count("related.patterns.filters", "filters")
        return [
            *rows,
            *(
                Row(name, self.cells(f"related.patterns.{field}", number), behind=behind)
                for name, field in (
                    ("inconsistency over images (after icCNN), nats ↓", "inconsistency"),
                    ("diversity between filters (after icCNN), nats ↑", "diversity"),
                )
            ),
        ]

    def of_category(self, category: str) -> list[str]:
        """Number of filters of a category in each network."""
        return [
            DASH if figures is None else integer(figures.filters_of_category[category])
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
