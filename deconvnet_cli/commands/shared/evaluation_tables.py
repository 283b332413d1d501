"""What an evaluation says: tables for people, JSON and CSV for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deconvnet_cli.reporting import console

if TYPE_CHECKING:
    from deconvnet_cli.evaluation.bootstrap import Comparison
    from deconvnet_cli.evaluation.tally import Result


def results(
    rows: Mapping[str, Result],
    answers: Sequence[tuple[str, str, float, Comparison]],
    *,
    quiet: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """What an evaluation says: a table for people, and JSON or CSV for programs."""
    from deconvnet_cli.data.voc import CLASSES
    from deconvnet_cli.evaluation.scoreboard import REPORTED
    from deconvnet_cli.evaluation.tally import csv_rows, summary

    lines = [
        {"row": name, **summary(result, CLASSES), "reported": REPORTED.get(name)}
        for name, result in rows.items()
    ]
    if not quiet:
        class_table(rows, CLASSES)
        row_table(rows, REPORTED)
        for answer in answers:
            console.say(comparison_text(*answer))
    if as_json and len(lines) == 1:
        console.json_line(lines[0])
    elif as_json:
        console.json_line(
            {"rows": lines, "comparisons": [comparison_line(*found) for found in answers]}
        )
    if as_csv:
        console.standard_output(csv_rows(lines).encode())


def class_table(rows: Mapping[str, Result], classes: Sequence[str]) -> None:
    """IoU by class, a column a row of the table; of a single row Boundary IoU as well."""
    columns = {name: result.metrics.iou for name, result in rows.items()}
    if len(columns) == 1:
        columns = {"IoU": next(iter(columns.values()))}
        columns["Boundary IoU"] = next(iter(rows.values())).boundary_iou
    lines = []
    for label, name in enumerate(classes):
        values = [column[label] for column in columns.values()]
        lines.append([name, *("absent" if iou is None else f"{iou:.3f}" for iou in values)])
    console.table(["class", *columns], lines, numbers=True)


def row_table(rows: Mapping[str, Result], reported: Mapping[str, float | None]) -> None:
    """A line a row: mean IoU with its interval and the other means."""
    known = any(reported.get(name) is not None for name in rows)
    columns = ["", "mIoU", "95 %", "pixel", "mean", "fwIoU", "bIoU", *(["paper*"] if known else [])]
    lines = []
    for name, result in rows.items():
        found = result.metrics
        low, high = result.interval
        papers = reported.get(name)
        cells = ["" if papers is None else f"{papers:.1f}"] if known else []
        lines.append(
            [
                name,
                f"{found.mean_iou:.4f}",
                f"{low:.3f}-{high:.3f}",
                f"{found.pixel_accuracy:.4f}",
                f"{found.mean_accuracy:.4f}",
                f"{found.frequency_weighted_iou:.4f}",
                f"{result.mean_boundary_iou:.4f}",
                *cells,
            ]
        )
    console.table(columns, lines, numbers=True)
    last = list(rows.values())[-1]
    text = (
        f"{last.images} images; means over {last.metrics.averaged} of {len(last.metrics.iou)} "
        "classes (absent ones left out)"
    )
    text += "\npixel, mean: accuracy; fwIoU: frequency-weighted IoU; bIoU: Boundary IoU"
    if known:
        text += "\n* per cent, reported for the paper's own weights on VOC 2012 test: not ours"
    console.console.print(text)


def comparison_line(first: str, second: str, found: float, by: Comparison) -> dict[str, Any]:
    """A comparison of two runs as plain values."""
    return {
        "first": first,
        "second": second,
        "difference": found,
        "interval": [by.low, by.high],
        "better": by.above,
    }


def comparison_text(first: str, second: str, found: float, by: Comparison) -> str:
    """A comparison of two runs as a sentence."""
    return (
        f"{first} - {second}: {found:+.4f} mean IoU, 95 % interval {by.low:+.4f} to "
        f"{by.high:+.4f}; better in {by.above:.0%} of the paired resamples"
    )


def comparison(
    first: str, second: str, found: float, by: Comparison, *, quiet: bool, as_json: bool
) -> None:
    """One comparison, for people and for programs."""
    if not quiet:
        console.say(comparison_text(first, second, found, by))
    if as_json:
        console.json_line(comparison_line(first, second, found, by))


def sweep(ious: Mapping[str, float], *, quiet: bool, as_json: bool) -> None:
    """Mean IoU by settings of the CRF, the best first."""
    order = sorted(ious, key=lambda name: -ious[name])
    if not quiet:
        console.table(("CRF", "mean IoU"), [(name, f"{ious[name]:.4f}") for name in order])
    if as_json:
        for name in order:
            console.json_line({"crf": name, "mean_iou": ious[name]})
