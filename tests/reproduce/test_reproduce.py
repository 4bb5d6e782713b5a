"""Request -> runs -> numbers -> tables, with results written by hand."""

import csv
import dataclasses
import io
import json
import re
import statistics

import pytest
from made_results import made_results
from pages import check_page

from interp_cnn.evaluation.results import Results
from interp_cnn.report.paper_numbers import paper_number
from interp_cnn.reproduce.execute import NOT_YET, Outcome
from interp_cnn.reproduce.numbers import measurements_of
from interp_cnn.reproduce.plan import plan
from interp_cnn.reproduce.request import read_request
from interp_cnn.reproduce.tables import CATEGORIES, EMBEDDED, TABLES, VOC, Experiment, columns
from interp_cnn.reproduce.write import write_tables


def request_of(tables, **changes):
    return read_request(tables=tables.split(","), **{"nets": ["vgg16"], "seeds": 2} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": ["3"]}, "--tables has no '3'; choose from 1, 2, ilsvrc, 4, 5, 7, embedded"),
        ({"tables": []}, "--tables is empty; name some of 1, 2"),
        ({"nets": ["resnet"]}, "--nets has no 'resnet'; choose from alexnet, vgg_m, vgg_s, vgg16"),
        ({"categories": ["cat", "wolf"]}, "--categories has no 'wolf'; choose from bird, cat, cow"),
        ({"categories": ["fox"]}, "has no 'fox'"),  # of ILSVRC, which table 1 has not
        ({"seeds": 0}, "--seeds=0 must be at least 1"),
        ({"weights": ["a.mat"], "nets": []}, "--weights=a.mat does not say of which network"),
        ({"weights": ["vgg_m=a.mat"]}, "--weights has no 'vgg_m'; choose from vgg16"),
        (
            {"settings": ["train.epoch=1"]},
            "--set 'train.epoch=1': config has no field 'train.epoch'",
        ),
        ({"settings": ["train.epochs"]}, "--set 'train.epochs' has no value; write FIELD=VALUE"),
        ({"settings": ["train.epochs=many"]}, "config.train.epochs=many must be a whole number"),
        ({"settings": ["seed=3"]}, "config.seed has a flag of its own; use --seeds"),
    ],
)
def test_wrong_requests(changes, message):
    wanted = {"tables": ["1"], "nets": ["vgg16"]} | changes
    with pytest.raises(ValueError) as error:
        read_request(**wanted)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_field_may_have_one_number_or_three():
    std = (58.395, 57.12, 57.375)
    (run, *_) = plan(request_of("1", settings=[f"data.std={std}"]))
    assert tuple(run.config.data.std) == std


def test_one_run_serves_several_tables():
    runs = plan(request_of("1,2,4,5,7", categories=["dog", "cat"]))
    names = [run.name for run in runs]
    assert len(names) == len(set(names))
    first = [run.experiment for run in runs if run.seed == 0]
    assert [run.experiment for run in runs] == 2 * first
    assert set(first) == {
        Experiment("pascal_voc_part", "single", "cat", "vgg16"),
        Experiment("pascal_voc_part", "single", "dog", "vgg16"),
        Experiment("pascal_voc_part", "multi_logistic", "cat+dog", "vgg16"),
        Experiment("pascal_voc_part", "multi_softmax", "cat+dog", "vgg16"),
        Experiment("cub_200_2011", "single", "bird", "vgg16"),
        Experiment("ilsvrc_animal_part", "single", "cat", "vgg16"),
        Experiment("ilsvrc_animal_part", "single", "dog", "vgg16"),
        Experiment("ilsvrc_animal_part", "multi_logistic", "dog+cat", "vgg16"),
    }


def test_everything_is_planned_by_default():
    runs = plan(read_request(tables=list(TABLES), seeds=1))
    experiments = [run.experiment for run in runs]
    voc, ilsvrc, cub, embedded = 6 + 2, 30 + 1, 1, len(CATEGORIES[EMBEDDED]) + 2
    assert len(experiments) == 4 * (voc + ilsvrc + cub) + embedded
    assert Experiment("pascal_voc_part", "multi_softmax", "all", "alexnet") in experiments
    assert all(
        (experiment.network == "small") == (experiment.dataset == EMBEDDED)
        for experiment in experiments
    )


