"""Photos in folders: classes, split, images of all kinds, annotations, and a run without any."""

import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from animal_part_folder import write_published
from class_folders import (
    SIZE,
    encoded,
    export_published,
    pixels,
    write_coco,
    write_csv,
    write_photos,
)
from PIL import Image
from tiny import tiny_config, write_begun

import interp_cnn
from interp_cnn import commands
from interp_cnn.cli.config_flag import ConfigFlag, read_named_config
from interp_cnn.config import default_config
from interp_cnn.configs import folder as folder_config
from interp_cnn.configs._networks import IMAGENET_STD, NETWORKS
from interp_cnn.data import __main__ as data_command
from interp_cnn.data.photos import (
    animal_part_files,
    annotation_files,
    annotation_places,
    folder_files,
    folder_photos,
)
from interp_cnn.data.photos.folder import FolderPhotos
from interp_cnn.data.photos.folder_files import draw_split
from interp_cnn.data.photos.folder_layout import read_folder
from interp_cnn.data.photos.folder_photos import stored_bytes
from interp_cnn.data.pipeline import CropWithParts
from interp_cnn.data.prepare import prepare
from interp_cnn.evaluation.results import read_results
from interp_cnn.explain_command import explain_image
from interp_cnn.preflight import check_run


def scanned(root, csv=None, **options):
    folder = read_folder(root)
    annotations = csv and annotation_files.read_annotations(csv, folder.classes)
    return folder_files.scan(folder, annotations, **{"seed": 0, "skip_damaged": False} | options)


def data_fields(root, data_dir, **fields):
    here = {"name": "folder", "category": "all", "negatives": "none"}
    return here | {"manual_dir": str(root), "data_dir": str(data_dir)} | fields


def data_config(root, data_dir, **fields):
    config = default_config().data
    config.update(data_fields(root, data_dir, **fields))
    return config


# What a folder holds.


def test_classes_and_photos_of_a_folder(tmp_path):
    write_photos(tmp_path, ("dog", "cat"), number=2)
    (tmp_path / "cat" / "inside" / "deep").mkdir(parents=True)
    (tmp_path / "cat" / "inside" / "deep" / "X.JPEG").write_bytes(b"1")
    for name in (".DS_Store", "Thumbs.db", ".hidden.png", "notes.txt", "new.heic"):
        (tmp_path / "cat" / name).touch()
    for name in (".git", "__MACOSX"):
        (tmp_path / name).mkdir()
    (tmp_path / "stray.jpg").touch()
    (tmp_path / "cat" / "loop").symlink_to(tmp_path / "cat")
    found = read_folder(tmp_path)
    assert found.classes == ("cat", "dog") and not found.has_others and not found.is_split
    assert [photo.name for photo in found.photos] == [
        *("cat/0.png", "cat/1.png", "cat/inside/deep/X.JPEG", "dog/0.png", "dog/1.png")
    ]
    assert found.other_files == {".txt": 1, ".heic": 1, "photos in no class folder": 1}


def test_a_folder_with_a_split_and_other_things(tmp_path):
    for split in ("train", "test"):
        write_photos(tmp_path / split, ("cat", "Other"), number=2)
    found = read_folder(tmp_path)
    assert found.classes == ("cat",) and found.has_others and found.is_split
    assert {photo.split for photo in found.photos} == {"train", "test"}
    # A class may be called train, where its photos lie in it.
    vehicles = write_photos(tmp_path / "vehicles", ("train", "bus"))
    assert read_folder(vehicles).classes == ("bus", "train")


def test_photos_beside_the_classes_leave_a_split_as_it_is(tmp_path):
    for split in ("train", "test", "val"):
        write_photos(tmp_path / split, number=2)
    for stray in ("all.png", "train/all.png", "test/all.png"):
        (tmp_path / stray).write_bytes(encoded(pixels(99)))
    found = read_folder(tmp_path)
    assert found.classes == ("cat", "dog") and found.is_split and len(found.photos) == 8
    assert found.other_files == {
        "photos in no class folder": 2,
        "photos in no folder of train/ or test/": 5,
    }


def test_accents_are_written_in_two_ways(tmp_path):
    composed, taken_apart = "caf\u00e9", "cafe\u0301"
    root = write_photos(tmp_path / "photos", (taken_apart, "dog"), number=3)
    rows = [(f"{composed}/{i}.png", "eye", 30, 20) for i in (0, 1)]
    found = scanned(root, write_csv(tmp_path / "parts.csv", rows, "file,part,x,y"))
    assert found.wrong.lines() == [] and found.parts == {composed: ["eye"], "dog": []}


def make_empty(root):
    (root / "fish").mkdir()


def make_single(root):
    shutil.rmtree(root / "dog")


def make_file(root):
    shutil.rmtree(root)
    root.touch()


def make_only_photos(root):
    for folder in list(root.iterdir()):
        (folder / "0.png").rename(root / f"{folder.name}.png")
        shutil.rmtree(folder)


def make_other_classes(root):
    for name in ("train", "test"):
        (root / name).mkdir()
    (root / "cat").rename(root / "train" / "cat")
    shutil.copytree(root / "dog", root / "test" / "dog")
    (root / "dog").rename(root / "train" / "dog")


def make_half_a_split(root):
    (root / "train").mkdir()
    for name in ("cat", "dog"):
        (root / name).rename(root / "train" / name)


def make_unsorted_test(root):
    make_half_a_split(root)
    (root / "test").mkdir()
    shutil.copy(root / "train" / "cat" / "0.png", root / "test" / "1.png")


def make_capitals(root):
    make_half_a_split(root)
    shutil.copytree(root / "train", root / "Test")
    (root / "train").rename(root / "Train")


def make_kaggle(root, train="training_set", test="test_set"):
    make_half_a_split(root)
    (root / "train").rename(root / train)
    shutil.copytree(root / train, root / test)


def make_flat_kaggle(root):
    for name, split in (("cat", "train"), ("dog", "test1")):
        (root / name).rename(root / split)


def make_words(root):
    make_kaggle(root, "TrainImages", "TestImages")


def make_sets(root):
    make_kaggle(root, "trainset", "testset")


