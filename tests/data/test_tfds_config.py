"""Any prepared tfds data set: labels, boxes and parts, its split, and what cannot be read."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tiny import tiny_config

from interp_cnn.cli.config_flag import read_named_config
from interp_cnn.config import default_config
from interp_cnn.data import tfds_examples
from interp_cnn.data.pipeline import Crop, CropWithParts
from interp_cnn.data.prepare import prepare
from interp_cnn.preflight import check_run

SIDE = (20, 30)  # height, width


def png(seed, channels=1):
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIDE, channels), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "PNG")
    return file.getvalue()


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Grey images of three classes, as MNIST has them: an image and a label, no more."""

    VERSION = tfds.core.Version("1.0.0")
    splits = (("train", 30),)

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self.features())

    def features(self):
        return tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(*SIDE, 1)),
                "label": tfds.features.ClassLabel(names=["circle", "other", "square"]),
            }
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name, n) for name, n in self.splits}

    def _generate_examples(self, split, number):
        for i in range(number):
            yield i, self.example(split, i)

    def example(self, split, i):
        # Every image twice, in a row.
        return {"image": png(i // 2), "label": i // 2 % 3}


class TinyObjects(TinyShapes):
    """Colour images with boxes and parts, and a test split without labels."""

    splits = (("train", 12), ("validation", 6), ("test", 4))

    def features(self):
        part = {
            "name": tfds.features.Text(),
            "center": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        }
        return tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "file_name": tfds.features.Text(),
                "thumbnail": tfds.features.Image(),  # is not looked at
                "label": tfds.features.ClassLabel(num_classes=2),
                "bbox": tfds.features.BBoxFeature(),
                "parts": tfds.features.Sequence(part),
            }
        )

    def example(self, split, i):
        corner = np.array([5, 10, 15, 20], np.float32)
        parts = [
            {"name": "eye", "center": corner[:2], "box": np.full(4, np.nan, np.float32)},
            {"name": "head", "center": np.array([10, 15], np.float32), "box": corner},
        ]
        return {
            "image": png(100 + i + 50 * (split != "train"), 3),
            "file_name": f"{split}/{i}.png",
            "thumbnail": b"no image",
            "label": -1 if split == "test" else i % 2,
            "bbox": tfds.features.BBox(ymin=0.25, xmin=0.2, ymax=0.75, xmax=0.8),
            "parts": parts if i % 3 else [],
        }


class TinyScenes(TinyObjects):
    """Photos that show two objects each, some of two classes; nothing of the third is there."""

    splits = (("train", 12), ("test", 6))

    def features(self):
        features = dict(super().features().items())
        return tfds.features.FeaturesDict(
            features | {"label": tfds.features.ClassLabel(names=["cat", "dog", "fish"])}
        )

    def example(self, split, i):
        found = super().example(split, i)
        # Of every third photo the second object is another one; names may be the same.
        photo, second = divmod(i, 2)
        label = (photo + (second and photo % 3 == 2)) % 2
        image = png(200 + photo + 50 * (split != "train"), 3)
        return found | {"image": image, "file_name": "x.png", "label": label}


class TinyText(TinyShapes):
    """No images."""

    def features(self):
        return tfds.features.FeaturesDict({"label": tfds.features.Text()})

    def example(self, split, i):
        return {"label": "x"}


class TinyFilms(TinyShapes):
    """Several images in each example."""

    def features(self):
        label = tfds.features.ClassLabel(names=["a", "b"])
        images = tfds.features.Sequence(tfds.features.Image(shape=(*SIDE, 1)))
        return tfds.features.FeaturesDict({"image": images, "label": label})

    def example(self, split, i):
        return {"image": [png(i)], "label": i % 2}


