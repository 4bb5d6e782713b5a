"""The Pascal VOC Part builder, on a small folder in the published layout."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from prepared import prepared
from voc_part_folder import (
    BOX,
    CAT,
    HEIGHT,
    WIDTH,
    entry,
    part,
    rectangle,
    write_annotation,
    write_photo,
    write_published,
)

from interp_cnn.data.photos import archives, pascal_voc_part, voc_part_files
from interp_cnn.data.photos.pascal_voc_part import PascalVocPart
from interp_cnn.data.pipeline import CropWithParts, read_split

FOUR_LEGS = ("head", "torso", "front_legs", "back_legs")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    write_published(root)
    return root


def prepare(data_dir, source, config="all", **kwargs):
    return prepared(PascalVocPart, data_dir, source, config, **kwargs)


def records(builder):
    """Photo id and category -> example; the last of several."""
    names = builder.info.features["label"].names
    result = {}
    for split in ("train", "test"):
        for example in builder.as_data_source(split):
            example["split"] = split
            for feature in ("parts", "fine_parts"):
                stored = example[feature]
                example[feature] = {
                    name.decode(): {key: stored[key][i] for key in ("center", "box", "mask")}
                    for i, name in enumerate(stored["name"])
                }
            result[example["photo_id"].decode(), names[example["label"]]] = example
    return result


@pytest.fixture(scope="session")
def everything(published, tmp_path_factory):
    builder = prepare(tmp_path_factory.mktemp("tfds"), published)
    return builder, records(builder)


def assert_part(stored, *boxes):
    """The mask is the union of the rectangles, the box is tight and the centre is the box's."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for box in boxes:
        mask |= rectangle(*box).astype(bool)
    np.testing.assert_array_equal(stored["mask"][..., 0], mask * np.uint8(255))
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    box = np.array([min(tops), min(lefts), max(bottoms), max(rights)])
    np.testing.assert_array_equal(stored["box"], box)
    np.testing.assert_array_equal(stored["center"], (box[:2] + box[2:]) / 2)


def test_masks_are_merged_and_published_ones_stay(everything):
    example = everything[1]["2008_000001", "cat"]
    assert example["image"].shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(example["bbox"], BOX)
    parts = example["parts"]
    assert set(parts) == {*FOUR_LEGS, "tail", "neck"}
    assert_part(parts["head"], (20, 30, 40, 50), (20, 50, 24, 54))
    assert_part(parts["torso"], (40, 30, 50, 50), (50, 30, 70, 94))
    assert_part(parts["front_legs"], (70, 30, 80, 40), (80, 30, 84, 40))
    assert_part(parts["back_legs"], (70, 84, 84, 94))
    assert_part(parts["tail"], (40, 90, 50, 94))
    assert_part(parts["neck"], (40, 30, 50, 50))
    fine = example["fine_parts"]
    assert list(fine) == ["head", "lear", "neck", "torso", "lfleg", "lfpa", "rbleg", "tail"]
    assert_part(fine["head"], (20, 30, 40, 50))


def test_parts_of_each_category(everything):
    horse = everything[1]["2008_000003", "horse"]
    # Hoofs belong to the legs; a horse's tail is none of the paper's parts.
    assert set(horse["parts"]) == {"head", "front_legs", "back_legs"}
    assert_part(horse["parts"]["front_legs"], (60, 30, 70, 40), (80, 30, 84, 40))
    assert_part(horse["parts"]["back_legs"], (80, 84, 84, 94))
    assert "tail" in horse["fine_parts"]
    bird = everything[1]["2008_000004", "bird"]
    assert set(bird["parts"]) == {"head", "torso", "legs", "tail"}
    assert_part(bird["parts"]["torso"], (30, 40, 60, 60))
    assert_part(bird["parts"]["legs"], (80, 50, 84, 60))


def test_parts_may_be_none_one_or_without_a_pixel(everything):
    dog = everything[1]["2009_000000", "dog"]
    assert dog["parts"] == dog["fine_parts"] == {}
    np.testing.assert_array_equal(dog["bbox"], BOX)
    cow = everything[1]["2008_000002", "cow"]
    assert set(cow["parts"]) == {"head"}
    np.testing.assert_array_equal(cow["bbox"], [10, 20, 90, 100])  # as published
    sheep = everything[1]["2008_000005", "sheep"]
    assert_part(sheep["parts"]["head"], (20, 30, 22, 32))
    assert set(sheep["fine_parts"]) == {"lhorn"}


