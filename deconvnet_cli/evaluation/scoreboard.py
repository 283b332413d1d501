"""Count, write and read the rows of results over one list of images."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.classes import first_difference
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.voc import CLASSES, VocTree
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.metrics import image_iou
from deconvnet_cli.evaluation.tally import Tally
from deconvnet_cli.evaluation.tally_files import tally_from_json, tally_to_json
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.storage.files import read_whole, write_whole

Labels = NDArray[np.uint8]
FORMAT = "deconvnet scoreboard 1"
MAX_BYTES = 1 << 26  # of a file of counts; five rows take about two megabytes
MAX_ROWS = 20  # each unpacks to 10 MB, a thousand times its size
EXTREMES = 4  # best and worst images that a report shows


@dataclass(frozen=True)
class TableRow:
    """A row of the paper's table.

    Attributes:
        name: The name that is printed.
        system: "fcn8s", "deconvnet" or "edeconvnet".
        crf: Whether the dense CRF refines the labels.
        reported: The mean IoU in per cent that the paper reports for its own weights on VOC 2012
            test, a different measurement from ours; None for a row that the paper lacks.
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


@dataclass(frozen=True, order=True)
class Ranked:
    """An image with its own mean IoU, by which it sorts, and its predicted labels."""

    iou: float
    name: str
    labels: Labels = field(compare=False)


@dataclass
class Scoreboard:
    """The tallies of all rows, and the best and worst images of the last row.

    Attributes:
        classes: The names of the labels, in order.
        tallies: Name of the row -> counts, in the order of the table.
        best, worst: At most ``EXTREMES`` images each, by their own mean IoU in the last row.
    """

    classes: tuple[str, ...] = CLASSES
    tallies: dict[str, Tally] = field(default_factory=dict)
    best: list[Ranked] = field(default_factory=list)
    worst: list[Ranked] = field(default_factory=list)

    def add(self, name: str, truth: Labels, rows: Mapping[str, Labels]) -> None:
        """Count one image in every row, and keep it if it is an extreme of the last row.

        Args:
            name: The name of the image.
            truth: The true labels, H x W.
            rows: The predicted labels of each row, by its name.

        Raises:
            DatasetError: Sizes differ, a label is out of range, or the rows are not those of
                earlier images; the error names the image.
        """
        if self.tallies and rows.keys() != self.tallies.keys():
            raise DatasetError(
                f"{name}: has the rows {', '.join(rows)}, earlier images have "
                f"{', '.join(self.tallies)}; choose one system for all with --net"
            )
        for row, labels in rows.items():
            try:
                counts = self._tally(row).add(name, truth, labels)
            except DatasetError as error:
                raise DatasetError(f"{name}: {error}") from error
        if rows and counts.any():
            self._rank(Ranked(image_iou(counts), name, labels))

    def _tally(self, row: str) -> Tally:
        if row not in self.tallies:
            self.tallies[row] = Tally(len(self.classes))
        return self.tallies[row]

    def _rank(self, image: Ranked) -> None:
        self.best = heapq.nlargest(EXTREMES, [*self.best, image])
        self.worst = heapq.nsmallest(EXTREMES, [*self.worst, image])


def count(
    tree: VocTree,
    names: Iterable[str],
    predict: Callable[[str, Labels], Mapping[str, Labels]],
    workers: int = 1,
) -> Scoreboard:
    """Count all images of a list.

    Args:
        tree: The VOC tree with the masks.
        names: The names of the images.
        predict: A function that returns the label maps of an image, by row, given its name and its
            mask.
        workers: The number of threads that call ``predict``; it does not change the counts.

    Raises:
        DatasetError: A mask or a label map cannot be used.
    """

    def label(name: str) -> tuple[Labels, Mapping[str, Labels]]:
        truth = tree_mask(tree, name)
        return truth, predict(name, truth)

    board = Scoreboard(tree.classes)
    for name, result in in_order(names, label, workers):
        truth, rows = result()
        board.add(name, truth, rows)
    return board


class Counts(NamedTuple):
    """The counts of all rows by name, and the names of the classes in order."""

    rows: dict[str, Tally]
    classes: tuple[str, ...]


def write_tallies(
    path: Path,
    tallies: Mapping[str, Tally],
    about: Mapping[str, Any],
    classes: Sequence[str] = CLASSES,
) -> None:
    """Write the counts of all rows, and the settings ``about`` them, as JSON.

    The names of the classes are written unless they are VOC's.

    Raises:
        OutputError: The file cannot be written.
    """
    content = {
        "format": FORMAT,
        "about": about,
        **({} if tuple(classes) == CLASSES else {"classes": list(classes)}),
        "rows": {name: tally_to_json(tally) for name, tally in tallies.items()},
    }
    write_whole(path, json.dumps(content, default=str).encode() + b"\n")


def read_tallies(path: Path) -> Counts:
    """Read the counts that :func:`write_tallies` wrote.

    Raises:
        DatasetError: The file is missing or is not a file of counts.
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
    classes = content.get("classes", list(CLASSES))
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise DatasetError(f"{path}: its classes are not names; count the images again")
    tallies = {}
    for name, row in rows.items():
        tally = tally_from_json(row, f"{path}, {name}")
        if tally.classes != len(classes):
            raise DatasetError(f"{path}, {name}: {tally.classes} classes with {len(classes)} names")
        tallies[name] = tally
    return Counts(tallies, tuple(classes))


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
            images.
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
        # The true pixels of each replicate identify a set of images.
        true_pixels = rows[next(iter(first))].sums[:, 1]
        other = counted.setdefault(true_pixels.tobytes(), path)
        if other != path and true_pixels.any():
            raise DatasetError(
                f"{path}: the same images as in {other}, which would count twice; leave one out"
            )
        try:
            total = {name: total[name] + rows[name] if total else rows[name] for name in first}
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error
    return total
