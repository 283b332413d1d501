"""The chunks of a PNG that its pixels need, checked.

libpng, as OpenCV has it, writes words about damaged files straight to standard error. It gets whole
files alone.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xae\x42\x60\x82"
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
# Left, top, and steps across and down of the passes of an interlaced picture (PNG, section 8.2).
ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
PIXELS = (b"IHDR", b"PLTE", b"IDAT")
BLOCK = 1 << 20  # bytes that are unpacked at a time


def with_pixels_alone(data: bytes) -> bytes:
    """Return a PNG without texts, profiles and times.

    Raises:
        ValueError: A chunk is cut off or damaged, or there are too few or too many pixels.
    """
    kept, unpacking, unpacked, wanted = [SIGNATURE], zlib.decompressobj(), 0, 0
    for kind, whole in _chunks(data):
        if kind == b"IHDR":
            wanted = _unpacked_size(whole[8:-4])
        if kind in PIXELS:
            kept.append(whole)
        if kind == b"IDAT":
            packed = whole[8:-4]
            while packed and unpacked <= wanted and not unpacking.eof:
                unpacked += len(unpacking.decompress(packed, BLOCK))
                packed = unpacking.unconsumed_tail
    if unpacked != wanted or not unpacking.eof:
        raise ValueError(f"{unpacked} bytes of pixels in the place of {wanted}")
    return b"".join((*kept, END))


def _unpacked_size(header: bytes) -> int:
    """Return how many bytes the rows of all passes take, each after a byte for its filter."""
    width, height, depth, colours, *methods = struct.unpack(">IIBBBBB", header)
    if methods[:2] != [0, 0] or methods[2] > 1 or colours not in SAMPLES:
        raise ValueError("the header is damaged")
    total = 0
    for left, top, across, down in ADAM7 if methods[2] else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * depth * SAMPLES[colours] // 8))
    return total


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the bytes of each chunk up to IEND."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        whole = data[at : at + 12 + length]
        kind = whole[4:8]
        if len(whole) < 12 + length or zlib.crc32(whole[4:-4]) != int.from_bytes(whole[-4:], "big"):
            raise ValueError(f"the chunk {kind!r} is damaged")
        yield kind, whole
        if kind == b"IEND":
            return
        at += len(whole)
    raise ValueError("the end is missing")