def test_configurations():
    request = request_of(
        "2,4,embedded",
        nets=["alexnet", "vgg16"],
        manual_dir="published",
        weights=["vgg16=none.h5"],
        settings=["train.epochs=7", "model.frozen_through=none", "train.clip_norm=2"],
    )
    configs = {(run.experiment, run.seed): run.config for run in plan(request)}
    config = configs[Experiment(VOC, "multi_softmax", "all", "vgg16"), 1]
    assert (config.seed, config.train.task, config.data.negatives) == (1, "softmax", "none")
    assert (config.data.name, config.data.category) == (VOC, "all")
    assert (config.weights, config.data.manual_dir) == ("none.h5", "published")
    assert (config.train.epochs, config.model.frozen_through) == (7, None)
    assert config.train.clip_norm == 2.0 and config.eval.images == "all"
    config = configs[Experiment(VOC, "single", "cow", "alexnet"), 0]
    assert (config.model.name, config.weights, config.train.task) == (
        *("alexnet", "download"),
        "logistic",
    )
    assert config.data.negatives == "photos"
    config = configs[Experiment(EMBEDDED, "multi_logistic", "all", "small"), 0]
    assert (config.model.name, config.weights, config.data.negatives) == ("small", "", "none")


def test_the_number_of_epochs_moves_what_hangs_on_it():
    request = request_of("embedded", categories=["cat"], settings=["train.epochs=2"])
    (config, _) = (run.config for run in plan(request))
    assert (config.train.epochs, config.train.start_epochs) == (2, 2)
    request = request_of(
        "embedded",
        categories=["cat"],
        settings=["train.start_epochs=1", "train.epochs=2"],
    )
    assert plan(request)[0].config.train.start_epochs == 1


def test_frozen_layers_of_vgg16_are_not_asked_of_another_network():
    by_name = {run.experiment.network: run.config for run in plan(request_of("5", nets=[]))}
    assert by_name["vgg16"].model.frozen_through == "conv4_3"
    assert all(by_name[name].model.frozen_through is None for name in by_name if name != "vgg16")


def test_batch_and_rate_of_each_network_with_the_papers_schedule():
    request = {"categories": ["cat"], "seeds": 1, "nets": ["alexnet", "vgg16"]}
    for settings, batches in (
        (["train.schedule=paper"], {"alexnet": (512, 30.0), "vgg16": (32, 1.0)}),
        (
            ["train.schedule=paper", "train.batch_size=8"],
            {"alexnet": (8, 30.0), "vgg16": (8, 1.0)},
        ),
    ):
        found = {
            run.experiment.network: (run.config.train.batch_size, run.config.train.paper_factor)
            for run in plan(request_of("ilsvrc", settings=settings, **request))
        }
        assert found == batches


def test_columns():
    titles = [c.title for c in columns(TABLES["1"][0], ["dog", "cat"])]
    assert titles == ["cat", "dog", "mean"]
    assert [c.title for c in columns(TABLES["5"][0], ["cat"])] == ["bird"]
    several = columns(TABLES["2"][0], ["cat"])
    assert [c.categories for c in several] == [(), ()]
    assert several[0].reason == "cat alone is not several categories; name more in --categories"
    assert columns(TABLES["ilsvrc"][0], ["cow"])[0].reason.startswith("none of the chosen")


def cells(table, request, values):
    """Figures of a table by (metric, variant, layer, column) where `values` are of each run."""
    planned = plan(request)
    outcomes = {
        (run.experiment, run.seed): value
        if isinstance(value := values(run), Outcome)
        else Outcome(made_results(run.config, **value))
        for run in planned
    }
    found = measurements_of(TABLES[table][0], request, planned, outcomes)
    return {(f.metric, f.variant, f.layer, f.column): f for f in found}


