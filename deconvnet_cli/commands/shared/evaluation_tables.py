"""Print the results of an evaluation: tables for people, JSON and CSV for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deconvnet_cli.reporting import console
from deconvnet_cli.reporting.numerals import counted

if TYPE_CHECKING:
    from deconvnet_cli.evaluation.intervals import Comparison
    from deconvnet_cli.evaluation.paired import Paired
    from deconvnet_cli.evaluation.tally import Result


def results(
    rows: Mapping[str, Result],
    answers: Sequence[Paired],
    *,
    classes: Sequence[str],
    quiet: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Print the rows of an evaluation and their comparisons.

    Tables go to standard error if standard output gets JSON or CSV.
    """
    from deconvnet_cli.data.voc import CLASSES
    from deconvnet_cli.evaluation.scoreboard import REPORTED
    from deconvnet_cli.evaluation.tally import csv_rows, summary

    reported = REPORTED if tuple(classes) == CLASSES else {}  # the paper's values are for VOC
    lines = [
        {"row": name, **summary(result, classes), "reported": reported.get(name)}
        for name, result in rows.items()
    ]
    if not quiet:
        to_stderr = as_json or as_csv
        class_table(rows, classes, to_stderr)
        row_table(rows, reported, to_stderr)
        for answer in answers:
            sentences(answer, to_stderr)
    if as_json and len(lines) == 1:
        console.json_line(lines[0])
    elif as_json:
        console.json_line(
            {"rows": lines, "comparisons": [comparison_line(answer) for answer in answers]}
        )
    if as_csv:
        console.standard_output(csv_rows(lines).encode())


def class_table(rows: Mapping[str, Result], classes: Sequence[str], to_stderr: bool) -> None:
    """Print the IoU of each class in each row, and how many photos have it; of a single row,
    Boundary IoU as well.
    """
    first = next(iter(rows.values()))
    columns = {name: result.metrics.iou for name, result in rows.items()}
    if len(columns) == 1:
        columns = {"IoU": first.metrics.iou, "Boundary IoU": first.boundary_iou}
    # A row's name that goes on from the one before is cut, so that five rows fit on a terminal.
    before = ["", *columns][:-1]
    heads = [name.removeprefix(f"{last} ") for last, name in zip(before, columns, strict=True)]
    lines = []
    for label, name in enumerate(classes):
        # The photos are the same in all rows, as they depend on the masks.
        number = "unknown" if first.photos is None else str(first.photos[label])
        values = (column[label] for column in columns.values())
        lines.append([name, number, *("absent" if v is None else f"{v:.3f}" for v in values)])
    console.table(["class", "photos", *heads], lines, numbers=True, to_stderr=to_stderr)


def row_table(
    rows: Mapping[str, Result], reported: Mapping[str, float | None], to_stderr: bool
) -> None:
    """Print the mean IoU of each row with its interval, and the other means."""
    compared = any(reported.get(name) is not None for name in rows)
    columns = ["", "mIoU", "95 %", "pixel", "mean", "fwIoU", "bIoU"]
    columns += ["paper*"] if compared else []
    lines = []
    for name, result in rows.items():
        found = result.metrics
        accuracies = (found.pixel_accuracy, found.mean_accuracy)
        others = (*accuracies, found.frequency_weighted_iou, result.mean_boundary_iou)
        low, high = result.interval
        line = [name, f"{found.mean_iou:.4f}", f"{low:.3f}-{high:.3f}"]
        line += [f"{value:.4f}" for value in others]
        if compared:
            in_paper = reported.get(name)
            line.append("" if in_paper is None else f"{in_paper:.1f}")
        lines.append(line)
    console.table(columns, lines, numbers=True, to_stderr=to_stderr)
    images = next(iter(rows.values())).images
    notes = [
        f"{counted(images, 'photo')}; means over {averaged(rows)} classes (absent ones left out)",
        "pixel, mean: accuracy; fwIoU: frequency-weighted IoU; bIoU: Boundary IoU",
    ]
    if compared:
        notes += ["* per cent, reported for the paper's own weights on VOC 2012 test: not ours"]
    for note in notes:
        console.result(note, to_stderr=to_stderr)


def comparison_line(answer: Paired) -> dict[str, Any]:
    """Return a comparison of two rows as plain values."""

    def values(found: Comparison) -> dict[str, Any]:
        return {
            "difference": found.difference,
            "interval": [found.low, found.high],
            "better": found.above,
        }

    boundary = answer.boundary_iou
    return {
        "first": answer.first,
        "second": answer.second,
        **values(answer.iou),
        "boundary_iou": None if boundary is None else values(boundary),
    }


def averaged(rows: Mapping[str, Result]) -> str:
    """Return over how many classes the means of the rows are, such as "5 to 6 of 21".

    A class that is in no mask counts in those rows that predict it.
    """
    numbers = {result.metrics.averaged for result in rows.values()}
    total = len(next(iter(rows.values())).metrics.iou)
    return f"{' to '.join(map(str, sorted({min(numbers), max(numbers)})))} of {total}"


def sentences(answer: Paired, to_stderr: bool) -> None:
    """Print a comparison of two rows, a line for each kind of IoU."""
    for found, what in ((answer.iou, "mean IoU"), (answer.boundary_iou, "Boundary IoU")):
        if found is None:
            continue
        said = (
            f"{found.difference:+.4f} {what}, 95 % interval {found.low:+.4f} to {found.high:+.4f}; "
            f"better in {found.above:.0%} of the paired resamples"
        )
        if found.low == found.high == 0:
            said = f"both are equal in {what}, and in 100% of the paired resamples"
        console.result(f"{answer.first} - {answer.second}: {said}", to_stderr=to_stderr)


def compared(answers: Sequence[Paired], *, quiet: bool, as_json: bool) -> None:
    """Print comparisons as sentences, as one JSON line, or as both."""
    if not quiet:
        for answer in answers:
            sentences(answer, as_json)
    lines = [comparison_line(answer) for answer in answers]
    if as_json:
        console.json_line(lines[0] if len(lines) == 1 else {"comparisons": lines})


def sweep(ious: Mapping[str, float], photos: int, *, quiet: bool, as_json: bool) -> None:
    """Print the mean IoU of each setting of the CRF on so many photos, the best first."""
    order = sorted(ious, key=lambda name: -ious[name])
    if not quiet:
        rows = [(name, f"{ious[name]:.4f}") for name in order]
        heading = f"mean IoU of {counted(photos, 'photo')}"
        console.table(("CRF", heading), rows, to_stderr=as_json)
    if as_json:
        for name in order:
            console.json_line({"crf": name, "mean_iou": ious[name], "images": photos})
