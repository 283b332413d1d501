"""Damage to files: blind, and inside of a format so that checksums and lengths still hold.

Every function takes a ``random.Random``, so the same seed gives the same damage on any machine.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from helpers.photos import png_chunk

Mutation = Callable[[Random, bytes], bytes]

BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
NUMBERS = (b"0", b"-1", b"1", b"255", b"65536", b"2147483648", b"4294967297", b"9" * 20, b"1e9")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 3, 1 << 31, 1 << 63, 10**30, 0.5, -0.0, 1e9, 1e308, float("nan"),
    float("inf"), "", "a\nb", "\x1b[31m", "\udcff", [], {}, [1], [[]], {"a": 1}, "F16", "I64", "U8",
)  # fmt: skip
SHORTEST = 4  # bytes that damage leaves at least, so that it is not always the empty file


def flip_bits(random: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        out[random.randrange(len(out))] ^= 1 << random.randrange(8)
    return bytes(out)


def set_bytes(random: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 2, 8))):
        out[random.randrange(len(out))] = random.choice((*BYTES, random.randrange(256)))
    return bytes(out)


def truncate(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(min(SHORTEST, len(data)), len(data) + 1)]


def cut_out(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    stop = start + random.choice((1, 2, 4, random.randrange(1, len(data) + 1)))
    return data[:start] + data[stop:] or data[:SHORTEST]


def repeat(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    piece = data[start : start + random.choice((1, 4, 16, 256))]
    return data[:start] + piece * random.choice((2, 3, 50)) + data[start + len(piece) :]


def insert(random: Random, data: bytes) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(random.choice((1, 4, 64))) + data[at:]


def overwrite_length(random: Random, data: bytes) -> bytes:
    """A number that may be a length or a size becomes another one."""
    value = random.choice((*LENGTHS, len(data), len(data) + 1, random.randrange(1 << 32)))
    code = random.choice((">H", "<H", ">I", "<I", ">Q", "<Q"))
    size = struct.calcsize(code)
    at = random.randrange(max(1, min(len(data), random.choice((64, len(data)))) - size))
    new = struct.pack(code, value % (1 << (8 * size)))
    return data[:at] + new + data[at + size :]


def change_number(random: Random, data: bytes) -> bytes:
    """A number in decimal digits becomes another one."""
    found = list(re.finditer(rb"\d+", data))
    if not found:
        return flip_bits(random, data)
    match = random.choice(found)
    return data[: match.start()] + random.choice(NUMBERS) + data[match.end() :]


BLIND = (
    flip_bits, set_bytes, truncate, cut_out, repeat, insert, overwrite_length, change_number
)  # fmt: skip


def blind(random: Random, data: bytes) -> bytes:
    """One or several of the above."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(BLIND)(random, data or b"\0")
    return data


def splice(random: Random, first: bytes, second: bytes) -> bytes:
    """The start of one file, then the end of another."""
    return first[: random.randrange(len(first) + 1)] + second[random.randrange(len(second)) :]


def inside_png(random: Random, data: bytes) -> bytes:
    """Damage to one chunk, with the right length and checksum; pixels also before compression."""
    chunks = []
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    number = random.randrange(len(chunks))
    kind, content = chunks[number]
    if kind == b"IDAT" and random.random() < 0.5:
        content = zlib.compress(blind(random, zlib.decompress(content)))
    else:
        content = blind(random, content or b"\0")
    chunks[number] = (random.choice((kind, kind, kind, b"tEXt", b"eXIf", b"acTL")), content)
    if random.random() < 0.1:
        random.shuffle(chunks)
    return data[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def inside_zip(random: Random, data: bytes) -> bytes:
    """Damage to one member of an archive that is whole, packed or not."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        members = source.infolist()
        damaged = random.choice(members)
        packing = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        for member in members:
            content = source.read(member)
            if member is damaged:
                content = blind(random, content or b"\0")
            if random.random() < 0.02:
                continue
            target.writestr(member.filename, content, packing)
    return out.getvalue()


def inside_safetensors(random: Random, data: bytes) -> bytes:
    """Damage to the header or to the card in it, with the right length before it."""
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    if random.random() < 0.6 and "__metadata__" in header:
        card = json.loads(header["__metadata__"]["deconvnet"])
        header["__metadata__"]["deconvnet"] = changed_json(random, card)
        text = json.dumps(header)
    else:
        text = changed_json(random, header)
    encoded = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + data[8 + length :]


def changed_json(random: Random, value: Any) -> str:
    """JSON of it with one to three values or keys changed somewhere inside."""
    for _ in range(random.choice((1, 1, 2, 3))):
        value = changed_value(random, value)
    text = json.dumps(value)
    if random.random() < 0.1:  # another key once more
        text = text.replace("{", '{"net": 1, ' if random.random() < 0.5 else "[" * 2000, 1)
    return text


def changed_value(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        kind = random.random()
        if kind < 0.08:
            return rest
        if kind < 0.16:
            return {**rest, random.choice(("", "a\n", "x" * 300)): value[key]}
        return {**value, key: changed_value(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.7:
        at = random.randrange(len(value))
        if random.random() < 0.2:
            return value * random.choice((0, 2, 100))
        return [*value[:at], changed_value(random, value[at]), *value[at + 1 :]]
    return random.choice(VALUES)


def inside_json(random: Random, data: bytes) -> bytes:
    return changed_json(random, json.loads(data)).encode("utf-8", "surrogatepass")
