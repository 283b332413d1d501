"""Colour profiles are judged by what they do, and found in JPEG 2000 files too."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers.photos import png_chunk
from PIL import Image, ImageCms

from deconvnet_cli.data import profiles
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.jp2 import icc_profile

SRGB = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(name: str, gamma: float, primaries: tuple[tuple[float, ...], ...] = SRGB) -> bytes:
    """Return a profile of version 2 by hand: a description, primaries and a power for a curve.

    Without primaries it is one of grey values.
    """
    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    for letter, primary in zip((b"r", b"g", b"b") if primaries else (), primaries, strict=True):
        tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + fixed(*primary)
        tags[letter + b"TRC"] = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    if not primaries:
        tags[b"kTRC"] = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    kind = b"mntrRGB XYZ " if primaries else b"mntrGRAY" + b"XYZ "
    head = struct.pack(">I4xI", size, 0x02100000) + kind + bytes(12) + b"acsp"
    return head.ljust(68, b"\0") + fixed(0.9642, 1, 0.8249) + bytes(48) + table + body


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def read(data: bytes) -> np.ndarray:
    return np.asarray(read_photo(data, "photo")).astype(int)


def png(pixels: np.ndarray, icc: bytes) -> bytes:
    return saved(Image.fromarray(pixels), "PNG", icc)


def from_linear(pixels: np.ndarray) -> np.ndarray:
    """Return linear values with the curve of sRGB (IEC 61966-2-1)."""
    share = pixels / 255
    return 255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", ["GIMP built-in Linear sRGB", "sRGB IEC61966-2.1", "linear"])
def test_a_name_with_srgb_does_not_count(rgb, name):
    assert np.abs(read(png(rgb, profile(name, 1))) - from_linear(rgb)).max() <= 2


def test_srgb_under_any_name_and_broken_profiles_change_nothing(rgb):
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    renamed = own.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    assert renamed != own
    for icc in (own, renamed, b"broken", own[:200], profile("linear", 1)[:300]):
        assert (read(png(rgb, icc)) == rgb).all()
    grey = png(rgb[..., 0], profile("for another kind of image", 1))
    assert np.ptp(read(grey), axis=-1).max() == 0


def saved(image: Image.Image, kind: str, icc: bytes) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, icc_profile=icc, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def test_a_profile_is_applied_in_each_kind_of_file_and_mode(rgb):
    linear, photo = profile("linear", 1), Image.fromarray(rgb)
    for kind in ("PNG", "TIFF", "WEBP"):
        assert np.abs(read(saved(photo, kind, linear)) - from_linear(rgb)).max() <= 2
    for image in (photo.convert("RGBA"), photo.quantize(250)):
        wanted = from_linear(np.asarray(image.convert("RGB")))
        assert np.abs(read(saved(image, "PNG", linear)) - wanted).max() <= 2
    deep = cv2.imencode(".png", rgb[..., ::-1].astype("u2") * 257)[1].tobytes()
    piece = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(linear))
    assert np.abs(read(deep[:33] + piece + deep[33:]) - from_linear(rgb)).max() <= 2


def jp2(pixels: np.ndarray, box: bytes) -> bytes:
    """Return a JPEG 2000 file whose box of colours holds this."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000")
    data = buffer.getvalue()
    header, place = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    sizes = [struct.unpack_from(">I", data, at)[0] for at in (header, place)]
    new = struct.pack(">I", 8 + len(box)) + b"colr" + box
    grown = struct.pack(">I", sizes[0] - sizes[1] + len(new))
    end = place + sizes[1]
    return data[:header] + grown + data[header + 4 : place] + new + data[end:]


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_a_grey_photo_with_a_profile_keeps_its_transparency(mode):
    """In a PNG, a grey value or alpha is transparent, and so on black."""
    grey = np.full((20, 30), 0 if mode == "1" else 130, np.uint8)
    grey[:, 15:] = 255
    image = Image.fromarray(grey).convert(mode)
    if mode == "LA":
        image.putalpha(Image.fromarray(255 - grey // 255 * 255))
    options = {} if mode == "LA" else {"transparency": 1 if mode == "1" else 255}
    buffer = io.BytesIO()
    image.save(buffer, "PNG", icc_profile=profile("grey", 1, ()), **options)
    wanted = from_linear(np.where(grey == 255, 0, grey))
    assert np.abs(read(buffer.getvalue()) - wanted[..., None]).max() <= 2


def test_a_large_profile_is_applied_and_not_kept(rgb, monkeypatch):
    monkeypatch.setattr(profiles, "LARGEST_KEPT", 100)
    before = profiles._transform_to_srgb.cache_info()
    assert np.abs(read(png(rgb, profile("of its own", 1))) - from_linear(rgb)).max() <= 2
    assert profiles._transform_to_srgb.cache_info() == before


@pytest.mark.parametrize("method", [2, 3])
def test_the_profile_in_a_jpeg_2000_file(rgb, method):
    data = jp2(rgb, bytes((method, 0, 0)) + profile("linear", 1))
    assert np.abs(read(data) - from_linear(rgb)).max() <= 2
    swapped = profile("swapped", 2.2, (SRGB[1], SRGB[0], SRGB[2]))
    straight = profile("straight", 2.2)
    found = read(jp2(rgb, bytes((method, 0, 0)) + swapped))
    assert np.abs(found - read(png(rgb[..., [1, 0, 2]], straight))).max() <= 2


def test_a_jpeg_2000_file_without_a_whole_profile_is_as_it_is(rgb):
    linear = profile("linear", 1)
    for box in (b"\1\0\0" + struct.pack(">I", 16), b"\2\0\0" + linear[:200]):
        assert (read(jp2(rgb, box)) == rgb).all()
    for box in (b"\2\0\0", b"\2", b""):  # which Pillow refuses
        assert icc_profile(jp2(rgb, box)) == b""
    whole = jp2(rgb, b"\2\0\0" + linear)
    assert icc_profile(whole) == linear
    assert {icc_profile(whole[:end]) for end in range(0, len(whole), 7)} <= {b"", linear}
