"""The values of PGM and PPM files of over 8 bits, of which Pillow scales or drops some.

Pillow reads the header.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WORD = re.compile(rb"#[^\r\n]*|[^\s#]+")  # a comment or a number


def largest_of_pnm(opened: Image.Image) -> int:
    """Return the value that the header declares white; 255 if Pillow reads all of the values."""
    if opened.mode in ("1", "F"):
        return 255
    kind, _, _, arguments = opened.tile[0]  # type: ignore[attr-defined]  # of Pillow's files
    if kind == "raw":
        return 65535 if "I;16B" in arguments else 255
    return int(arguments[1])


def pnm_values(data: bytes, opened: Image.Image) -> NDArray[np.uint16]:
    """Return the values as H x W x samples, unscaled.

    Raises:
        ValueError: The file is truncated.
    """
    kind, _, start, _ = opened.tile[0]  # type: ignore[attr-defined]
    shape = (opened.height, opened.width, len(opened.getbands()))
    count = math.prod(shape)
    if kind == "ppm_plain":
        # One word after another: a list of all would take ten times the memory of the file.
        words = (found[0] for found in WORD.finditer(data, start))
        numbers = (int(word) for word in words if not word.startswith(b"#"))
        values = np.fromiter(numbers, np.uint16, count)
    else:
        values = np.frombuffer(data, ">u2", count, start).astype(np.uint16)
    return np.minimum(values, largest_of_pnm(opened), out=values).reshape(shape)
