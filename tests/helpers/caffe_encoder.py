"""A small writer of .caffemodel bytes, apart from the reader, for tests only."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def tag(number: int, wire_type: int) -> bytes:
    return varint(number * 8 + wire_type)


def message(number: int, payload: bytes) -> bytes:
    return tag(number, 2) + varint(len(payload)) + payload


def number_field(number: int, value: int) -> bytes:
    return tag(number, 0) + varint(value)


def floats(values: Sequence[float], *, packed: bool = True, double: bool = False) -> bytes:
    code, number, wire_type = ("<d", 8, 1) if double else ("<f", 5, 5)
    parts = [struct.pack(code, value) for value in values]
    if packed:
        return message(number, b"".join(parts))
    return b"".join(tag(number, wire_type) + part for part in parts)


def legacy_dims(shape: Sequence[int]) -> bytes:
    padded = [1] * (4 - len(shape)) + list(shape)
    return b"".join(number_field(axis, side) for axis, side in enumerate(padded, start=1))


def shape_dims(shape: Sequence[int], *, packed: bool = True) -> bytes:
    if packed:
        return message(7, message(1, b"".join(varint(side) for side in shape)))
    return message(7, b"".join(number_field(1, side) for side in shape))


def blob(
    array: np.ndarray, *, legacy: bool = True, packed: bool = True, double: bool = False
) -> bytes:
    dims = legacy_dims(array.shape) if legacy else shape_dims(array.shape)
    return dims + floats(array.ravel().tolist(), packed=packed, double=double)


def layer(name: str, blobs: Sequence[bytes], *, v1: bool = True) -> bytes:
    """One layer with fields around its blobs that a reader has to step over."""
    name_field, blobs_field, number = (4, 6, 2) if v1 else (1, 7, 100)
    payload = message(name_field, name.encode())
    payload += message(3, b"data")  # a top or bottom
    payload += number_field(5, 4) if v1 else message(2, b"Convolution")
    payload += b"".join(message(blobs_field, one) for one in blobs)
    payload += message(110, number_field(1, 7)) + tag(111, 5) + b"abcd" + tag(112, 1) + b"12345678"
    return message(number, payload)


def net(
    layers: Mapping[str, Sequence[np.ndarray]],
    *,
    v1: bool = True,
    legacy: bool = True,
    packed: bool = True,
    double: bool = False,
) -> bytes:
    out = message(1, b"a net")
    for name, arrays in layers.items():
        blobs = [blob(array, legacy=legacy, packed=packed, double=double) for array in arrays]
        out += layer(name, blobs, v1=v1)
    return out
