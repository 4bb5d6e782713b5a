"""Tasks from prepared data: categories, negatives, and the command that prepares."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from voc_part_folder import write_published

from interp_cnn.config import default_config
from interp_cnn.data import __main__ as command
from interp_cnn.data.categories import named_categories
from interp_cnn.data.embedded.builder import EmbeddedAnimals, EmbeddedConfig
from interp_cnn.data.embedded.drawing import CATEGORIES
from interp_cnn.data.pipeline import Split, read_split
from interp_cnn.data.prepare import prepare
from interp_cnn.workdir import claim_data


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    config = EmbeddedConfig(
        categories=("cat", "bird", "rabbit"), num_per_category=12, num_other=12, image_size=32
    )
    builder = EmbeddedAnimals(config=config, data_dir=tmp_path_factory.mktemp("data"))
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    write_published(root)
    return root


def names_and_labels(split):
    """(category, label in the task) of each example, the label as the split and the example say."""
    assert [split[i]["label"] for i in range(len(split))] == split.labels.tolist()
    names = [split[i]["photo_id"].decode().split("_")[0] for i in range(len(split))]
    return list(zip(names, split.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    ("categories", "negatives", "expected"),
    [
        (None, "photos", {("cat", 1), ("bird", 2), ("rabbit", 3), ("other", 0)}),
        (("rabbit", "cat"), "photos", {("rabbit", 1), ("cat", 2), ("other", 0)}),
        (("rabbit", "cat"), "none", {("rabbit", 1), ("cat", 2)}),
        (("bird",), "categories", {("bird", 1), ("cat", 0), ("rabbit", 0)}),
        (("bird",), "photos", {("bird", 1), ("other", 0)}),
    ],
)
def test_labels_of_a_task(builder, categories, negatives, expected):
    split = read_split(builder, "train", categories=categories, negatives=negatives)
    found = names_and_labels(split)
    assert set(found) == expected
    # Each example of these categories once, objects first.
    stored = builder.as_data_source("train")
    ids = [e["photo_id"].decode().split("_")[0] for e in stored]
    assert len(found) == sum(ids.count(name) for name, _ in expected)
    assert (np.diff((split.labels > 0).astype(int)) <= 0).all() and len(set(split.indices)) == len(
        split
    )


def test_ratio_of_other_categories(builder):
    options = {"categories": ("bird",), "negatives": "categories"}
    split = read_split(builder, "train", negatives_per_positive=0.5, **options)
    objects = (split.labels > 0).sum()
    assert (split.labels == 0).sum() == round(0.5 * objects)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negatives": "others"}, "negatives='others' is unknown; give 'photos', 'categories'"),
        ({"negatives": "categories"}, "needs a category beside those of the task"),
        ({"negatives": "none", "categories": ("cat",)}, "needs several categories, here is 'cat'"),
        ({"categories": ("dog",)}, "has no category 'dog', only cat, bird, rabbit"),
        ({"negatives": "none", "negatives_per_positive": 1.0}, "per_positive=1.0 needs negatives"),
    ],
)
def test_tasks_that_cannot_be(builder, options, message):
    with pytest.raises(ValueError, match=message):
        read_split(builder, "train", **options)


def test_named_categories():
    known = ("cat", "fox", "elephant")
    assert named_categories("fox", known) == ("fox",)
    assert named_categories("elephant+cat", known) == ("elephant", "cat")
    assert named_categories("all", known) == known
    assert named_categories("all", None) == ()
    assert named_categories("b+a", None) == ("b", "a")
    with pytest.raises(ValueError, match="'dog' is no category; give one of cat, fox, elephant,"):
        named_categories("cat+dog", known)
    with pytest.raises(ValueError, match=r"'cat\+cat' names one twice"):
        named_categories("cat+cat", known)


def test_categories_of_embedded_animals(tmp_path):
    two = EmbeddedAnimals(config="rabbit+cat", data_dir=tmp_path)
    assert two.categories == ("rabbit", "cat")
    assert two.info.features["label"].names == ["other", "rabbit", "cat"]
    config = two.builder_config
    assert (config.num_per_category, config.num_other) == (750, 1500)
    assert EmbeddedAnimals(config="all", data_dir=tmp_path).categories == CATEGORIES
    with pytest.raises(ValueError, match="'dog' is no category"):
        EmbeddedAnimals(config="dog", data_dir=tmp_path)


def test_summary_of_embedded_animals(builder):
    summary = builder.info.metadata["summary"]
    assert list(summary) == ["cat", "bird", "rabbit", "other"]
    assert [counts["examples"] for counts in summary.values()] == [12, 12, 12, 12]
    assert summary["cat"]["parts"]["head"] == 12 and summary["other"]["parts"] == {}


def data_config(voc, data_dir, **fields):
    config = default_config().data
    config.name, config.manual_dir, config.data_dir = "pascal_voc_part", str(voc), str(data_dir)
    config.update(fields)
    return config


def test_prepare_one_category_against_photos_or_categories(voc, tmp_path):
    data = prepare(data_config(voc, tmp_path, category="cat"), seed=0)
    assert data.categories == ("cat",)
    assert data.parts == ("head", "torso", "front_legs", "back_legs", "tail")
    assert data.landmarks == ("head", "neck", "torso") and data.has_masks
    assert len(data.train) + len(data.test) == 10 + 8

    config = data_config(voc, tmp_path, category="cat", negatives="categories")
    against = prepare(config, seed=0)
    assert (against.categories, against.parts) == (data.categories, data.parts)
    labels = np.concatenate([against.train.labels, against.test.labels])
    assert ((labels == 1).sum(), (labels == 0).sum()) == (10, 14)


def test_photos_of_other_things_are_asked_for_before_any_work(voc, tmp_path):
    copy = shutil.copytree(voc, tmp_path / "copy", ignore=shutil.ignore_patterns("neg"))
    config = data_config(copy, tmp_path / "data", category="cat")
    with pytest.raises(
        FileNotFoundError, match=r"neg \(photos .*missing: .*negatives='categories'"
    ):
        prepare(config, seed=0)
    assert not (tmp_path / "data").exists()
    config.negatives = "categories"
    assert (prepare(config, seed=0).train.labels == 0).any()


def test_all_birds_have_no_other_categories(tmp_path):
    config = data_config("", tmp_path, name="cub_200_2011", category="bird", negatives="categories")
    with pytest.raises(ValueError, match="'bird' has all of the data set: give 'photos'"):
        prepare(config, seed=0)


def test_a_category_needs_objects_to_train_and_to_test_with(voc, tmp_path):
    # Of most animals the copy has one photo.
    everything = data_config(voc, tmp_path, category="all", negatives="none")
    with pytest.raises(ValueError, match=r"the train split of .* has no object of .* 'sheep'; add"):
        prepare(everything, seed=0)
    everything.category = "cat+dog"
    data = prepare(everything, seed=0)
    assert data.categories == ("cat", "dog")
    labels = np.concatenate([data.train.labels, data.test.labels])
    np.testing.assert_array_equal(np.bincount(labels), [0, 10, 10])


def test_other_files_are_other_data(voc, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(voc, copy)
    how = data_config(copy, tmp_path / "tfds", category="cat")
    first = prepare(how, seed=0)
    again = prepare(how, seed=0)
    assert again.identity == first.identity
    # Another photo of other things has the same labels and another content.
    photo = next((copy / "neg").iterdir())
    photo.write_bytes(photo.read_bytes() + b"0")
    assert prepare(how, seed=0).identity != first.identity
    # As earlier releases noted it.
    noted = first.identity.partition(", content")[0]
    for run, known in enumerate((noted, f"{noted}, files 0123456789ab")):
        folder = tmp_path / str(run)
        folder.mkdir()
        claim_data(folder, known)
        (folder / "ordinary").mkdir()
        (folder / "ordinary" / "metrics.jsonl").touch()
        claim_data(folder, first.identity)
        assert json.loads((folder / "data.json").read_text())["data"] == first.identity
        with pytest.raises(ValueError, match="belongs to a run with other data"):
            claim_data(folder, noted)


def test_images_that_are_packed_otherwise_are_no_other_data(voc, tmp_path):
    data = prepare(data_config(voc, tmp_path, category="cat"), seed=0)

    def packed(level, value=0):
        file = io.BytesIO()
        Image.fromarray(np.full((40, 40), value, np.uint8)).save(file, "PNG", compress_level=level)
        examples = [data.test[i] for i in range(len(data.test))]
        examples[0] = examples[0] | {"image": file.getvalue()}
        test = Split(examples, np.arange(len(examples)), data.test.labels)
        return dataclasses.replace(data, test=test).identity

    assert packed(0) == packed(9) != packed(9, value=1)


def test_files_that_a_task_does_not_use_are_no_other_data(voc, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(voc, copy)
    how = data_config(copy, tmp_path / "tfds", category="cat+dog", negatives="none")
    first = prepare(how, seed=0).identity
    other = next((copy / "neg").iterdir())
    other.rename(other.with_name("another.jpg"))
    assert prepare(how, seed=0).identity == first


def test_a_whole_photo_is_one_input(voc, tmp_path, monkeypatch, caplog):
    # Of the copy every photo of a cat shows a dog, too.
    how = data_config(voc, tmp_path, category="cat", negatives="categories", crop="image")
    with pytest.raises(ValueError, match=r"all photos of .cat. have another label, too,"):
        prepare(how, seed=0)
    # As objects they are told apart, and against photos of other things there is no other label.
    assert len(prepare(data_config(voc, tmp_path, category="cat"), seed=0).train)
    how.negatives = "photos"
    assert len(prepare(how, seed=0).train)

    photos = [b"a", b"a", b"b", b"c", b"b", b"d"]
    labels = np.array([1, 1, 1, 0, 0, 0])
    source = [{"image": photo} for photo in photos]
    monkeypatch.setattr(
        "interp_cnn.data.prepare.read_split", lambda *_, **__: Split(source, np.arange(6), labels)
    )
    data = prepare(how, seed=0)
    assert data.train.indices.tolist() == [0, 3, 5] and data.train.labels.tolist() == [1, 0, 0]
    assert "of 6 objects in 4 photos one of each photo is kept, and none of 1 photos" in caplog.text
    # What is there of other things is chosen from the photos that are left.
    how.negatives_per_positive = 1.0
    assert prepare(how, seed=0).train.labels.tolist() == [1, 0]


def test_command_prints_what_was_found(voc, tmp_path, capsys):
    arguments = ["--name", "pascal_voc_part", "--data_dir", str(tmp_path)]
    command.main([*arguments, "--manual_dir", str(voc)])
    printed = capsys.readouterr().out
    for line in (
        "source: 15 annotated photos",
        "cat: 10 objects in 10 photos",
        "  parts: head 9, torso 9, front_legs 9, back_legs 9, tail 9, neck 9",
        "  left out: objects under 2500 pixels 1",
        "other: 8 images in 8 photos",
    ):
        assert f"\n{line}\n" in f"{printed}\n"
    # Prepared already: the same again, also without the folder.
    command.main(arguments)
    assert capsys.readouterr().out.splitlines()[-3:] == printed.splitlines()[-3:]


def test_command_ends_with_one_sentence(tmp_path):
    arguments = ["--name", "cub_200_2011", "--data_dir", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"^error: The folder .*nowhere .* is missing"):
        command.main([*arguments, "--manual_dir", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"^error: category 'emu'"):
        command.main([*arguments, "--category", "emu"])
