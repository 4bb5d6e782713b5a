"""Configurations: arguments, the files in configs/, and what the command line says."""

import importlib.util
import json
import math
import os
import subprocess
import sys
import typing

import pytest
from etils import epath
from PIL import Image
from repository import ROOT

from interp_cnn import commands, configs, losses, templates
from interp_cnn.cli.config_flag import read_named_config
from interp_cnn.config import (
    check_config,
    default_config,
    fields,
    first_difference,
    flatten,
    merge_with_defaults,
    parse_arguments,
    set_field,
)
from interp_cnn.data import pipeline
from interp_cnn.data.prepare import EMBEDDED, FOLDER, PUBLISHED, TFDS
from interp_cnn.models import BACKBONES
from interp_cnn.preflight import check_run
from interp_cnn.training import filter_categories, objective
from interp_cnn.training.build import make_network
from interp_cnn.workdir import read_config

CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def load(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_arguments():
    values = parse_arguments("epochs=3,category=dog,fast=1", category="cat", epochs=8, fast=False)
    assert (values.epochs, values.category, values.fast) == (3, "dog", True)
    assert parse_arguments(None, epochs=8).epochs == 8
    assert parse_arguments(None, epochs=int).epochs is None
    assert parse_arguments("epochs=0", epochs=int).epochs == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "epoch=3",
            "'epoch=3' is unknown; write name=value with one of epochs, category, fast, steps",
        ),
        ("epochs", "'epochs' is unknown"),
        ("epochs=many", "epochs='many' must be of the type int"),
        ("steps=many", "steps='many' must be of the type int"),
        ("category=cat,category=dog", "'category' is given twice; several .* are joined by [+]"),
        ("fast=perhaps", "fast='perhaps' must be of the type bool"),
    ],
)
def test_bad_arguments(text, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments(text, epochs=8, category="cat", fast=False, steps=int)


def test_layers_that_are_frozen_have_weights():
    config = configs.get_config("ilsvrc_animal_part", "category=cat")
    config.weights = ""
    with pytest.raises(ValueError, match="frozen_through='conv4_3' freezes layers without weights"):
        check_run(config)
    check_run(config, training=False)
    config.model.frozen_through = None
    check_run(config)


def test_several_categories_of_photos_weigh_the_layers_otherwise():
    for arguments, weights in (
        ("category=cat", (10.0, None)),
        ("category=cat+fox,task=softmax", (3.0, 30.0)),
        ("category=all", (3.0, 30.0)),
        ("category=all,schedule=paper", (3.0, None)),  # of another weighting
    ):
        loss = configs.get_config("ilsvrc_animal_part", arguments).filter_loss
        assert (loss.weight, loss.top_conv_weight) == weights
    loss = configs.get_config("embedded", "category=all").filter_loss
    assert (loss.weight, loss.top_conv_weight) == (10.0, None)
    for name, arguments in (("cub_200_2011", "category=species"), ("tfds", "name=any")):
        assert configs.get_config(name, arguments).filter_loss.top_conv_weight == 30.0


def test_a_folder_with_one_class_beside_other_has_one_category(tmp_path):
    for name in ("cat", "other"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (60, 60)).save(tmp_path / name / "a.png")
    assert folder_weights(tmp_path) == (10.0, None)
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "dog" / "a.png")
    assert folder_weights(tmp_path) == (3.0, 30.0)


def folder_weights(folder):
    loss = configs.get_config("folder", f"path={folder}").filter_loss
    return loss.weight, loss.top_conv_weight


def test_no_weight_of_the_last_layer_alone_is_said(caplog):
    config = configs.get_config("ilsvrc_animal_part", "category=all")
    config.model.frozen_through = None
    config.filter_loss.weight = 0.0
    check_run(config)
    assert "out of the last layer alone" in caplog.text
    caplog.clear()
    config.filter_loss.top_conv_weight = 0.0
    with pytest.raises(ValueError, match="leaves nothing that makes the network interpretable"):
        check_run(config)
    assert "alone" not in caplog.text


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_config_files(file):
    config = load(file).get_config("category=rabbit,epochs=3,seed=5")
    assert (config.data.category, config.train.epochs, config.seed) == ("rabbit", 3, 5)
    assert config.keys() == default_config().keys()
    for variant in config.networks:
        assert make_network(config, variant).interpretable == (variant == "interpretable")
    with pytest.raises(ValueError, match="is unknown"):
        load(file).get_config("nonsense=1")


