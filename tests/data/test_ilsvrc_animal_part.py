"""The ILSVRC Animal-Part builder, on small folders in the published layout and on real photos."""

import functools
import http.server
import io
import pickle
import re
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from animal_part_folder import (
    BOX,
    CAT,
    GOLDFISH,
    HEIGHT,
    PART,
    WIDTH,
    jpeg,
    part_entry,
    sample,
    write_matlab73,
    write_published,
)
from PIL import Image
from prepared import prepared

from interp_cnn.data.photos import animal_part_files as files
from interp_cnn.data.photos import archives, ilsvrc_animal_part, photo_files
from interp_cnn.data.photos.ilsvrc_animal_part import IlsvrcAnimalPart
from interp_cnn.data.pipeline import read_split


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("animal_part")
    write_published(root)
    return root


def prepare(data_dir, source, config="cat", **kwargs):
    return prepared(IlsvrcAnimalPart, data_dir, source, config, **kwargs)


def records(builder):
    """All examples of each split, with text as str and parts by name."""
    result = {}
    for split in ("train", "test"):
        result[split] = []
        for example in builder.as_data_source(split):
            parts = example["parts"]
            example["photo_id"] = example["photo_id"].decode()
            example["parts"] = {
                name.decode(): (parts["center"][i], parts["box"][i])
                for i, name in enumerate(parts["name"])
            }
            result[split].append(example)
    return result


@pytest.fixture(scope="session")
def cat(published, tmp_path_factory):
    builder = prepare(tmp_path_factory.mktemp("tfds"), published)
    return builder, records(builder)


def test_boxes_and_parts_are_in_the_photos_pixels(cat):
    by_id = {e["photo_id"]: e for split in cat[1].values() for e in split}
    first = by_id[f"{CAT}/00001"]
    assert first["label"] == 1
    assert first["image"].shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(first["bbox"], np.array([10, 20, 110, 160], np.float32))
    center, box = first["parts"]["head"]
    # y = 10 + 56 / 224 * 100, x = 20 + 112 / 224 * 140; the size is (50, 35).
    np.testing.assert_allclose(center, [35, 90])
    np.testing.assert_allclose(box, [10, 72.5, 60, 107.5])
    # 210 / 224 * 100 + 10 to 230 / 224 * 100 + 10: outside of the crop, kept as published.
    _, box = first["parts"]["front_legs"]
    np.testing.assert_allclose(box, [103.75, 16.875, 112.67857, 35.625], rtol=1e-6)


def test_absent_and_ambiguous_parts_are_left_out_but_not_their_object(cat):
    by_id = {e["photo_id"]: set(e["parts"]) for split in cat[1].values() for e in split}
    assert by_id[f"{CAT}/00001"] == {"head", "front_legs"}
    assert by_id[f"{CAT}/00002"] == set()  # not annotated
    assert by_id[f"{CAT}/00003"] == set()  # two head boxes
    assert by_id[f"{CAT}/00004"] == {"head"}  # two boxes of the legs
    assert f"{CAT}/00005" not in by_id
    assert f"{CAT}/00006" in by_id


def test_summary_counts_what_was_found_and_left_out(cat):
    expected = {
        "cat": {
            "examples": 15,
            "photos": 13,
            "parts": {"head": 13, "front_legs": 1},
            "left_out": {
                "head with several boxes": 1,
                "front_legs with several boxes": 1,
                "objects under 2500 pixels": 1,
            },
        },
        "other": {"examples": 12, "photos": 12, "parts": {}, "left_out": {}},
    }
    assert cat[0].info.metadata["summary"] == expected
    # The counts also come back from the disk.
    again = IlsvrcAnimalPart(config="cat", data_dir=cat[0].data_dir.split("/ilsvrc")[0])
    assert again.info.metadata["summary"] == expected


