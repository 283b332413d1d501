"""Tallies as JSON files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import (
    MAX_COUNT,
    packed,
    unpacked,
)
from deconvnet_cli.evaluation.tally import Tally

FORMAT = "deconvnet tally 1"


def tally_to_json(tally: Tally) -> dict[str, object]:
    """Return the counts as plain values for ``json.dumps``; see :func:`tally_from_json`."""
    return {
        "format": FORMAT,
        "classes": tally.classes,
        "replicates": tally.replicates,
        "seed": tally.seed,
        "images": tally.images,
        "confusion": tally.confusion.tolist(),
        "boundary": tally.boundary.tolist(),
        "bootstrap": packed(tally.sums),
        "boundary_bootstrap": (
            None if tally.boundary_sums is None else packed(tally.boundary_sums)
        ),
        "photos": None if tally.photos is None else tally.photos.tolist(),
    }


def tally_from_json(content: object, source: str) -> Tally:
    """Return the tally that :func:`tally_to_json` was given.

    Args:
        content: The value that ``json.loads`` returned.
        source: The name of the file, for errors.

    Raises:
        DatasetError: The content is malformed or of another format.
    """
    try:
        return _parsed(content)
    except (DatasetError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"{source}: not a tally of this program ({error}); count the photos again"
        ) from error


def _parsed(content: object) -> Tally:
    """Return the tally in parsed JSON; raise ValueError, OverflowError or DatasetError if wrong."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    tally = Tally(*(_whole(content, name) for name in ("classes", "replicates", "seed")))
    tally.images = _whole(content, "images")
    if tally.images < 0:
        raise ValueError("images is below 0")
    tally.confusion = _counts(content, "confusion", tally.confusion.shape)
    tally.boundary = _boundary(content, tally.classes)
    if tally.confusion.any() and not tally.boundary.any():
        raise ValueError("it has pixels and no boundary")
    size = tally.replicates, tally.classes
    tally.sums = unpacked(content.get("bootstrap"), *size)
    # Files of earlier versions lack these.
    sums, photos = content.get("boundary_bootstrap"), content.get("photos")
    tally.boundary_sums = None if sums is None else unpacked(sums, *size)
    tally.photos = None if photos is None else _counts(content, "photos", (tally.classes,))
    if tally.photos is not None and tally.photos.max() > tally.images:
        raise ValueError("a class is in more photos than there are")
    return tally


def _boundary(content: dict[str, object], classes: int) -> NDArray[np.int64]:
    """Return the areas of the boundary regions; raise ValueError if they are impossible."""
    given = content.get("boundary")
    of_before = content.get("boundary_bootstrap") is None
    if of_before and isinstance(given, list) and len(given) == 2:
        # Earlier versions wrote intersection and union, from which the IoU is the same.
        shared, union = _counts(content, "boundary", (2, classes))
        areas = np.stack([shared, union, shared])
    else:
        areas = _counts(content, "boundary", (3, classes))
    if (areas[0] > areas[1:]).any():
        raise ValueError("in boundary an intersection is larger than what it is part of")
    return areas


def _whole(content: dict[str, object], name: str) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is not a whole number")
    return value


def _counts(content: dict[str, object], name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return nested lists as int64 counts; raise ValueError unless they have the given shape."""
    counts = np.array(content.get(name))  # lists of uneven length: ValueError
    # Fractions, text and numbers beyond 63 bits have a dtype of another kind.
    if counts.dtype.kind != "i" or counts.shape != shape:
        raise ValueError(f"{name} is not {' x '.join(map(str, shape))} whole numbers")
    if counts.min() < 0 or counts.max() > MAX_COUNT:
        raise ValueError(f"a number in {name} is out of range")
    return counts.astype(np.int64)
