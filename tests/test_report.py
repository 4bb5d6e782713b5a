import copy
import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from interp_cnn.report import paper_numbers
from interp_cnn.report.filters_picture import FilterRow, draw_filters
from interp_cnn.report.paper_numbers import paper_number
from interp_cnn.report.table import markdown_table


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
    text = markdown_table(results)
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


def test_networks_stand_in_the_papers_order(results):
    results["networks"] = dict(reversed(results["networks"].items()))
    header, sections = table(markdown_table(results))
    assert header[1:3] == ["ordinary", "interpretable"]
    assert sections["top_conv"]["tracking ratio ↓"][:2] == ["1.352", "0.952"]


@pytest.mark.parametrize(("name", "value"), [("ordinary", "0.132"), ("interpretable", "0.099")])
def test_table_of_one_network(results, name, value):
    results["networks"] = {name: results["networks"][name]}
    header, sections = table(markdown_table(results))
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
    _, sections = table(markdown_table(results))
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
    text = markdown_table(results)
    header, _ = table(text)
    assert header == ["", "ordinary", "interpretable", "behind the figures"]
    assert "The paper has no figures for this network and data set." in prose(text)
    assert "→" not in text


def test_paper_column_of_one_category(results):
    results["experiment"]["dataset"] = "pascal_voc_part"
    text = markdown_table(results)
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
    text = markdown_table(results)
    _, sections = table(text)
    assert sections["new_conv"]["- filters of fox"][:2] == ["200", "200"]
    assert "Each filter is measured on the objects of its own category" in prose(text)
    assert "→" not in text  # the paper has no such figures of VGG-16 on this data set


def test_notes(results):
    text = prose(markdown_table(results))
    assert "filled part boxes served as masks" in text
    assert "all 559 annotated images" in text
    assert "discs of radius 22.4 pixels; the paper does not give" in text
    assert "empirical" not in text
    measured = {"ordinary": {"mean": 24.31, "spread": 3.2, "filters": 500}}
    results["empirical_radius"] = {"images": 20, "networks": measured}
    text = prose(markdown_table(results))
    assert "24.3 ± 3.2 (ordinary, 500 filters), measured by occluding 20 images" in text
    results["data"]["part_regions"] = "none"
    assert "points without regions" in prose(markdown_table(results))
    results["data"].update(part_regions="masks", location_split="test")
    for network in results["networks"].values():
        network["layers"]["new_conv"]["part_interpretability"]["radius"] = 30.0
    text = prose(markdown_table(results))
    assert "served as masks" not in text
    assert "out of the 559 annotated test images" in text
    assert "radius 22.4 pixels (top_conv), 30 pixels (new_conv);" in text


def test_names_are_escaped(results):
    results["experiment"]["category"] = "a|b\nc*d_e _f"
    networks = results["networks"]
    networks["ordinary"]["layers"] = {"top|conv": networks["ordinary"]["layers"]["top_conv"]}
    networks["interpretable"]["layers"] = {"top|conv": layer(0.1, 1.0, 0.5)}
    text = markdown_table(results)
    header, sections = table(text)
    assert text.splitlines()[0].endswith(r": a\|b c\*d_e \_f")
    assert r"top\|conv" in sections
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(cells(line)) for line in lines} == {len(header)}


@pytest.mark.parametrize("networks", [{}, {"other": {}}])
def test_table_refuses_other_networks(results, networks):
    with pytest.raises(ValueError, match=r"results\['networks'\] has"):
        markdown_table({**results, "networks": networks})


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


def filter_row(label="filter 3", seed=0, **changes):
    rng = np.random.default_rng(seed)
    raw = rng.uniform(0, 5, (7, 7)).astype(np.float32)
    mask = rng.uniform(-1, 1, (7, 7)).astype(np.float32)
    region = np.zeros((SIZE, SIZE), bool)
    region[8:20, 4:16] = True
    image = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    row = FilterRow(label, image, raw, mask, np.maximum(raw * mask, 0), region)
    return row._replace(**changes)


def drawn(tmp_path, rows, title="filters"):
    path = tmp_path / "filters.png"
    draw_filters(path, rows, title=title)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_figure_of_two_networks(tmp_path):
    rows = [filter_row(f"filter {k // 2}", seed=k) for k in range(24)]
    height, width, _ = drawn(tmp_path, rows).shape
    assert 1200 <= width <= 1400
    assert 1900 <= height <= 2200


