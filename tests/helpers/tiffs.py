"""TIFF files written by hand, tag by tag, so that they do not depend on the reader's library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff(
    *pages: NDArray[np.generic],
    photometric: int | None = None,
    apart: bool = False,
    packed: bool = False,
    order: str = "<",
    tags: dict[int, tuple[int, ...]] | None = None,
    below: NDArray[np.generic] | None = None,
    rows: int = 1 << 20,
) -> bytes:
    """Return a TIFF of strips.

    Args:
        pages: Values H x W or H x W x samples.
        photometric: 0 min-is-white, 1 grey, 2 RGB, 32803 a sensor's mosaic; by default 1 or 2.
        apart: Whether each channel is a plane of its own.
        packed: Whether the strips are deflated.
        order: The byte order, "<" or ">".
        tags: Further tags of the first page, as numbers of 32 bits.
        below: A mosaic in a sub-page of the first page, as in a camera's raw file.
        rows: The most rows of a strip; by default each plane is one.
    """
    body = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + bytes(4))
    link = 4
    for number, values in enumerate(pages):
        first = dict(tags or {}) if number == 0 else {}
        if number == 0 and below is not None:
            first[330] = (_page(body, below, order, 32803, False, False, {}, rows),)
        start = _page(body, values, order, photometric, apart, packed, first, rows)
        struct.pack_into(f"{order}I", body, link, start)
        link = len(body) - 4
    return bytes(body)


def _page(
    body: bytearray,
    values: NDArray[np.generic],
    order: str,
    photometric: int | None,
    apart: bool,
    packed: bool,
    tags: dict[int, tuple[int, ...]],
    rows: int,
) -> int:
    values = values.reshape(*values.shape[:2], -1)
    height, width, samples = values.shape
    planes = np.moveaxis(values, -1, 0) if apart else values[None]
    offsets, counts = [], []
    for strip in (part for plane in planes for part in np.split(plane, range(rows, height, rows))):
        content = strip.astype(values.dtype.newbyteorder(order)).tobytes()
        if packed:
            content = zlib.compress(content)
        offsets.append(len(body))
        counts.append(len(content))
        body += content
    entries = {
        256: (width,), 257: (height,), 258: (values.dtype.itemsize * 8,) * samples,
        259: (8 if packed else 1,),
        262: ((2 if samples >= 3 else 1) if photometric is None else photometric,),
        273: tuple(offsets), 277: (samples,), 278: (min(rows, height),), 279: tuple(counts),
        284: (2 if apart else 1,), 339: (FORMATS[values.dtype.kind],) * samples,
        **({338: (2,)} if samples in (2, 4) else {}), **tags,
    }  # fmt: skip
    fields = []
    for tag, numbers in sorted(entries.items()):
        field = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(field) > 4:
            body += b"\0" * (len(body) % 2)
            place = len(body)
            body += field
            field = struct.pack(f"{order}I", place)
        fields.append(struct.pack(f"{order}HHI", tag, 4, len(numbers)) + field)
    body += b"\0" * (len(body) % 2)
    start = len(body)
    body += struct.pack(f"{order}H", len(fields)) + b"".join(fields) + bytes(4)
    return start