def test_summary(everything):
    summary = everything[0].info.metadata["summary"]
    assert list(summary) == ["bird", "cat", "cow", "dog", "horse", "sheep", "other"]
    nine = dict.fromkeys((*FOUR_LEGS, "tail", "neck"), 9)
    too_small = {"objects under 2500 pixels": 1}
    assert summary["cat"] == {"examples": 10, "photos": 10, "parts": nine, "left_out": too_small}
    assert summary["dog"] == {"examples": 10, "photos": 9, "parts": {}, "left_out": {}}
    assert summary["sheep"]["left_out"] == {"objects with an empty mask": 1}
    assert summary["other"] == {"examples": 8, "photos": 8, "parts": {}, "left_out": {}}
    assert everything[0].info.metadata["contents"] == "15 annotated photos"


def test_split_is_by_photo_and_the_same_in_every_config(everything, published, tmp_path):
    splits = {}
    for (photo_id, _), example in everything[1].items():
        splits.setdefault(photo_id, set()).add(example["split"])
    assert all(len(sides) == 1 for sides in splits.values())
    assert {"train", "test"} == set.union(*splits.values())
    assert "2010_000001" not in splits  # the same photo as 2008_000001
    cats = records(prepare(tmp_path, published, "cat"))
    assert {category for _, category in cats} == {"cat", "other"}
    for key, example in cats.items():
        assert splits[key[0]] == {example["split"]}


def test_parts_and_categories_of_a_task(everything, tmp_path):
    builder = everything[0]
    assert builder.categories == ("bird", "cat", "cow", "dog", "horse", "sheep")
    assert builder.parts == ("head", "torso", "legs", "front_legs", "back_legs", "tail")
    assert builder.landmarks == ("head", "neck", "torso")
    for config, parts in (
        ("bird", ("head", "torso", "legs", "tail")),
        ("dog", (*FOUR_LEGS, "tail")),
        ("cow+sheep", FOUR_LEGS),
        ("sheep+cat", (*FOUR_LEGS, "tail")),
    ):
        builder = PascalVocPart(config=config, data_dir=tmp_path)
        assert builder.parts == parts
        assert builder.categories == tuple(config.split("+"))
    with pytest.raises(ValueError, match="'person' is no category; give one of bird, cat"):
        PascalVocPart(config="cat+person", data_dir=tmp_path)


def test_landmarks_and_masks_in_the_crop(everything):
    builder = everything[0]
    crop = CropWithParts(32, "object", parts=builder.parts, landmarks=builder.landmarks)
    for split in (read_split(builder, side) for side in ("train", "test")):
        for position in np.flatnonzero(split.labels == 2):
            element = split[position]
            if element["photo_id"] == b"2008_000001":
                result = crop.map(element)
    # The box of 64 pixels from (20, 30) becomes 32 pixels.
    # Heads: 20..40 and 30..54; the neck: 40..50 and 30..50; the torso: 40..70 and 30..94.
    expected = [[(30 - 20) / 2, (42 - 30) / 2], [12.5, 5], [17.5, 16]]
    np.testing.assert_allclose(result["landmarks"], expected)
    assert not result["masks"][builder.parts.index("legs")].any()
    tail = np.zeros((32, 32), bool)
    tail[10:15, 30:32] = True
    np.testing.assert_array_equal(result["masks"][builder.parts.index("tail")], tail)


def test_all_has_the_categories_of_the_copy(copy, tmp_path):
    for name in ("2008_000004", "2008_000005"):  # the bird, and the sheep
        (copy / "Annotations_Part" / f"{name}.mat").unlink()
    builder = prepare(tmp_path / "tfds", copy)
    assert builder.categories == ("cat", "cow", "dog", "horse")
    assert builder.parts == (*FOUR_LEGS, "tail")
    assert builder.info.metadata["summary"]["sheep"]["examples"] == 0
    labels = {key[1]: example["label"] for key, example in records(builder).items()}
    assert labels == {"cat": 1, "cow": 2, "dog": 3, "horse": 4, "other": 0}
    with pytest.raises(ValueError, match=r"no object of .*'sheep' \(13 annotated photos"):
        prepare(tmp_path / "tfds", copy, "sheep+cat")


