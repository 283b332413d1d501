"""What is taken for white in files that do not say it, and what is noted."""

from __future__ import annotations

import io
import struct
import tracemalloc

import cv2
import numpy as np
import pytest
from helpers.photos import png_chunk
from helpers.tiffs import tiff
from PIL import Image

from deconvnet_cli.data.deep import pnm_values
from deconvnet_cli.data.images import png_bytes, read_photo
from deconvnet_cli.data.notes import write_once
from deconvnet_cli.data.ranges import eight_bits


@pytest.fixture
def grey():
    """Return a smooth picture of 80 x 60 pixels from black to white, with a median of 115."""
    across, down = np.meshgrid(np.linspace(0, 1, 80), np.linspace(0, 1, 60))
    return np.round(255 * (0.9 * across + 0.1 * down)).astype(np.uint8)


def read(data: bytes) -> np.ndarray:
    return np.asarray(read_photo(data, "photo"))[..., 0].astype(int)


def is_shown(data: bytes, pixels: np.ndarray, most: int = 1) -> bool:
    return bool(np.abs(read(data) - pixels).max() <= most)


# Floats.


@pytest.mark.parametrize("white", [2, 10, 255, 1023, 4095, 16383, 65535])
def test_floats_end_where_photos_do(grey, white, capsys):
    values = (grey / 255 * white).astype("f4")
    assert np.abs(read(tiff(values)) - grey).max() <= 10  # highlights may be cut off
    assert f"its values reach {white}; " in capsys.readouterr().err


def test_highlights_are_shown_white_and_noted(grey, capsys):
    values = (grey / 255).astype("f4")
    values[:, :5] = 7  # 6 % of the photo
    wanted = grey.copy()
    wanted[:, :5] = 255
    assert is_shown(tiff(values), wanted)
    assert capsys.readouterr().err == "deconvnet: photo: its values reach 7; 1 is taken for white\n"


def test_the_sun_does_not_make_a_photo_black(grey):
    values = (grey / 255 * 0.6).astype("f4")
    values[:, :16] = np.geomspace(2, 5000, 16)
    assert 40 < np.median(read(tiff(values))[:, 16:]) < 200


def test_black_around_an_object_of_255_values(grey):
    values = grey.astype("f4") * np.float32(0.99)
    values[:, :70] = 0
    wanted = grey * 0.99
    wanted[:, :70] = 0
    assert is_shown(tiff(values), wanted)


def test_sharpened_floats_keep_their_white(grey):
    values = grey.astype("f4")
    values[values > 250] += 8
    assert is_shown(tiff(values), np.where(grey > 250, 255, grey))


# Integers, in each kind of file.


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def jp2(values: np.ndarray) -> bytes:
    return cv2.imencode(".jp2", values, (cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000))[1].tobytes()


def pgm(values: np.ndarray) -> bytes:
    return b"P5\n# by hand\n%d %d\n65535\n" % values.shape[::-1] + values.astype(">u2").tobytes()


def ppm(values: np.ndarray) -> bytes:
    rgb = np.stack([values] * 3, axis=-1)
    return b"P6 %d %d 65535\n" % values.shape[::-1] + rgb.astype(">u2").tobytes()


def plain_pgm(values: np.ndarray) -> bytes:
    words = " ".join(map(str, values.ravel().tolist()))
    return f"P2 80 60 65535\n# by hand\n{words}\n".encode()


def plain_ppm(values: np.ndarray) -> bytes:
    words = " ".join(f"{value} {value} {value}" for value in values.ravel().tolist())
    return f"P3 80 60 65535\n{words}".encode()


CARRIERS = (tiff, png, jp2, pgm, ppm, plain_pgm, plain_ppm)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_16_bits_say_nothing_of_white(grey, carrier, bits, capsys):
    values = np.round(grey / 255 * ((1 << bits) - 1)).astype("u2")
    assert is_shown(carrier(values), grey, most=5)  # OpenCV's JPEG 2000 loses a little
    assert (f"are read as {bits} bits" in capsys.readouterr().err) == (bits < 16)


def test_fewer_bits_that_are_declared_are_trusted(grey):
    values = grey.astype("u2") * 4  # a dark photo of 12 bits
    head, body = pgm(values).split(b"65535\n", 1)
    assert is_shown(head + b"4095\n" + body, grey * (1020 / 4095))


def test_plain_values_take_little_memory_beside_comments(grey):
    """A list of words takes 40 bytes and more for each of them; a value takes 2."""
    values = np.tile(grey.astype("u2") * 257, (5, 5))
    lines = [" ".join(map(str, row)) + "# a row" for row in values.tolist()]
    data = f"P2 {values.shape[1]} {values.shape[0]} 65535\n{chr(10).join(lines)}".encode()
    with Image.open(io.BytesIO(data)) as opened:
        tracemalloc.start()
        found = pnm_values(data, opened)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert np.array_equal(found[..., 0], values)
    assert most < 2 * values.nbytes