class TinyArrays(TinyFilms):
    """Arrays in place of images."""

    def features(self):
        label = tfds.features.ClassLabel(names=["a", "b"])
        array = tfds.features.Tensor(shape=SIDE, dtype=np.uint8)
        return tfds.features.FeaturesDict({"image": array, "label": label})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder with both data sets."""
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (TinyShapes, TinyObjects, TinyScenes):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def fields_of(folder, dataset, **fields):
    here = {"name": "tfds", "dataset": dataset, "category": "all", "negatives": "none"}
    return here | {"data_dir": str(folder)} | fields


def data_of(folder, dataset, **fields):
    config = default_config().data
    config.update(fields_of(folder, dataset, **fields))
    return config


def test_labels_and_a_split_by_content(prepared):
    data = prepare(data_of(prepared, "tiny_shapes", negatives="photos"), seed=0)
    assert data.categories == ("circle", "square")  # "other" has label 0
    assert (data.parts, data.landmarks, data.has_masks) == ((), (), False)
    labels = np.concatenate([data.train.labels, data.test.labels])
    np.testing.assert_array_equal(np.bincount(labels), [10, 10, 10])
    sides = [{split[i]["image"] for i in range(len(split))} for split in (data.train, data.test)]
    assert not sides[0] & sides[1] and [len(s) for s in sides] == [
        len(data.train) / 2,
        len(data.test) / 2,
    ]
    for split in (data.train, data.test):
        assert set(split.labels) == {0, 1, 2}
    example = data.train[0]
    np.testing.assert_array_equal(example["bbox"], [0, 0, *SIDE])
    assert example["photo_id"].startswith(b"train ")
    found = Crop(10).map(example)
    assert found["image"].shape == (10, 10, 3) and found["label"] == example["label"]
    another = prepare(data_of(prepared, "tiny_shapes", negatives="photos"), seed=1)
    assert {another.train[i]["image"] for i in range(len(another.train))} != sides[0]


def test_a_class_of_other_things_is_left_out_with_a_word(prepared, caplog):
    data = prepare(data_of(prepared, "tiny_shapes"), seed=0)
    assert len(data.train) + len(data.test) == 20  # of 30
    words = "images of other things; with config.data.negatives='photos'"
    assert words in caplog.text
    caplog.clear()
    of_one = data_of(prepared, "tiny_shapes", category="circle", negatives="categories")
    prepare(of_one, seed=0)
    assert words in caplog.text


def test_whole_photos_of_a_tfds_data_set_are_one_input_each(prepared, caplog):
    both = data_of(prepared, "tiny_scenes", category="cat+dog")
    assert len(prepare(both, seed=0).train) == 12
    both.crop = "image"
    data = prepare(both, seed=0)
    images = [data.train[i]["image"] for i in range(len(data.train))]
    assert len(images) == len(set(images)) == 4 and len(data.test) == 2
    assert "of 12 objects in 6 photos one of each photo is kept" in caplog.text
    # A data set of images alone has no objects in them: two of the same pixels are two.
    assert len(prepare(data_of(prepared, "tiny_shapes", crop="image"), seed=0).train) == len(
        prepare(data_of(prepared, "tiny_shapes"), seed=0).train
    )


def test_classes_without_images_are_left_out_of_all(prepared, caplog):
    assert prepare(data_of(prepared, "tiny_scenes"), seed=0).categories == ("cat", "dog")
    assert "without images for training or without images for the test: fish" in caplog.text
    with pytest.raises(ValueError, match=r"the train split of .* has no object of .* 'fish'"):
        prepare(data_of(prepared, "tiny_scenes", category="cat+fish"), seed=0)


def test_one_category_against_the_others(prepared):
    fields = {"category": "square", "negatives": "categories"}
    data = prepare(data_of(prepared, "tiny_shapes", **fields), seed=0)
    labels = np.concatenate([data.train.labels, data.test.labels])
    np.testing.assert_array_equal(np.bincount(labels), [10, 10])


def test_boxes_parts_and_a_test_split_without_labels(prepared):
    data = prepare(data_of(prepared, "tiny_objects"), seed=0)
    assert data.categories == ("0", "1")
    assert data.landmarks == ("eye", "head") and data.parts == ("head",)
    assert (len(data.train), len(data.test)) == (12, 6)  # validation in place of test
    crop = CropWithParts(24, parts=data.parts, landmarks=data.landmarks)
    seen = 0
    for place in range(len(data.test)):
        example = data.test[place]
        assert example["photo_id"].startswith(b"validation/")
        np.testing.assert_allclose(example["bbox"], [5, 6, 15, 24])
        found = crop.map(example)
        if len(example["parts"]["name"]):
            seen += 1
            np.testing.assert_allclose(found["landmarks"], [[0, 16 / 3], [12, 12]], atol=1e-5)
            assert found["masks"].any()
        else:
            assert np.isnan(found["landmarks"]).all() and not found["masks"].any()
    assert seen == 4


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            "tiny_shapes",
            r"'tiny_shapes' is not prepared in .*: prepare it by `tfds build tiny_shapes --file_f",
        ),
        (
            "no_such_set",
            r"'no_such_set' cannot be opened \(Dataset no_such_set not found\.\): give",
        ),
        ("tiny_text", r"'tiny_text' has the features label: one with an image and a label"),
        ("tiny_films", r"has the features image, label: one with an image and a label \(Image of"),
        ("tiny_arrays", r"has the features image, label: one with an image and a label \(Image of"),
        ("../x", r"'\.\./x' cannot be opened"),
    ],
)
def test_what_cannot_be_read(tmp_path, dataset, message):
    with pytest.raises(ValueError, match=message) as caught:
        prepare(data_of(tmp_path, dataset), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("form", "stored"),
    [
        ("REL_YXYX", [0.25, 0.2, 0.75, 0.8]),
        ("REL_XYXY", [0.2, 0.25, 0.8, 0.75]),
        ("YXYX", [5, 6, 15, 24]),
        ("XYXY", [6, 5, 24, 15]),
        ("XYWH", [6, 5, 18, 10]),
        (None, [0.25, 0.2, 0.75, 0.8]),
        (None, [5, 6, 15, 24]),
    ],
)
def test_forms_of_boxes(form, stored):
    read = tfds_examples._box_reader(tfds.features.BBoxFeature(bbox_format=form))
    found = read(np.array(stored, np.float32), np.array([*SIDE, *SIDE], np.float32))
    np.testing.assert_allclose(found, [5, 6, 15, 24], rtol=1e-6)


def test_records_that_need_tensorflow(prepared, monkeypatch):
    def refuse(self, *arguments, **options):
        raise NotImplementedError("Random access data source for file format TFRECORD")

    monkeypatch.setattr(TinyShapes, "as_data_source", refuse)
    with pytest.raises(
        ValueError, match=r"stored in a format that needs TensorFlow: prepare it by"
    ):
        prepare(data_of(prepared, "tiny_shapes"), seed=0)


def test_no_train_split(prepared, monkeypatch):
    monkeypatch.setattr(TinyObjects, "splits", (("holdout", 3),))
    folder = prepared / "other"
    TinyObjects(data_dir=folder, file_format="array_record").download_and_prepare()
    with pytest.raises(ValueError, match="has the splits holdout: one named train is needed"):
        prepare(data_of(folder, "tiny_objects"), seed=0)


def test_the_configuration_and_its_checks(prepared):
    config = read_named_config("tfds:name=tiny_shapes,category=square")
    assert (config.data.name, config.data.dataset) == ("tfds", "tiny_shapes")
    assert (config.data.negatives, config.train.task) == ("categories", "logistic")
    config = read_named_config("tfds:name=tiny_shapes,net=small")
    assert (config.data.negatives, config.train.task) == ("none", "softmax")
    assert config.model.name == "small" and config.data.std == 64

    config = tiny_config()
    config.data.update(fields_of(prepared, "tiny_shapes"))
    config.train.task = "softmax"
    check_run(config)
    for fields, message in (
        ({"dataset": ""}, r"config\.data\.dataset is empty; give the name of the tfds data set"),
        ({"category": "hexagon"}, "'hexagon' is no category; give one of circle, square"),
        ({"manual_dir": ".", "category": "circle"}, r"manual_dir='\.' has no use with tfds"),
        ({"category": "circle+square"}, "needs a category beside"),
    ):
        wrong = config.copy_and_resolve_references()
        wrong.data.update({"negatives": "categories"} | fields)
        wrong.train.task = "logistic"
        with pytest.raises(ValueError, match=message):
            check_run(wrong)