def make_flat_test_parts(root):
    write_photos(root / "seg_train", number=2)
    for name in ("cat", "dog"):
        (root / name).rename(root / {"cat": "seg_test", "dog": "seg_pred"}[name])


def make_years(root):
    for name, other in (("cat", "train2017"), ("dog", "val2017")):
        shutil.copytree(root / name, root / "annotations", dirs_exist_ok=True)
        (root / name).rename(root / other)


def make_three_parts(root):
    make_kaggle(root, "seg_train", "seg_test")
    shutil.copytree(root / "seg_test" / "cat", root / "seg_pred")


def make_half_beside_more(root):
    shutil.copytree(root / "cat", root / "to predict")
    make_half_a_split(root)


def make_no_text(root):
    (root / "cat").rename(root / os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (make_empty, ValueError, r"class folder .*fish has no photo \(.*\.jpg.*\): add some"),
        (make_single, ValueError, r"has one class only \(cat\): add the folder of another class"),
        (
            shutil.rmtree,
            FileNotFoundError,
            r"The folder .*photos does not exist: give one with DIR",
        ),
        (make_file, NotADirectoryError, r"photos is a file: give a folder with DIR/CLASS"),
        (make_only_photos, ValueError, r"has no folder with photos in it: give DIR/CLASS"),
        (make_other_classes, ValueError, r"test lacks the classes cat, which .*train has"),
        (make_half_a_split, ValueError, r"has train/ and no test/: add it, or put the folders"),
        (make_capitals, ValueError, r"has Test/, Train/ and no train/ and no test/: rename them"),
        (make_kaggle, ValueError, r"has test_set/, training_set/ and no train/ and no test/: ren"),
        (make_flat_kaggle, ValueError, r"has test1/, train/ and no test/: add it, or put the"),
        (make_words, ValueError, r"has TestImages/, TrainImages/ and no train/ and no test/: ren"),
        (make_sets, ValueError, r"has testset/, trainset/ and no train/ and no test/: rename"),
        (make_flat_test_parts, ValueError, r"has seg_test/, seg_train/ and no train/ and no te"),
        (make_years, ValueError, r"has train2017/, val2017/ and no train/ and no test/: rename"),
        (make_three_parts, ValueError, r"has seg_test/, seg_train/ and no train/ and no test/"),
        (make_half_beside_more, ValueError, r"has train/ and no test/: add it, or put the fol"),
        (make_unsorted_test, ValueError, r"photos/test has no folders of classes: sort its photos"),
        (make_no_text, ValueError, r"class folder 'caf\\udce9' .* has a name that is no text in"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path, damage, error, message):
    root = write_photos(tmp_path / "photos", number=2)
    damage(root)
    with pytest.raises(error, match=message) as caught:
        read_folder(root)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    # The same before a run begins.
    config = tiny_config()
    config.data.update(data_fields(root, tmp_path / "tfds"))
    config.train.task = "softmax"
    with pytest.raises(error, match=message):
        check_run(config)


def test_classes_named_as_parts_of_a_data_set(tmp_path):
    for names in (
        ("train", "bus"),
        ("covid test", "blood test"),
        ("test", "quiz"),
        ("bullet_train", "cup", "test_tube"),
    ):
        root = write_photos(tmp_path / names[0], names, number=2)
        (root / names[0] / "more").mkdir()
        shutil.copy(root / names[0] / "0.png", root / names[0] / "more")
        if names[0] != "train":  # with folders in it, it is rather half of a split
            assert read_folder(root).classes == tuple(sorted(names))
            continue
        with pytest.raises(ValueError, match="a class of such a name needs another one"):
            read_folder(root)
        shutil.rmtree(root / names[0] / "more")
        assert read_folder(root).classes == tuple(sorted(names))


def test_a_link_to_a_folder_above_leads_nowhere(tmp_path):
    write_photos(tmp_path, number=2)
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    assert len(read_folder(tmp_path).photos) == 4
    for side in ("train", "test"):
        write_photos(tmp_path / "split" / side, number=2)
    (tmp_path / "split" / "train" / "dog" / "up").symlink_to(tmp_path / "split" / "train")
    assert len(read_folder(tmp_path / "split").photos) == 8


def test_names_of_files_that_are_no_text_stay_different(tmp_path):
    write_photos(tmp_path, number=3)
    for i, letter in enumerate((b"\xe8", b"\xe9")):
        photo = tmp_path / "cat" / f"{i}.png"
        photo.rename(tmp_path / "cat" / os.fsdecode(b"caf" + letter + b".png"))
    examples = scanned(tmp_path).examples
    assert len({example.key for example in examples}) == len(examples) == 6
    assert len({example.photo_id for example in examples}) == 6


def test_a_photo_in_two_classes(tmp_path):
    write_photos(tmp_path, number=3)
    shutil.copy(tmp_path / "cat" / "1.png", tmp_path / "dog" / "copy.png")
    with pytest.raises(ValueError, match=r"cat/1\.png and .*dog/copy\.png are the same photo in"):
        scanned(tmp_path)


# The split.


def test_identical_photos_are_on_one_side(tmp_path):
    write_photos(tmp_path, number=9)
    for number in range(9):
        shutil.copy(tmp_path / "cat" / f"{number}.png", tmp_path / "cat" / f"again{number}.png")
    by_seed = []
    for seed in range(3):
        examples = scanned(tmp_path, seed=seed).examples
        sides = {e.key: e.in_test for e in examples}
        assert all(sides[f"cat/{i}.png"] == sides[f"cat/again{i}.png"] for i in range(9))
        assert {e.photo_id for e in examples if "again" in e.key} <= {e.key for e in examples}
        for name in ("cat", "dog"):
            assert {sides[key] for key in sides if key.startswith(name)} == {True, False}
        by_seed.append(sides)
    assert by_seed[0] != by_seed[1] != by_seed[2]


def test_the_split_of_a_photo_does_not_hang_on_the_others():
    content = [bytes([i]) * 32 for i in range(200)]
    drawn = draw_split(content, 5)
    assert 0.2 < np.mean(list(drawn.values())) < 0.46
    fewer = draw_split(content[::2], 5)
    assert fewer == {one: drawn[one] for one in fewer}
    # Both sides have a photo, as soon as there are two.
    assert all(set(draw_split(content[i : i + 2], 5).values()) == {True, False} for i in range(50))


def test_a_class_with_one_photo(tmp_path):
    write_photos(tmp_path, number=2)
    (tmp_path / "cat" / "1.png").unlink()
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "cat" / "copy.png")
    with pytest.raises(ValueError, match=r"class folder .*cat has too few different photos"):
        scanned(tmp_path)


