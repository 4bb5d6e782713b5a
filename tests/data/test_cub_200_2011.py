"""The CUB-200-2011 builder, on a small folder in the published layout."""

import io
import shutil
import tarfile

import numpy as np
import pytest
from cub_folder import CLASSES, HEIGHT, PART_NAMES, WIDTH, write_published
from PIL import Image
from prepared import prepared

from interp_cnn.data.photos import archives, cub_200_2011, cub_files
from interp_cnn.data.photos.cub_200_2011 import Cub2002011
from interp_cnn.data.photos.photo_files import OF_AN_OBJECT
from interp_cnn.data.pipeline import CropWithParts, read_split

ALBATROSS, LAYSAN, CARDINAL, ABSENT = CLASSES


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("cub")
    write_published(root)
    return root


def prepare(data_dir, source, config="bird", **kwargs):
    return prepared(Cub2002011, data_dir, source, config, **kwargs)


def records(builder):
    """Number of the image, or id of another photo -> example with its split."""
    result = {}
    for split in ("train", "test"):
        for example in builder.as_data_source(split):
            photo_id = example["photo_id"].decode()
            stored = example["parts"]
            example["split"] = split
            example["parts"] = {
                name.decode(): stored["center"][i].tolist() for i, name in enumerate(stored["name"])
            }
            result[int(photo_id[-4:]) if "Bird_" in photo_id else photo_id] = example
    return result


@pytest.fixture(scope="session")
def bird(published, tmp_path_factory):
    builder = prepare(tmp_path_factory.mktemp("tfds"), published)
    return builder, records(builder)


def test_boxes_and_points(bird):
    first = bird[1][1]
    assert first["photo_id"].decode() == f"{ALBATROSS}/Bird_0001"
    assert first["image"].shape == (HEIGHT, WIDTH, 3) and first["label"] == 1
    np.testing.assert_array_equal(first["bbox"], [20, 30, 84, 94])
    # The points on the border of the box still count.
    expected = {"back": [40, 50], "forehead": [84, 94], "left_eye": [20, 30.5]}
    assert first["parts"] == expected
    assert bird[1][4]["parts"] == {}
    np.testing.assert_array_equal(bird[1][13]["bbox"], [60, 100, 120, 180])  # cut at the border


def test_official_split_and_what_is_left_out(bird):
    birds = {k: e["split"] for k, e in bird[1].items() if isinstance(k, int)}
    # 3 is a copy of 1, 5 and 6 are too small, 14 is not there.
    assert birds == {
        **dict.fromkeys((1, 2, 4, 7, 8, 10, 11, 13), "train"),
        **dict.fromkeys((9, 12), "test"),
    }
    metadata = bird[0].info.metadata
    assert metadata["contents"] == "3 of 4 classes, 13 of 14 images"
    names = [name.replace(" ", "_") for name in PART_NAMES]
    # On images 1 and 7 to 12; those of image 13 lie outside of its box.
    found = dict.fromkeys(names, 0) | dict.fromkeys(("back", "forehead", "left_eye"), 7)
    assert metadata["summary"]["bird"] == {
        "examples": 10,
        "photos": 10,
        "parts": found,
        "left_out": {
            "tail outside the box": 1,
            "back outside the image": 1,
            "throat outside the image": 1,
            "copies of a photo on the other side of the split": 1,
            "objects under 2500 pixels": 2,
            "back outside the box": 1,
            "forehead outside the box": 1,
            "left_eye outside the box": 1,
            "images that are not in this copy": 1,
        },
    }
    assert metadata["summary"]["other"]["examples"] == 8
    assert bird[1][2]["parts"] == {}


def test_many_species_have_a_short_name(tmp_path):
    many = [f"{number:03}.A_bird_of_some_kind" for number in range(1, 13)]
    builder = Cub2002011(config="+".join(many), data_dir=tmp_path)
    assert builder.categories == tuple(many)
    assert builder.builder_config.name.startswith("12_categories_")
    other = Cub2002011(config="+".join(many[::-1]), data_dir=tmp_path)
    assert other.builder_config.name != builder.builder_config.name


def test_other_things_that_are_no_jpeg_are_counted(copy):
    Image.new("RGB", (60, 60)).save(copy / "neg" / "other.png")
    _, summary = cub_files.scan(copy, ("bird",), skip_damaged=False)
    assert summary["other"]["left_out"]["photos that are no JPEG files"] == 1


