import copy
import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest
from made_filters import made_network
from PIL import Image

from interp_cnn.evaluation.results import Results
from interp_cnn.evaluation.strongest_images import SIDE
from interp_cnn.report import paper_numbers
from interp_cnn.report.filters_picture import draw_filters
from interp_cnn.report.paper_numbers import paper_number
from interp_cnn.report.table import markdown_table
from interp_cnn.report.typical_filters import (
    TypicalFilter,
    at_quantiles,
    best_landmark,
    follows,
    typical_filters,
)


def text_of(results):
    return markdown_table(Results.from_json(results))


def layer(instability, ratio, parts, *, filters=510, left_out=2, radius=22.4, dead=3):
    return {
        "location_instability": {
            "value": instability,
            "filters": filters,
            "filters_left_out": left_out,
            "images_per_value": 98.66,
        },
        "tracking_ratio": {"value": ratio, "filters": 509, "below_1": 0.231, "below_0.8": 0.042},
        "part_interpretability": {
            "value": parts,
            "filters": 512,
            "images": 187,
            "radius": radius,
            "by_radius": [[radius / 2, parts / 2], [radius, parts], [2 * radius, parts / 4]],
        },
        "filters_of_category": {"cat": filters + left_out},
        "dead": dead,
        "collapsed": 1,
        "mutual_information": 0.0291,
        "receptive_field": {"offset": 8.0, "stride": 16.0, "size": 196.0},
    }