def by_seed(run):
    """.10 and .12 for cats, .20 and .22 for others."""
    value = (0.1 if run.experiment.category == "cat" else 0.2) + 0.02 * run.seed
    return {"value": value, "accuracy": 0.8, "filters": 512 - run.seed}


def test_mean_spread_and_what_is_behind():
    found = cells("4", request_of("4", categories=["cat", "dog"]), by_seed)
    found_value = found["location_instability", "interpretable", "new_conv", "cat"]
    assert found_value.values == pytest.approx((0.15, 0.17))
    assert found_value.mean == pytest.approx(0.16)
    assert found_value.spread == pytest.approx(statistics.stdev([0.15, 0.17]))
    assert (found_value.filters, found_value.images, found_value.seeds) == (
        (512, 511),
        (100, 100),
        (0, 1),
    )
    assert (found_value.paper, found_value.paper_scope) == (0.098, "cat")
    mean = found["location_instability", "ordinary", "top_conv", "mean"]
    assert mean.values == pytest.approx((0.16, 0.18))
    assert (mean.filters, mean.images) == ((1024, 1022), (200, 200))
    assert (mean.paper, mean.paper_scope) == (0.139, "mean of 6")
    assert "mean over 2 of 6 categories (cat, dog)" in mean.differences
    tracking = found["tracking_ratio", "ordinary", "new_conv", "dog"]
    assert tracking.values == pytest.approx((0.4, 0.44)) and tracking.paper is None
    control = found["location_instability", "center", "", "mean"]
    assert control.values == (0.07, 0.07) and control.paper is None


def test_one_seed_has_no_spread():
    found = cells("4", request_of("4", categories=["cat"], seeds=1), by_seed)
    found_value = found["location_instability", "ordinary", "new_conv", "cat"]
    assert found_value.mean == pytest.approx(0.1) and found_value.spread is None


def test_every_figure_of_the_paper_stands_beside_its_cell():
    found = cells("1", request_of("1", seeds=1), lambda run: {})
    for category in (*CATEGORIES[VOC], "mean"):
        wanted = paper_number(
            "part_interpretability", network="vgg16", dataset=VOC, category=category
        )
        for variant in ("ordinary", "interpretable"):
            found_value = found["part_interpretability_fired", variant, "new_conv", category]
            assert found_value.paper == getattr(wanted, variant)
            # The stricter reading is a measure of our own.
            strict = found["part_interpretability", variant, "new_conv", category]
            assert strict.paper is None and strict.mean < found_value.mean
    found = cells("7", request_of("7", seeds=1), lambda run: {"categories": ("a", "b")})
    row = {
        key[3]: found_value.paper for key, found_value in found.items() if key[1] == "interpretable"
    }
    assert row == {
        "ILSVRC Animal-Part, multi, logistic": None,
        "VOC Part, multi, logistic": 0.9850,
        "VOC Part, multi, softmax": 0.9160,
        "ILSVRC Animal-Part, single": 0.9667,
        "VOC Part, single": 0.9539,
        "CUB-200-2011, single": 0.9651,
    }


def test_a_mean_of_the_paper_does_not_stand_beside_one_category():
    found = cells("ilsvrc", request_of("ilsvrc", categories=["fox"], seeds=1), lambda run: {})
    one = found["location_instability", "ordinary", "new_conv", "fox"]
    mean = found["location_instability", "ordinary", "new_conv", "mean"]
    assert one.paper is None and one.mean == mean.mean
    assert (mean.paper, mean.paper_scope) == (0.144, "mean of 30")
    assert "mean over 1 of 30 categories (fox)" in mean.differences


def test_missing_runs_leave_cells_empty_and_say_why():
    def values(run):
        if run.experiment.category == "dog":
            return Outcome(None, "the folder is missing")
        return Outcome(None, "not run yet") if run.seed else by_seed(run)

    found = cells("4", request_of("4", categories=["cat", "dog"]), values)
    dog = found["location_instability", "ordinary", "new_conv", "dog"]
    assert dog.mean is None and dog.differences == ()
    assert {(m.category, m.seed, m.reason) for m in dog.missing} == {
        ("dog", 0, "the folder is missing"),
        ("dog", 1, "the folder is missing"),
    }
    mean = found["location_instability", "ordinary", "new_conv", "mean"]
    assert mean.seeds == (0,) and mean.mean == pytest.approx(0.1)
    assert "mean over 1 of 6 categories (cat)" in mean.differences
    assert ("cat", 1, "not run yet") in mean.missing