def test_folders_of_other_things_are_split_as_one(tmp_path):
    write_photos(tmp_path, ("cat", "other"), number=4)
    write_photos(tmp_path, ("neg",), number=1, first=90)
    assert scanned(tmp_path).summary["other"]["examples"] == 5
    write_photos(tmp_path, ("neg",), number=2, first=90)
    shutil.copy(tmp_path / "neg" / "90.png", tmp_path / "other" / "copy.png")
    for seed in range(1, 9):
        sides = {e.key: e.in_test for e in scanned(tmp_path, seed=seed).examples}
        assert sides["neg/90.png"] == sides["other/copy.png"]


def test_a_test_side_that_is_all_in_train(tmp_path):
    for first, split in enumerate(("train", "test")):
        write_photos(tmp_path / split, number=2, first=2 * first)
    shutil.rmtree(tmp_path / "test" / "cat")
    shutil.copytree(tmp_path / "train" / "cat", tmp_path / "test" / "cat")
    with pytest.raises(ValueError, match=r"class folder .*test/cat has too few different photos"):
        scanned(tmp_path)


def test_test_photos_that_are_in_train_are_left_out(tmp_path):
    for first, split in enumerate(("train", "test")):
        write_photos(tmp_path / split, number=3, first=3 * first)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "test" / "cat" / "leak.png")
    found = scanned(tmp_path)
    assert found.summary["cat"]["left_out"] == {"test images that are also in train": 1}
    assert [e.key for e in found.examples if e.in_test and e.label == 1] == [
        f"test/cat/{i}.png" for i in (3, 4, 5)
    ]


# Photos of all kinds.


def stored_pixels(data):
    with Image.open(io.BytesIO(stored_bytes(data))) as image:
        assert image.mode == "RGB" and not image.getexif().get(0x0112)
        return np.asarray(image)


def test_photos_become_rgb_as_viewers_show_them():
    image = Image.fromarray(pixels(1))
    kept = encoded(image, "JPEG", quality=90)
    assert stored_bytes(kept) is kept and stored_bytes(encoded(image)) == encoded(image)
    for kind in ("BMP", "GIF", "TIFF", "PPM"):
        exact = image.convert("P", palette=Image.Palette.ADAPTIVE) if kind == "GIF" else image
        np.testing.assert_array_equal(stored_pixels(encoded(exact, kind)), pixels(1))
    np.testing.assert_array_equal(stored_pixels(encoded(image, "WEBP", lossless=True)), pixels(1))
    grey = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(
        stored_pixels(encoded(image.convert("L"))), np.stack([grey] * 3, -1)
    )
    assert stored_pixels(encoded(image.convert("CMYK"), "JPEG")).shape == (*SIZE, 3)
    deep = stored_pixels(encoded(grey.astype(np.uint16) * 257))
    np.testing.assert_array_equal(deep, np.stack([grey] * 3, -1))
    clear = Image.new("RGBA", (4, 4), (1, 2, 3, 0))
    assert (stored_pixels(encoded(clear)) == 255).all()


@pytest.mark.parametrize(("kind", "tolerance"), [("PNG", 0), ("JPEG", 12)])
def test_turned_photos_are_stored_upright(kind, tolerance):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.ascontiguousarray(np.rot90(pixels(2), 1))
    options = {} if kind == "PNG" else {"quality": 95, "subsampling": 0}
    found = stored_pixels(encoded(turned, kind, exif=exif, **options))
    difference = np.abs(found.astype(int) - pixels(2))
    assert difference.mean() <= tolerance


def test_damaged_and_huge_photos(tmp_path, monkeypatch):
    write_photos(tmp_path, number=5)
    whole = (tmp_path / "cat" / "0.png").read_bytes()
    (tmp_path / "cat" / "cut.png").write_bytes(whole[:200])
    with pytest.raises(
        ValueError, match=r"cut\.png is damaged \(.*, --config\.data\.skip_damaged \(of .*\)\.$"
    ):
        scanned(tmp_path)
    (tmp_path / "cat" / "cut.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cat/cut\.png is no image that can be read: copy it"):
        scanned(tmp_path)
    deep = Image.fromarray(np.array([[0.5]], np.float32))
    (tmp_path / "cat" / "cut.png").write_bytes(encoded(deep, "TIFF"))
    with pytest.raises(ValueError, match=r"cat/cut\.png cannot be used: its pixels are floating"):
        scanned(tmp_path)
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    found = scanned(tmp_path, skip_damaged=True)
    assert found.summary["cat"]["left_out"] == {"damaged images": 1, "missing images": 1}
    assert found.summary["cat"]["examples"] == 5
    for name in ("cut", "gone"):
        (tmp_path / "cat" / f"{name}.png").unlink()

    (tmp_path / "dog" / "large.png").write_bytes(encoded(pixels(9, (120, 160))))
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)
        with pytest.raises(ValueError, match=r"large\.png has more than 15,000 pixels, the most"):
            scanned(tmp_path)
        left_out = scanned(tmp_path, skip_damaged=True).summary["dog"]["left_out"]
        assert left_out == {"too large images": 1}
    folder_photos._digest.cache_clear()
    monkeypatch.setattr(folder_photos, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"cat/0\.png has [\d,]+ bytes, at most 100 are read"):
        scanned(tmp_path)


# Annotations.


