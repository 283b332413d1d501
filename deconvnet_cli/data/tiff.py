"""TIFF files by their tags: raw photos, thumbnails, and values of other kinds than 8 bits.

Pillow reads TIFFs of 8 bits right. It clips or refuses most others, and it reads the thumbnail of
a camera's raw file as the photo. This module reads the tags of all pages, and says which page is
the photo and whether its values are for ``tiff_values``.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

# Tags of TIFF 6.0 and of its supplements.
SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS = 254, 255, 256, 257, 258
COMPRESSION, PHOTOMETRIC, OFFSETS, ORIENTATION, SAMPLES = 259, 262, 273, 274, 277
COUNTS, LARGEST, PLANES, TILE_WIDTH, SUB_PAGES = 279, 281, 284, 322, 330
TILE_OFFSETS, TILE_COUNTS, EXTRA_SAMPLES, SAMPLE_FORMAT, PROFILE = 324, 325, 338, 339, 34675
GREY, RGB = (0, 1), 2  # photometric interpretations; 0 has white as its smallest value
RAW = (32803, 34892)  # the mosaic of a sensor, and linear raw
TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
KINDS = {1: "u", 2: "i", 3: "f"}  # NumPy's letter of each sample format
# What is looked at in a file: more is no photo, but an attempt to keep the reader busy.
MAX_PAGES, MAX_SUB_PAGES, MAX_TAGS, MAX_VALUES = 10_000, 16, 1000, 1 << 22
MAX_TAGS_OF_ALL = 100_000  # of a chain of pages; an ordinary one has twenty or fewer


@dataclass(frozen=True)
class Page:
    """A page of a TIFF; the values of its tags are read when they are asked for.

    Attributes:
        data: The bytes of the file.
        order: NumPy's letter of the byte order, "<" or ">".
        word: The letter of an offset: "I", or "Q" in BigTIFF.
        entries: The type, count and last field of each tag.
        offset: Where the page is in the file.
    """

    data: bytes
    order: str
    word: str
    entries: dict[int, tuple[int, int, bytes]]
    offset: int

    def all(self, tag: int, most: int = MAX_VALUES) -> tuple[int, ...]:
        """Return the values of a tag, at most so many; none if it is missing or damaged."""
        kind, count, field = self.entries.get(tag, (0, 0, b""))
        if kind not in TYPES:
            return ()
        count = min(count, most)
        length = struct.calcsize(TYPES[kind]) * count
        if struct.calcsize(TYPES[kind]) * self.entries[tag][1] > len(field):
            (start,) = struct.unpack(self.order + self.word, field)
            field = self.data[start : start + length]
        if len(field) < length:
            return ()
        return struct.unpack(f"{self.order}{count}{TYPES[kind]}", field[:length])

    def one(self, tag: int, default: int) -> int:
        """Return the first value of a tag."""
        return (self.all(tag, 1) or (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """The width and height in pixels."""
        return self.one(WIDTH, 0), self.one(HEIGHT, 0)

    @property
    def samples(self) -> int:
        """The values of a pixel, with alpha."""
        return self.one(SAMPLES, 1)

    @property
    def bits(self) -> int:
        """The bits of a value; 0 if its channels differ."""
        bits = set(self.all(BITS, 100) or (1,))
        return bits.pop() if len(bits) == 1 else 0

    @property
    def kind(self) -> str:
        """NumPy's letter of the values: u, i or f."""
        return KINDS.get(self.one(SAMPLE_FORMAT, 1), "u")

    @property
    def apart(self) -> bool:
        """Whether the channels are stored one after another."""
        return self.one(PLANES, 1) == 2 and self.samples > 1

    @property
    def packed(self) -> bool:
        """Whether the values are compressed, or stored in tiles."""
        return self.one(COMPRESSION, 1) != 1 or TILE_WIDTH in self.entries

    @property
    def reduced(self) -> bool:
        """Whether the page is a thumbnail, a level of a pyramid or a mask of another page."""
        return bool(self.one(SUBFILE, 0) & 5) or self.one(OLD_SUBFILE, 1) == 2

    @property
    def raw(self) -> bool:
        """Whether the values are those of a sensor."""
        return self.one(PHOTOMETRIC, 1) in RAW

    @property
    def deep(self) -> bool:
        """Whether the page is a grey or RGB photo with values of other kinds than 8 bits."""
        colours = self.one(PHOTOMETRIC, 1)
        return (colours in GREY or colours == RGB) and (self.bits > 8 or self.kind != "u")