def test_a_mean_has_the_same_categories_for_every_seed():
    def values(run):
        cat = run.experiment.category == "cat"
        return Outcome(None, "no") if cat and run.seed == 1 else by_seed(run)

    found = cells("4", request_of("4", categories=["cat", "dog"]), values)
    mean = found["location_instability", "ordinary", "new_conv", "mean"]
    assert mean.seeds == (0,) and mean.values == pytest.approx((0.15,))

    def apart(run):
        there = (run.experiment.category == "cat") == (run.seed == 0)
        return by_seed(run) if there else Outcome(None, "no")

    found = cells("4", request_of("4", categories=["cat", "dog"]), apart)
    mean = found["location_instability", "ordinary", "new_conv", "mean"]
    assert mean.mean is None and any("no seed has all" in m.reason for m in mean.missing)


def test_figures_that_a_run_does_not_have():
    request = request_of("1", categories=["cat"], seeds=1)
    (run,) = plan(request)
    tree = made_results(run.config).to_json()
    del tree["networks"]["ordinary"]
    tree["networks"]["interpretable"]["layers"]["new_conv"]["part_interpretability"]["value"] = None
    results = Results.from_json(tree)
    found = measurements_of(TABLES["1"][0], request, [run], {(run.experiment, 0): Outcome(results)})
    reasons = {
        (f.variant, f.layer): [m.reason for m in f.missing]
        for f in found
        if f.metric == "part_interpretability"
    }
    assert reasons["ordinary", "new_conv"] == [
        "part_interpretability ordinary new_conv: network not trained"
    ]
    assert "no filter could be measured" in reasons["interpretable", "new_conv"][0]
    assert reasons["interpretable", "top_conv"] == []


def test_what_stands_beside_the_papers_reading(tmp_path):
    request = request_of("1", categories=["cat"], seeds=1)
    found = cells("1", request, by_seed)
    control = found["part_interpretability_fired", "center", "", "cat"]
    assert (control.mean, control.images, control.paper) == (0.37, (90,), None)
    assert found["fired_share", "interpretable", "new_conv", "cat"].mean == 0.3
    markdown, *_ = written(
        tmp_path, request, lambda run: Outcome(made_results(run.config, **by_seed(run)))
    )
    share = markdown.split("images on which a filter fires, %")[1]
    assert " 30.00 " in next(line for line in share.splitlines() if "top conv" in line)


def test_older_results_leave_the_papers_reading_empty(tmp_path):
    def values(run):
        return by_seed(run) | {"old": run.experiment.category == "dog"}

    request = request_of("1", categories=["cat", "dog"], seeds=1)
    found = cells("1", request, values)
    dog = found["part_interpretability_fired", "ordinary", "new_conv", "dog"]
    assert dog.mean is None and dog.paper is not None
    (missing,) = dog.missing
    assert missing.reason == (
        "part_interpretability_fired ordinary new_conv: not in the results of an older release;"
        " evaluate the run again"
    )
    # The mean is one of the same reading, over what has it.
    mean = found["part_interpretability_fired", "ordinary", "new_conv", "mean"]
    assert mean.mean == pytest.approx(0.4)
    assert "mean over 1 of 6 categories (cat)" in mean.differences
    strict = found["part_interpretability", "ordinary", "new_conv", "mean"]
    assert strict.mean == pytest.approx((0.3 + 0.6) / 2)

    markdown, *_ = written(
        tmp_path, request, lambda run: Outcome(made_results(run.config, **values(run)))
    )
    first, second = (
        next(line for line in markdown.split(heading)[1].splitlines() if "ordinary, new" in line)
        for heading in ("images on which the filter fires ↑", "all images with the part ↑")
    )
    assert [cell.split()[0] for cell in first.split(" | ")[1:3]] == ["0.400", "—"]
    assert [cell.split()[0] for cell in second.split(" | ")[1:3]] == ["0.300", "0.600"]
    assert first.count("(") == 3 and "(" not in second  # the paper's numbers


