"""A reader of .caffemodel files, for the names of layers and their blobs only.

A .caffemodel is a NetParameter in protobuf's wire format (protobuf.dev, "Encoding"; field numbers
from caffe.proto). The fields that matter here:

    NetParameter       layers = 2 (V1LayerParameter), layer = 100 (LayerParameter)
    V1LayerParameter   name = 4, blobs = 6
    LayerParameter     name = 1, blobs = 7
    BlobProto          num, channels, height, width = 1 .. 4, data = 5, shape = 7, double_data = 8
    BlobShape          dim = 1

Everything else is skipped, so files of Caffe forks with their own layer types can be read. The
file is mapped into memory. Each length in it is first compared with the rest of the message around
it.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import WeightsError, why

FloatArray = NDArray[np.float32]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10  # bytes: 64 bits, 7 a byte
MOST_AXES = 32  # Caffe's own limit for a blob
# Field numbers of (name, blobs) by the number of the layer field in NetParameter.
LAYER_FIELDS = {2: (4, 6), 100: (1, 7)}
LEGACY_AXES = (1, 2, 3, 4)
DATA, SHAPE, DOUBLE_DATA = 5, 7, 8

REMEDY = "check that it is a .caffemodel and download it again"


class _MalformedError(Exception):
    """A fault in the bytes; the caller adds the file name and the remedy."""


@dataclass(frozen=True)
class _Field:
    """A field of a message: its payload is ``source[start:stop]``; ``value`` is for varints."""

    number: int
    wire_type: int
    start: int
    stop: int
    value: int = 0


def read_caffemodel(path: Path | str) -> dict[str, list[FloatArray]]:
    """Return the blobs of every layer that has any, in the order of the file.

    Args:
        path: The .caffemodel file, in the old (``layers``) or the new (``layer``) format.

    Returns:
        The blobs of each layer by its name: float32 arrays in C order, with the shapes of the
        file (the four axes num, channels, height, width in old files). They are copies, so the
        file may be removed.

    Raises:
        WeightsError: The file cannot be read, is no .caffemodel, is cut short, or is damaged.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise WeightsError(f"{path}: no such file; name a .caffemodel file")
        with path.open("rb") as file:
            # An empty file cannot be mapped.
            if not file.read(1):
                raise WeightsError(f"{path}: the file is empty; download it again")
            source = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({why(error)}); check the path") from error
    try:
        layers = _net(source)
    except _MalformedError as error:
        raise WeightsError(f"{path}: not a whole .caffemodel ({error}); {REMEDY}") from error
    if not layers:
        raise WeightsError(f"{path}: holds no layer with weights; {REMEDY}")
    return layers