@pytest.mark.parametrize(
    ("text", "epochs", "negatives"),
    [
        (None, 7, "photos"),
        ("category=all,task=softmax", 10, "none"),
        ("category=cat+bird,epochs=5", 5, "photos"),
        ("category=cat+bird,negatives=none", 10, "none"),
    ],
)
def test_embedded_config(text, epochs, negatives):
    config = load(ROOT / "configs/embedded.py").get_config(text)
    assert (config.train.epochs, config.data.negatives) == (epochs, negatives)
    assert config.train.start_epochs == math.ceil(0.75 * epochs)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_each_file_is_a_configuration_of_the_package_to_edit(file):
    assert file.stem in configs.NAMES and len(CONFIGS) == len(configs.NAMES)
    text = "category=rabbit,epochs=3"
    packaged = read_named_config(f"{file.stem}:{text}")
    assert packaged.to_dict() == load(file).get_config(text).to_dict()
    assert load(file).get_config().to_dict() == configs.get_config(file.stem).to_dict()
    with pytest.raises(ValueError, match="is unknown"):
        read_named_config(f"{file.stem}:nonsense=1")
    with pytest.raises(ValueError, match=rf"^{file.stem}: config\.train\.epochs=0 must be"):
        read_named_config(f"{file.stem}:epochs=0")


def test_first_difference():
    config, other = default_config(), default_config()
    other.data.threads = 1
    other.data.cache_gib = 0.0
    other.eval.top = 3
    other.checkpoint.keep = 9
    assert first_difference(config.to_dict(), other.to_dict()) is None
    other.train.momentum = 0.5
    assert first_difference(config.to_dict(), other.to_dict()) == (
        "config.train.momentum is 0.9 there and 0.5 here"
    )


def test_a_field_that_is_missing_has_its_default():
    saved = default_config().to_dict()
    del saved["train"]["momentum"], saved["eval"]
    whole = lists(default_config().to_dict())
    assert lists(merge_with_defaults(saved).to_dict()) == whole
    assert first_difference(saved, default_config().to_dict()) is None
    now = default_config()
    now.train.momentum = 0.5
    assert first_difference(saved, now.to_dict()) == (
        "config.train.momentum is 0.9 there and 0.5 here"
    )
    saved["train"]["clip_norm"] = 2.0
    config = merge_with_defaults(saved)
    assert (config.train.clip_norm, config.train.momentum) == (2.0, 0.9)
    saved["train"]["speed"] = 3
    with pytest.raises(ValueError, match=r"there: config has no field 'train.speed'"):
        merge_with_defaults(saved, source="there: config")
    assert "config.train.speed is 3 there" in first_difference(saved, config.to_dict())


def lists(value):
    """Nested fields as JSON gives them back."""
    return json.loads(json.dumps(value))


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train.py", ["--config.nonsense=1"], "no field 'nonsense'"),
        ("eval.py", ["--workdir=nowhere"], "config.json is missing"),
    ],
)
def test_the_command_line_ends_with_one_sentence(tmp_path, script, arguments, message):
    result = run(script, *arguments, cwd=tmp_path)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert "Traceback" not in result.stderr
    assert not any(tmp_path.iterdir())  # nothing was begun


def test_help_lists_the_flags_of_a_script(tmp_path):
    result = run("train.py", "--help", cwd=tmp_path)
    assert "--config: One of embedded, " in result.stdout
    assert "--workdir" in result.stdout and "--[no]traceback" in result.stdout


# The table of fields


def test_the_reference_page_is_up_to_date():
    page = (ROOT / "docs/config.md").read_text()
    assert page == fields.as_markdown(), "print it anew: python -m interp_cnn.config"
    assert all(f"| `{field.name}` |" in page for field in fields.FIELDS)