def differences_of(variant="interpretable", metric="part_interpretability", table="1", **changes):
    request = request_of(table, **{"categories": ["cat"], "seeds": 1} | changes)
    found = cells(table, request, lambda run: {})
    layer = "" if metric == "accuracy" else "new_conv"
    return " | ".join(
        next(f for key, f in found.items() if key[:3] == (metric, variant, layer)).differences
    )


def test_marks_of_the_two_core_configuration():
    different = differences_of()
    for text in (
        "Keras' ImageNet weights",
        "layers up to conv4_3 not trained",
        "8 epochs; the paper has 50",
        "learning rate 0.005, cosine; the paper's falls from k 1e-4 to k 1e-5, k = 1",
        "gradients clipped to a norm of 5;",
        "the filter loss sets in after 0 epochs, over 3.2;",
        "masks of the strength 0 (top conv) and 0 (new conv); the paper has 1",
        "both networks begin from an ordinary one, trained for 4 epochs",
        "filter loss weighted by 'scale_free'",
        "a penalty of weight 3 on maps that grow; the paper has none",
        "the filter loss falls to zero in the last 3.2 epochs; the paper's falls as 1/t",
        "our own split by photo",
    ):
        assert text in different
    assert (
        "batches" not in different
        and "measured on" not in different
        and "other images" not in different
    )
    assert "both networks begin" in (ordinary := differences_of(variant="ordinary"))
    assert "filter loss" not in ordinary


def test_nothing_but_the_split_differs_where_all_is_as_in_the_paper(monkeypatch):
    from interp_cnn.reproduce import differences, plan

    facts = {"mean": (123.68, 116.779, 103.939), "source": "imagenet.mat (MatConvNet)"}
    for module in (differences, plan):
        monkeypatch.setattr(module, "weights_facts", lambda file, network: facts)
    settings = (
        *("train.epochs=50", "train.schedule=paper", "train.clip_norm=none"),
        *("filter_loss.weighting=paper", "filter_loss.gradient=paper"),
        *("interpretable.ramp_epochs=0", "model.frozen_through=none"),
    )
    settings = {"settings": settings, "weights": ["imagenet.mat"]}
    assert differences_of(**settings) == (
        "our own split by photo; the authors' is not published as a list"
    )
    found = differences_of(
        **settings | {"settings": (*settings["settings"], "eval.images=test", "model.width=0.5")}
    )
    assert "measured on test images; the authors took all annotated images" in found
    assert "all layers at 0.5 of the paper's width" in found
    assert "measured on" not in differences_of(metric="accuracy", table="7", **settings)
    for setting, difference in (
        ("data.crop=image", "config.data.crop is 'image'; the paper's: 'object'"),
        ("model.position=centroid", "config.model.position is 'centroid'; the paper's: 'argmax'"),
        ("model.dropout=0.1", "dropout of 0.1; the paper has .5 to .9"),
        ("model.new_init_std=none", "new layers begin with He initialisation; the paper's with"),
        ("train.momentum=0", "config.train.momentum is 0.0; the paper's: 0.9"),
    ):
        found = differences_of(**settings | {"settings": (*settings["settings"], setting)})
        assert difference in found
    negatives = (*settings["settings"], "data.negatives_per_positive=1")
    found = differences_of(**settings | {"settings": negatives})
    assert "other images: photos, 1 for each object; the paper has: photos" in found


def test_marks_of_weights(monkeypatch, tmp_path):
    from interp_cnn.reproduce import differences, plan

    assert "w.h5, which cannot be read now" in differences_of(weights=[str(tmp_path / "w.h5")])
    facts = {"mean": (120.0, 116.8, 103.9), "source": "w.pth (torchvision)"}
    for module in (differences, plan):
        monkeypatch.setattr(module, "weights_facts", lambda file, network: facts)
    assert "weights w.pth (torchvision); the paper" in differences_of(weights=["w.pth"])
    (run,) = plan.plan(request_of("1", categories=["cat"], seeds=1, weights=["w.pth"]))
    assert run.config.data.mean == facts["mean"]  # or the run would refuse the weights