def test_photos_of_other_things_are_whole_and_grey_ones_become_rgb(cat, published):
    others = {e["photo_id"]: e for split in cat[1].values() for e in split if e["label"] == 0}
    assert sorted(others) == [f"neg/{i:05d}" for i in range(1, 13)]
    for example in others.values():
        assert example["image"].shape == (40, 60, 3)
        np.testing.assert_array_equal(example["bbox"], np.array([0, 0, 40, 60], np.float32))
        assert example["parts"] == {}
    grey = np.asarray(Image.open(published / "neg" / "00003.JPEG"))
    np.testing.assert_array_equal(others["neg/00003"]["image"], np.stack([grey] * 3, -1))
    rgb = (published / "neg" / "00001.JPEG").read_bytes()
    assert photo_files.rgb_bytes(rgb) is rgb  # as published
    stored = photo_files.rgb_bytes((published / "neg" / "00003.JPEG").read_bytes())
    assert Image.open(io.BytesIO(stored)).mode == "RGB"


def test_identical_photos_share_their_id_and_split(cat):
    ids = {split: [e["photo_id"] for e in content] for split, content in cat[1].items()}
    assert not set(ids["train"]) & set(ids["test"])
    assert ids["train"] and ids["test"]
    everything = ids["train"] + ids["test"]
    assert everything.count(f"{CAT}/00007") == 3
    assert len(everything) == 27
    assert not {f"{CAT}/00008", f"{CAT}/00009"} & set(everything)


def test_split_of_a_photo_is_the_same_in_every_config(cat, published, tmp_path):
    both = records(prepare(tmp_path, published, config="goldfish+cat"))
    for split, content in cat[1].items():
        # The goldfish are additional, everything else stays where it was.
        ids = {e["photo_id"] for e in both[split] if not e["photo_id"].startswith(GOLDFISH)}
        assert ids == {e["photo_id"] for e in content}


def test_several_categories_and_heads_only(published, tmp_path):
    builder = prepare(tmp_path, published, config="goldfish+cat")
    assert builder.info.features["label"].names == ["other", "goldfish", "cat"]
    summary = builder.info.metadata["summary"]
    assert summary["goldfish"]["parts"] == {"head": 6}
    labels = {e["photo_id"][:9]: e["label"] for s in records(builder).values() for e in s}
    assert (labels[GOLDFISH], labels[CAT]) == (1, 2)
    assert builder.landmarks == builder.parts == ("head", "front_legs")
    # Workers of the input pipeline get the builder pickled.
    assert len(pickle.loads(pickle.dumps(builder)).as_data_source("train")) > 0


def test_all_categories_of_the_copy(published, tmp_path):
    builder = prepare(tmp_path, published, config="all")
    assert builder.categories == ("goldfish", "cat")  # in the official order
    assert builder.info.metadata["contents"] == "2 of 30 categories"
    again = IlsvrcAnimalPart(config="all", data_dir=tmp_path)
    assert again.categories == builder.categories
    labels = {e["photo_id"][:9]: e["label"] for s in records(builder).values() for e in s}
    assert (labels[GOLDFISH], labels[CAT], labels["neg/00001"]) == (1, 2, 0)


def test_goldfish_have_one_landmark(tmp_path):
    builder = IlsvrcAnimalPart(config="goldfish", data_dir=tmp_path)
    assert builder.landmarks == builder.parts == ("head",)
    assert builder.categories == ("goldfish",)


def test_category_of_no_known_name(copy, tmp_path):
    for folder, suffix in (("detanimalpart", "_obj"), ("truth", "")):
        (copy / folder / f"{GOLDFISH}{suffix}").rename(copy / folder / f"n00000001{suffix}")
    builder = prepare(tmp_path / "tfds", copy, config="n00000001")
    assert builder.info.features["label"].names == ["other", "n00000001"]
    assert builder.info.metadata["summary"]["n00000001"]["parts"] == {"head": 6}
    for folder, suffix in (("detanimalpart", "_obj"), ("truth", "")):  # nothing else is there
        shutil.rmtree(copy / folder / f"{CAT}{suffix}")
    alone = prepare(tmp_path / "alone", copy, config="n00000001")
    assert alone.info.metadata["contents"] == "0 of 30 categories"


