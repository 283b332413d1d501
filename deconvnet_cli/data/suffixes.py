"""The suffixes of photos; without imports, as commands look at them before they read any photo."""

from __future__ import annotations

import importlib.util
from functools import lru_cache

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".tif", ".tiff"),
        *(".webp", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        *(".jp2", ".j2k", ".jpx", ".jpf", ".avif"),
    )
)
HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
ALL_SUFFIXES = SUFFIXES | HEIF_SUFFIXES  # whether or not this installation reads them


@lru_cache(maxsize=1)
def reads_heif() -> bool:
    """Return whether the package pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, by which photos are found in a folder."""
    return ALL_SUFFIXES if reads_heif() else SUFFIXES