@pytest.fixture
def results():
    return copy.deepcopy(
        {
            "experiment": {
                "network": "vgg16",
                "category": "cat",
                "dataset": "ilsvrc_animal_part",
                "task": "single",
                "image_size": 224,
                "date": "2025-11-23",
                "device": "cpu",
                "versions": {"jax": "0.10.2"},
            },
            "data": {
                "train_images": 1120,
                "test_images": 560,
                "test_objects": 188,
                "location_images": 559,
                "location_split": "all",
                "parts": ["head", "frontal legs"],
                "landmarks": ["head", "frontal legs"],
                "categories": ["cat"],
                "part_regions": "boxes",
            },
            "controls": {"center": 0.0712, "random": 0.1451, "images": 558},
            "networks": {
                "ordinary": {
                    "step": 900,
                    "accuracy": {"value": 0.98612, "images": 560},
                    "layers": {
                        "top_conv": layer(0.132, 1.352, 0.401),
                        "new_conv": layer(0.122, 1.231, 0.412),
                    },
                },
                "interpretable": {
                    "step": 901,
                    "accuracy": {"value": 0.97044, "images": 560},
                    "layers": {
                        "top_conv": layer(0.099, 0.952, 0.503),
                        "new_conv": layer(0.0915, 0.807, 0.604, filters=507, left_out=5),
                    },
                },
            },
        }
    )


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def table(text):
    """Header, and per section ("" before the first layer) the cells of each row by its name."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1, "the columns are not aligned"
    sections = {"": {}}
    for line in lines[2:]:
        name, *rest = cells(line)
        if name.startswith("**"):
            sections[name.strip("*")] = {}
        else:
            sections[list(sections)[-1]][name] = rest
    return cells(lines[0]), sections


def prose(text):
    return " ".join(" ".join(x for x in text.splitlines() if not x.startswith("|")).split())


def test_table_of_both_networks(results):
    text = text_of(results)
    header, sections = table(text)
    assert header == [
        "",
        "ordinary",
        "interpretable",
        "paper (ILSVRC, VGG-16)",
        "behind the figures",
    ]
    assert sections[""]["accuracy ↑"] == [
        "98.61 %",
        "97.04 %",
        "98.58 % → 96.67 % (mean of 30)",
        "560 images",
    ]
    assert list(sections) == ["", "top_conv", "new_conv"]
    top, new = sections["top_conv"], sections["new_conv"]
    names = list(top)
    paper = "0.144 → 0.085 (mean of 30)"
    behind = "510 filters (2 left out), 98.7 images each"
    assert top["location instability ↓"] == ["0.132", "0.099", paper, behind]
    assert names[1:4] == [
        "- interpretable / ordinary",
        "- control: always at the centre",
        "- control: random positions",
    ]
    assert top[names[1]] == ["", "0.750", "0.590", ""]
    assert top[names[2]] == ["0.071", "0.071", "", "558 images; tracking ratio 1"]
    assert top[names[3]] == ["0.145", "0.145", "", "558 images"]
    assert top["tracking ratio ↓"] == ["1.352", "0.952", "", "509 filters"]
    assert top["- share of filters below 1 ↑"][:2] == ["23.10 %", "23.10 %"]
    assert top["- share of filters below 0.8 ↑"][:2] == ["4.20 %", "4.20 %"]
    # The paper has no part interpretability for ILSVRC.
    assert top["part interpretability ↑"] == ["0.401", "0.503", "", "512 filters, 187 images"]
    assert top["- with the smallest / largest radius"] == [
        "0.201 / 0.100",
        "0.252 / 0.126",
        "",
        "radius 11.2 / 44.8",
    ]
    assert top["dead filters"] == ["3", "3", "", "of 512 filters"]
    assert top["collapsed filters"] == ["1", "1", "", "of 512 filters"]
    assert top["mutual information, nats"] == ["0.029", "0.029", "", ""]
    assert new["- interpretable / ordinary"][1] == "0.750"
    assert new["location instability ↓"][3] == (
        "510 / 507 filters (2 / 5 left out), 98.7 images each"
    )
    assert "ordinary at step 900, interpretable at step 901" in prose(text)
    assert "188 objects" in prose(text)


def test_both_readings_of_part_interpretability(results):
    for shift, network in enumerate(results["networks"].values()):
        for figures in network["layers"].values():
            fired = copy.deepcopy(figures["part_interpretability"])
            fired |= {
                "value": 0.7 + shift / 10,
                "filters": 500,
                "by_radius": [[11.2, 0.3], [44.8, 0.9]],
            }
            figures |= {"part_interpretability_fired": fired, "fired_share": 0.25}
    results["part_controls"] = {"center": 0.37, "random": 0.171, "images": 180}
    text = text_of(results)
    _, sections = table(text)
    top = sections["top_conv"]
    name = "part interpretability (paper's: images on which the filter fires) ↑"
    assert top[name] == ["0.700", "0.800", "", "500 filters, 187 images"]
    assert top["- with the smallest / largest radius"] == [
        "0.300 / 0.900",
        "0.300 / 0.900",
        "",
        "radius 11.2 / 44.8",
    ]
    assert top["- over all images with the part ↑"][:2] == ["0.401", "0.503"]
    assert top["- images on which a filter fires"][:2] == ["25.00 %", "25.00 %"]
    assert top["- control: one disc at the centre"] == ["0.370", "0.370", "", "180 images"]
    assert top["- control: one disc at random positions"][:2] == ["0.171", "0.171"]
    assert "The paper does not say over which images the share is taken." in prose(text)
    results["experiment"]["dataset"] = "pascal_voc_part"
    _, sections = table(text_of(results))
    assert sections["top_conv"][name][2] == "0.458 → 0.653 (cat)"
    assert sections["top_conv"]["- over all images with the part ↑"][2] == ""
    del results["part_controls"]  # parts without regions
    assert "- control: one disc at the centre" not in table(text_of(results))[1]["top_conv"]


def test_measures_of_related_work(results):
    assert "PIP-Net" not in text_of(results)
    for shift, network in enumerate(results["networks"].values()):
        for figures in network["layers"].values():
            figures["related"] = {
                "purity": {
                    "value": 0.5 + shift / 10,
                    "spread": 0.2,
                    "part_related": None if shift else 0.75,
                    "filters": 507,
                    "patch": 32.0,
                    "top": 10,
                },
                "patterns": {"inconsistency": 0.9, "diversity": 1.25, "filters": 511, "regions": 4},
                "category_information": {"value": 0.03, "filters": 512, "images": 560},
            }
    text = text_of(results)
    top = table(text)[1]["top_conv"]
    assert top["purity (PIP-Net) ↑"] == ["0.500", "0.600", "", "507 filters"]
    assert top["- share of filters above 0.5 ↑"][:2] == ["75.00 %", "—"]
    assert top["information on the category (CSG), nats ↑"][3] == "560 images"
    assert top["inconsistency over images (after icCNN), nats ↓"][:2] == ["0.900", "0.900"]
    assert top["diversity between filters (after icCNN), nats ↑"][3] == "511 filters"
    assert "patches of 32 pixels around a filter's 10 highest peaks" in prose(text)
    assert "lie between 0 and 1.386" in prose(text)

    for figures in results["networks"]["ordinary"]["layers"].values():
        figures["related"]["patterns"] = None
    text = text_of(results)
    assert "purity (PIP-Net) ↑" in table(text)[1]["top_conv"] and "icCNN" not in text
    del results["networks"]["ordinary"]["layers"]["top_conv"]["related"]
    sections = table(text_of(results))[1]
    assert "purity (PIP-Net) ↑" not in sections["top_conv"]


def test_networks_stand_in_the_papers_order(results):
    results["networks"] = dict(reversed(results["networks"].items()))
    header, sections = table(text_of(results))
    assert header[1:3] == ["ordinary", "interpretable"]
    assert sections["top_conv"]["tracking ratio ↓"][:2] == ["1.352", "0.952"]


@pytest.mark.parametrize(("name", "value"), [("ordinary", "0.132"), ("interpretable", "0.099")])
def test_table_of_one_network(results, name, value):
    results["networks"] = {name: results["networks"][name]}
    header, sections = table(text_of(results))
    assert header[:2] == ["", name]
    assert len(header) == 4
    assert sections["top_conv"]["location instability ↓"][0] == value
    assert "- interpretable / ordinary" not in sections["top_conv"]


def test_missing_figures_are_dashes(results):
    top = results["networks"]["ordinary"]["layers"]["top_conv"]
    for name in ("location_instability", "tracking_ratio", "part_interpretability"):
        top[name]["value"] = None
    top["tracking_ratio"]["below_1"] = float("nan")
    top["location_instability"]["images_per_value"] = None
    results["controls"]["center"] = None
    results["networks"]["interpretable"]["accuracy"]["value"] = None
    del results["networks"]["interpretable"]["layers"]["new_conv"]
    _, sections = table(text_of(results))
    top = sections["top_conv"]
    assert top["location instability ↓"][:2] == ["—", "0.099"]
    assert top["- interpretable / ordinary"][1] == "—"
    assert top["- control: always at the centre"][:2] == ["—", "—"]
    assert top["tracking ratio ↓"][0] == "—"
    assert top["- share of filters below 1 ↑"][:2] == ["—", "23.10 %"]
    assert top["part interpretability ↑"][:2] == ["—", "0.503"]
    assert sections[""]["accuracy ↑"][:2] == ["98.61 %", "—"]
    assert sections["new_conv"]["tracking ratio ↓"][:2] == ["1.231", "—"]
    assert sections["new_conv"]["dead filters"][:2] == ["3", "—"]


def test_no_paper_column_where_the_paper_has_nothing(results):
    results["experiment"].update(network="small", dataset="embedded")
    text = text_of(results)
    header, _ = table(text)
    assert header == ["", "ordinary", "interpretable", "behind the figures"]
    assert "The paper has no figures for this network and data set." in prose(text)
    assert "→" not in text


def test_paper_column_of_one_category(results):
    results["experiment"]["dataset"] = "pascal_voc_part"
    text = text_of(results)
    header, sections = table(text)
    assert header[3] == "paper (VOC, VGG-16)"
    assert sections["top_conv"]["location instability ↓"][2] == "0.133 → 0.098 (cat)"
    assert sections["top_conv"]["part interpretability ↑"][2] == "0.458 → 0.653 (cat)"
    assert sections[""]["accuracy ↑"][2] == "98.66 % → 95.39 % (mean of 6)"
    assert "marked 'mean of 6'" in prose(text)


def test_several_categories(results):
    results["experiment"].update(category="cat+fox", task="multi_logistic")
    results["data"]["categories"] = ["cat", "fox"]
    for network in results["networks"].values():
        for figures in network["layers"].values():
            figures["filters_of_category"] = {"cat": 312, "fox": 200}
    text = text_of(results)
    _, sections = table(text)
    assert sections["new_conv"]["- filters of fox"][:2] == ["200", "200"]
    assert "Each filter is measured on the objects of its own category" in prose(text)
    assert "→" not in text  # the paper has no such figures of VGG-16 on this data set
    results["experiment"].update(dataset="pascal_voc_part", task="multi_softmax")
    results["data"]["categories"] = ["cat", "dog"]
    note = "marked 'all categories' are those of the whole data set; ours are those of cat+fox."
    assert note in prose(text_of(results))
    results["experiment"].update(category="all")
    assert "of the whole data set" not in prose(text_of(results))


def test_notes(results):
    text = prose(text_of(results))
    assert "filled part boxes served as masks" in text
    assert "all 559 objects, those of training images among them, as in the authors' code, " in text
    assert f", {results['controls']['images']} of which have a landmark" in text
    assert "discs of radius 22.4 pixels; the paper does not give" in text
    assert "empirical" not in text
    measured = {"ordinary": {"mean": 24.31, "spread": 3.2, "filters": 500}}
    results["empirical_radius"] = {"images": 20, "networks": measured}
    text = prose(text_of(results))
    assert "24.3 ± 3.2 (ordinary, 500 filters), measured by occluding 20 images" in text
    results["data"]["part_regions"] = "none"
    assert "points without regions" in prose(text_of(results))
    results["data"].update(part_regions="masks", location_split="test")
    for network in results["networks"].values():
        network["layers"]["new_conv"]["part_interpretability"]["radius"] = 30.0
    text = prose(text_of(results))
    assert "served as masks" not in text
    assert "out of the 559 test objects, " in text
    assert "radius 22.4 pixels (top_conv), 30 pixels (new_conv);" in text


def test_names_are_escaped(results):
    results["experiment"]["category"] = "a|b\nc*d_e _f"
    networks = results["networks"]
    networks["ordinary"]["layers"] = {"top|conv": networks["ordinary"]["layers"]["top_conv"]}
    networks["interpretable"]["layers"] = {"top|conv": layer(0.1, 1.0, 0.5)}
    text = text_of(results)
    header, sections = table(text)
    assert text.splitlines()[0].endswith(r": a\|b c\*d_e \_f")
    assert r"top\|conv" in sections
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(cells(line)) for line in lines} == {len(header)}


@pytest.mark.parametrize("networks", [(), ("other",)])
def test_table_refuses_other_networks(results, networks):
    networks = {name: results["networks"]["ordinary"] for name in networks}
    with pytest.raises(ValueError, match=r"results\.networks has"):
        text_of({**results, "networks": networks})


def test_table_needs_no_matplotlib():
    code = (
        "import sys, interp_cnn.report.table, interp_cnn.report.paper_numbers\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_paper_figures():
    def figure(metric, network, dataset, category=None, task="single"):
        return paper_number(metric, network=network, dataset=dataset, category=category, task=task)

    voc, ilsvrc = "pascal_voc_part", "ilsvrc_animal_part"
    assert figure("location_instability", "vgg16", voc, "cat") == (0.133, 0.098, "cat")
    assert figure("location_instability", "vgg16", voc) == (0.139, 0.096, "mean of 6")
    assert figure("location_instability", "vgg16", ilsvrc, "cat") == (0.144, 0.085, "mean of 30")
    assert figure("location_instability", "vgg_m", "cub_200_2011") == (0.148, 0.065, "all birds")
    assert figure("part_interpretability", "vgg_s", voc, "sheep") == (0.287, 0.251, "sheep")
    assert figure("part_interpretability", "vgg16", voc, "cat", "multi_logistic") == (
        (0.710, 0.938, "all categories")
    )
    assert figure("accuracy", "alexnet", ilsvrc, "fox") == (0.9628, 0.9538, "mean of 30")
    assert figure("accuracy", "vgg16", ilsvrc, task="multi_logistic") is None
    assert figure("part_interpretability", "vgg16", ilsvrc, "cat") is None
    assert figure("accuracy", "small", voc) is None
    assert figure("accuracy", "vgg16", "embedded") is None
    with pytest.raises(ValueError, match="unknown metric 'f1'"):
        figure("f1", "vgg16", voc)
    with pytest.raises(ValueError, match="unknown task 'multi'"):
        figure("accuracy", "vgg16", voc, task="multi")


@pytest.mark.parametrize("metric", ["location_instability", "part_interpretability"])
@pytest.mark.parametrize("network", paper_numbers.NETWORKS)
def test_paper_means_are_those_of_its_categories(metric, network):
    def figure(category):
        return paper_number(metric, network=network, dataset="pascal_voc_part", category=category)

    each = [figure(category)[:2] for category in paper_numbers.VOC_CATEGORIES]
    # The paper rounds the categories and their mean to .001 each.
    np.testing.assert_allclose(np.mean(each, axis=0), figure(None)[:2], rtol=0, atol=0.00101)


SIZE = 32


def typical(network="ordinary", unit=3, photos=4, **changes):
    rng = np.random.default_rng(unit)
    return TypicalFilter(
        network=network,
        layer="new_conv",
        unit=unit,
        quantile=0.1,
        ratio=0.3,
        text="follows the head, tracking ratio 0.30",
        photos=rng.integers(0, 256, (photos, SIZE, SIZE, 3), np.uint8),
    )._replace(**changes)


def drawn(tmp_path, rows, title="filters"):
    path = tmp_path / "filters.png"
    draw_filters(path, rows, title=title)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_picture_of_two_networks(tmp_path):
    rows = [[typical(), typical("interpretable", 4)]] * 5
    height, width, _ = drawn(tmp_path, rows).shape
    assert 1200 <= width <= 1400
    assert 950 <= height <= 1150
    one = drawn(tmp_path, [row[:1] for row in rows])
    assert one.shape[1] < 0.6 * width


def test_picture_changes_where_a_photo_does(tmp_path):
    before = [typical(), typical("interpretable")]
    photos = before[1].photos.copy()
    photos[0] = 255 - photos[0]
    first = drawn(tmp_path, [before])
    second = drawn(tmp_path, [[before[0], before[1]._replace(photos=photos)]])
    changed = (first != second).any(axis=2)
    columns = np.flatnonzero(changed.any(axis=0))
    # The first panel, of 150 pixels, of the right half; the rest stays.
    assert columns[-1] - columns[0] <= 151 and columns[0] > first.shape[1] / 2 - 30


def test_odd_filters_are_drawn(tmp_path):
    rows = [
        [typical("$half_{", photos=0), typical("b", photos=2)],
        [typical("$half_{", text="a very long text " * 20), typical("b", unit=100)],
    ]
    drawn(tmp_path, rows, title="100 $ of _{ " * 30)


def test_picture_refuses(tmp_path):
    for rows in ([], [[]]):
        with pytest.raises(ValueError, match="rows is empty"):
            draw_filters(tmp_path / "x.png", rows, title="filters")
    with pytest.raises(ValueError, match=r"rows are of the networks .*'a'.*'b'.*the same ones"):
        draw_filters(tmp_path / "x.png", [[typical("a")], [typical("b")]], title="filters")
    assert not (tmp_path / "x.png").exists()


def test_places_at_quantiles():
    values = np.array([0.5, 0.1, np.nan, 0.4, 0.2, 0.3])
    assert at_quantiles(values, (0, 0.5, 1)) == [1, 5, 0]
    assert at_quantiles(np.full(3, np.nan), (0, 0.5, 1)) == [0, 1, 2]
    assert at_quantiles(np.array([0.3]), (0.1, 0.9)) == [0, 0]


def test_typical_filters_are_of_one_category_on_the_same_images():
    networks = [made_network("ordinary"), made_network(filters=9)]
    rows = typical_filters(networks, "new_conv", quantiles=(0, 1), images=3)
    assert [[one.network for one in row] for row in rows] == [["ordinary", "interpretable"]] * 2
    for column, network in enumerate(networks):
        layer = network.layers[1]
        even = [unit for unit in range(2, len(layer.tracking), 2)]  # of the larger category, known
        best = layer.tracking.min(axis=1)
        assert rows[0][column].unit == min(even, key=lambda unit: best[unit])
        assert rows[1][column].unit == max(even, key=lambda unit: best[unit])
        assert rows[0][column].ratio == min(best[even])
        assert f"tracking ratio {min(best[even]):.2f}" in rows[0][column].text
    assert {one.photos.shape for row in rows for one in row} == {(3, SIDE, SIDE, 3)}
    # Where both look at the whole image, they show the same.
    wide = [
        dataclasses.replace(of, layers=[dataclasses.replace(of.layers[1], radius=1e3)])
        for of in networks
    ]
    left, right = typical_filters(wide, "new_conv", quantiles=(0.5,))[0]
    np.testing.assert_array_equal(left.photos, right.photos)


def test_typical_filters_are_of_a_category_with_figures():
    network = made_network(filters=9)
    layer = network.layers[1]
    larger, smaller = layer.categories[2], layer.categories[3]
    unknown = np.array([name == larger for name in layer.categories])[:, None]
    layer = dataclasses.replace(layer, tracking=np.where(unknown, np.nan, layer.tracking))
    rows = typical_filters([dataclasses.replace(network, layers=[layer])], "new_conv")
    assert {row[0].category for row in rows} == {smaller}
    assert all("tracking ratio 0" in row[0].text or "1." in row[0].text for row in rows)


def test_typical_filters_without_a_common_category():
    first, second = made_network("ordinary"), made_network()
    layer = dataclasses.replace(second.layers[1], categories=["none of the sample"] * 7)
    second = dataclasses.replace(second, layers=[layer])
    rows = typical_filters([first, second], "new_conv")
    assert len(rows) == 5 and not len(rows[0][1].photos) and len(rows[0][0].photos)


def test_what_a_filter_follows_in_words():
    layer = made_network(filters=2).layers[0]
    ratios = np.array([[np.nan, 0.5], [np.nan, np.nan]])
    layer = dataclasses.replace(layer, tracking=ratios, landmarks=("head", "left_leg"))
    assert best_landmark(layer, 0) == ("left leg", 0.5)
    assert best_landmark(layer, 1)[0] == ""
    assert follows("head", 0.79) == "follows the head, tracking ratio 0.79"
    assert follows("head", 0.8) == "follows no part, tracking ratio 0.80"
    assert follows("", np.nan) == "tracking ratio unknown"
