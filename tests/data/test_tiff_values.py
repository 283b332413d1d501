"""Packed TIFFs of over 8 bits are turned once, and planes of them are read whole."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from helpers.tiffs import tiff

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.tiff import read_pages
from deconvnet_cli.data.tiff_values import values_of

# What each orientation does to the stored rows and columns (TIFF 6.0, page 36).
TURNS = {
    1: lambda v: v, 2: lambda v: v[:, ::-1], 3: lambda v: v[::-1, ::-1], 4: lambda v: v[::-1],
    5: lambda v: v.swapaxes(0, 1), 6: lambda v: v[::-1].swapaxes(0, 1),
    7: lambda v: v[::-1, ::-1].swapaxes(0, 1), 8: lambda v: v[:, ::-1].swapaxes(0, 1),
}  # fmt: skip


def picture(height: int = 20, width: int = 30) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    pixels[0, 0] = 255
    return pixels


def is_shown(data: bytes, pixels: np.ndarray) -> bool:
    found = np.asarray(read_photo(data, "photo.tif")).astype(int)
    return found.shape == pixels.shape and np.abs(found - pixels).max() <= 1


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("size", [(20, 30), (24, 24)])
@pytest.mark.parametrize("orientation", TURNS)
def test_packed_photos_are_turned_once(orientation, size, apart):
    pixels = picture(*size)
    values = pixels.astype("u2") * 257
    data = tiff(values, packed=True, apart=apart, tags={274: (orientation,)})
    assert is_shown(data, TURNS[orientation](pixels))


def test_packed_planes_with_alpha():
    pixels = picture()
    clear = np.zeros((20, 30, 1), bool)
    clear[:5] = True
    alpha = np.where(clear, 0, 65535).astype("u2")
    values = np.concatenate([pixels.astype("u2") * 257, alpha], axis=-1)
    assert is_shown(tiff(values, packed=True, apart=True), np.where(clear, 0, pixels))


def test_packed_planes_in_tiles():
    pixels = picture(32, 32)
    data = tiff(pixels.astype("u2") * 16 + 15, packed=True, apart=True, tags={322: (32,)})
    for strips, tiles in ((273, 324), (278, 323), (279, 325)):  # each strip is one tile
        place = data.rindex(struct.pack("<HH", strips, 4))
        data = data[:place] + struct.pack("<H", tiles) + data[place + 2 :]
    assert is_shown(data, pixels)


def test_strips_that_overlap_take_no_memory():
    """Each of 100 strips names the whole file; the picture needs the first one alone."""
    values = picture(200, 300).astype("u2") * 257
    whole = len(tiff(values))
    data = tiff(values, tags={273: (8,) * 100, 279: (whole,) * 100})
    (page,) = read_pages(data)
    tracemalloc.start()
    found = values_of(page)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(found, values)
    assert most < 3 * values.nbytes