def test_parts_and_boxes_from_a_csv(tmp_path):
    root = write_photos(tmp_path / "photos", number=4)
    rows = [
        ("cat/0.png", "object", 10, 5, 70, 55),
        ("cat/0.png", "head", 20, 10, 40, 30),
        ("cat/0.png", "eye", 25.5, 12, "", ""),
        ("cat/1.png", "head", 30, 20, 90, 40),  # leaves the photo, its centre does not
        ("./cat\\1.png", "eye", 3, 4, "", ""),
        ("dog/2.png", "", -5, 5, 200, 55),  # is cut at the photo's edges
        ("dog/3.png", "tail", 1, 2, "", ""),
        ("dog/2.png", "tail", 1, 5, "", ""),
        ("dog/2.png", "head", 30, 4, "", ""),  # of something above the dog
    ]
    found = scanned(root, write_csv(tmp_path / "parts.csv", rows))
    assert found.wrong.lines() == ["parts in no object 1: row 10 (dog/2.png, head)"]
    assert found.parts == {"cat": ["eye", "head"], "dog": ["tail"]} and found.regions == ["head"]
    by_key = {example.key: example for example in found.examples}
    first = by_key["cat/0.png"]
    np.testing.assert_array_equal(first.bbox, [5, 10, 55, 70])
    head, eye = first.parts
    assert (head["name"], eye["name"]) == ("head", "eye")
    np.testing.assert_array_equal(head["box"], [10, 20, 30, 40])
    np.testing.assert_array_equal(head["center"], [20, 30])
    np.testing.assert_array_equal(eye["center"], [12, 25.5])
    assert np.isnan(eye["box"]).all()
    np.testing.assert_array_equal(by_key["cat/1.png"].bbox, [0, 0, *SIZE])
    np.testing.assert_array_equal(by_key["dog/2.png"].bbox, [5, 0, 55, 80])


def test_wrong_annotations_are_counted_and_named(tmp_path):
    root = write_photos(tmp_path / "photos", number=4)
    good = [(f"{name}/{i}.png", "head", 30, 20, 40, 30) for name in ("cat", "dog") for i in (0, 1)]
    rows = [
        *good,
        ("cat/99.png", "head", 1, 2, 3, 4),
        ("cat/2.png", "head", 300, 20, "", ""),
        ("cat/2.png", "head", 30, 20, 30, 40),
        ("cat/2.png", "hed", 30, 20, 40, 40),
        ("cat/3.png", "tail", 1, 2, "", ""),
        ("cat/3.png", "tail", 3, 2, "", ""),
        ("cat/3.png", "object", 3, 2, "", ""),
        ("cat/2.png", "object", 3, 2, 3.5, 40),
        ("cat/3.png", "head", "three", 2, "", ""),
        ("0.png", "head", 3, 2, "", ""),  # in both classes
        ("dog/2.png", "object", 3, 2, 40, 50),
        ("dog/2.png", "object", 3, 2, 40, 50),
    ]
    csv = write_csv(tmp_path / "parts.csv", rows)
    found = scanned(root, csv).wrong
    assert found.total == 11
    assert found.lines() == [
        "rows that cannot be read 2: row 12 (cat/3.png,object,3,2,,);"
        " row 14 (cat/3.png,head,three,2,,)",
        "files that are not in the folder 1: row 6 (cat/99.png)",
        "names that several photos have 1: row 15 (0.png)",
        "points outside the photo 1: row 7 (cat/2.png, head)",
        "boxes of no area 1: row 8 (cat/2.png, head)",
        "objects under a pixel high or wide 1: row 13 (cat/2.png)",
        "parts given twice 2: row 10 (cat/3.png, tail); row 11 (cat/3.png, tail)",
        "objects given again with the same box 1: row 17 (dog/2.png)",
        "parts that one photo alone has 1: hed (cat/2.png)",
    ]


def test_the_command_prints_what_was_left_out(tmp_path, capsys):
    root = write_photos(tmp_path / "photos", number=4)
    rows = [("cat/0.png", "eye", 30, 20), ("dog/0.png", "eye", 3, 20), ("cat/9.png", "eye", 3, 4)]
    csv = write_csv(tmp_path / "parts.csv", rows, "file,part,x,y")
    arguments = ["--name", "folder", "--data_dir", str(tmp_path / "tfds")]
    data_command.main([*arguments, "--manual_dir", str(root), "--annotations", str(csv)])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == (
        "annotations left out, files that are not in the folder 1: row 4 (cat/9.png)"
    )
    assert "cat: 4 objects in 4 photos" in printed and "  parts: eye 1" in printed
    with pytest.raises(SystemExit, match=r"^error: --name folder needs --manual_dir"):
        data_command.main(arguments)
    with pytest.raises(SystemExit, match=r"--annotations and --seed are options of --name folder"):
        data_command.main(["--name", "cub_200_2011", "--seed", "3"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,part,x,y\ncat/0.png,head,1,2\n", r"has the header 'name,part,x,y': give a CSV with"),
        ("file;part;x;y\n", r"has the header 'file;part;x;y'"),
        ("file,part,x,y\ncat/0.png,head,0.5,1\n", r"has no position above 1: give them in pixels"),
        ("", r"has the header ''"),
        ("file,part,x,y\n", r"has no annotation that can be read: give a CSV with"),
        ("file,part,x,y\ncat/0.png,head,a,1\n", r"can be read \(rows that cannot be read: row 2"),
        ("file,part,x,y\nfish/0.png,head,1,2\n", r"none of the photos .*'fish/0\.png', is none"),
        (b"\xff\xfe\x00file", r"is no text in UTF-8"),
        ('{"images": []}', r"is no COCO JSON with images, annotations and categories \(KeyError"),
        ("{", r"is no COCO JSON .*JSONDecodeError"),
        (None, r"The file of annotations .*parts\.csv does not exist"),
    ],
)
def test_files_of_annotations_that_are_wrong_as_a_whole(tmp_path, content, message):
    root, csv = write_photos(tmp_path / "photos", number=3), tmp_path / "parts.csv"
    if content is not None:
        csv.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        scanned(root, csv)
    assert "\n" not in str(caught.value)


