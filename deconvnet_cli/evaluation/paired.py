"""Compare rows of results over the same photos, in mean IoU and in Boundary IoU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deconvnet_cli.evaluation.intervals import Comparison, compare
from deconvnet_cli.evaluation.tally import Tally

# The pairs of rows that are compared: is the first better than the second?
QUESTIONS = (
    ("DeconvNet", "FCN-8s"),
    ("EDeconvNet", "FCN-8s"),
    ("EDeconvNet", "DeconvNet"),
    ("DeconvNet + CRF", "DeconvNet"),
    ("EDeconvNet + CRF", "EDeconvNet"),
)


@dataclass(frozen=True)
class Paired:
    """Two rows over the same photos, compared.

    Attributes:
        first, second: Their names.
        iou: The comparison of their mean IoU.
        boundary_iou: That of their mean Boundary IoU; None if the counts of one lack its bootstrap,
            as files of earlier versions do.
    """

    first: str
    second: str
    iou: Comparison
    boundary_iou: Comparison | None


def comparisons(tallies: Mapping[str, Tally]) -> list[Paired]:
    """Return the comparisons of those ``QUESTIONS`` whose rows are present."""
    return [
        paired(first, tallies[first], second, tallies[second])
        for first, second in QUESTIONS
        if first in tallies and second in tallies
    ]


def paired(first: str, one: Tally, second: str, other: Tally) -> Paired:
    """Compare two rows; see :class:`Paired`.

    Raises:
        DatasetError: The tallies did not count the same photos.
    """
    mine, theirs = one.boundary_run, other.boundary_run
    boundary = None if mine is None or theirs is None else compare(mine, theirs)
    return Paired(first, second, compare(one.run, other.run), boundary)