def test_the_table_knows_what_the_code_knows():
    def names(field):
        return set(fields.field_of(field).kind.names)

    assert names("model.name") == set(BACKBONES)
    assert names("data.name") == {EMBEDDED, *PUBLISHED, FOLDER, TFDS}
    assert names("data.negatives") == {pipeline.PHOTOS, pipeline.CATEGORIES, pipeline.NONE}
    assert names("train.task") == {objective.LOGISTIC, objective.SOFTMAX}
    for field, kind in (
        ("model.norm", templates.Norm),
        ("model.position", templates.Position),
        ("filter_loss.gradient", losses.Gradient),
        ("filter_loss.category_rule", filter_categories.Rule),
    ):
        assert names(field) == set(typing.get_args(kind))


def test_the_defaults_are_in_range_and_the_texts_of_the_page_stand_for_them():
    check_config(default_config())
    for field in fields.FIELDS:
        text = "none" if field.default is None else str(field.default)
        assert field.parse(text) == field.default, field.name


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_files_are_in_range(file):
    config = load(file).get_config()
    check_config(config)
    check_config(json.loads(config.to_json_best_effort()))  # as read from a work directory


WHOLE = "must be a whole number of at least"


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("seed", "-1", rf"config\.seed=-1 {WHOLE} 0"),
        ("train.batch_size", "-1", rf"config\.train\.batch_size=-1 {WHOLE} 1"),
        ("train.batch_size", "1.5", rf"=1\.5 {WHOLE} 1"),
        ("train.epochs", "0", rf"=0 {WHOLE} 1"),
        ("train.epochs", "", rf"config\.train\.epochs= {WHOLE} 1"),
        ("checkpoint.every_steps", "0", rf"=0 {WHOLE} 1"),
        ("eval.batch_size", "0", rf"=0 {WHOLE} 1"),
        ("eval.top", "1", rf"=1 {WHOLE} 2"),
        ("train.learning_rate", "-1", r"=-1 must be a finite number above 0"),
        ("train.momentum", "1", r"=1 must be a finite number of at least 0 and below 1"),
        ("filter_loss.weight", "nan", r"=nan must be a finite number of at least 0"),
        ("filter_loss.weight", "none", r"=none must be a finite number of at least 0"),
        ("filter_loss.sharpness", "inf", r"=inf must be a finite number above 0"),
        ("filter_loss.alpha", "1", r"=1 must be a finite number above 0 and below 1, or none"),
        ("filter_loss.estimator", "foo", r"gradient=foo must be one of"),
        ("filter_loss.gradient", "foo", r"gradient=foo must be one of 'paper', 'exact'"),
        ("data.mean", "1", r"config\.data\.mean=1 must be 3 numbers, each a finite number"),
        ("data.mean", "(1,2)", r"=\(1,2\) must be 3 numbers"),
        ("data.mean", "(1,2,'a')", r"must be 3 numbers"),
        ("data.skip_damaged", "perhaps", r"=perhaps must be true or false"),
        ("networks", "()", r"must be some of 'ordinary', 'interpretable'"),
        ("networks", "ordinary,ordinary", r"each at most once"),
        ("train.rate_factors", "(('(', 1),)", r"pairs of a regular expression and a finite number"),
        ("train.rate_factors", "5", r"pairs of a regular"),
        ("train.rate_factors", "(('a', 1), ('a', 2))", r"no expression twice"),
        ("data.category", "", r"config\.data\.category= must be a category"),
        (
            "train.batchsize",
            "3",
            r"no field 'train.batchsize' \(did you mean 'train.batch_size'\?\)",
        ),
        ("batch_size", "3", r"did you mean 'train.batch_size'\?"),
        ("model.learning_rate", "3", r"did you mean 'train.learning_rate'\?"),
        ("nothere.x", "3", r"config has no field 'nothere.x'; docs/config.md lists the fields"),
        ("train", "3", r"config\.train is a group of fields: give one of train\.task,"),
        ("weights", "a\0b", "must be the name of a file"),
        ("seed", "9" * 5000, "must be a whole number"),
        ("train.learning_rate", "1" + "0" * 400, "must be a finite number"),
        ("data.mean", "[" * 3000, "must be 3 numbers"),
    ],
)
def test_what_a_field_refuses(field, text, message):
    with pytest.raises(ValueError, match=message) as error:
        set_field(default_config(), field, text)
    assert len(str(error.value)) < 600 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("networks", "ordinary", ("ordinary",)),
        ("networks", '("ordinary",)', ("ordinary",)),
        ("data.mean", "128,128,128.5", (128, 128, 128.5)),
        ("train.rate_factors", "(('fc8/.*', 10.0),)", (("fc8/.*", 10.0),)),
        ("model.frozen_through", "conv2", "conv2"),
        ("model.frozen_through", "none", None),
        ("train.clip_norm", "None", None),
        ("train.learning_rate", "1", 1.0),
        ("data.skip_damaged", "True", True),
    ],
)
def test_what_a_field_takes(field, text, value):
    config = default_config()
    set_field(config, field, text)
    assert flatten(config)[field] == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["train"].pop("momentum"), "run: config lacks the field 'train.momentum'; add"),
        (lambda c: c.clear(), "lacks the field 'seed'"),
        (lambda c: c.update(train=3), "run: config.train is a group of fields"),
        (lambda c: c.update(speed=3), "run: config has no field 'speed'"),
        (
            lambda c: c["train"].update(epochs="8"),
            r"run: config\.train\.epochs='8' must be a whole",
        ),
        (lambda c: c["train"].update(epochs=True), "epochs=True must be"),
        (lambda c: c["train"].update(epochs=None), "epochs=None must be"),
        (lambda c: c["data"].update(mean="128"), "mean='128' must be"),
        (lambda c: c.update(networks="ordinary"), "networks='ordinary' must be"),
    ],
)
def test_a_field_too_few_too_many_or_of_another_type(change, message):
    config = json.loads(default_config().to_json_best_effort())
    change(config)
    with pytest.raises(ValueError, match=message):
        check_config(config, "run: config")


