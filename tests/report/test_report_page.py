"""The report as files: what is in them, what is escaped, what may be missing."""

import dataclasses
import re

import numpy as np
import pytest
from made_filters import NASTY, PARTS, made_curves, made_network, made_results
from pages import Page, check_page
from PIL import Image

from interp_cnn.evaluation.network_filters import NetworkFilters
from interp_cnn.evaluation.results import Results
from interp_cnn.evaluation.strongest_images import SIDE
from interp_cnn.receptive_field import discs
from interp_cnn.report import pictures
from interp_cnn.report.curves import draw_curves, read_curves
from interp_cnn.report.filter_photos import ROOMS, photo_groups
from interp_cnn.report.opening import opening
from interp_cnn.report.page import (
    Answer,
    Contribution,
    ExplainedPrediction,
    ExtraFigure,
    write_report,
)
from interp_cnn.report.spread import part_bars, tracking_histogram
from interp_cnn.report.typical_filters import layer_discs


def write(folder, networks=None, **options):
    networks = [made_network()] if networks is None else networks
    curves = options.pop("curves", made_curves())
    config = options.pop("config", {"seed": 3, "weights": NASTY, "model": {"frozen": None}})
    return write_report(folder, made_results(), networks, curves, config=config, **options)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    answer = Answer(
        network="interpretable",
        sentence="cat, 61 % head",
        logit=1.5,
        probability=0.818,
        category=NASTY,
        right=False,
        picture=np.zeros((8, 8, 3), np.uint8),
        side="what speaks for cat",
        shares={"head": 0.61, NASTY: 0.39},
        colours={"head": "#0072B2", NASTY: "#7F7F7F"},
        filters=[
            Contribution("interpretable", "new_conv", 3, "head", 1.5),
            Contribution("interpretable", "fc6", 5, NASTY, 0.5),
        ],
    )
    explained = ExplainedPrediction(
        caption=NASTY, answers=[answer._replace(network="ordinary", right=True), answer]
    )
    figure = ExtraFigure("Radius", "It moves.", b"png")
    write(
        folder,
        [made_network("ordinary"), made_network()],
        explained=[explained],
        figures=[figure],
    )
    return folder


def test_every_page_is_well_formed_and_its_links_lead_somewhere(report):
    pages = [report / "index.html", *sorted((report / "filters").glob("*.html"))]
    assert len(pages) == 1 + 2 * 2 * 7
    for path in pages:
        check_page(path)


def test_text_is_never_markup(report):
    for path in [report / "index.html", *(report / "filters").glob("*.html")]:
        page = Page(path)
        scripts = page.all("script")
        assert scripts == (
            [{"src": "report.js", "defer": None}] if path.name == "index.html" else []
        )
        assert not page.all("b")  # of a part's name
    index = Page(report / "index.html")
    assert any(NASTY in text for text in index.texts)
    assert NASTY in [card["data-category"] for card in index.all("li") if "data-category" in card]
    assert PARTS[2] in [card["data-part"] for card in index.all("li") if "data-part" in card]
    assert index.all("img", alt=f"{NASTY}, outlined where the filters of the network ordinary look")


def test_cards_carry_the_keys_of_sorting(report):
    network = made_network()
    layer = network.layers[1]
    cards = [a for a in Page(report / "index.html").all("li") if "data-unit" in a][-7:]
    assert [int(card["data-unit"]) for card in cards] == list(range(7))
    assert cards[0]["data-interpretability"] == cards[0]["data-tracking"] == ""
    assert cards[0]["data-part"] == cards[0]["data-landmark"] == cards[0]["data-instability"] == ""
    for unit in range(1, 7):
        card = cards[unit]
        assert float(card["data-interpretability"]) == layer.shares[unit].max()
        part = PARTS[layer.shares[unit].argmax()].replace("_", " ")
        assert card["data-part"] == ("" if unit == 6 else part)
        assert float(card["data-instability"]) == layer.instability[unit]
        assert float(card["data-tracking"]) == layer.tracking[unit].min()
        assert card["data-landmark"] == layer.landmarks[layer.tracking[unit].argmin()]
        assert card["data-category"] == layer.categories[unit]


