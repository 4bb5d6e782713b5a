"""Batches: who comes when, and where the parts land in a crop."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_builder

from interp_cnn import metrics
from interp_cnn.data.pipeline import (
    Crop,
    CropWithParts,
    Features,
    Split,
    eval_batches,
    join,
    read_split,
    train_batches,
)

COUNT = 21
CROP = Crop(4, "image")


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def example(number):
    """Red is the number; green is on the right half alone."""
    pixels = np.zeros((4, 4, 3))
    pixels[..., 0] = number
    pixels[:, 2:, 1] = 255
    return {"image": png(pixels), "label": number % 2, "bbox": np.array([0, 0, 4, 4], np.float32)}


@pytest.fixture(scope="module")
def split():
    labels = np.arange(COUNT) % 2
    return Split([example(number) for number in range(COUNT)], np.arange(COUNT), labels)


def numbers(batch):
    return batch["image"][:, 0, 0, 0].tolist()


def flipped(batch):
    return (batch["image"][:, 0, 0, 1] > batch["image"][:, 0, 3, 1]).tolist()


def first(split, count, batch_size=4, **options):
    dataset = train_batches(split, CROP, batch_size=batch_size, **{"seed": 0, **options})
    return list(itertools.islice(iter(dataset), count))


def test_eval_batches_cover_every_example_once_and_pad_with_weight_0(split):
    batches = list(eval_batches(split, CROP, batch_size=8))
    assert [len(batch["image"]) for batch in batches] == [8, 8, 8]
    seen = [
        (number, label)
        for batch in batches
        for number, label, weight in zip(
            numbers(batch), batch["label"], batch["weight"], strict=True
        )
        if weight == 1
    ]
    assert seen == [(number, number % 2) for number in range(COUNT)]
    assert sum(batch["weight"].sum() for batch in batches) == COUNT
    assert not any(any(flipped(batch)) for batch in batches)
    assert batches[0]["image"].dtype == np.uint8 and batches[0]["label"].dtype == np.int32


def test_same_seed_same_batches_other_seed_others(split):
    one, again, other = first(split, 8), first(split, 8, threads=1), first(split, 8, seed=1)
    for a, b in zip(one, again, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], [number % 2 for number in numbers(a)])
    assert [numbers(batch) for batch in one] != [numbers(batch) for batch in other]
    assert [flipped(batch) for batch in one] != [flipped(batch) for batch in other]


def test_epochs_are_without_repetition_and_in_new_order(split):
    batches = [numbers(batch) for batch in first(split, 10)]  # five batches of 4 from 21
    epochs = [list(itertools.chain(*half)) for half in (batches[:5], batches[5:])]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_half_of_the_images_are_flipped(split):
    flips = [flip for batch in first(split, 100) for flip in flipped(batch)]
    assert 0.4 < np.mean(flips) < 0.6


def with_features(split):
    """Features that say the number of the example, and whether they are of the mirrored one."""
    rows = np.random.default_rng(0).permutation(2 * COUNT).reshape(COUNT, 2)
    array = np.zeros((2 * COUNT, 1, 1, 2), np.float32)
    array[rows, 0, 0, 0] = np.arange(COUNT)[:, None]
    array[rows, 0, 0, 1] = [0, 1]
    unreadable = [None] * COUNT  # whoever asks for a photo fails
    return Split(unreadable, split.indices, split.labels, Features(array, rows))


def test_features_come_in_the_order_and_mirrored_as_the_images(split):
    images = iter(train_batches(split, CROP, batch_size=4, seed=3))
    features = iter(train_batches(with_features(split), CROP, batch_size=4, seed=3))
    for _ in range(12):
        a, b = next(images), next(features)
        assert b.keys() == {"features", "label"}
        assert b["features"][:, 0, 0, 0].tolist() == numbers(a)
        assert b["features"][:, 0, 0, 1].tolist() == flipped(a)
        np.testing.assert_array_equal(a["label"], b["label"])
    assert images.get_state() == features.get_state()
    features.set_state(iter(train_batches(split, CROP, batch_size=4, seed=3)).get_state())
    assert next(features)["features"][:, 0, 0, 0].tolist() == numbers(first(split, 1, seed=3)[0])


def test_features_in_evaluation(split):
    chosen = np.array([3, 5, 20])
    for examples in (
        with_features(split).take(chosen),
        dataclasses.replace(
            split.take(chosen), features=with_features(split).features.take(chosen)
        ),
    ):
        with_images = examples.source is split.source
        (batch,) = eval_batches(examples, CROP if with_images else None, batch_size=4)
        assert batch["features"][:, 0, 0].tolist() == [[3, 0], [5, 0], [20, 0], [3, 0]]
        assert batch["weight"].tolist() == [1, 1, 1, 0]
        assert batch["label"].tolist() == [1, 1, 0, 1]
        assert ("image" in batch) == with_images
        if with_images:
            assert numbers(batch) == [3, 5, 20, 3]
    kept = with_features(split)
    both = join(kept.take(chosen[:2]), kept.take(chosen[2:]))
    (batch,) = eval_batches(both, None, batch_size=3)
    assert batch["features"][:, 0, 0, 0].tolist() == [3, 5, 20]
    assert join(kept, split).features is None


@pytest.mark.parametrize("count", [2, 4])
def test_shards_together_are_one(split, count):
    whole = first(split, 7)
    parts = [first(split, 7, shards=(index, count)) for index in range(count)]
    for batch, *shares in zip(whole, *parts, strict=True):
        # In order: the devices of several processes have what as many of one have.
        for name in ("image", "label"):
            np.testing.assert_array_equal(
                np.concatenate([share[name] for share in shares]), batch[name]
            )


@pytest.mark.parametrize("shards", [(0, 1), (1, 2)])
def test_batches_begin_where_a_run_goes_on(split, shards):
    whole = first(split, 12, shards=shards)
    later = first(split, 12 - 7, shards=shards, first_batch=7)
    for batch, expected in zip(later, whole[7:], strict=True):
        np.testing.assert_array_equal(batch["image"], expected["image"])


def test_bad_batch_sizes(split):
    with pytest.raises(ValueError, match="batch_size=22 is larger than the 21 training examples"):
        train_batches(split, CROP, batch_size=22, seed=0)
    with pytest.raises(ValueError, match="batch_size=5 is not divisible by the 2 processes"):
        train_batches(split, CROP, batch_size=5, seed=0, shards=(0, 2))


def test_join_and_take(split):
    both = join(split.take(np.array([3, 5])), split.take(np.array([2])))
    assert [numbers({"image": CROP.map(both[i])["image"][None]}) for i in range(3)] == [
        [3],
        [5],
        [2],
    ]
    assert both.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize("masks", [True, False])
def test_parts_in_the_frame_of_the_crop(masks):
    # Photo of 8 x 12 pixels. The box is 4 high and 8 wide: y is doubled, x stays.
    photo = np.zeros((8, 12, 3))
    photo[2:6, 4:12] = [200, 10, 30]
    element = {
        "image": png(photo),
        "label": 1,
        "bbox": np.array([2, 4, 6, 12], np.float32),
        "parts": {
            "name": [b"torso", b"head"],
            "center": np.array([[5, 9.5], [3, 6]], np.float32),
            "box": np.array([[4, 8, 7, 11], [2, 4, 4, 8]], np.float32),
        },
    }
    if masks:
        drawn = np.zeros((2, 8, 12))
        drawn[0, 4:7, 8:11] = drawn[1, 2:4, 4:8] = 255
        element["parts"]["mask"] = [png(mask) for mask in drawn]
    crop = CropWithParts(8, "object", parts=("head", "tail", "torso"), landmarks=("tail", "head"))
    result = crop.map(element)
    assert result["image"].shape == (8, 8, 3)
    # Bilinear resizing mixes the rows at the border with those outside.
    assert (result["image"][1:-1] == [200, 10, 30]).all()
    np.testing.assert_allclose(result["landmarks"], [[np.nan, np.nan], [2, 2]])
    expected = np.zeros((3, 8, 8), bool)
    expected[0, 0:4, 0:4] = True
    expected[2, 4:8, 4:7] = True  # a row of it lies below the crop
    np.testing.assert_array_equal(result["masks"], expected)

    whole = CropWithParts(8, "image", parts=("head",), landmarks=("head",)).map(element)
    np.testing.assert_allclose(whole["landmarks"], [[3, 4]])  # x by 8 / 12


def test_a_keypoint_in_the_corner_of_the_object_is_not_a_missing_one():
    """As where the object's box is the one around its keypoints."""
    element = {
        "image": png(np.zeros((8, 12, 3))),
        "label": 1,
        "bbox": np.array([2, 4, 6, 12], np.float32),
        "parts": {"name": [b"ear", b"tail"], "center": np.array([[2, 4], [6, 12]], np.float32)},
    }
    crop = CropWithParts(8, "object", landmarks=("ear", "tail"))
    landmarks = np.stack([crop.map(element)["landmarks"]] * 5)
    np.testing.assert_allclose(landmarks[0], [[0, 0], [8, 8]], atol=0.01)
    assert metrics.instability_controls(landmarks, image_size=(8, 8)).images > 0


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return tiny_builder(tmp_path_factory.mktemp("data"))


def test_negatives_per_positive(builder):
    everything = read_split(builder, "train")
    objects = int((everything.labels > 0).sum())
    assert len(set(everything.indices.tolist())) == len(everything)
    half = read_split(builder, "train", negatives_per_positive=0.5)
    assert (half.labels > 0).sum() == objects
    assert (half.labels == 0).sum() == round(0.5 * objects)
    assert [half[i]["label"] for i in range(len(half))] == half.labels.tolist()
    other = read_split(builder, "train", negatives_per_positive=0.5, seed=1)
    assert half.indices.tolist() != other.indices.tolist()
    again = read_split(builder, "train", negatives_per_positive=0.5)
    assert half.indices.tolist() == again.indices.tolist()
    for ratio in (0.0, 10.0):
        with pytest.raises(ValueError, match=f"negatives_per_positive={ratio}"):
            read_split(builder, "train", negatives_per_positive=ratio)