def coco(tmp_path, **changes):
    """Two cats in one photo, with keypoints, and heads and tails as annotations of their own."""
    images = [
        {"id": 7, "file_name": "cat/0.png", "height": SIZE[0], "width": SIZE[1]},
        {"id": 8, "file_name": "dog/1.png", "height": SIZE[0], "width": SIZE[1]},
        {"id": 9, "file_name": "cat/2.png", "height": 80, "width": 60},
    ]
    categories = [
        {"id": 1, "name": "cat", "keypoints": ["nose", "paw"]},
        {"id": 2, "name": "cat.head"},
        {"id": 3, "name": "tail", "supercategory": "dog"},
        {"id": 4, "name": "moon", "supercategory": "sky"},
        {"id": 5, "name": "dog"},
        {"id": 6, "name": "dog.head"},
    ]
    triangle = [[45, 10, 65, 10, 45, 30]]
    of = [
        (1, 7, [5, 5, 30, 40], {"keypoints": [10, 10, 2, 90, 20, 2]}),
        (1, 7, [40, 5, 35, 50], {"keypoints": [50, 12, 1, 0, 0, 0]}),
        (2, 7, [45, 10, 20, 20], {"segmentation": triangle}),
        (2, 7, [10, 10, 10, 10], {}),
        (4, 7, [10, 10, 10, 10], {}),
        (5, 7, [10, 10, 10, 10], {}),
        (3, 8, [10, 10, 10, 10], {}),
        (6, 8, [10, 20, 10, 10], {"segmentation": [[10, 20, 20, 20, 20, 30, 10, 30]]}),
        (1, 9, [1, 1, 9, 9], {}),
        (2, 7, [36, 0, 2, 3], {}),
    ]
    annotations = [
        {"id": i, "category_id": c, "image_id": image, "bbox": box, "iscrowd": 0, **more}
        for i, (c, image, box, more) in enumerate(of, start=1)
    ]
    tree = {"images": images, "annotations": annotations, "categories": categories}
    return write_coco(tmp_path / "coco.json", **tree | changes)


def test_objects_and_parts_from_coco(tmp_path, monkeypatch):
    root = write_photos(tmp_path / "photos", number=4)
    # So few photos have a part more than once.
    monkeypatch.setattr(annotation_places, "_without_single_parts", lambda objects, _: objects)
    found = scanned(root, coco(tmp_path))
    by_key = {example.key: example for example in found.examples}
    left, right = by_key["cat/0.png"], by_key["cat/0.png#2"]
    np.testing.assert_array_equal(left.bbox, [5, 5, 45, 35])
    np.testing.assert_array_equal(right.bbox, [5, 40, 55, 75])
    assert left.photo_id == right.photo_id and left.in_test == right.in_test
    assert [part["name"] for part in left.parts] == ["nose", "head"]
    nose, head = right.parts
    np.testing.assert_array_equal(nose["center"], [12, 50])
    np.testing.assert_array_equal(head["box"], [10, 45, 30, 65])
    mask = np.asarray(Image.open(io.BytesIO(head["mask"]))) > 0
    assert mask.shape == SIZE and 150 < mask.sum() < 250  # half of 20 x 20
    assert mask[11:29, 46:64].any() and not mask[:9].any()
    assert [part["name"] for part in by_key["dog/1.png"].parts] == ["tail", "head"]
    assert sorted(found.wrong.lines()) == [
        "annotations of a photo of another size 1: annotation 9 (cat/2.png): 80 x 60, is 60 x 80",
        "objects of another class than the photo's 1: annotation 6 (cat/0.png, dog)",
        "parts in no object 1: annotation 10 (cat/0.png, head)",
        "points outside the photo 1: annotation 1 (cat/0.png, paw)",
        "unknown parts 1: annotation 5 (cat/0.png, moon)",
    ]


def test_coco_masks_where_the_file_does_not_say_the_size_of_images(tmp_path, monkeypatch):
    root = write_photos(tmp_path / "photos", number=4)
    monkeypatch.setattr(annotation_places, "_without_single_parts", lambda objects, _: objects)
    file = coco(tmp_path)
    said = scanned(root, file)
    tree = json.loads(file.read_text())
    tree["images"] = [{key: image[key] for key in ("id", "file_name")} for image in tree["images"]]
    tree["images"][0] |= {"height": None, "width": 0}
    unsaid = scanned(root, write_coco(tmp_path / "unsized.json", **tree))

    def heads(found):
        return {
            example.key: part["mask"]
            for example in found.examples
            for part in example.parts
            if part["name"] == "head"
        }

    assert heads(said)["cat/0.png#2"] == heads(unsaid)["cat/0.png#2"] is not None
    assert heads(said)["dog/1.png"] == heads(unsaid)["dog/1.png"] is not None


def test_annotations_of_photos_that_are_left_out(tmp_path):
    root = tmp_path / "photos"
    write_photos(root / "train", number=3)
    write_photos(root / "test", number=3, first=10)
    for photo in (root / "test").rglob("*.png"):
        photo.rename(photo.with_name(photo.name[1:]))
    shutil.copy(root / "train" / "cat" / "0.png", root / "test" / "cat" / "copy.png")
    rows = [(f"train/cat/{i}.png", "head", 3, 4, "", "") for i in range(3)]
    csv = write_csv(tmp_path / "parts.csv", [*rows, ("test/cat/copy.png", "head", 3, 4, "", "")])
    assert scanned(root, csv).wrong.lines() == [
        "annotations of photos that are left out 1: row 5 (test/cat/copy.png)"
    ]
    # A name that is on both sides says which it may be.
    csv = write_csv(tmp_path / "short.csv", [("cat/1.png", "head", 3, 4, "", "")])
    either = "may be 'test/cat/1.png' or 'train/cat/1.png'"
    with pytest.raises(ValueError, match=rf"'cat/1.png', {either}\): .* such as 'test/cat/0.png'"):
        scanned(root, csv)


