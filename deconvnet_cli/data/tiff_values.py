"""The values of the pages of a TIFF: uncompressed ones by NumPy, others by OpenCV."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data import tiff
from deconvnet_cli.data.decoding import Unsupported
from deconvnet_cli.runtime.opencv import cv2


def values_of(page: tiff.Page) -> NDArray[Any]:
    """Return the values of a deep page as H x W x samples, unscaled.

    Raises:
        Unsupported: They are stored in a way that is not read here.
        ValueError: The file is truncated.
    """
    if not page.packed:
        return _uncompressed(page)
    if page.bits not in (8, 16, 32, 64):
        raise _unsupported(f"its values of {page.bits} bits are packed")
    dtype = np.dtype(f"{page.kind}{page.bits // 8}")
    if page.apart:
        planes = [_unpacked(_plane(page, number), dtype) for number in range(page.samples)]
        return np.concatenate(planes, axis=-1)
    found = _unpacked(page, dtype)
    channels = (2, 1, 0, 3)[: page.samples] if page.samples > 2 else range(page.samples)
    return found[..., list(channels)]


def _unpacked(page: tiff.Page, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the values of a packed page as OpenCV orders them, not turned."""
    # OpenCV turns values as the orientation says, which is done later for all photos.
    content = tiff.beginning_with(tiff.rewritten(page, without=(tiff.ORIENTATION,)))
    found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        compression = page.one(tiff.COMPRESSION, 1)
        raise _unsupported(f"its values are {dtype} in compression {compression}")
    found = found.reshape(*found.shape[:2], -1)
    if found.dtype != dtype or found.shape != (*page.size[::-1], page.samples):
        raise _unsupported(f"it has {page.samples} channels of {dtype}, packed")
    return np.asarray(found)


def _plane(page: tiff.Page, number: int) -> tiff.Page:
    """Return one of the channels that are stored apart as a grey page."""
    changed: dict[int, tuple[int, ...]] = {
        tiff.SAMPLES: (1,),
        tiff.PLANES: (1,),
        tiff.PHOTOMETRIC: (1,),
    }
    for tag in (tiff.BITS, tiff.SAMPLE_FORMAT):
        changed[tag] = page.all(tag, 1) or (1,)
    for tag in (tiff.OFFSETS, tiff.COUNTS, tiff.TILE_OFFSETS, tiff.TILE_COUNTS):
        if pieces := page.all(tag):
            each = len(pieces) // page.samples
            changed[tag] = pieces[number * each : (number + 1) * each]
    return tiff.rewritten(page, changed, without=(tiff.EXTRA_SAMPLES,))


def _unsupported(what: str) -> Unsupported:
    return Unsupported(f"a TIFF that is not read, {what}; save it as an 8-bit TIFF or PNG")


def _uncompressed(page: tiff.Page) -> NDArray[Any]:
    width, height = page.size
    samples, bits, separate = page.samples, page.bits, page.apart
    if bits != 12 and bits not in ((8, 16, 32) if page.kind != "f" else (16, 32, 64)):
        raise _unsupported(f"its values have {bits or 'several numbers of'} bits")
    planes, across = (samples, width) if separate else (1, width * samples)
    content = _strips(page, planes * height * math.ceil(across * bits / 8))
    if bits == 12:
        found = _twelve_bits(content, planes * height, across)
    else:
        dtype = np.dtype(f"{page.order}{page.kind}{bits // 8}")
        found = np.frombuffer(content, dtype, planes * height * across)
    if separate:
        return np.moveaxis(found.reshape(samples, height, width), 0, -1)
    return found.reshape(height, width, samples)


def _strips(page: tiff.Page, most: int) -> bytearray:
    """Return the bytes of the strips, at most so many: strips may all name the whole file."""
    content = bytearray()
    for start, count in zip(page.all(tiff.OFFSETS), page.all(tiff.COUNTS), strict=False):
        content += page.data[start : start + min(count, most - len(content))]
        if len(content) == most:
            break
    return content


def _twelve_bits(content: bytearray, rows: int, across: int) -> NDArray[np.uint16]:
    """Return values of 12 bits, two in three bytes; each row begins with a byte of its own."""
    row_bytes = math.ceil(across * 12 / 8)
    packed = np.frombuffer(content, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    packed = np.pad(packed, ((0, 0), (0, -row_bytes % 3))).astype(np.uint16)
    first, middle, last = packed[:, 0::3], packed[:, 1::3], packed[:, 2::3]
    pairs = np.stack([first << 4 | middle >> 4, (middle & 15) << 8 | last], axis=-1)
    return pairs.reshape(rows, -1)[:, :across]