def _varint(source: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """Return the unsigned 64-bit number at ``position``, and the position after it."""
    value = 0
    for index in range(LONGEST_VARINT):
        if position + index >= stop:
            raise _MalformedError(f"it ends inside a number at byte {position}")
        byte = source[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, position + index + 1
    raise _MalformedError(f"the number at byte {position} is longer than 64 bits")


def _field(source: mmap.mmap, position: int, stop: int) -> _Field:
    """Return the field whose tag is at ``position``, in a message that ends at ``stop``."""
    tag, start = _varint(source, position, stop)
    number, wire_type = tag >> 3, tag & 7
    if number == 0:
        raise _MalformedError(f"there is a field number 0 at byte {position}")
    if wire_type == VARINT:
        value, after = _varint(source, start, stop)
        return _Field(number, wire_type, start, after, value)
    if wire_type == BYTES:
        length, start = _varint(source, start, stop)
    elif wire_type in (FIXED32, FIXED64):
        length = 4 if wire_type == FIXED32 else 8
    else:
        raise _MalformedError(f"there is a field of type {wire_type} at byte {position}")
    if length > stop - start:
        raise _MalformedError(
            f"byte {position} announces {length} bytes where {stop - start} are left"
        )
    return _Field(number, wire_type, start, start + length)


def _fields(source: mmap.mmap, start: int, stop: int) -> Iterator[_Field]:
    while start < stop:
        field = _field(source, start, stop)
        yield field
        start = field.stop


def _net(source: mmap.mmap) -> dict[str, list[FloatArray]]:
    layers: dict[str, list[FloatArray]] = {}
    for field in _fields(source, 0, len(source)):
        if field.number not in LAYER_FIELDS or field.wire_type != BYTES:
            continue
        name, blobs = _layer(source, field, *LAYER_FIELDS[field.number])
        if not blobs:
            continue
        if name in layers:
            raise _MalformedError(f"there are two layers called {name!r}")
        layers[name] = blobs
    return layers


def _layer(
    source: mmap.mmap, message: _Field, name_field: int, blobs_field: int
) -> tuple[str, list[FloatArray]]:
    name = ""
    blobs = []
    for field in _fields(source, message.start, message.stop):
        if field.wire_type != BYTES:
            continue
        if field.number == name_field:
            try:
                name = source[field.start : field.stop].decode()
            except UnicodeDecodeError as error:
                raise _MalformedError(
                    f"the layer name at byte {field.start} is not text"
                ) from error
        elif field.number == blobs_field:
            blobs.append(_blob(source, field))
    return name, blobs


def _blob(source: mmap.mmap, message: _Field) -> FloatArray:
    legacy: dict[int, int] = {}
    shape: list[int] = []
    # Raw little-endian numbers, collected piece by piece: a file may store each separately.
    singles, doubles = bytearray(), bytearray()
    for field in _fields(source, message.start, message.stop):
        if field.number in LEGACY_AXES and field.wire_type == VARINT:
            legacy[field.number] = field.value
        elif field.number == SHAPE and field.wire_type == BYTES:
            shape += _dims(source, field)
        elif field.number == DATA:
            singles += _numbers(source, field, FIXED32)
        elif field.number == DOUBLE_DATA:
            doubles += _numbers(source, field, FIXED64)
        if len(shape) > MOST_AXES:
            raise _MalformedError(f"the blob at byte {message.start} has over {MOST_AXES} axes")
    # As in Caffe, old axes take precedence over a shape, and doubles over singles.
    if legacy:
        shape = [legacy.get(axis, 0) for axis in LEGACY_AXES]
    # Numbers too large for float32 become infinite, which the importer refuses.
    with np.errstate(over="ignore"):
        data = np.frombuffer(doubles, "<f8") if doubles else np.frombuffer(singles, "<f4")
        data = data.astype(np.float32, copy=False)
    if 0 in shape or math.prod(shape) != data.size:
        raise _MalformedError(
            f"the blob at byte {message.start} has the shape {' x '.join(map(str, shape)) or '()'} "
            f"and {data.size} numbers"
        )
    return data.reshape(shape)


def _dims(source: mmap.mmap, message: _Field) -> list[int]:
    dims: list[int] = []
    for field in _fields(source, message.start, message.stop):
        if field.number != 1:
            continue
        if field.wire_type == VARINT:
            dims.append(field.value)
        elif field.wire_type == BYTES:
            position = field.start
            while position < field.stop and len(dims) <= MOST_AXES:
                dim, position = _varint(source, position, field.stop)
                dims.append(dim)
        if len(dims) > MOST_AXES:
            break
    return dims


def _numbers(source: mmap.mmap, field: _Field, single_type: int) -> memoryview:
    """Return the bytes of the numbers of a packed field, or of the number of an unpacked one."""
    length, size = field.stop - field.start, 4 if single_type == FIXED32 else 8
    if field.wire_type not in (BYTES, single_type):
        raise _MalformedError(f"the numbers at byte {field.start} are of type {field.wire_type}")
    if length % size:
        raise _MalformedError(f"the {length} bytes of numbers at {field.start} do not add up")
    return memoryview(source)[field.start : field.stop]  # no copy of a large blob