def test_a_bird_among_other_things_is_left_out(copy, tmp_path):
    for photo in (copy / "CUB_200_2011" / "images").rglob("*.jpg"):
        shutil.copy(photo, copy / "neg")
    examples, summary = cub_files.scan(copy, ("bird",), skip_damaged=False)
    sides = {}
    for example in examples:
        assert sides.setdefault(example.photo_id, example.in_test) == example.in_test
    assert summary["other"]["left_out"][OF_AN_OBJECT] > 0
    birds = {example.photo_id for example in examples if example.label}
    assert birds.isdisjoint(example.photo_id for example in examples if not example.label)


def test_species_are_those_of_the_copy(published, tmp_path):
    for config in ("all", "species"):
        builder = prepare(tmp_path, published, config)
        assert builder.builder_config.name == "species"
        assert builder.categories == (ALBATROSS, LAYSAN, CARDINAL)
    summary = builder.info.metadata["summary"]
    assert [summary[name]["examples"] for name in builder.categories] == [3, 6, 1]
    labels = {key: example["label"] for key, example in records(builder).items()}
    assert (labels[1], labels[7], labels[13], labels["neg/00001"]) == (1, 2, 3, 0)
    # The names come back from the disk.
    assert Cub2002011(config="species", data_dir=tmp_path).categories == builder.categories

    two = prepare(tmp_path, published, f"{LAYSAN}+{ALBATROSS}")
    assert two.categories == (LAYSAN, ALBATROSS)
    labels = {key: example["label"] for key, example in records(two).items()}
    assert (labels[1], labels[7], 13 in labels) == (2, 1, False)


def test_categories_that_are_not_there(published, tmp_path):
    for wrong in ("birds", f"bird+{LAYSAN}", ""):
        with pytest.raises(ValueError, match=r"is no category; give 'bird', 'all', or species"):
            Cub2002011(config=wrong, data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"'003\.Sooty' is no category; .*classes\.txt"):
        prepare(tmp_path, published, "003.Sooty")
    with pytest.raises(ValueError, match=rf"no object of the category '{ABSENT}' \(3 of 4 classes"):
        prepare(tmp_path, published, ABSENT)


def test_landmarks_in_the_crop_and_no_regions(bird):
    builder = bird[0]
    assert builder.parts == () and builder.landmarks == ("forehead", "back", "tail")
    split = read_split(builder, "train")
    position = [split[i]["photo_id"].decode()[-4:] for i in range(len(split))].index("0001")
    crop = CropWithParts(32, "object", parts=builder.parts, landmarks=builder.landmarks)
    result = crop.map(split[position])
    assert result["masks"].shape == (0, 32, 32)
    np.testing.assert_array_equal(result["landmarks"], [[32, 32], [10, 10], [np.nan, np.nan]])
    with pytest.raises(ValueError, match="points, without boxes or masks"):
        CropWithParts(32, "object", parts=("back",)).map(split[position])


@pytest.mark.parametrize(
    "missing",
    [
        *("", "CUB_200_2011", "CUB_200_2011/images", "CUB_200_2011/images.txt"),
        *("CUB_200_2011/classes.txt", "CUB_200_2011/image_class_labels.txt"),
        *("CUB_200_2011/bounding_boxes.txt", "CUB_200_2011/train_test_split.txt"),
        *("CUB_200_2011/parts/parts.txt", "CUB_200_2011/parts/part_locs.txt"),
    ],
)
def test_missing_file_is_named(copy, tmp_path, missing):
    path = copy / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        prepare(tmp_path / "tfds", copy)
    assert str(path) in str(error.value) and "missing" in str(error.value)


@pytest.mark.parametrize("others", ["neg", "CUB_200_2011/neg"])
def test_folder_may_be_the_data_set_itself(copy, others):
    expected = cub_files.scan(copy, ("bird",), skip_damaged=False)
    (copy / "neg").rename(copy / others)
    source = (copy / "CUB_200_2011").rename(copy / "birds")
    examples, summary = cub_files.scan(source, ("bird",), skip_damaged=False)
    assert summary == expected[1] and summary["other"]["examples"] == 8
    assert [e.key for e in examples] == [e.key for e in expected[0]]


