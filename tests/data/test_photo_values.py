"""Photos of all kinds of values show the picture of the 8-bit file, or are refused."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from helpers.paths import DATA
from helpers.tiffs import tiff
from PIL import Image

from deconvnet_cli.data.images import png_bytes, read_photo
from deconvnet_cli.data.objects import upright_size
from deconvnet_cli.data.photo_values import photo_of_pil
from deconvnet_cli.data.suffixes import HEIF_SUFFIXES, reads_heif, suffixes
from deconvnet_cli.errors import ImageError

CLOSE = 2  # the mean difference of values that rounding to fewer bits makes


@pytest.fixture(scope="module")
def rgb():
    with Image.open(DATA / "chelsea.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB").resize((75, 50)))
    # The brightest pixel is white, so that full scale is the scale of the 8-bit picture.
    return np.where(np.arange(75)[None, :, None] == 0, np.uint8(255), pixels)


@pytest.fixture(scope="module")
def grey(rgb):
    return np.asarray(Image.fromarray(rgb).convert("L"))


def read(data: bytes) -> np.ndarray:
    return np.asarray(read_photo(io.BytesIO(data), "photo.tif")).astype(int)


def is_shown(data: bytes, picture: np.ndarray) -> bool:
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=-1)
    found = read(data)
    return found.shape == picture.shape and np.abs(found - picture).mean() < CLOSE


def by_opencv(suffix: str, values: np.ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, values[..., ::-1] if values.ndim == 3 else values, options)
    assert done
    return data.tobytes()


SCALES = {
    "float32 to 1": lambda v: (v / 255).astype("f4"), "float64 to 1": lambda v: v / 255,
    "float16 to 1": lambda v: (v / 255).astype("f2"), "float32 to 255": lambda v: v.astype("f4"),
    "float32 to 65535": lambda v: (v * 257.0).astype("f4"),
    "10 bits in 16": lambda v: (v / 255 * 1023).astype("u2"),
    "12 bits in 16": lambda v: (v / 255 * 4095).astype("u2"),
    "14 bits in 16": lambda v: (v / 255 * 16383).astype("u2"),
    "8 bits in 16": lambda v: v.astype("u2"), "16 bits": lambda v: v.astype("u2") * 257,
    "32 bits": lambda v: v.astype("u4") * 16843009,
    "signed 16 bits from 0": lambda v: (v / 255 * 32767).astype("i2"),
    "signed 16 bits about 0": lambda v: (v.astype("i4") * 257 - 32768).astype("i2"),
    "signed 32 bits": lambda v: (v / 255 * 2147483647).astype("i4"),
}  # fmt: skip


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_values_by_their_range(rgb, grey, scale, apart, order):
    for packed in ({}, {"packed": True, "rows": 8}):
        if packed and scale(grey).dtype == np.float16:
            continue  # OpenCV, which reads what is packed, knows no such floats
        assert is_shown(tiff(scale(rgb), apart=apart, order=order, **packed), rgb)
        assert is_shown(tiff(scale(grey), order=order, **packed), grey)


def test_a_signed_byte(grey):
    assert is_shown(tiff((grey // 2).astype("i1")), grey // 2 * 2)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
def test_the_smallest_value_may_be_white(grey, dtype):
    full = {"u1": 255, "u2": 65535, "u4": 4294967295, "f4": 1}[dtype]
    values = ((255 - grey.astype("f8")) / 255 * full).astype(dtype)
    assert is_shown(tiff(values, photometric=0), grey)


def test_the_file_says_what_is_white(grey):
    values = (grey.astype("u2") * 4 // 2).astype("u2")  # at half of 10 bits
    assert is_shown(tiff(values, tags={281: (1023,)}), grey // 2)


def test_files_of_opencv(rgb, grey, monkeypatch):
    for module in ("deep", "ranges"):  # large photos are read in bands, and this one so too
        monkeypatch.setattr(f"deconvnet_cli.data.{module}.BAND_VALUES", 1000)
    monkeypatch.setattr("deconvnet_cli.data.images.BAND_PIXELS", 1000)
    lzw = (cv2.IMWRITE_TIFF_COMPRESSION, 5)
    lossless = (cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    for picture in (rgb, grey):
        deep = picture.astype("u2")
        assert is_shown(by_opencv(".tif", deep * 257, *lzw), picture)
        assert is_shown(by_opencv(".tif", deep * 16, *lzw), picture)
        assert is_shown(by_opencv(".tif", (picture / 255).astype("f4"), *lzw), picture)
        assert is_shown(by_opencv(".png", deep * 257), picture)
        assert is_shown(by_opencv(".png", deep * 4), picture)
        assert is_shown(by_opencv(".jp2", deep * 257, *lossless), picture)
    assert is_shown(by_opencv(".pfm", (grey / 255).astype("f4")), grey)


def test_packed_values_of_12_bits(grey):
    values = np.pad((grey / 255 * 4095).astype(int), ((0, 0), (0, 1)))  # pairs in each row
    first, second = values[:, 0::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    rows = packed.astype("u1").reshape(50, -1)[:, : -(-75 * 12 // 8)]
    data = tiff(rows, tags={256: (75,), 258: (12,)})
    assert is_shown(data, grey)


def test_highlights_and_damaged_floats_do_not_set_the_scale(grey):
    values = (grey / 255).astype("f4")
    values[0, :5] = [3.5, np.nan, np.inf, -np.inf, -0.01]
    assert is_shown(tiff(values), grey)


def test_deep_photos_are_turned_upright(rgb, tmp_path):
    path = tmp_path / "a.tif"
    for values in (rgb, rgb.astype("u2") * 257, (rgb / 255).astype("f4")):
        path.write_bytes(tiff(values, tags={274: (6,)}))
        assert np.abs(np.asarray(read_photo(path)).astype(int) - np.rot90(rgb, -1)).mean() < CLOSE
        assert upright_size(path) == (50, 75)
    path.write_bytes(by_opencv(".tif", rgb.astype("u2") * 257, cv2.IMWRITE_TIFF_COMPRESSION, 5))
    assert upright_size(path) == (75, 50)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_the_size_is_known_before_the_pixels(rgb, tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb).save(tmp_path / "a", kind, exif=exif)
    wide = (75, 50) if orientation < 5 else (50, 75)
    assert upright_size(tmp_path / "a") == read_photo(tmp_path / "a").size == wide


# What is refused.


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read(data)
    return str(caught.value)


def test_raw_photos_are_not_their_thumbnails(rgb, grey):
    thumbnail = rgb[::4, ::4]
    raw = tiff(thumbnail, tags={254: (1,)}, below=grey.astype("u2") * 16)
    mosaic = tiff(grey.astype("u2") * 16, photometric=32803)
    fuji = b"FUJIFILMCCD-RAW 0201" + bytes(100) + png_bytes(Image.fromarray(rgb))
    for data in (raw, mosaic, fuji, b"\0\0\0\x18ftypcrx " + bytes(100), b"II*\0\x10\0\0\0CR" + raw):
        assert refusal(data).startswith("photo.tif: a camera's raw file; develop it")


def test_a_thumbnail_before_the_photo_is_passed_over(rgb, capsys):
    for photo in (rgb, rgb.astype("u2") * 257):
        assert is_shown(tiff(photo[::4, ::4], photo, tags={254: (1,)}), rgb)
    assert "photo.tif: begins with a thumbnail" in capsys.readouterr().err
    assert "only a thumbnail" in refusal(tiff(rgb[::4, ::4], tags={254: (1,)}))


def test_values_that_are_no_photo(grey):
    heights = (grey.astype("f4") - 128) * 10
    for values in (heights, heights.astype("i2")):
        line = refusal(tiff(values))
        assert "values from -12" in line and "8-bit PNG" in line
    assert "5 channels with 8 bits" in refusal(tiff(np.stack([grey] * 5, axis=-1), photometric=1))


# Words on standard error.


def test_a_pyramid_has_one_page(rgb, capsys):
    data = tiff(rgb, rgb[::2, ::2], tags={})
    place = data.rindex(struct.pack("<HHI", 256, 4, 1))  # the width of the second page
    # Its first tag becomes NewSubfileType 1 in place of the compression, whose default is none.
    second = bytearray(data)
    fields = [second[place + 12 * n : place + 12 * n + 12] for n in range(4)]
    fields = [struct.pack("<HHII", 254, 4, 1, 1), *fields[:3]]
    second[place : place + 48] = b"".join(fields)
    assert is_shown(bytes(second), rgb)
    assert capsys.readouterr().err == ""


def test_nearly_one_colour_is_noted_once(capsys):
    black = np.zeros((40, 60, 3), np.uint8)
    black[5, 5] = 90
    for _ in range(2):
        read(png_bytes(Image.fromarray(black)))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("deconvnet: photo.tif: is nearly one colour")


# HEIF.


def test_heif_names_its_package(monkeypatch):
    for module in ("photo_files", "suffixes"):
        monkeypatch.setattr(f"deconvnet_cli.data.{module}.reads_heif", lambda: False)
    assert not HEIF_SUFFIXES & suffixes()
    line = refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))
    assert "HEIC" in line and "pip install pillow-heif" in line


@pytest.mark.skipif(not reads_heif(), reason="pillow-heif is not installed")
def test_heif_is_read(rgb):
    from pillow_heif import from_pillow

    buffer = io.BytesIO()
    from_pillow(Image.fromarray(rgb)).save(buffer, quality=100)
    assert np.abs(read(buffer.getvalue()) - rgb).mean() < 8


def test_a_pil_image_that_cannot_be_read_is_an_image_error():
    """Negative floats have no scale."""
    floats = Image.fromarray(np.linspace(-1, 1, 4096, dtype=np.float32).reshape(64, 64))
    with pytest.raises(ImageError, match=r"^PIL image: "):
        photo_of_pil(floats)


@pytest.mark.parametrize(("mode", "of"), [("La", "LA"), ("RGBa", "RGBA")])
def test_colours_times_alpha_are_what_is_seen_on_black(rgb, mode, of):
    image = Image.fromarray(rgb).convert(of)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    found = np.asarray(photo_of_pil(image.convert(mode))).astype(int)
    wanted = np.asarray(image)[..., :-1] * (np.asarray(image)[..., -1:] / 255)
    assert np.abs(found - wanted).max() <= 2
