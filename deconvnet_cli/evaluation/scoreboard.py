"""Rows of results over one list of images: counted together, compared, written and read again."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.label_png import read_mask
from deconvnet_cli.data.voc import CLASSES, VocTree
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import Comparison, compare
from deconvnet_cli.evaluation.metrics import image_iou
from deconvnet_cli.evaluation.tally import Tally
from deconvnet_cli.evaluation.tally_files import tally_from_json, tally_to_json
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.storage.files import read_whole, write_whole

Labels = NDArray[np.uint8]
FORMAT = "deconvnet scoreboard 1"
MAX_BYTES = 1 << 26  # of a file of counts; one of five rows has about a megabyte
MAX_ROWS = 20  # a row packs a thousandfold and unpacks to 5 MB
EXTREMES = 4  # best and worst images that a report shows


@dataclass(frozen=True)
class TableRow:
    """One row of the paper's table.

    Attributes:
        name: as it is printed.
        system: "fcn8s", "deconvnet" or "edeconvnet".
        crf: whether the dense CRF refines it.
        reported: mean IoU in per cent that the paper reports for its own weights on VOC 2012
            test; another measurement than ours. None for a row that it does not have.
    """

    name: str
    system: str
    crf: bool
    reported: float | None


TABLE = (
    TableRow("FCN-8s", "fcn8s", False, 62.2),
    TableRow("DeconvNet", "deconvnet", False, 69.6),
    TableRow("DeconvNet + CRF", "deconvnet", True, 70.5),
    TableRow("EDeconvNet", "edeconvnet", False, 71.5),
    TableRow("EDeconvNet + CRF", "edeconvnet", True, 72.5),
)
REPORTED = {row.name: row.reported for row in TABLE}
# Which rows of the table answer the questions it is read for: is the first better?
QUESTIONS = (
    ("EDeconvNet", "FCN-8s"),
    ("EDeconvNet", "DeconvNet"),
    ("DeconvNet + CRF", "DeconvNet"),
    ("EDeconvNet + CRF", "EDeconvNet"),
)


@dataclass(frozen=True, order=True)
class Ranked:
    """An image with its own mean IoU (sorts by it) and its predicted labels."""

    iou: float
    name: str
    labels: Labels = field(compare=False)


@dataclass
class Scoreboard:
    """Tallies by row, and the images that the last row did best and worst on.

    Attributes:
        tallies: row name -> counts, in the order of the table.
        best, worst: at most ``EXTREMES`` images each, by their own mean IoU in the last row.
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    best: list[Ranked] = field(default_factory=list)
    worst: list[Ranked] = field(default_factory=list)

    def add(self, name: str, truth: Labels, rows: Mapping[str, Labels]) -> None:
        """Count one image in every row. The last row is the one whose extremes are kept.

        Raises:
            DatasetError: sizes differ, a label is out of range, or the rows are not those of the
                images before; names the image.
        """
        if self.tallies and rows.keys() != self.tallies.keys():
            raise DatasetError(
                f"{name}: has the rows {', '.join(rows)}, images before it "
                f"{', '.join(self.tallies)}; choose one system for all with --net"
            )
        for row, labels in rows.items():
            try:
                counts = self.tallies.setdefault(row, Tally()).add(name, truth, labels)
            except DatasetError as error:
                raise DatasetError(f"{name}: {error}") from error
        if rows and counts.any():
            self._rank(Ranked(image_iou(counts), name, labels))

    def _rank(self, image: Ranked) -> None:
        self.best = heapq.nlargest(EXTREMES, [*self.best, image])
        self.worst = heapq.nsmallest(EXTREMES, [*self.worst, image])


def count(
    tree: VocTree,
    names: Iterable[str],
    predict: Callable[[str, Labels], Mapping[str, Labels]],
    workers: int = 1,
) -> Scoreboard:
    """Score a list.

    Args:
        predict: label maps of an image, by row, given its name and its mask.
        workers: threads that call it; the counts are the same for any number.

    Raises:
        DatasetError: a mask or a label map that cannot be used.
    """

    def look(name: str) -> tuple[Labels, Mapping[str, Labels]]:
        truth = read_mask(tree.mask(name))
        return truth, predict(name, truth)

    board = Scoreboard()
    for name, result in in_order(names, look, workers):
        truth, rows = result()
        board.add(name, truth, rows)
    return board


def comparisons(tallies: Mapping[str, Tally]) -> list[tuple[str, str, float, Comparison]]:
    """The answers to ``QUESTIONS`` as far as their rows are there: names, difference, bootstrap."""
    answers = []
    for first, second in QUESTIONS:
        if first in tallies and second in tallies:
            answers.append((first, second, *difference(tallies[first], tallies[second])))
    return answers


def difference(first: Tally, second: Tally) -> tuple[float, Comparison]:
    """Mean IoU of the first less that of the second, and its paired bootstrap.

    Raises:
        DatasetError: they did not count the same images.
    """
    found = first.result().metrics.mean_iou - second.result().metrics.mean_iou
    return found, compare(first.sums, second.sums)


def write_tallies(path: Path, tallies: Mapping[str, Tally], about: Mapping[str, Any]) -> None:
    """Write the counts of all rows as JSON, with what they were made by.

    Raises:
        OutputError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "about": about,
        "rows": {name: tally_to_json(tally) for name, tally in tallies.items()},
    }
    write_whole(path, json.dumps(content, default=str).encode() + b"\n")


def read_tallies(path: Path) -> dict[str, Tally]:
    """The counts that :func:`write_tallies` wrote.

    Raises:
        DatasetError: missing, or not such a file.
    """
    try:
        content = json.loads(read_whole(path, MAX_BYTES).decode("utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON ({error})") from error
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, dict) or not rows or content.get("format") != FORMAT:
        raise DatasetError(
            f"{path}: not a file of counts; `deconvnet evaluate -o FILE` writes them"
        )
    if len(rows) > MAX_ROWS:
        raise DatasetError(f"{path}: {len(rows)} rows; a file of counts has at most {MAX_ROWS}")
    tallies = {}
    for name, row in rows.items():
        tally = tally_from_json(row, f"{path}, {name}")
        if tally.classes != len(CLASSES):
            raise DatasetError(f"{path}, {name}: {tally.classes} classes; VOC has {len(CLASSES)}")
        tallies[name] = tally
    return tallies


def merged(parts: Mapping[Path, Mapping[str, Tally]]) -> dict[str, Tally]:
    """The counts of shards of one list, added up row by row.

    Raises:
        DatasetError: the shards have other rows than the first, were counted in another way, or
            two of them counted the same images.
    """
    total: dict[str, Tally] = {}
    first = next(iter(parts.values()))
    counted: dict[bytes, Path] = {}
    for path, rows in parts.items():
        if set(rows) != set(first):
            raise DatasetError(
                f"{path}: has the rows {', '.join(rows)}, the first file {', '.join(first)}; "
                "score all shards in the same way"
            )
        # What the truth has in each replicate tells one set of images from another.
        there = rows[next(iter(first))].sums[:, 1]
        other = counted.setdefault(there.tobytes(), path)
        if other != path and there.any():
            raise DatasetError(f"{path}: the same images as in {other}; they would count twice")
        try:
            total = {name: total[name] + rows[name] if total else rows[name] for name in first}
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
    return total
