"""What is left of a PNG is the same picture, and a damaged file is refused."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from helpers.photos import png_chunk
from PIL import Image, PngImagePlugin

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.png_chunks import with_pixels_alone


def file_of(values: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", values)
    assert done
    return data.tobytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_pixels_stay(channels):
    values = np.random.default_rng(0).integers(0, 65536, (9, 14, channels), np.uint16)
    left = with_pixels_alone(file_of(values))
    read = cv2.imdecode(np.frombuffer(left, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read.reshape(values.shape), values)


def test_texts_go_and_interlaced_rows_are_counted():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("about", "a photo")
    file = io.BytesIO()
    Image.new("RGB", (13, 11), "red").save(file, "png", pnginfo=texts)
    left = with_pixels_alone(file.getvalue())
    assert b"tEXt" in file.getvalue() and b"tEXt" not in left
    # Interlaced by hand, 8-bit grey: seven passes of 13 x 11 pixels.
    passes = ((2, 2), (2, 2), (4, 1), (3, 3), (7, 3), (6, 6), (13, 5))
    rows = b"".join(b"\0" + b"\7" * wide for wide, high in passes for _ in range(high))

    header = (13).to_bytes(4, "big") + (11).to_bytes(4, "big") + bytes((8, 0, 0, 0, 1))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    file = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    left = np.frombuffer(with_pixels_alone(file), np.uint8)
    read = cv2.imdecode(left, cv2.IMREAD_UNCHANGED)
    assert read.shape == (11, 13) and (read == 7).all()


def test_a_damaged_file_is_refused_without_a_word(capfd):
    data = file_of(np.zeros((9, 14, 3), np.uint16))
    for damaged in (data[:-20], data[:40] + b"?" + data[41:], data[:-12]):
        with pytest.raises(ValueError, match=r"damaged|missing"):
            with_pixels_alone(damaged)
    assert capfd.readouterr() == ("", "")


def test_a_deep_photo_is_decoded_once_and_turned_as_exif_says_behind_its_pixels(monkeypatch):
    values = np.random.default_rng(0).integers(0, 65536, (9, 14, 3), np.uint16)
    data = file_of(values)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    turned = read_photo(data[:-12] + png_chunk(b"eXIf", content) + data[-12:])
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("decoded"))
    plain = read_photo(data)
    assert plain.size == (14, 9)
    assert turned.tobytes() == plain.transpose(Image.Transpose.ROTATE_270).tobytes()
