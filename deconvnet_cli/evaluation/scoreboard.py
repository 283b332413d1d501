"""Count the rows of results over one list of photos."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.voc import CLASSES, VocTree
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.metrics import metrics_of
from deconvnet_cli.evaluation.tally import Tally
from deconvnet_cli.runtime.ordered_pool import in_order

Labels = NDArray[np.uint8]
EXTREMES = 4  # best and worst photos that a report shows


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
    """A photo with its own mean IoU, by which it sorts, and its predicted labels."""

    iou: float
    name: str
    labels: Labels = field(compare=False)


@dataclass
class Scoreboard:
    """The tallies of all rows, and the best and worst photos of the last row.

    Attributes:
        classes: The names of the labels, in order.
        tallies: Name of the row -> counts, in the order of the table.
        best, worst: At most ``EXTREMES`` photos each, by their own mean IoU in the last row.
    """

    classes: tuple[str, ...] = CLASSES
    tallies: dict[str, Tally] = field(default_factory=dict)
    best: list[Ranked] = field(default_factory=list)
    worst: list[Ranked] = field(default_factory=list)

    def add(self, name: str, truth: Labels, rows: Mapping[str, Labels]) -> None:
        """Count one photo in every row, and keep it if it is an extreme of the last row.

        Args:
            truth: The true labels, H x W.
            rows: The predicted labels of each row, by its name.

        Raises:
            DatasetError: Sizes differ, a label is out of range, or the rows are not those of
                earlier photos; the error names the photo.
        """
        self.tallies = self.tallies or {row: Tally(len(self.classes)) for row in rows}
        if rows.keys() != self.tallies.keys():
            raise DatasetError(
                f"{name}: has the rows {', '.join(rows)}, earlier photos have "
                f"{', '.join(self.tallies)}; choose one system for all with --net"
            )
        for row, labels in rows.items():
            try:
                counts = self.tallies[row].add(name, truth, labels)
            except DatasetError as error:
                raise DatasetError(f"{name}: {error}") from error
        if rows and counts.any():
            image = Ranked(metrics_of(counts).mean_iou, name, labels)
            self.best = heapq.nlargest(EXTREMES, [*self.best, image])
            self.worst = heapq.nsmallest(EXTREMES, [*self.worst, image])

    def extremes(self) -> tuple[list[Ranked], list[Ranked]]:
        """Return the best and the worst photos; of few photos each is one or the other."""
        known = len({*self.best, *self.worst})
        return self.best[: (known + 1) // 2], self.worst[: known // 2]


def count(
    tree: VocTree,
    names: Iterable[str],
    predict: Callable[[str, Labels], Mapping[str, Labels]],
    workers: int = 1,
    done: Callable[[], None] = lambda: None,
) -> Scoreboard:
    """Count all photos of a list.

    Args:
        predict: A function that returns the label maps of a photo, by row, given its name and its
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
        done()
    return board