def test_coco_objects_that_are_given_again(tmp_path):
    root = write_photos(tmp_path / "photos", number=4)
    annotations = [
        {
            **{"id": i, "category_id": 1, "image_id": image, "bbox": [5, 5, 30, 40]},
            "keypoints": [10, 12, 2, 0, 0, 0],
        }
        for i, image in enumerate([7, 7, 8], start=1)
    ]
    images = [{"id": 7, "file_name": "cat/0.png"}, {"id": 8, "file_name": "cat/1.png"}]
    found = scanned(root, coco(tmp_path, images=images, annotations=annotations))
    assert len(found.examples) == 8  # one of each photo
    parts = {example.key: [part["name"] for part in example.parts] for example in found.examples}
    assert parts["cat/0.png"] == parts["cat/1.png"] == ["nose"]
    assert found.wrong.lines() == [
        "objects given again with the same box 1: annotation 2 (cat/0.png)"
    ]
    # Where objects and keypoints were files of their own, the second alone has the parts.
    del annotations[0]["keypoints"]
    found = scanned(root, coco(tmp_path, images=images, annotations=annotations))
    parts = {example.key: [part["name"] for part in example.parts] for example in found.examples}
    assert len(found.examples) == 8 and parts["cat/0.png"] == ["nose"]
    # Which of two places is meant is not known.
    annotations[0]["keypoints"] = [20, 12, 2, 0, 0, 0]
    found = scanned(root, coco(tmp_path, images=images, annotations=annotations))
    assert any(line.startswith("parts given twice 2: ") for line in found.wrong.lines())


def test_coco_ids_without_an_image(tmp_path):
    root = write_photos(tmp_path / "photos", number=4)
    wrong = [{"id": 1, "category_id": 1, "image_id": n, "bbox": [1, 1, 2, 2]} for n in (77, 78)]
    with pytest.raises(
        ValueError, match=r"2 annotations whose image_id is that of no image \(77, 7"
    ):
        scanned(root, coco(tmp_path, annotations=wrong))


@pytest.mark.parametrize("kind", ["images", "categories"])
def test_coco_ids_that_are_not_unique(tmp_path, kind):
    root = write_photos(tmp_path / "photos", number=4)
    tree = json.loads(coco(tmp_path).read_text())
    tree[kind][1]["id"] = tree[kind][0]["id"]
    message = rf"has several {kind} of the same id \({tree[kind][0]['id']}\), so that which"
    with pytest.raises(ValueError, match=message):
        scanned(root, write_coco(tmp_path / "coco.json", **tree))


def test_coco_segmentations_that_are_no_masks_of_the_photo(tmp_path):
    root = write_photos(tmp_path / "photos", number=11)
    whole = {"size": list(SIZE), "counts": [0, SIZE[0] * SIZE[1]]}
    segmentations = [
        *([[10, 10, 40, 10, 10, 40]], whole),
        *([[]], [[1, 2, 3, 4]], "x", whole | {"counts": "garbage"}),
        *({"size": [30, 40], "counts": [0, 1200]}, whole | {"size": list(SIZE[::-1])}),
        *([[1e9, 0, 20, 1, 20, 20]], [[None, 1, 20, 1, 20, 20]]),
        [[99, 99, 98, 98, 99, 98]],  # beside the photo
    ]
    images = [
        {"id": i, "file_name": f"cat/{i}.png", "height": SIZE[0], "width": SIZE[1]}
        for i in range(11)
    ]
    annotations = [
        {"id": i, "category_id": 2, "image_id": i, "bbox": [1, 1, 40, 40], "segmentation": one}
        for i, one in enumerate(segmentations)
    ]
    file = coco(tmp_path, images=images, annotations=annotations)
    found = scanned(root, file)
    # Lines begin with the reason and the number.
    assert [re.sub(r":.*", "", line) for line in sorted(found.wrong.lines())] == [
        "masks of no area 1",
        "rows that cannot be read 8",
    ]
    assert all("\n" not in line for line in found.wrong.lines())
    with_parts = {e.key: e.parts for e in found.examples if e.parts}
    assert with_parts.keys() == {"cat/0.png", "cat/1.png"}
    for (part,) in with_parts.values():
        assert Image.open(io.BytesIO(part["mask"])).size == SIZE[::-1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": {"height": float("inf")}}, "OverflowError: cannot convert float infinity to"),
        ({"categories": {"keypoints": ["nose", ""]}}, "ValueError: a keypoint has no name"),
    ],
)
def test_coco_fields_that_cannot_be_read(tmp_path, changes, reason):
    root = write_photos(tmp_path / "photos", number=4)
    tree = json.loads(coco(tmp_path).read_text())
    for kind, fields in changes.items():
        tree[kind][0].update(fields)
    found = scanned(root, write_coco(tmp_path / "coco.json", **tree))
    assert any(line.startswith("rows") and reason in line for line in found.wrong.lines())


def test_keypoints_stay_with_their_object(tmp_path):
    root = write_photos(tmp_path / "photos", number=4)
    of = [
        (0, [5, 5, 0, 0], 10),  # no area, and another cat is there
        (0, [30, 5, 20, 20], 0),
        (1, [5, 5, 30, 40], 10),
        (1, [40, 5, 30, 40], 50),  # of the same id as the one before
        (2, [5, 5, 0, 0], 10),  # no area, and alone
    ]
    annotations = [
        {
            **{"id": min(i, 2), "category_id": 1, "image_id": image, "bbox": box},
            "keypoints": [x, 12, 2 * bool(x), 0, 0, 0],
        }
        for i, (image, box, x) in enumerate(of)
    ]
    images = [{"id": i, "file_name": f"cat/{i}.png"} for i in range(3)]
    found = scanned(root, coco(tmp_path, images=images, annotations=annotations))
    places = {
        e.key: [p["center"].tolist() for p in e.parts] for e in found.examples if e.label == 1
    }
    assert places == {
        **{"cat/0.png": [], "cat/1.png": [[12, 10]], "cat/1.png#2": [[12, 50]]},
        **{"cat/2.png": [[12, 10]], "cat/3.png": []},
    }
    assert found.wrong.lines() == [
        "boxes of no area 2: annotation 0 (cat/0.png); annotation 2 (cat/2.png)",
        "keypoints of objects that are left out 1: annotation 0 (cat/0.png, nose)",
    ]