@pytest.mark.parametrize("high", [65535, 40000])
@pytest.mark.parametrize("bits", [10, 12])
def test_a_hot_pixel_or_a_stamp_is_not_white_of_the_photo(grey, bits, high, capsys):
    values = np.round(grey / 255 * ((1 << bits) - 1)).astype("u2")
    for rows, columns in ((1, 1), (4, 12)):
        write_once.cache_clear()
        marked, wanted = values.copy(), grey.copy()
        marked[3 : 3 + rows, 3 : 3 + columns] = high
        wanted[3 : 3 + rows, 3 : 3 + columns] = 255
        assert is_shown(tiff(marked), wanted)
        assert f"end near {(1 << bits) - 1}; they are read as {bits}" in capsys.readouterr().err


def test_the_lights_of_a_night_of_16_bits_are_kept(capsys):
    generator = np.random.default_rng(0)
    values = generator.normal(800, 80, (200, 300)).astype("u2")
    values[:5, :60] = generator.integers(2000, 65536, (5, 60))  # 0.5 % of lamps
    values[50:60, 50:80] = 65535  # and 0.5 % of the moon
    assert is_shown(tiff(values), values / 257)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("scale", [16, 257])
def test_a_deep_png_with_a_transparent_colour(grey, scale):
    for values, colour in (
        (grey.astype("u2") * scale, (10 * scale,)),
        (np.stack([grey] * 3, axis=-1).astype("u2") * scale, (10 * scale,) * 3),
    ):
        plain = png(values)
        piece = png_chunk(b"tRNS", struct.pack(f">{len(colour)}H", *colour))
        data = plain[:33] + piece + plain[33:]
        assert is_shown(data, np.where(grey == 10, 0, grey))


# Alpha.


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize(("white", "opaque", "dtype"), [
    (65535, 65535, "u2"),
    (4095, 4095, "u2"),  # 12 bits in 16
    (4095, 65535, "u2"),
    (1, 1, "f4"),
    (255, 255, "f4"),
    (255, 1, "f4"),
    (32767, 32767, "i2"),
])  # fmt: skip
def test_alpha_is_not_stretched_by_its_own_values(grey, white, opaque, dtype, share):
    """A photo that is everywhere a quarter opaque, on black, is a quarter as light."""
    colours = np.stack([grey] * 3, axis=-1) / 255 * white
    alpha = np.full((*grey.shape, 1), share * opaque)
    values = np.concatenate([colours, alpha], axis=-1).astype(dtype)
    assert is_shown(tiff(values), grey * share)
    if dtype == "u2":
        assert is_shown(png(values), grey * share)


def test_alpha_from_0_beside_signed_colours_begins_at_0():
    values = np.zeros((4, 4, 4), np.int16)
    values[..., :3] = np.linspace(-32768, 32767, 16).reshape(4, 4, 1)
    values[..., 3] = np.linspace(0, 32767, 16).reshape(4, 4)
    alpha = np.array(eight_bits(values, 16))[..., 3]
    assert alpha.min() == 0 and alpha.max() == 255


def test_alpha_of_signed_values_about_0_is_centred_as_colours_are(grey):
    values = np.stack([grey] * 3 + [np.full_like(grey, 64)], axis=-1).astype("i4") * 257 - 32768
    assert is_shown(tiff(values.astype("i2")), grey * (64 / 255))


# Photos that show nothing.


def words_on(pixels: np.ndarray, capsys) -> str:
    write_once.cache_clear()
    read(png_bytes(Image.fromarray(pixels)))
    return capsys.readouterr().err


def test_photos_misread_as_black_are_noted(grey, capsys):
    for bits in (10, 12):
        misread = np.round(grey / 257 * ((1 << bits) - 1) / 255).astype(np.uint8)
        assert "photo: is nearly black" in words_on(misread, capsys)
        blue = np.stack([misread, misread, grey], axis=-1)
        assert words_on(blue, capsys) == ""
    assert words_on(grey // 4, capsys) == ""  # 14 bits are dark, but show the photo


def test_night_photos_are_not_noted(capsys):
    generator = np.random.default_rng(0)
    sky = generator.normal(9, 3, (300, 400)).clip(0, 16).astype(np.uint8)
    assert "nearly black" in words_on(sky, capsys)
    moon, stars, town = sky.copy(), sky.copy(), sky.copy()
    moon[100:106, 100:106] = 250
    stars[tuple(generator.integers(0, 300, (2, 60)))] = generator.integers(40, 256, 60)
    town[280:290] = generator.integers(10, 120, (10, 400))
    for photo in (moon, stars, town):
        assert words_on(photo, capsys) == ""