@pytest.mark.parametrize(
    ("annotations", "others", "manual_dir"),
    [
        ("Annotations_Part", "neg", "VOCdevkit"),
        ("Annotations_Part", "neg", "VOCdevkit/VOC2010"),
        ("VOCdevkit/Annotations_Part", "VOCdevkit/neg", "VOCdevkit"),
        ("VOCdevkit/Annotations_Part", "VOCdevkit/neg", "VOCdevkit/VOC2010"),
        ("VOCdevkit/VOC2010/Annotations_Part", "VOCdevkit/VOC2010/neg", "VOCdevkit/VOC2010"),
        ("VOCdevkit/VOC2010/Annotations_Part", "interpretableCNN-main/data/neg", ""),
        ("trainval/Annotations_Part", "neg", ""),
    ],
)
def test_folder_may_be_any_of_the_published_ones(
    copy, monkeypatch, annotations, others, manual_dir
):
    expected = voc_part_files.scan(copy, ("cat",), skip_damaged=False)
    for old, new in (("Annotations_Part", annotations), ("neg", others)):
        (copy / new).parent.mkdir(parents=True, exist_ok=True)
        (copy / old).rename(copy / new)
    monkeypatch.chdir(copy / manual_dir)
    for source in (copy / manual_dir, Path()):
        examples, summary = voc_part_files.scan(source, ("cat",), skip_damaged=False)
        assert summary == expected[1]
        assert [e.key for e in examples] == [e.key for e in expected[0]]


def test_other_suffixes_and_hidden_files(copy):
    expected = voc_part_files.scan(copy, ("cat",), skip_damaged=False)[1]
    photo = copy / "VOCdevkit/VOC2010/JPEGImages/2008_000001.jpg"
    photo.rename(photo.with_suffix(".JPEG"))
    # macOS adds such to archives.
    (copy / "Annotations_Part" / "._2008_000001.mat").write_bytes(b"Mac OS X")
    (copy / "neg" / "._00001.JPEG").write_bytes(b"Mac OS X")
    assert voc_part_files.scan(copy, ("cat",), skip_damaged=False)[1] == expected


def test_negatives_are_optional(copy, tmp_path):
    shutil.rmtree(copy / "neg")
    builder = prepare(tmp_path / "tfds", copy)
    assert builder.info.metadata["summary"]["other"]["examples"] == 0
    assert set(read_split(builder, "train", negatives="none").labels) <= set(range(1, 7))
    with pytest.raises(ValueError, match=r"and 0 other images; .* or set negatives='categories'"):
        read_split(builder, "train")


@pytest.mark.parametrize(
    "missing",
    ["", "Annotations_Part", "VOCdevkit", "VOCdevkit/VOC2010/JPEGImages/2008_000003.jpg"],
)
def test_missing_file_is_named(copy, tmp_path, missing):
    path = copy / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        prepare(tmp_path / "tfds", copy)
    assert str(path) in str(error.value) and "missing" in str(error.value)


def test_damaged_and_missing_photos_stop_or_are_counted(copy, tmp_path):
    folder = copy / "VOCdevkit/VOC2010/JPEGImages"
    path = folder / "2009_000001.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"2009_000001\.jpg is damaged .*skip_damaged"):
        prepare(tmp_path / "tfds", copy)
    (folder / "2009_000000.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2009_000000\.jpg is missing: .*skip_damaged"):
        prepare(tmp_path / "tfds", copy)
    summary = prepare(tmp_path / "tfds", copy, skip_damaged=True).info.metadata["summary"]
    for category, examples in (("cat", 8), ("dog", 8)):
        assert summary[category]["left_out"]["damaged images"] == 1
        assert summary[category]["left_out"]["missing images"] == 1
        assert summary[category]["examples"] == examples


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (
            [entry("person") | {"mask": []}, {**CAT, "mask": []}],
            "object 2 of .* has no readable class and mask",
        ),
        ([{**CAT, "parts": [{"part_name": "head"}]}], "part without a readable part_name and mask"),
        (
            [{**CAT, "mask": rectangle(*BOX, shape=(99, 180))}],
            "mask of .99, 180. pixels, its photo",
        ),
        ([entry("cat", bbox=[1.0, 1, 9])], "bbox that is not four numbers"),
    ],
)
def test_bad_annotation_is_named(tmp_path, objects, message):
    write_photo(tmp_path, "2008_000001", 0)
    write_annotation(tmp_path, "2008_000001", objects)
    with pytest.raises(ValueError, match=message):
        voc_part_files.scan(tmp_path, ("cat",), skip_damaged=False)