def test_config_names(tmp_path):
    assert IlsvrcAnimalPart(config=CAT, data_dir=tmp_path).builder_config.name == "cat"
    assert tfds.builder("ilsvrc_animal_part/fox", data_dir=tmp_path).builder_config.categories == (
        "n02118333",
    )
    assert len(IlsvrcAnimalPart.builder_configs) == 31
    for wrong, bad in (
        ("unicorn", "unicorn"),
        ("cat+", ""),
        ("n123", "n123"),
        ("cat-fox", "cat-fox"),
    ):
        with pytest.raises(ValueError, match=f"'{bad}' is no category; give one of goldfish, "):
            IlsvrcAnimalPart(config=wrong, data_dir=tmp_path)
    for wrong in ("cat+n02121808", "fox+cat+fox"):
        with pytest.raises(ValueError, match="names one twice"):
            IlsvrcAnimalPart(config=wrong, data_dir=tmp_path)


@pytest.mark.parametrize(
    "missing",
    [
        "",
        "detanimalpart",
        f"detanimalpart/{CAT}_obj",
        f"detanimalpart/{CAT}_obj/img/data.mat",
        f"detanimalpart/{CAT}_obj/img/img",
        f"detanimalpart/{CAT}_obj/img/img/00010.jpg",
        "truth",
        f"truth/{CAT}",
        f"truth/{CAT}/truth_part01.mat",
        f"truth/{CAT}/truth_part02.mat",
    ],
)
def test_missing_file_is_named(copy, tmp_path, missing):
    path = copy / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        prepare(tmp_path / "tfds", copy)
    message = str(error.value)
    assert str(path) in message and "missing" in message and "\n" not in message


def test_folder_without_other_photos(copy, tmp_path):
    others = copy / "neg"
    others.rename(copy / "elsewhere")
    builder = prepare(tmp_path / "tfds", copy, "all")
    assert builder.info.metadata["summary"]["other"]["examples"] == 0
    labels = read_split(builder, "train", categories=("cat",), negatives="categories").labels
    assert set(labels) == {0, 1}
    (copy / "elsewhere").rename(others)
    for path in (copy / "neg").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"neg has no \.JPEG image"):
        prepare(tmp_path / "tfds", copy)


@pytest.mark.parametrize(
    ("places", "manual_dir"),
    [
        ({"detanimalpart": "detanimalpart-b06ef14dc9e2"}, ""),
        ({}, "detanimalpart"),
        ({f"detanimalpart/{c}_obj": f"{c}_obj" for c in (CAT, GOLDFISH)}, ""),
        (
            {
                "truth": "interpretableCNN/code/data_input/"
                "data_input_DET-2015-subset-ILSVRC2013train",
                "neg": "interpretableCNN/data/neg",
            },
            "",
        ),
    ],
)
def test_folder_may_have_the_repositories(copy, places, manual_dir):
    expected = files.scan(copy, (GOLDFISH, CAT), skip_damaged=False)
    for old, new in places.items():
        (copy / new).parent.mkdir(parents=True, exist_ok=True)
        (copy / old).rename(copy / new)
    if not any((copy / "detanimalpart").glob("*")):
        shutil.rmtree(copy / "detanimalpart", ignore_errors=True)
    source = copy / manual_dir
    examples, summary = files.scan(source, files.found(source), skip_damaged=False)
    assert summary == expected[1]
    assert [e.key for e in examples] == [e.key for e in expected[0]]


def test_missing_image_is_counted_if_wanted(copy):
    (copy / f"detanimalpart/{CAT}_obj/img/img/00010.jpg").unlink()
    _, summary = files.scan(copy, (CAT,), skip_damaged=True)
    assert summary["cat"]["left_out"]["missing images"] == 1
    assert summary["cat"]["examples"] == 14


def test_all_of_another_copy(published, copy, tmp_path):
    for folder, suffix in (("detanimalpart", "_obj"), ("truth", "")):
        shutil.rmtree(copy / folder / f"{CAT}{suffix}")
    assert prepare(tmp_path, published, config="all").categories == ("goldfish", "cat")
    fewer = prepare(tmp_path, copy, config="all")
    assert fewer.categories == ("goldfish",)
    # The one that was there before is made anew, too.
    fewer.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(published))
    )
    assert fewer.categories == ("goldfish", "cat")