def test_figure_grows_by_whole_lines(tmp_path):
    one, two, three = (
        drawn(tmp_path, [filter_row(seed=k) for k in range(count)]).shape for count in (1, 2, 3)
    )
    assert one[0] == two[0] < three[0]
    assert one[1] < two[1] == three[1]


def test_figure_changes_where_the_region_does(tmp_path):
    before = drawn(tmp_path, [filter_row()])
    region = np.zeros((SIZE, SIZE), bool)
    region[0:10, 20:32] = True  # also an outline along the border
    after = drawn(tmp_path, [filter_row(region=region)])
    columns = np.flatnonzero((before != after).any(axis=(0, 2)))
    assert len(columns)
    # The image is the first of four panels of 150 pixels, the rest of the figure stays.
    assert columns[-1] - columns[0] <= 151
    assert columns[-1] < before.shape[1] / 3


def test_image_is_dimmed_outside_the_region(tmp_path):
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    region = np.zeros((SIZE, SIZE), bool)
    # From the upper left corner of the first panel on, past the columns' headings.
    empty, full = (
        drawn(tmp_path, [filter_row(image=white, region=region | value)]) for value in (False, True)
    )
    changed = (empty != full).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    y, x = (rows[0] + rows[-1]) // 2, (columns[0] + columns[-1]) // 2
    assert full[y, x].tolist() == [255, 255, 255]
    assert 100 < empty[y, x].max() < 180


def test_maps_of_a_filter_share_a_scale(tmp_path):
    weak = filter_row(raw_map=np.full((7, 7), 1.0), masked_map=np.full((7, 7), 1.0))
    strong = filter_row(raw_map=np.full((7, 7), 9.0), masked_map=np.full((7, 7), 9.0))
    alone = drawn(tmp_path, [weak, weak])
    beside = drawn(tmp_path, [weak, strong])
    assert (alone[:, : alone.shape[1] // 2] != beside[:, : alone.shape[1] // 2]).any()
    # Another filter has its own scale.
    first = drawn(tmp_path, [weak, strong._replace(label="filter 4")])
    second = drawn(tmp_path, [weak, weak._replace(label="filter 4")])
    np.testing.assert_array_equal(first, second)


def test_odd_rows_are_drawn(tmp_path):
    rows = [
        filter_row("all zero", raw_map=np.zeros((5, 9)), mask=np.ones((5, 9)),
                   masked_map=np.zeros((5, 9))),
        filter_row("$half_{", raw_map=np.ones((7, 7), np.float16)),
        filter_row("a very long name " * 20),
        filter_row("bfloat16", masked_map=jnp.ones((7, 7), jnp.bfloat16)),
        filter_row(""),
    ]  # fmt: skip
    drawn(tmp_path, rows, title="100 $ of _{ " * 30)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image", np.zeros((SIZE, SIZE), np.uint8), r"image of rows\[1\] \('filter 3'\) is uint8"),
        ("image", np.zeros((SIZE, SIZE, 3), np.float32), "image of .* is float32"),
        ("image", np.zeros((SIZE, 9, 3), np.uint8), r"image of .* \(32, 9, 3\)"),
        ("region", np.zeros((SIZE, 9), bool), r"region of .* \(32, 9\)"),
        ("region", np.zeros((SIZE, SIZE)), "region of .* is float64"),
        ("raw_map", np.zeros((7, 7, 1)), "raw_map of .*"),
        ("raw_map", np.full((7, 7), np.nan), "raw_map of .* is not finite"),
        ("mask", np.zeros((7, 6)), r"mask of .* \(7, 6\)"),
        ("mask", np.full((7, 7), 0.5 / 49) * 400, "mask of .* goes from"),
        ("masked_map", np.zeros((7, 7), int), "masked_map of .* is int64"),
    ],
)
def test_figure_refuses(tmp_path, name, value, message):
    with pytest.raises(ValueError, match=message):
        draw_filters(
            tmp_path / "x.png", [filter_row(), filter_row(**{name: value})], title="filters"
        )
    assert not (tmp_path / "x.png").exists()


def test_figure_needs_rows(tmp_path):
    with pytest.raises(ValueError, match="rows is empty"):
        draw_filters(tmp_path / "x.png", [], title="filters")
