"""Arrays from NumPy's files, of anyone's making: no more memory than their bytes need, no pickles.

``numpy.load`` takes the memory that an array's header asks for before it has seen the data, and
unpacks whatever an archive holds.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from deconvnet_cli.storage.files import read_whole

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path, most: int) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` file by name.

    Args:
        most: bytes that file and arrays may have.

    Raises:
        OSError: see :func:`deconvnet_cli.storage.files.read_whole`.
        ValueError: damaged, too large when unpacked, or with something else than plain arrays.
    """
    data = read_whole(path, most)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > most:
                raise ValueError(f"over {most / 1e6:.0f} MB unpacked")
            return {
                member.filename.removesuffix(".npy"): array_of(unpacked(archive, member))
                for member in members
            }
    except ValueError:
        raise
    except Exception as error:  # archives fail in many ways
        raise ValueError(str(error) or type(error).__name__) from error


def unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member; ValueError if it is packed in a way that NumPy does not write."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is packed in another way than NumPy's")
    with archive.open(member) as file:
        return file.read(member.file_size)  # a number bounds it, however much more would follow


def array_of(content: bytes) -> NDArray[Any]:
    """The array in the bytes of a ``.npy`` file; it cannot be written to.

    Raises:
        ValueError: damaged, of objects, or with more or fewer data than its shape has.
    """
    stream = io.BytesIO(content)
    try:
        # Python warns of odd text in a damaged header before it says that it is no header.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = HEADERS[npy.read_magic(stream)](stream)
    except Exception as error:  # the header is parsed as Python, which fails in many ways
        raise ValueError("no header of an array") from error
    count = math.prod(shape)
    left = len(content) - stream.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != left:
        raise ValueError(f"an array {shape} of {dtype} in {left} bytes")
    array = np.frombuffer(content, dtype, count, stream.tell()) if left else np.empty(shape, dtype)
    return array.reshape(shape, order="F" if fortran else "C")