def test_empty_lines_and_carriage_returns(copy):
    expected = cub_files.scan(copy, ("bird",), skip_damaged=False)[1]
    for path in (copy / "CUB_200_2011").rglob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert cub_files.scan(copy, ("bird",), skip_damaged=False)[1] == expected


def test_text_files_with_a_mark_or_of_another_encoding(copy):
    classes = copy / "CUB_200_2011" / "classes.txt"
    expected = cub_files.read_tables(copy)
    classes.write_bytes(b"\xef\xbb\xbf" + classes.read_bytes())
    assert cub_files.read_tables(copy) == expected
    classes.write_bytes(classes.read_bytes() + b"9 \xe9\n")
    with pytest.raises(ValueError, match=r"classes\.txt is no text in UTF-8"):
        cub_files.read_tables(copy)


def test_copy_without_any_image(copy, tmp_path):
    for path in (copy / "CUB_200_2011" / "images").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"images has no image that images\.txt names"):
        prepare(tmp_path / "tfds", copy)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("images.txt", "1 001.B", "001.B", r"Line 1 of .*images\.txt is .* not 2 columns"),
        ("image_class_labels.txt", "1 1\n", "1 9\n", r"labels\.txt has the class 9"),
        ("image_class_labels.txt", "1 1\n", "", r"Image 1 of .* is not in the other text files"),
        ("train_test_split.txt", "4 1\n", "", r"Image 4 of .* is not in the other text files"),
        ("train_test_split.txt", "4 1\n", "4 2\n", r"split\.txt has '2' where 0 or 1 says"),
        ("bounding_boxes.txt", "1 30.0", "1 left", r"bounding_boxes\.txt has .* not numbers"),
        ("bounding_boxes.txt", "1 30.0", "1 180.0", r"Bird_0001\.jpg has 120 x 180 .* the box"),
        ("parts/part_locs.txt", "1 1 50.0", "1 16 50.0", r"part_locs\.txt has the part 16"),
        ("parts/part_locs.txt", " 1\n", " yes\n", r"part_locs\.txt has .* not numbers"),
        ("parts/part_locs.txt", " 1\n", " 2\n", r"part_locs\.txt has '2' where 0 or 1 says"),
    ],
)
def test_text_files_that_do_not_fit(copy, tmp_path, file, old, new, message):
    path = copy / "CUB_200_2011" / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "tfds", copy, "species")


def test_points_that_are_all_gone(copy, tmp_path):
    path = copy / "CUB_200_2011" / "parts" / "part_locs.txt"
    text = path.read_text()
    path.write_text(text.replace(" 1\n", " 1.0\n"))
    expected = cub_files.scan(copy, ("bird",), skip_damaged=False)[1]["bird"]["parts"]
    assert sum(expected.values()) > 0
    path.write_text("")
    with pytest.raises(ValueError, match=r"part_locs\.txt is empty: copy it again"):
        prepare(tmp_path / "tfds", copy)


def test_damaged_photo_stops_or_is_counted(copy, tmp_path):
    path = copy / "CUB_200_2011" / "images" / LAYSAN / "Bird_0008.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"Bird_0008\.jpg is damaged .*skip_damaged"):
        prepare(tmp_path / "tfds", copy)
    summary = prepare(tmp_path / "tfds", copy, skip_damaged=True).info.metadata["summary"]
    assert summary["bird"]["left_out"]["damaged images"] == 1
    assert summary["bird"]["examples"] == 9


def test_archive_unpacks_into_the_layout(published, tmp_path):
    with tarfile.open(tmp_path / "cub.tgz", "w:gz") as tar:
        tar.add(published / "CUB_200_2011", "CUB_200_2011")
        tar.addfile(tarfile.TarInfo("attributes.txt"), io.BytesIO())
        tar.addfile(tarfile.TarInfo("CUB_200_2011/attributes/certainties.txt"), io.BytesIO())
    archives.unpack(tmp_path / "cub.tgz", tmp_path / "out", cub_200_2011.WANTED)
    files = {
        folder: {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in (tmp_path / "out" / "CUB_200_2011", published / "CUB_200_2011")
    }
    there, here = files.values()
    assert there == here