def is_tiff(data: bytes) -> bool:
    """Return whether the bytes begin as a TIFF or BigTIFF does."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_pages(data: bytes) -> list[Page]:
    """Return the pages of a TIFF in its order, without their sub-pages, up to where it is damaged.

    At most ``MAX_PAGES`` are returned, with ``MAX_TAGS_OF_ALL`` tags in all.
    """
    place = (_order(data) + "Q", 8) if _is_big(data) else (_order(data) + "I", 4)
    try:
        (offset,) = struct.unpack_from(place[0], data, place[1])
    except struct.error:
        return []
    return list(_chain(data, offset, MAX_PAGES))


def beginning_with(page: Page) -> bytes:
    """Return the file with this page as its first one."""
    head = struct.pack(page.order + page.word, page.offset)
    start = 4 if page.word == "I" else 8
    return page.data[:start] + head + page.data[start + len(head) :]


def rewritten(
    page: Page, changed: Mapping[int, tuple[int, ...]] | None = None, without: Collection[int] = ()
) -> Page:
    """Return a page with other tags, which are written after the end of its file."""
    word, body = page.word, bytearray(page.data)
    number = 4 if word == "I" else 16  # the type of an offset, which holds any number here
    size = struct.calcsize(word)
    entries = {tag: entry for tag, entry in page.entries.items() if tag not in without}
    for tag, values in (changed or {}).items():
        field = struct.pack(f"{page.order}{len(values)}{word}", *values)
        if len(field) > size:
            place = struct.pack(page.order + word, len(body))
            body += field
            field = place
        entries[tag] = (number, len(values), field)
    offset = len(body) + len(body) % 2
    body += bytes(len(body) % 2)
    body += struct.pack(page.order + ("H" if word == "I" else "Q"), len(entries))
    for tag, (kind, count, field) in sorted(entries.items()):
        body += struct.pack(f"{page.order}HH{word}{size}s", tag, kind, count, field)
    body += bytes(size)  # no page follows
    return replace(page, data=bytes(body), entries=entries, offset=offset)


def is_raw(data: bytes, pages: list[Page]) -> bool:
    """Return whether a TIFF is a camera's raw file: DNG, NEF, ARW, CR2, PEF and others."""
    if data[8:10] == b"CR":  # Canon's mark
        return True
    offsets = [offset for page in pages[:4] for offset in page.all(SUB_PAGES, MAX_SUB_PAGES)]
    below = (page for offset in offsets for page in _chain(data, offset, MAX_SUB_PAGES))
    return any(page.raw for page in (*pages, *below))


def _order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _is_big(data: bytes) -> bool:
    return data[2:4] in (b"+\0", b"\0+")


def _chain(data: bytes, offset: int, most: int) -> Iterator[Page]:
    """Yield the page at an offset and those that follow it."""
    order = _order(data)
    count_code, entry_code, word = ("Q", "HHQ8s", "Q") if _is_big(data) else ("H", "HHI4s", "I")
    step = struct.calcsize(order + entry_code)
    seen: set[int] = set()
    tags_left = MAX_TAGS_OF_ALL
    while offset and offset not in seen and len(seen) < most:
        seen.add(offset)
        try:
            (count,) = struct.unpack_from(order + count_code, data, offset)
            tags_left -= count
            if count > MAX_TAGS or tags_left < 0:
                return
            start = offset + struct.calcsize(order + count_code)
            rows = struct.iter_unpack(order + entry_code, data[start : start + count * step])
            entries = {tag: (kind, amount, field) for tag, kind, amount, field in rows}
            page = Page(data, order, word, entries, offset)
            (offset,) = struct.unpack_from(order + word, data, start + count * step)
        except (struct.error, OverflowError):
            return
        yield page