def test_marks_of_several_categories_and_of_cub():
    found = cells(
        "2",
        request_of("2", categories=["cat", "dog"], seeds=1),
        lambda run: {"categories": ("cat", "dog")},
    )
    different = " | ".join(
        found[
            "part_interpretability", "ordinary", "new_conv", "VOC Part, multi, softmax"
        ].differences
    )
    assert "2 of the paper's 6 categories" in different and "are on both sides" in different
    found = cells("5", request_of("5", seeds=1), lambda run: {})
    different = found["location_instability", "ordinary", "new_conv", "bird"].differences
    assert "40 of the 5794 official test birds" in different
    assert not any("split" in text or "categories" in text for text in different)


def written(tmp_path, request, values):
    planned = plan(request)
    outcomes = {(run.experiment, run.seed): values(run) for run in planned}
    paths = write_tables(request, planned, outcomes, tmp_path)
    names = ["tables.md", "tables.csv", "tables.json", "report/index.html"]
    assert paths == [tmp_path / name for name in names]
    return [path.read_text(encoding="utf-8") for path in paths]


def test_written_tables(tmp_path):
    def values(run):
        if run.experiment.category == "dog":
            return Outcome(None, "no <folder> | here")
        return Outcome(made_results(run.config, **by_seed(run)))

    request = request_of("4,7", categories=["cat", "dog"])
    markdown, table, content, _ = written(tmp_path, request, values)
    lines = markdown.splitlines()
    assert "## Table 4: Location instability, VOC Part" in lines
    row = next(line for line in lines if line.startswith("| VGG-16, ordinary, new conv"))
    _, cat, dog, mean = (cell.strip() for cell in row.strip("|").split(" | "))
    assert cat.startswith("0.110 ± 0.014 (0.133) a,b")
    assert dog == "— (0.127)"
    assert mean.startswith("0.110 ± 0.014 (0.139) a,b")
    behind = [line for line in lines if line.startswith("| VGG-16, ordinary, new conv")][2]
    assert "511-512 / 100 / 2" in behind and "—" in behind
    assert (
        "- VGG-16 dog (seed 0, 1): no \\<folder\\> \\| here" in lines
        and "- VGG-16 cat+dog, dog+cat (seed 0, 1): " not in markdown
    )
    assert any(line.startswith("- a: Keras' ImageNet weights") for line in lines)
    for number, line in enumerate(lines):  # every table is one for Markdown too
        if line.startswith("|") and not lines[number - 1].startswith("|"):
            assert lines[number + 1].startswith("| ---")

    rows = list(csv.DictReader(io.StringIO(table)))
    (cat,) = (
        r
        for r in rows
        if (r["table"], r["metric"], r["variant"], r["layer"], r["column"])
        == ("4", "location_instability", "ordinary", "new_conv", "cat")
    )
    assert float(cat["mean"]) == pytest.approx(0.11) and float(cat["paper"]) == 0.133
    assert (cat["seeds"], cat["filters"], cat["images"]) == ("2", "511-512", "100")
    assert "Keras' ImageNet weights" in cat["differences"] and cat["missing"] == ""

    read = json.loads(content)
    assert [one["name"] for one in read["tables"]] == ["4", "7"]
    (cell,) = (
        c
        for c in read["tables"][0]["cells"]
        if (c["metric"], c["variant"], c["layer"], c["column"])
        == ("location_instability", "ordinary", "new_conv", "dog")
    )
    assert cell["mean"] is None and cell["missing"][0]["reason"] == "no <folder> | here"
    runs = {run["name"]: run for run in read["runs"]}
    assert runs["pascal_voc_part-cat-single-vgg16-seed1"]["config"]["seed"] == 1
    assert not runs["pascal_voc_part-dog-single-vgg16-seed0"]["done"]