def test_the_page_of_a_filter_has_its_figures(report):
    network = made_network()
    layer, top = network.layers[1], network.gallery.layers["new_conv"]
    text = " ".join(Page(report / "filters" / "interpretable-new_conv-004.html").texts)
    for value in [*layer.tracking[4], layer.instability[4], *(v[4] for v in layer.terms.values())]:
        assert f"{value:.3f}" in text
    for share in layer.shares[4]:
        assert f"{100 * share:.0f} %" in text
    for image, peak in zip(top.image[4], top.peaks[4], strict=True):
        assert network.captions[image].split(" & ")[0] in text and f"peak {peak:.3f}" in text
    # Four groups of photos; feature maps, and masks and masked maps where there are masks.
    images = Page(report / "filters" / "interpretable-new_conv-004.html").all("img")
    assert len(images) == 4 + 3
    assert len(Page(report / "filters" / "interpretable-top_conv-004.html").all("img")) == 4 + 1


def test_a_filter_that_never_fires_has_a_page(report):
    page = Page(report / "filters" / "interpretable-new_conv-000.html")
    assert any("This filter fires on no image of " in text for text in page.texts) and not page.all(
        "img"
    )
    assert "—" in page.texts


def test_a_filter_that_fires_on_other_things_alone_shows_these(tmp_path):
    network = made_network()
    layer = network.layers[1]
    other = np.array([name != layer.categories[0] for name in network.sample.categories])
    peaks = layer.sampled.peaks.copy()
    peaks[:, 0] = other
    layer = dataclasses.replace(layer, sampled=dataclasses.replace(layer.sampled, peaks=peaks))
    write(tmp_path, [dataclasses.replace(network, layers=[network.layers[0], layer])])
    page = Page(tmp_path / "filters" / "interpretable-new_conv-000.html")
    assert any("This filter fires on no image of " in text for text in page.texts)
    assert any("Strongest without " in text for text in page.texts) and len(page.all("img")) == 1


def test_contributions_link_to_filters_that_have_a_page(report):
    index = Page(report / "index.html")
    assert index.all("a", href="filters/interpretable-new_conv-003.html")
    assert "fc6 5" in index.texts and not index.all("a", href="filters/interpretable-fc6-005.html")


def test_pieces_that_are_missing(tmp_path):
    network = made_network()
    layer = dataclasses.replace(
        network.layers[0],
        parts=(),
        shares=np.zeros((7, 0)),
        landmarks=(),
        tracking=np.zeros((7, 0)),
        terms={},
    )
    bare = NetworkFilters(
        "interpretable", network.gallery, network.captions, network.sample, [layer]
    )
    write(tmp_path / "report", [bare], curves={}, config={})
    index = Page(tmp_path / "report" / "index.html")
    assert "No curves: the networks were measured without a training run." in index.texts
    assert "Predictions explained" not in index.texts
    assert index.all("option", value="tracking", selected=None)
    page = Page(tmp_path / "report" / "filters" / "interpretable-top_conv-002.html")
    assert {"The data set has no parts.", "The data set has no landmarks."} <= set(page.texts)
    write(tmp_path / "none", [])
    assert Page(tmp_path / "none" / "index.html").open == []


def test_an_earlier_report_is_replaced(tmp_path):
    write(tmp_path, [made_network(filters=9)])
    write(tmp_path, [made_network(filters=3)])
    assert len(list((tmp_path / "filters").glob("*.html"))) == 6


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"report cannot be written to .*file/report \(Not a directory"
    ):
        write(tmp_path / "file" / "report")


# Pictures.


