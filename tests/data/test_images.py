"""What an image file of any mode looks like to a network: upright for explain.py, 8-bit RGB."""

import io

import numpy as np
import pytest
from PIL import Image

from interp_cnn.data.images import as_rgb
from interp_cnn.data.photos.folder_photos import upright
from interp_cnn.data.photos.photo_files import rgb_bytes
from interp_cnn.data.pipeline import Crop
from interp_cnn.evaluation.explanations import read_image
from interp_cnn.trained.images import as_photo

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
# EXIF orientation -> how the upright pixels are stored.
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


def encoded(pixels, **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, **{"format": "PNG"} | options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(np.ascontiguousarray(STORED[orientation](PIXELS)), exif=exif)


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_read_upright(tmp_path, orientation):
    file = tmp_path / "image.png"
    file.write_bytes(turned(orientation))
    np.testing.assert_array_equal(read_image(file), PIXELS)


def test_a_photo_of_a_data_set_keeps_its_stored_pixels():
    data = turned(6)  # its boxes count the stored pixels, as MATLAB shows them
    assert rgb_bytes(data) == data
    example = {"image": data, "bbox": np.array([0, 0, 9, 6], np.float32), "label": 1}
    upright = {"image": turned(1), "bbox": np.array([0, 0, 6, 9], np.float32), "label": 1}
    found = Crop(9).map(example)["image"]
    np.testing.assert_array_equal(found, np.rot90(Crop(9).map(upright)["image"]))


def test_16_bits_are_scaled():
    levels = np.array([[0, 256, 32768, 65535]], np.uint16)
    image = Image.open(io.BytesIO(encoded(levels)))
    assert image.mode.startswith("I")
    assert np.asarray(as_rgb(image))[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]
    big_endian = Image.frombytes("I;16B", (4, 1), levels.astype(">u2").tobytes())
    np.testing.assert_array_equal(as_rgb(big_endian), as_rgb(image))


def test_16_bits_that_count_from_white(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(file, "TIFF", tiffinfo={262: 0})
    # As Pillow itself turns 8 bits round; also where the image is turned upright.
    path = tmp_path / "white.tif"
    path.write_bytes(file.getvalue())
    image = Image.open(file)
    for found in (as_rgb(image), upright(file.getvalue())[0], as_photo(image), as_photo(path)):
        assert np.asarray(found)[0, :, 0].tolist() == [255, 0]


def test_16_bits_of_a_pgm_are_16_where_it_is_turned_too():
    data = b"P5 2 1 65535\n" + np.array([100, 115], ">u2").tobytes()
    for found in (upright(data)[0], as_photo(Image.open(io.BytesIO(data)))):
        assert np.asarray(found).max() == 0


def test_16_bits_with_a_transparent_level():
    levels = np.array([[0, 257, 65535, 1000]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", transparency=1000)
    rgb = np.asarray(as_rgb(Image.open(file)))
    np.testing.assert_array_equal(rgb[0, :, 0], [0, 1, 255, 255])


def test_other_modes():
    image = Image.fromarray(PIXELS)
    grey = np.asarray(as_rgb(image.convert("L")))
    assert (grey == grey[..., :1]).all() and grey.shape == PIXELS.shape
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    np.testing.assert_array_equal(as_rgb(palette), PIXELS)
    np.testing.assert_array_equal(as_rgb(image.convert("CMYK")), PIXELS)
    assert np.asarray(as_rgb(image.convert("1"))).shape == PIXELS.shape
    assert as_rgb(image) is image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_white(mode):
    image = Image.new(mode, (2, 1))
    if mode == "P":
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        image.info["transparency"] = 0
    else:
        image.putpixel((1, 0), (40, 50, 60, 255) if mode == "RGBA" else (40, 255))
    left, right = np.asarray(as_rgb(image))[0].tolist()
    assert left == [255] * 3 and right == ([40, 50, 60] if mode != "LA" else [40] * 3)


def test_pixels_that_have_no_white(tmp_path):
    for name, pixels, message in (
        ("deep", np.array([[70000]], np.int32), "its pixels have 32 bits"),
        ("dark", np.array([[255, 3]], np.int32), "its pixels have 32 bits"),
        ("float", np.array([[0.5]], np.float32), "its pixels are floating-point numbers"),
    ):
        file = tmp_path / f"{name}.tif"
        file.write_bytes(encoded(pixels, format="TIFF"))
        with pytest.raises(ValueError, match=rf"{name}\.tif cannot be shown: {message}"):
            read_image(file)


def test_16_bits_that_are_dark():
    image = Image.open(io.BytesIO(encoded(np.array([[0, 200]], np.uint16))))
    assert np.asarray(as_rgb(image)).max() == 1


def test_a_truncated_jpeg(tmp_path):
    data = encoded(np.zeros((64, 64, 3), np.uint8), format="JPEG")
    (tmp_path / "cut.jpg").write_bytes(data[:-60])
    with pytest.raises(ValueError, match=r"cut\.jpg is truncated or damaged .* copy it again"):
        read_image(tmp_path / "cut.jpg")
