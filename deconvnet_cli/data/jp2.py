"""What Pillow does not tell of a JPEG 2000 file: the depth of its values, and its ICC profile."""

from __future__ import annotations

from collections.abc import Iterator

CODESTREAM = b"\xff\x4f\xff\x51"  # the markers that every codestream begins with
ICC_METHODS = (2, 3)  # of a box ``colr``: a profile of JP2's kinds, or of any kind
MAX_BOXES = 1000  # at one level: more is no photo, but an attempt to keep the reader busy


def depth(data: bytes) -> tuple[int, int]:
    """Return the bits of a value and the samples of a pixel, as the codestream's head says."""
    place = data.find(CODESTREAM)
    if place < 0 or len(data) < place + 43:
        return 8, 0
    return (data[place + 42] & 127) + 1, int.from_bytes(data[place + 40 : place + 42], "big")


def icc_profile(data: bytes) -> bytes:
    """Return the ICC profile of a JP2 file; nothing if its colours are told by a number."""
    for kind, header in _boxes(data, 0, len(data)):
        if kind == b"jp2h":
            for inner, colours in _boxes(data, header.start, header.stop):
                if inner == b"colr":  # further ones are other words for the same colours
                    method = data[colours.start] if colours else 0
                    return data[colours.start + 3 : colours.stop] if method in ICC_METHODS else b""
    return b""


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, range]]:
    """Yield the kind of each whole box, and where its content lies."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        length, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, start = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif length == 0:  # up to the end
            length = end - at
        if length < start or at + length > end:
            return
        yield kind, range(at + start, at + length)
        at += length
