"""Arrays from untrusted NumPy files, without pickles and within bounds of memory.

``numpy.load`` allocates what an array's header asks for before it sees the data, and it unpacks
archives of any size.
"""

from __future__ import annotations

import io
import math
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from deconvnet_cli.storage.files import read_whole
from deconvnet_cli.storage.quiet import warnings_ignored

# NumPy parses a header as Python, and Python before 3.11.8 sometimes fails when two threads parse
# at once (python/cpython#106905).
PARSING = threading.Lock()
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class NoArchive(ValueError):
    """The error of a file that is no ``.npz`` at all."""


def read_npz(path: Path, most: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a ``.npz`` file by name.

    Args:
        path: The file.
        most: The largest number of bytes of the file, and of all its arrays.

    Raises:
        OSError: The file cannot be read, see :func:`deconvnet_cli.storage.files.read_whole`.
        NoArchive: The file does not begin as an archive does.
        ValueError: The file is damaged, is too large when unpacked, or has members that are not
            plain arrays.
    """
    data = read_whole(path, most)
    if not data.startswith(b"PK"):
        raise NoArchive("no NumPy archive")
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
    """Return the bytes of a member; raise ValueError if NumPy does not write its compression."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in a way that NumPy does not use")
    with archive.open(member) as file:
        return file.read(member.file_size)  # the bound holds however much follows


def array_of(content: bytes) -> NDArray[Any]:
    """Return the array in the bytes of a ``.npy`` file, which is read-only.

    Raises:
        ValueError: The bytes are damaged, hold objects, or are more or fewer than the shape needs.
    """
    stream = io.BytesIO(content)
    try:
        # Python warns about odd text in a damaged header before it fails.
        with PARSING, warnings_ignored():
            shape, fortran, dtype = HEADERS[npy.read_magic(stream)](stream)
    except Exception as error:  # the header is parsed as Python, which fails in many ways
        raise ValueError("no header of an array") from error
    count = math.prod(shape)
    left = len(content) - stream.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != left:
        raise ValueError(f"an array {shape} of {dtype} in {left} bytes")
    array = np.frombuffer(content, dtype, count, stream.tell()) if left else np.empty(shape, dtype)
    return array.reshape(shape, order="F" if fortran else "C")
