"""Files of counts: the rows of a run, written, read, and added up over the shards of a list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.classes import first_difference
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import MAX_COUNT, packed, unpacked
from deconvnet_cli.evaluation.tally import Tally
from deconvnet_cli.storage.files import read_json, write_whole

FORMAT, TALLY_FORMAT = "deconvnet scoreboard 1", "deconvnet tally 1"
MAX_BYTES = 1 << 26  # of a file of counts; five rows take about two megabytes
MAX_ROWS = 20  # each unpacks to 10 MB, a thousand times its size


class Counts(NamedTuple):
    """The content of a file of counts.

    Attributes:
        rows: The counts of all rows by name.
        classes: The names of the classes, in order.
        about: What was counted, and how: the list with its shard, nets and settings. Files of
            earlier versions may say less.
    """

    rows: dict[str, Tally]
    classes: tuple[str, ...]
    about: dict[str, Any]


def write_tallies(path: Path, counts: Counts) -> None:
    """Write counts as JSON; the names of the classes are left out if they are VOC's.

    Raises:
        OutputError: The file cannot be written.
    """
    content = {
        "format": FORMAT,
        "about": counts.about,
        **({} if counts.classes == CLASSES else {"classes": list(counts.classes)}),
        "rows": {name: tally_to_json(tally) for name, tally in counts.rows.items()},
    }
    write_whole(path, json.dumps(content, default=str).encode() + b"\n")


def read_tallies(path: Path) -> Counts:
    """Read the counts that :func:`write_tallies` wrote.

    Raises:
        DatasetError: The file is missing or is not a file of counts.
    """
    content = read_json(path, MAX_BYTES)
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, dict) or not rows or content.get("format") != FORMAT:
        raise DatasetError(
            f"{path}: not a file of counts; `deconvnet evaluate -o FILE` writes them"
        )
    if len(rows) > MAX_ROWS:
        raise DatasetError(f"{path}: {len(rows)} rows; a file of counts has at most {MAX_ROWS}")
    classes = content.get("classes", list(CLASSES))
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise DatasetError(f"{path}: its classes are not names; count the photos again")
    tallies = {}
    for name, row in rows.items():
        tally = tally_from_json(row, f"{path}, {name}")
        if tally.classes != len(classes):
            raise DatasetError(f"{path}, {name}: {tally.classes} classes with {len(classes)} names")
        tallies[name] = tally
    about = content.get("about")
    return Counts(tallies, tuple(classes), about if isinstance(about, dict) else {})


def same_classes(parts: Mapping[Path, Counts]) -> tuple[str, ...]:
    """Return the classes of files of counts.

    Raises:
        DatasetError: Two files have different classes.
    """
    first, *others = parts
    for path in others:
        if parts[path].classes != parts[first].classes:
            where = first_difference(parts[first].classes, parts[path].classes)
            raise DatasetError(f"{first} and {path} have different classes: {where}")
    return parts[first].classes


def merged(parts: Mapping[Path, Mapping[str, Tally]]) -> dict[str, Tally]:
    """Add up the counts of shards of one list, row by row.

    Args:
        parts: The counts of each shard by row, by the path of the shard's file.

    Raises:
        DatasetError: The shards differ in their rows or settings, or two of them counted the same
            photos.
    """
    total: dict[str, Tally] = {}
    first = next(iter(parts.values()))
    counted: dict[bytes, Path] = {}
    for path, rows in parts.items():
        if set(rows) != set(first):
            raise DatasetError(
                f"{path}: has the rows {', '.join(rows)}, the first file has {', '.join(first)}; "
                "evaluate all shards in the same way"
            )
        # The true pixels of each replicate identify a set of photos.
        true_pixels = rows[next(iter(first))].sums[:, 1]
        other = counted.setdefault(true_pixels.tobytes(), path)
        if other != path and true_pixels.any():
            raise DatasetError(
                f"{path}: the same photos as in {other}, which would count twice; leave one out"
            )
        try:
            total = {name: total[name] + rows[name] if total else rows[name] for name in first}
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
    return total


def tally_to_json(tally: Tally) -> dict[str, object]:
    """Return the counts as plain values for ``json.dumps``; see :func:`tally_from_json`."""
    return {
        "format": TALLY_FORMAT,
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
    if not isinstance(content, dict) or content.get("format") != TALLY_FORMAT:
        raise ValueError(f"its format is not {TALLY_FORMAT}")
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