def test_region_is_the_union_of_the_discs_of_valid_positions():
    centers, side = np.array([8.0, 24.0]), 32
    disc = discs(centers, centers, 6, (side, side)).reshape(-1, side, side)
    y, x = np.mgrid[:side, :side] + 0.5
    maps = np.array([[[3.0, 0.5], [0.0, 2.5]], [[0.0, 0.2], [0.1, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = pictures.regions(maps, 2.0, disc)
    near = [np.hypot(y - a, x - b) <= 6 for a, b in ((8, 8), (24, 24), (8, 24))]
    np.testing.assert_array_equal(found[0], near[0] | near[1])
    np.testing.assert_array_equal(found[1], near[2])  # its peak, though below the threshold
    assert not found[2].any()  # a filter that does not fire covers nothing


def test_outline_runs_along_the_region():
    region = np.zeros((1, 12, 12), bool)
    region[0, 4:9, 4:9] = True
    drawn = pictures.region_over_image(np.full((1, 12, 12, 3), 100, np.uint8), region)[0]
    assert drawn[6, 6].tolist() == drawn[4, 6].tolist() == [100] * 3  # as it was up to its edge
    assert drawn[0, 0].tolist() == [60] * 3
    assert drawn[3, 6].tolist() == [255, 217, 47]
    assert drawn[2, 6].tolist() == [0, 0, 0]


def test_outline_of_a_region_at_the_border_runs_inside():
    region = np.zeros((1, 6, 6), bool)
    region[0, :3, :3] = True
    found = pictures.outline(region)[0]
    assert found[0, :4].all() and found[:4, 0].all() and found[3, :3].all() and found[:3, 3].all()
    assert not found[1:3, 1:3].any() and not found[4:].any() and not found[:, 4:].any()
    whole = pictures.outline(np.ones((1, 5, 5), bool))[0]
    assert whole.sum() == 16 and not whole[1:-1, 1:-1].any()
    assert not pictures.outline(np.zeros((1, 5, 5), bool)).any()


def test_map_strip_has_a_pixel_for_each_position():
    import base64
    import io

    maps = np.array([[[0.0, 1.0]], [[2.0, 4.0]]])
    uri = pictures.map_strip(maps, 0, 4, "gray")
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
    assert picture.tolist() == [[0, 64, 128, 255]]


# Curves.


def test_curves_are_read_from_a_run_that_was_killed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    curves = read_curves({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert curves == {"a": [{"step": 1, "loss": 0.5}]}


def test_a_picture_for_each_figure_with_its_ends_in_words():
    drawn = draw_curves(
        {"$a$": [{"step": 1, "loss": 0.7, "mi/top": 0.1}, {"step": 5, "loss": 0.25}]}
    )
    assert [curve.title for curve in drawn] == [
        "Loss of the task",
        "Mutual information (nats), top",
    ]
    assert not drawn[0].note and not drawn[1].note
    assert drawn[0].text == "Loss of the task. $a$: from 0.7 at step 1 to 0.25 at step 5."
    assert re.match(r"<\?xml", drawn[0].svg) and "http" not in drawn[0].text


def test_a_curve_says_which_network_lacks_it():
    curves = {"ordinary": [{"step": 1, "loss": 0.7}], "other": [{"step": 1, "loss": 1, "mi": 2}]}
    loss, information = draw_curves(curves)
    assert loss.note == ""
    assert information.note == "It is not measured in the training of ordinary."


# The first screen.


def test_the_first_screen_comes_before_the_table(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    places = [text.index(of) for of in ('class="lead"', "typical-0-0.jpg", "<h2>Parts that",
              "tracking.svg", 'id="predictions"', 'class="summary"', 'id="filters"')]  # fmt: skip
    assert places == sorted(places)
    index = Page(report / "index.html")
    assert len([a for a in index.all("img") if a["src"].startswith("typical-")]) == 5 * 2
    lead = index.texts[index.texts.index("How it was made") + 1]
    assert lead.startswith("The network small was trained on 80 images of embedded animals")
    assert "accuracy 90.0 % and 90.0 %, mean tracking ratio 0.80 and 0.80." in lead
    assert {"tracking ratio", "new conv", "top conv"} <= set(index.texts)


def test_a_network_without_training_is_called_so():
    results = made_results(["interpretable"]).to_json()
    results["networks"]["interpretable"]["step"] = 0
    results["networks"]["interpretable"]["layers"]["new_conv"]["tracking_ratio"]["value"] = None
    results["data"]["categories"] = [f"animal_{k}" for k in range(9)]
    text = opening(Results.from_json(results), "new_conv")
    assert "measured without training" in text and "on 80" not in text
    assert "animal 4 and 4 more categories, with the filter loss" in text
    assert text.endswith("tracking ratio unknown.")


def layers(**networks):
    """A layer of each network with these tracking ratios."""
    made = made_network().layers[1]
    return {
        name: dataclasses.replace(
            made, landmarks=("head", "left_leg", "tail", "wings"), tracking=of
        )
        for name, of in networks.items()
    }


def test_filters_of_each_part():
    nan = np.nan
    found = part_bars(
        layers(
            a=np.array([[0.1, 0.9, 1.0, nan], [0.2, 0.7, 0.9, nan], [1.0, 0.9, 1.2, nan]]),
            b=np.array([[0.5, 0.9, 1.0, nan], [nan, nan, nan, nan]]),
        )
    )
    # Wings are on no object.
    assert [bar.part for bar in found] == ["head", "left leg, tail", "no part", "not known"]
    assert found[0].filters == [("a", 2, 2 / 3), ("b", 1, 0.5)]
    assert found[1].filters == [("a", 0, 0), ("b", 0, 0)]
    assert found[2].filters == [("a", 1, 1 / 3), ("b", 0, 0)]
    assert found[3].filters == [("a", 0, 0), ("b", 1, 0.5)]
    every = part_bars(layers(a=np.array([[0.1, 0.9, 1.0, nan]])))
    assert [bar.part for bar in every] == ["head", "left leg, tail", "no part"]
    assert part_bars({}) == [] and tracking_histogram({}) is None
    assert part_bars(layers(a=np.full((2, 4), nan))) == []


def test_histogram_in_words():
    ratios = np.array([[0.1, 0.9, 1.0, 2.0], [1.0, 0.9, 1.2, 2.0], [np.nan] * 4])
    found = tracking_histogram(layers(a=ratios))
    assert found.text == "Tracking ratio of the filters. a: 1 of 2 filters below 0.8."
    assert "<svg" in found.svg
    assert tracking_histogram(layers(a=ratios[2:])) is None


# Photos of a filter.


def test_groups_of_photos():
    network = made_network()
    layer = network.layers[1]
    disc = layer_discs(layer, SIDE)
    unit = 3  # of cat
    strongest, middle, far, others = photo_groups(network, layer, unit, disc)
    assert [group.room for group in (strongest, middle, far, others)] == list(ROOMS)
    number = {caption: place for place, caption in enumerate(network.sample.captions)}
    cats = [place for place, name in enumerate(network.sample.categories) if name == "cat"]
    assert sorted(number[caption] for caption, _ in middle.captions) == cats
    peaks = layer.sampled.peaks[:, unit]
    assert [number[c] for c, _ in middle.captions] == sorted(cats, key=lambda i: -peaks[i])

    landmark = layer.tracking[unit].argmin()
    assert far.title == f"Farthest from the {layer.landmarks[landmark]}"
    offset = layer.sampled.positions[:, unit] - network.sample.landmarks[:, landmark]
    distance = np.hypot(offset[:, 0], offset[:, 1])
    worst = sorted(cats, key=lambda i: -distance[i])[:2]
    assert [number[c] for c, _ in far.captions] == worst
    assert far.captions[0][1] == f"peak {distance[worst[0]]:.0f} pixels away"

    other = sorted(set(range(12)) - set(cats), key=lambda i: -peaks[i])[:2]
    assert [number[c] for c, _ in others.captions] == other

    dead = photo_groups(network, layer, 0, disc)
    assert [len(group.photos) for group in dead] == [0] * 4


def test_parts_that_no_object_has_are_not_listed(tmp_path):
    network = made_network()
    shares = network.layers[1].shares.copy()
    shares[:, 2] = np.nan
    layer = dataclasses.replace(network.layers[1], shares=shares)
    write(tmp_path, [dataclasses.replace(network, layers=[layer])])
    texts = Page(tmp_path / "filters" / "interpretable-new_conv-004.html").texts
    assert "front legs" in texts and PARTS[2] not in texts