def test_accuracy_is_written_in_percent(tmp_path):
    markdown, *_ = written(
        tmp_path,
        request_of("7", categories=["cat", "dog"]),
        lambda run: Outcome(made_results(run.config, accuracy=0.9 + 0.01 * run.seed)),
    )
    row = next(line for line in markdown.splitlines() if line.startswith("| VGG-16, ordinary"))
    assert row.count("90.50 ± 0.71") == 6 and "(98.66)" in row


def test_the_embedded_tables_need_no_paper(tmp_path):
    markdown, _, content, _ = written(
        tmp_path,
        request_of("embedded", categories=["cat", "bird"], nets=[]),
        lambda run: Outcome(made_results(run.config)),
    )
    assert "Table embedded 1" in markdown
    (heads,) = re.findall(r"Table embedded 7.*?\n(\| accuracy[^\n]*)", markdown, re.DOTALL)
    columns = "bird", "cat", "mean", "multi, logistic", "multi, softmax"
    assert tuple(cell.strip() for cell in heads.split("|")[2:-1]) == columns
    assert "small, interpretable, new conv" in markdown and "the paper has" not in markdown
    assert "- a: mean over 2 of 6 categories (bird, cat)\n" in markdown
    name = "embedded_animals-bird-single-small-seed1"
    assert f"- [{name}](runs/{name}/report/index.html)" in markdown
    assert all(c["paper"] is None for t in json.loads(content)["tables"] for c in t["cells"])


def test_the_page_of_the_tables(tmp_path):
    reason = 'no <folder> | here & "nowhere"'

    def values(run):
        if run.experiment.category == "dog":
            return Outcome(None, reason)
        folder = tmp_path / "runs" / run.name
        if run.seed:
            (folder / "report").mkdir(parents=True)
            (folder / "report" / "index.html").touch()
            (folder / "time.json").write_text('{"seconds": 90}')
        results = made_results(run.config, **by_seed(run))
        experiment = dataclasses.replace(
            results.experiment, date="2026-11-23T10:00:00+00:00", device="8 x <cpu>"
        )
        return Outcome(dataclasses.replace(results, experiment=experiment))

    request = request_of("4,7", categories=["cat", "dog"], settings=["train.epochs=3"])
    markdown, *_ = written(tmp_path, request, values)
    page = check_page(tmp_path / "report" / "index.html")
    assert page.texts.count("Table 4: Location instability, VOC Part") == 1
    assert "0.110 ± 0.014" in page.texts and "(0.133)" in page.texts
    assert "511-512 / 100 / 2" in page.texts
    # The letters are those of the Markdown, each explained once.
    first = markdown.split("What the letters mark")[1].splitlines()[2]
    letter, text = first.removeprefix("- ").split(": ", 1)
    assert page.all("a", href="#mark-a") and page.texts.count(text) == 1 and letter == "a"
    assert f"VGG-16 dog (seed 0, 1): {reason}" in page.texts and not page.all("folder")
    # Runs: done with a report, done without, and left empty.
    name = "pascal_voc_part-cat-single-vgg16-seed1"
    assert page.all("a", href=f"../runs/{name}/report/index.html")
    assert not page.all("a", href=f"../runs/{name[:-1]}0/report/index.html")
    assert name[:-1] + "0" in page.texts and page.texts.count(reason) == 4
    assert "12 of 16 runs are done." in page.texts and "1.5" in page.texts
    assert "train.epochs=3" in page.texts and "8 x <cpu>" in page.texts


def test_the_page_before_the_first_run(tmp_path):
    written(tmp_path, request_of("1", categories=["cat"]), lambda run: NOT_YET)
    page = check_page(tmp_path / "report" / "index.html")
    assert "0 of 2 runs are done." in page.texts and page.texts.count("not run yet") == 2
    assert not page.all("a", href="#marks")


def test_a_page_that_cannot_be_written_leaves_the_tables(tmp_path):
    (tmp_path / "report").write_text("")
    with pytest.raises(OSError, match=r"report cannot be written to .*report \(File exists\)"):
        written(tmp_path, request_of("1", categories=["cat"]), lambda run: NOT_YET)
    assert (tmp_path / "tables.md").exists() and (tmp_path / "tables.json").exists()