def test_names_of_other_photos(copy, tmp_path):
    others = copy / "neg"
    (others / "00001.jpg").write_bytes(jpeg(501))  # beside 00001.JPEG
    (others / "20000.Jpeg").write_bytes(jpeg(502))
    (others / "30000.JPEG").mkdir()
    builder = prepare(tmp_path / "tfds", copy)
    assert builder.info.metadata["summary"]["other"]["examples"] == 14
    assert builder.info.metadata["summary"]["other"]["photos"] == 14  # each by its own name
    (others / "40000.JPEG").symlink_to(others / "nowhere.JPEG")
    with pytest.raises(FileNotFoundError, match=r"The image .*40000\.JPEG is missing"):
        prepare(tmp_path / "tfds", copy)
    builder = prepare(tmp_path / "tfds", copy, skip_damaged=True)
    assert builder.info.metadata["summary"]["other"]["left_out"] == {"missing images": 1}


@pytest.mark.parametrize("content", ["truncated", "empty", "html"])
@pytest.mark.parametrize("name", [f"detanimalpart/{CAT}_obj/img/img/00002.jpg", "neg/00002.JPEG"])
def test_damaged_image_stops_or_is_counted(copy, tmp_path, name, content):
    whole = (copy / name).read_bytes()
    damaged = {"truncated": whole[: len(whole) // 2], "empty": b"", "html": b"<html>" * 99}
    (copy / name).write_bytes(damaged[content])
    with pytest.raises(ValueError, match=rf"{name} is damaged .*skip_damaged"):
        prepare(tmp_path / "tfds", copy)
    builder = prepare(tmp_path / "tfds", copy, skip_damaged=True)
    category = "other" if name.startswith("neg") else "cat"
    assert builder.info.metadata["summary"][category]["left_out"]["damaged images"] == 1
    assert sum(s.num_examples for s in builder.info.splits.values()) == 26
    # Whoever does not want to skip damaged images does not get the copy that did.
    with pytest.raises(ValueError, match="is damaged"):
        prepare(tmp_path / "tfds", copy)


def test_files_that_do_not_belong_together(copy, tmp_path):
    truth = copy / "truth" / CAT / "truth_part02.mat"
    write_matlab73(truth, "truth", [part_entry(PART)] * 15)
    with pytest.raises(ValueError, match=r"truth_part02\.mat has 15 entries but .* has 16"):
        prepare(tmp_path / "tfds", copy)
    write_matlab73(truth, "truth", [part_entry()] * 15 + [{**part_entry(PART), "pHW_scale": []}])
    with pytest.raises(ValueError, match=r"entry 16 of .*truth_part02\.mat has no 2xK"):
        prepare(tmp_path / "tfds", copy)
    data = copy / "detanimalpart" / f"{CAT}_obj" / "img" / "data.mat"
    write_matlab73(truth, "truth", [part_entry()] * 16)
    write_matlab73(data, "samples", [sample(BOX)] * 15 + [sample((1, 1, HEIGHT + 1, 90))])
    with pytest.raises(ValueError, match=r"entry 16 of .*data\.mat has the box .* not inside"):
        prepare(tmp_path / "tfds", copy)
    _, summary = files.scan(copy, (CAT,), skip_damaged=True)
    assert summary["cat"]["left_out"]["objects with a damaged box"] == 1


def test_copy_of_another_folder_is_made_anew(published, copy, tmp_path):
    def written(builder):
        return [p.stat().st_mtime_ns for p in sorted(Path(builder.data_dir).glob("*record*"))]

    first = written(prepare(tmp_path / "tfds", published))
    # The same bytes elsewhere: nothing to do.
    assert written(prepare(tmp_path / "tfds", copy)) == first
    (copy / "neg" / "00001.JPEG").write_bytes(jpeg(999))
    builder = prepare(tmp_path / "tfds", copy)
    assert written(builder) != first
    shapes = {e["photo_id"]: e["image"].shape for s in records(builder).values() for e in s}
    assert shapes["neg/00001"] == (HEIGHT, WIDTH, 3)
    # Without a folder, what is there is used.
    again = IlsvrcAnimalPart(config="cat", data_dir=tmp_path / "tfds")
    again.download_and_prepare()
    assert written(again) == written(builder)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(published, tmp_path, monkeypatch):
    """Both archives, in their repositories' own layouts, on a server of this machine."""
    www = tmp_path / "www"
    www.mkdir()
    truth = "code/data_input/data_input_DET-2015-subset-ILSVRC2013train"
    layout = {
        "detanimalpart": [("detanimalpart", "")],
        "interpretableCNN": [("truth", truth + "/"), ("neg", "data/neg/")],
    }
    for name, folders in layout.items():
        with zipfile.ZipFile(www / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}-1234/README.md", "# other files are there, too")
            for folder, inside in folders:
                for path in (published / folder).rglob("*.*"):
                    member = path.relative_to(published / folder).as_posix()
                    archive.write(path, f"{name}-1234/{inside}{member}")
    handler = functools.partial(Quiet, directory=www)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(ilsvrc_animal_part, "DETANIMALPART_URL", f"{address}/detanimalpart.zip")
        monkeypatch.setattr(archives, "INTERPRETABLE_CNN_URL", f"{address}/interpretableCNN.zip")
        yield www
        server.shutdown()
        thread.join()


def test_download_gives_the_same_as_the_folder(cat, served, published, tmp_path):
    builder = IlsvrcAnimalPart(config="cat", data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    assert builder.info.metadata["source"] == cat[0].info.metadata["source"]
    unpacked = tmp_path / "tfds" / "downloads" / "ilsvrc_animal_part"
    assert not (unpacked / "truth" / GOLDFISH).exists()  # nothing that was not asked for
    assert (unpacked / "neg" / "00001.JPEG").read_bytes() == (
        published / "neg" / "00001.JPEG"
    ).read_bytes()


def test_downloads_are_pinned_by_whole_commits():
    for url in (ilsvrc_animal_part.DETANIMALPART_URL, archives.INTERPRETABLE_CNN_URL):
        assert re.fullmatch(r"https://github\.com/zqs1022/\w+/archive/[0-9a-f]{40}\.zip", url)


def test_failed_download_says_what_to_do(served, tmp_path):
    (served / "interpretableCNN.zip").unlink()
    builder = IlsvrcAnimalPart(config="cat", data_dir=tmp_path / "tfds")
    with pytest.raises(FileNotFoundError, match=r"interpretableCNN\.zip could not .* manual_dir"):
        builder.download_and_prepare()


def test_real_photos(real_data, tmp_path):
    """Counts of the published files, and boxes and parts worked out by hand."""
    source = real_data / "ilsvrc_animal_part"
    categories = tuple(files.CATEGORIES[c] for c in ("fox", "cat", "elephant"))
    examples, summary = files.scan(source, categories, skip_damaged=False)
    # Annotated heads and legs less those with several boxes and those of elephant 35.
    assert summary["fox"]["parts"] == {"head": 211, "front_legs": 143}
    assert summary["cat"]["parts"] == {"head": 193 - 1, "front_legs": 130}
    assert summary["elephant"]["parts"] == {"head": 152 - 3 - 1, "front_legs": 124 - 2 - 1}
    assert [summary[c]["examples"] for c in summary] == [286, 529, 413, 1000]
    assert summary["elephant"]["left_out"]["objects under 2500 pixels"] == 1
    by_key = {e.key: e for e in examples}
    assert "n02503517/00035" not in by_key
    # Several elephants of one photo.
    numbers = ("00007", "00008", "00009")
    assert {by_key[f"n02503517/{i}"].photo_id for i in numbers} == {"n02503517/00007"}
    fox = by_key["n02118333/00001"]  # 129..271 x 35..216, head at (52.5, 190), 91 x 70
    np.testing.assert_array_equal(fox.bbox, np.array([128, 34, 271, 216], np.float32))
    head = fox.parts[0]
    assert head["name"] == "head"
    expected = np.array([128 + 52.5 / 224 * 143, 34 + 190 / 224 * 182])
    half = np.array([91 / 448 * 143, 70 / 448 * 182])
    np.testing.assert_allclose(head["center"], expected, rtol=1e-6)
    np.testing.assert_allclose(head["box"], [*(expected - half), *(expected + half)], rtol=1e-6)
    # By photo, and about two to one.
    train = {e.photo_id for e in examples if not e.in_test}
    test = {e.photo_id for e in examples if e.in_test}
    assert not train & test
    assert 0.3 < len(test) / len(train | test) < 0.37