# The whole of it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.category": "dog"}, "'dog' is no category; give one of bird, cat"),
        ({"data.category": "cat+cat"}, "names one twice"),
        ({"data.name": "pascal_voc_part", "data.category": "rabbit"}, "'rabbit' is no category"),
        ({"train.task": "softmax"}, "'softmax' tells categories from each other alone"),
        ({"train.task": "softmax", "data.negatives": "none"}, "is one category, and"),
        ({"data.negatives": "none"}, "has nothing to tell it from"),
        ({"data.negatives": "categories", "data.category": "all"}, "needs a category beside"),
        (
            {
                "data.negatives": "none",
                "data.category": "cat+bird",
                "data.negatives_per_positive": "1",
            },
            "needs negatives",
        ),
        ({"data.manual_dir": "nowhere"}, "manual_dir='nowhere' is no folder"),
        ({"data.manual_dir": "."}, "has no use with embedded_animals"),
        ({"model.frozen_through": "conv9"}, "frozen_through names no layer of small"),
        ({"weights": "download"}, "only the weights of vgg16 and"),
        ({"weights": "nowhere.h5"}, "weights file nowhere.h5 is missing"),
        ({"weights": "~/nowhere.h5"}, "weights file /.*/nowhere.h5 is missing"),
        ({"model.width": "0.5", "weights": "a"}, "width=0.5 does not fit pretrained weights"),
        (
            {"interpretable.start_epoch": "7"},
            "start_epoch=7 is not before the end of the training",
        ),
        (
            {"train.epochs": "2"},
            r"ramp_epochs=2\.8 and config\.filter_loss\.fade_epochs=2\.8 are together more than"
            r" config\.train\.epochs=2: .* --config NAME:epochs=2,",
        ),
        ({"interpretable.ramp_epochs": "1000"}, "would not reach their strength"),
        (
            {"filter_loss.weight": "0"},
            "weight=0 without any mask leaves nothing that makes the network interpretable",
        ),
        ({"train.rate_factors": "(('fc9/.*', 2),)"}, "'fc9/.*' matches no trained parameter"),
    ],
)
def test_what_does_not_fit_is_refused_before_data_are_prepared(
    changes, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(commands, "prepare", lambda *_, **__: pytest.fail("data are prepared"))
    config = load(ROOT / "configs/embedded.py").get_config()
    for field, text in changes.items():
        set_field(config, field, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        commands.train_and_evaluate(config, tmp_path / "run")
    assert "\n" not in str(error.value) and not any(tmp_path.iterdir())


def test_what_training_alone_needs_is_no_matter_for_an_evaluation():
    config = load(ROOT / "configs/embedded.py").get_config()
    config.interpretable.start_epoch = 9.0
    check_run(config, training=False)
    with pytest.raises(ValueError, match="start_epoch"):
        check_run(config)
    config.networks = ("ordinary",)
    check_run(config)


def test_filter_loss_or_mask_is_enough():
    config = load(ROOT / "configs/embedded.py").get_config()
    config.filter_loss.weight = 0.0
    config.filter_loss.top_conv_weight = 3.0
    check_run(config)
    config.filter_loss.top_conv_weight = None
    config.model.new_conv_mask = 0.5
    check_run(config)


# Config files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello world\n", r"cannot be run as a Python file \(invalid syntax in line 1\)"),
        (b"\xff\xfe\0\0", "cannot be run as a Python file"),
        (b"import nonsense_x\n", "No module named 'nonsense_x' in line 1"),
        (b"x = 1\n\nx / 0\n", "ZeroDivisionError: division by zero in line 3"),
        (b"import sys\nsys.exit(3)\n", r"SystemExit: 3 in line 2"),
        (b"x = 1\n", "has no function get_config; write one"),
        (b"get_config = 3\n", "has no function get_config"),
        (b"def get_config(a, b):\n  return 1\n", "cannot be called with 0 arguments"),
        (b"def get_config():\n  return {}['a']\n", "failed .KeyError: 'a' in line 2"),
        (b"def get_config():\n  pass\n", "must return a configuration, .* got NoneType"),
        (b"def get_config():\n  return {}\n", "lacks the field 'seed'"),
    ],
)
def test_bad_config_files(tmp_path, content, message):
    file = tmp_path / "config.py"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_named_config(str(file))
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_a_config_file_of_ones_own(tmp_path):
    file = tmp_path / "config.py"
    file.write_text(
        "from interp_cnn.config import default_config\n"
        "def get_config(text=None):\n"
        "  config = default_config()\n"
        "  config.data.mean = [1, 2, 3]\n"
        "  config.seed = int(text or 0)\n"
        "  return config.to_dict()\n"
    )
    config = read_named_config(f"{file}:7")
    assert config.seed == 7
    set_field(config, "data.mean", "4,5,6")
    assert tuple(config.data.mean) == (4, 5, 6)
    with pytest.raises(
        FileNotFoundError,
        match=r"nowhere.py does not exist; give --config a file",
    ):
        read_named_config("nowhere.py")
    with pytest.raises(ValueError, match="cannot be called with 1 arguments"):
        file.write_text("def get_config(): pass")
        read_named_config(f"{file}:7")