def test_masks_and_boxes_of_a_prepared_data_set(tmp_path, monkeypatch):
    root = write_photos(tmp_path / "photos", number=4)
    monkeypatch.setattr(annotation_places, "_without_single_parts", lambda objects, _: objects)
    data = prepare(data_config(root, tmp_path / "tfds", annotations=str(coco(tmp_path))), seed=0)
    assert data.has_masks and data.parts == ("head", "tail")
    assert data.landmarks == ("head", "nose", "tail")
    crop = CropWithParts(50, parts=data.parts, landmarks=data.landmarks)
    for split in (data.train, data.test):
        for place in range(len(split)):
            found = crop.map(split[place])
            if split[place]["photo_id"] == b"dog/1.png":
                # A mask, and a box that was filled: 10 x 10 of 60 x 80 pixels each.
                np.testing.assert_allclose(found["masks"].mean((1, 2)), 100 / 4800, atol=0.01)


# Other content is another data set.


def test_a_data_set_is_known_by_its_content(tmp_path):
    root = write_photos(tmp_path / "a" / "photos", number=3)
    csv = write_csv(tmp_path / "parts.csv", [("cat/0.png", "eye", 3, 4)], "file,part,x,y")

    def name(folder=root, **options):
        builder = FolderPhotos(source=folder, data_dir=str(tmp_path / "tfds"), **options)
        return builder.info.full_name

    first = name()
    assert re.fullmatch(r"folder/photos-[0-9a-f]{16}/1\.0\.0", first)
    assert name() == name(category="dog") == first
    moved = shutil.copytree(root, tmp_path / "b" / "photos")
    assert name(moved) == first
    names = [first, name(seed=1), name(annotations=csv), name(skip_damaged=True)]
    csv.write_text(csv.read_text() + "cat/1.png,eye,5,6\n")
    names.append(name(annotations=csv))
    (moved / "cat" / "0.png").write_bytes(encoded(pixels(77)))
    names.append(name(moved))
    (moved / "cat" / "0.png").rename(moved / "cat" / "new.png")
    names.append(name(moved))
    assert len(set(names)) == len(names)


def test_a_run_goes_on_with_the_photos_it_was_begun_with(tmp_path):
    from interp_cnn.workdir import claim_data

    claim_data(tmp_path, "folder/photos-1/1.0.0")
    claim_data(tmp_path, "folder/photos-1/1.0.0")
    claim_data(tmp_path, "")  # data that their configuration tells
    claim_data(tmp_path, "folder/photos-0/1.0.0")  # nothing was trained with the others
    claim_data(tmp_path, "folder/photos-1/1.0.0")
    write_begun(tmp_path)
    with pytest.raises(ValueError, match=r"other data \(folder/photos-1/1\.0\.0 there, folder/p"):
        claim_data(tmp_path, "folder/photos-2/1.0.0")


# As the published data sets.


def assert_same_examples(published, own, landmarks=("head", "front_legs")):
    """Crops pixel by pixel, landmarks and boxes of parts of two splits, by photo and box."""

    def by_content(split):
        crop = CropWithParts(64, parts=landmarks, landmarks=landmarks)
        found = {}
        for place in range(len(split)):
            example = split[place]
            key = (example["image"], *np.asarray(example["bbox"]).tolist())
            found.setdefault(key, []).append((int(example["label"]), crop.map(example)))
        return found

    first, second = by_content(published), by_content(own)
    assert first.keys() == second.keys() and len(first) > 3
    for key, examples in first.items():
        for (label, a), (other, b) in zip(examples, second[key], strict=True):
            assert label == other
            np.testing.assert_array_equal(a["image"], b["image"])
            np.testing.assert_allclose(a["landmarks"], b["landmarks"], atol=1e-4)
            np.testing.assert_array_equal(a["masks"], b["masks"])


def both_ways(source, target):
    """The cats of a published folder, and the same as photos in folders with a CSV."""
    cat = animal_part_files.CATEGORIES["cat"]
    examples, _ = animal_part_files.scan(source, (cat,), skip_damaged=False)
    photos, csv = export_published(examples, ("cat",), target)
    published = default_config().data
    published.update(name="ilsvrc_animal_part", manual_dir=str(source), category="cat")
    published.data_dir = str(target / "tfds")
    own = data_config(photos, target / "tfds", annotations=str(csv), negatives="photos")
    return prepare(published, seed=0), prepare(own, seed=0)


def test_the_same_crops_and_parts_as_the_published_layout(tmp_path, monkeypatch):
    # One cat alone has front legs.
    monkeypatch.setattr(annotation_places, "_without_single_parts", lambda objects, _: objects)
    write_published(tmp_path / "published")
    published, own = both_ways(tmp_path / "published", tmp_path)
    assert own.categories == published.categories
    assert_same_examples(published.train, own.train)
    assert_same_examples(published.test, own.test)


@pytest.mark.thorough
def test_the_same_crops_and_parts_of_real_photos(real_data, tmp_path):
    published, own = both_ways(real_data / "ilsvrc_animal_part", tmp_path)
    assert set(own.landmarks) == set(published.landmarks) == {"head", "front_legs"}
    assert_same_examples(published.train, own.train)
    assert_same_examples(published.test, own.test)


# Configurations.


def test_the_task_follows_from_the_folder(tmp_path):
    write_photos(tmp_path / "two", number=30)
    write_photos(tmp_path / "others", ("cat", "dog", "neg"), number=3)

    def task(text):
        config = folder_config.get_config(text)
        check_config = (config.data.category, config.data.negatives, config.train.task)
        return check_config

    two, others = f"path={tmp_path / 'two'}", f"path={tmp_path / 'others'}"
    assert task(two) == ("all", "none", "softmax")
    assert task(f"{two},category=dog") == ("dog", "categories", "logistic")
    assert task(f"{two},task=logistic") == ("all", "none", "logistic")
    assert task(others) == ("all", "photos", "logistic")
    assert task(f"{others},task=softmax") == ("all", "none", "softmax")
    config = folder_config.get_config(f"{two},net=small,annotations=x.csv")
    assert config.data.annotations == str(Path("x.csv").absolute())
    assert config.data.manual_dir == str(tmp_path / "two")
    # Two thirds of 60 photos, one batch an epoch, for some hundred steps.
    assert config.train.batch_size == 32 and 100 < config.train.epochs < 300
    assert folder_config.get_config(f"{two},epochs=3").train.epochs == 3
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_named_config(f"folder:path={tmp_path / 'nowhere'}")
    file = tmp_path / "own.py"
    file.write_text("from interp_cnn.configs.folder import get_config\n")
    with pytest.raises(FileNotFoundError, match=r"^The folder .* does not exist"):
        read_named_config(f"{file}:path={tmp_path / 'nowhere'}")