@pytest.mark.parametrize(
    ("published", "expected", "fits"),
    [
        ([25.0, 16, 97, 90], (15, 24, 90, 97), True),
        ([25.0, 16, 190, 90], (15, 24, 90, WIDTH), True),  # over the border
        ([30.5, 20.5, 64, 64], BOX, False),  # left, top, width, height
        ([30.0, 20, 93, 83], BOX, False),  # from 0
        ([0.0, 0, 0, 0], BOX, False),
    ],
)
def test_published_box_must_hold_the_mask(tmp_path, published, expected, fits):
    write_photo(tmp_path, "2008_000001", 0)
    write_annotation(tmp_path, "2008_000001", [entry("cat", bbox=published)])
    (example,), summary = voc_part_files.scan(tmp_path, ("cat",), skip_damaged=False)
    np.testing.assert_array_equal(example.bbox, expected)
    assert len(summary["cat"]["left_out"]) == (0 if fits else 1)


def test_damaged_annotation(copy, tmp_path):
    path = copy / "Annotations_Part" / "2008_000001.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"2008_000001\.mat cannot be read"):
        prepare(tmp_path / "tfds", copy)


class FakeManager:
    """Has the archives already."""

    def __init__(self, folder, paths):
        self.download_dir, self.paths = folder, paths

    def download(self, urls):
        return [self.paths[url] for url in urls]


def test_archives_unpack_into_the_layout(published, everything, tmp_path, monkeypatch):
    paths = {}
    for url, folder in (
        (pascal_voc_part.VOC_URL, "VOCdevkit"),
        (pascal_voc_part.PASCAL_PART_URL, "Annotations_Part"),
    ):
        paths[url] = tmp_path / folder
        with tarfile.open(paths[url], "w:gz") as tar:
            tar.add(published / folder, folder)
            tar.addfile(tarfile.TarInfo(f"{folder}/README"), io.BytesIO())
            tar.addfile(tarfile.TarInfo(f"../../{folder}/outside.mat"), io.BytesIO())
    paths[archives.INTERPRETABLE_CNN_URL] = tmp_path / "code.zip"
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as file:
        for path in (published / "neg").iterdir():
            file.write(path, f"interpretableCNN-ee53/data/neg/{path.name}")
        file.writestr("interpretableCNN-ee53/README.md", "not needed")
    monkeypatch.setattr(archives.urllib.request, "urlopen", lambda url, timeout: io.BytesIO())
    builder = PascalVocPart(config="all", data_dir=tmp_path / "tfds")
    source = builder._download(FakeManager(tmp_path / "downloads", paths))
    assert builder._fingerprint(source) == everything[0].info.metadata["source"]
    names = {p.name for p in source.rglob("*") if p.is_file()}
    assert "README" not in names and "outside.mat" not in names


def test_part_helper_makes_what_matlab_does(tmp_path):
    """A single part is a 1x1 struct and no part an empty array, as in the published files."""
    from interp_cnn.matlab import read_structs

    one = entry("cat", [part("head", 20, 30, 30, 40)])
    write_annotation(tmp_path, "one", [one, entry("dog")])
    (annotation,) = read_structs(tmp_path / "Annotations_Part" / "one.mat", "anno")
    assert [o["class"] for o in annotation["objects"]] == ["cat", "dog"]
    assert len(annotation["objects"][0]["parts"]) == 1
    assert annotation["objects"][1]["parts"] is None