def of_former_names(value="mi"):
    """Fields of a run from before `filter_loss.estimator` was renamed, as config.json has them."""
    saved = json.loads(default_config().to_json_best_effort())
    del saved["filter_loss"]["gradient"]
    saved["filter_loss"]["estimator"] = value
    return saved


def test_a_saved_config_with_a_former_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(of_former_names()))
    config = read_config(epath.Path(tmp_path))
    assert config.filter_loss.gradient == "exact" and "estimator" not in config.filter_loss
    check_config(config)
    present = default_config()
    set_field(present, "filter_loss.gradient", "exact")
    assert first_difference(of_former_names(), present.to_dict()) is None
    assert first_difference(of_former_names("paper"), default_config().to_dict()) is None
    difference = first_difference(of_former_names(), default_config().to_dict())
    assert difference == "config.filter_loss.gradient is 'exact' there and 'paper' here"
    with pytest.raises(ValueError, match=r"filter_loss.gradient='foo' must be one of"):
        check_config(of_former_names("foo"))


def test_a_command_line_and_a_file_with_a_former_name(tmp_path):
    config = default_config()
    set_field(config, "filter_loss.estimator", "mi")
    assert config.filter_loss.gradient == "exact" and "estimator" not in config.filter_loss
    file = tmp_path / "former.py"
    file.write_text(
        "from interp_cnn.config import default_config\n"
        "def get_config(text=None):\n"
        "    config = default_config()\n"
        "    config.filter_loss.estimator = 'mi'\n"
        "    return config\n"
    )
    config = read_named_config(str(file))
    assert config.filter_loss.gradient == "exact" and "estimator" not in config.filter_loss