def test_the_batch_size_follows_from_the_photos_of_the_task(tmp_path):
    for number in range(12):
        write_photos(tmp_path, (f"{number:02d}", "c++"), number=24, first=100 * number)

    def batch_size(text):
        return folder_config.get_config(f"path={tmp_path},{text}").train.batch_size

    assert batch_size("net=small") == 32
    # 32 photos of these two train, and those of all classes where the others are negatives.
    assert batch_size("category=01+02,task=softmax") == 16
    assert batch_size("category=01+02") == 32
    # A class whose name has the sign that joins names.
    assert batch_size("category=c++,negatives=none,task=logistic") == 32


@pytest.mark.parametrize("net", NETWORKS)
def test_each_network_gets_the_input_it_wants(net):
    config = read_named_config(f"folder:net={net}")
    assert config.model.name == net
    wanted = IMAGENET_STD if net.startswith(("resnet", "densenet")) else 64 if net == "small" else 1
    assert config.data.std == wanted
    assert bool(config.weights) == bool(config.model.frozen_through) == (net != "small")
    with pytest.raises(ValueError, match="net='vgg99' is unknown; give one of vgg16,"):
        read_named_config("folder:net=vgg99")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"manual_dir": ""}, r"config\.data\.manual_dir is empty; give the folder .*folder:path="),
        ({"dataset": "mnist"}, r"config\.data\.dataset='mnist' has no use with folder"),
        ({"annotations": "/nowhere.csv"}, r"annotations /nowhere\.csv does not exist"),
        ({"category": "fish"}, r"'fish' is no category; give one of cat, dog"),
        ({"negatives": "photos"}, r"needs photos of other things, and .* has no folder other/"),
        ({"negatives": "categories"}, r"needs a category beside config\.data\.category='all'"),
        ({"name": "embedded_animals", "annotations": "x.csv", "manual_dir": ""}, "has no use with"),
    ],
)
def test_fields_that_do_not_fit(tmp_path, fields, message):
    config = tiny_config()
    config.data.update(data_fields(write_photos(tmp_path, number=2), tmp_path / "tfds"))
    config.data.update(fields)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_run(config)


def test_the_work_directory_is_named_by_the_folder(monkeypatch):
    flag = object.__new__(ConfigFlag)
    flag._flag = type("Flag", (), {"value": "folder:path=../some/where/photos/,net=small"})
    assert flag.default_workdir == "runs/folder-path=photos-net=small"


def test_paths_mean_the_same_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flag = object.__new__(ConfigFlag)
    flag._flag = type("Flag", (), {"value": "embedded"})
    for given, expected in (
        ("prepared", str(tmp_path / "prepared")),
        ("~nobody-of-this-name/x", str(tmp_path / "~nobody-of-this-name" / "x")),
        ("gs:/bucket/x", "gs:/bucket/x"),
        ("", ""),
    ):
        flag._overrides = [("data.data_dir", given), ("data.manual_dir", given)]
        flag.load()
        assert (flag.value.data.data_dir, flag.value.data.manual_dir) == (expected, expected)


# A run without annotations.


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """A tiny network, trained and evaluated on photos without any annotation."""
    folder = tmp_path_factory.mktemp("plain")
    root = write_photos(folder / "my cats & dogs", number=12)
    config = tiny_config()
    config.data.update(data_fields(root, folder / "tfds"))
    config.train.task = "softmax"
    config.train.epochs = 1
    workdir = folder / "run"
    commands.train_and_evaluate(config, workdir)
    return root, workdir


def test_figures_without_parts(plain_run):
    results = read_results(plain_run[1] / "metrics.json")
    assert not results.data.has_parts and results.data.part_regions == "none"
    assert results.experiment.dataset == "the folder my cats & dogs"
    for layer in results.networks["interpretable"].layers.values():
        assert layer.location_instability.value is None and layer.mutual_information is not None
        assert 0 <= layer.behaviour.fired_share <= 1 and 0 <= layer.behaviour.same_place <= 1
        assert layer.behaviour.peak_spread >= 0
    table = interp_cnn.load(plain_run[1]).filters
    for name, layer in results.networks["interpretable"].layers.items():
        shares = [row.fired_share for row in table.of_layer(name)]
        assert np.mean(shares) == pytest.approx(layer.behaviour.fired_share)
    table = (plain_run[1] / "table.md").read_text()
    assert "No parts are annotated." in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert not any("—" in row or "nan" in row.lower() for row in rows)
    for absent in ("instability", "tracking ratio", "interpretability", "landmark"):
        assert not any(absent in row for row in rows)
    assert "spread of the peaks" in table and "dead filters" in table


def test_the_report_without_parts(plain_run):
    report = plain_run[1] / "report"
    index = (report / "index.html").read_text()
    assert "No parts are annotated." in index and "information.svg" in index
    for absent in ("tracking ratio", "location instability <", ">part<", "unknown", "no part<"):
        assert absent not in re.sub(r"No parts are annotated\.[^<]*", "", index)
    pages = sorted((report / "filters").glob("*.html"))
    for page in (index, *(page.read_text() for page in pages)):
        shown = re.sub(r"<[^>]*>", " ", page)
        assert not re.search(r"\bnan\b", shown, re.IGNORECASE)
        assert "The data set has no" not in shown
    assert "mutual information" in pages[0].read_text()


def test_a_prediction_is_explained_without_parts(plain_run):
    root, workdir = plain_run
    text = explain_image(root / "cat" / "0.png", workdir)
    assert re.match(r"(cat|dog)(; filters? |, though hardly any filter)", text)
    assert "no part" not in text
    stored = np.load(workdir / "interpretable" / "filters.npz")
    assert stored["names"].size == 0 and (stored["part"] == -1).all()
    assert json.loads((workdir / "data.json").read_text())["data"].startswith("folder/my_cats_dogs")
