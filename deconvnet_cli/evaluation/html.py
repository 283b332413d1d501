"""Make the HTML page about an evaluation: tables, bars, examples. It reads no files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.voc import CLASSES, IGNORE
from deconvnet_cli.evaluation.tally import Result
from deconvnet_cli.reporting.html import cards, document, items, label_swatch, picture, section
from deconvnet_cli.reporting.label_images import error_map, label_image, shown_size
from deconvnet_cli.reporting.numerals import counted

Labels = NDArray[np.uint8]
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # uneven, to show rare mistakes too
REPORTED = "Mean IoU reported in the paper, its own weights, VOC 2012 test (not measured here)."


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    name: str
    result: Result
    reported: float | None = None  # mean IoU in the paper, per cent, VOC 2012 test


@dataclass(frozen=True)
class Example:
    """A photo that is shown as an example."""

    name: str
    iou: float  # mean IoU of this photo, 0 to 1
    photo: Image.Image  # RGB
    truth: Labels  # H x W, 255 for void
    prediction: Labels  # H x W


def page(
    title: str,
    rows: Sequence[Row],
    best: Sequence[Example],
    worst: Sequence[Example],
    about: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str] = CLASSES,
) -> str:
    """Return the whole page, with all names and values escaped.

    Args:
        rows: The rows of the table, at least one. The best is shown class by class, and the
            others are folded away.
    """
    # Of equal rows the last is taken, as later rows are more complete methods.
    top = max(reversed(rows), key=lambda row: row.result.metrics.mean_iou)
    figures = _figures(top.result)
    folded = (
        f"<details><summary>Classes and confusion: {escape(row.name)}</summary>\n"
        f"{_classes(row, rows, classes)}{_confusion(row, classes)}</details>\n"
        for row in rows
        if row is not top
    )
    lead = (
        f"{escape(top.name)}: mean IoU <strong>{figures['mean IoU']} %</strong> "
        f"(95 % interval {figures['95 % interval']}) over {counted(top.result.images, 'photo')}."
    )
    body = (
        section("Results", _summary(rows, top))
        + section(f"Classes: {top.name}", _classes(top, rows, classes))
        + section(f"Confusion: {top.name}", _confusion(top, classes) + "".join(folded))
        + section("Best photos", "".join(_example(image, classes) for image in best))
        + section("Worst photos", "".join(_example(image, classes) for image in worst))
        + section("Settings and weights", cards(about), "cards")
    )
    return document(title, lead, body)


def _percent(share: float | None, digits: int = 2) -> str:
    return "&ndash;" if share is None or np.isnan(share) else f"{100 * share:.{digits}f}"


def _table(kind: str, caption: str, head: str, body: str, foot: str = "") -> str:
    """Return a table. If too wide, it scrolls sideways on its own, by keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption><span>{escape(caption)}</span></caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n"
        f"<tfoot>{foot}</tfoot></table></div>\n"
    )


def _line(name: str, cells: str, kind: str = "") -> str:
    return f'<tr class="{kind}"><th scope="row">{name}</th>{cells}</tr>\n'


def _summary(rows: Sequence[Row], top: Row) -> str:
    """Return the table of measured figures and, set apart, of those that the paper reports."""
    names = _figures(top.result)
    head = f'<th scope="colgroup" colspan="{len(names)}">measured here</th>'
    below = "".join(f'<th scope="col">{name}</th>' for name in names)
    note = ""
    if reported := any(row.reported is not None for row in rows):
        head += '<th scope="colgroup" class="apart">not measured</th>'
        below += '<th scope="col" class="apart">reported<sup>*</sup></th>'
        note = f'<p class="note"><sup>*</sup> {REPORTED}</p>\n'
    head = f'<td></td>{head}</tr>\n<tr><th scope="col">method</th>{below}'
    body = ""
    for row in rows:
        cells = "".join(f"<td>{text}</td>" for text in _figures(row.result).values())
        if reported:
            value = "&ndash;" if row.reported is None else f"{row.reported:.1f}"
            cells += f'<td class="apart">{value}</td>'
        body += _line(escape(row.name), cells, "top" if row is top else "")
    caption = "All in per cent. The interval is for the choice of photos."
    return _table("summary", caption, head, body) + note


def _figures(result: Result) -> dict[str, str]:
    """Return the cells of a row by the names of their columns."""
    metrics = result.metrics
    return {
        "mean IoU": _percent(metrics.mean_iou),
        "95 % interval": " to ".join(map(_percent, result.interval)),
        "classes averaged": f"{metrics.averaged} of {len(metrics.iou)}",
        "pixel accuracy": _percent(metrics.pixel_accuracy),
        "mean accuracy": _percent(metrics.mean_accuracy),
        "freq.-weighted IoU": _percent(metrics.frequency_weighted_iou),
        "Boundary IoU": _percent(result.mean_boundary_iou),
    }


def _classes(row: Row, rows: Sequence[Row], classes: Sequence[str]) -> str:
    """Return one bar per class, with marks for the IoU of other rows."""
    result = row.result
    photos = result.photos or ["&ndash;"] * len(classes)  # files of earlier versions do not say
    others = [other for other in rows if other is not row]
    shown = [row, *others[:3]]  # more marks would hide each other
    body = ""
    for number, name in enumerate(classes):
        values = [each.result.metrics.iou[number] for each in shown]
        head = label_swatch(number, classes) + escape(name)
        bar = _bar(values, result.boundary_iou[number])
        body += _line(head, f"{bar}<td>{photos[number]}</td>")
    means = [each.result.metrics.mean_iou for each in shown]
    bar = _bar(means, result.mean_boundary_iou)
    mean = _line(f"mean of {result.metrics.averaged}", f"{bar}<td></td>")
    scale = '<span class="scale"><span>0</span><span>50</span><span>100</span></span>'
    names = ("class", scale, "IoU", "Boundary IoU", "photos")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    keys = (f'<i class="m{place}"></i>{escape(each.name)}' for place, each in enumerate(shown))
    return items("legend keys", keys) + _table("classes", "IoU, per cent.", head, body, mean)


def _bar(values: Sequence[float | None], boundary: float | None) -> str:
    """Return cells with the first value as a bar and a number, and the others as marks."""
    bar = "".join(
        f'<i class="m{place}" style="--at:{100 * value:.1f}%"></i>'
        for place, value in enumerate(values)
        if value is not None
    )
    iou = '<td class="absent">absent' if values[0] is None else f"<td>{_percent(values[0], 1)}"
    return f'<td class="bar"><div>{bar}</div></td>{iou}</td><td>{_percent(boundary, 1)}</td>'


def _confusion(row: Row, classes: Sequence[str]) -> str:
    """Return the confusion matrix: the share of each true class that got each label."""
    body = ""
    for name, counts in zip(classes, row.result.confusion, strict=True):
        cells = f'<td class="absent" colspan="{len(classes)}">absent from the truth</td>'
        if total := int(counts.sum()):
            shares = [int(count) / total for count in counts]
            texts = (f"{100 * share:.0f}" if share >= STEPS[0] else "" for share in shares)
            steps = (bisect_right(STEPS, share) for share in shares)
            cells = "".join(map('<td class="h{}">{}</td>'.format, steps, texts))
        body += _line(escape(name), cells)
    starts = ("below 1", *(f"{100 * step:.0f}" for step in STEPS))
    keys = (f'<span class="h{step}">{start}</span>' for step, start in enumerate(starts))
    caption = "Rows: true class; columns: predicted class; per cent of the true class's pixels."
    names = ("true class", *map(escape, classes))
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    return items("steps", ("From, per cent:", *keys)) + _table("confusion", caption, head, body)


def _example(example: Example, classes: Sequence[str]) -> str:
    """Return photo, truth, prediction and errors side by side, and the classes that occur."""
    name = escape(example.name)
    height, width = example.truth.shape
    size = shown_size(width, height)
    photo = example.photo.resize(size, Image.Resampling.LANCZOS)
    maps = (example.truth, example.prediction)
    truth, prediction = (label_image(labels, size, classes) for labels in maps)
    wrong = (example.truth != example.prediction)[example.truth != IGNORE]
    share = _percent(float(wrong.mean()) if wrong.size else 0.0, 1)
    errors = error_map(photo, np.asarray(truth), np.asarray(prediction))
    figures = "".join(
        picture(image, caption, f"{alt} {example.name}")
        for caption, alt, image in (
            ("photo", "Photo", photo),
            ("truth", "True labels of", truth),
            ("prediction", "Predicted labels of", prediction),
            (f"wrong in red: {share} %", "Wrong pixels in red on the faded photo", errors),
        )
    )
    return (
        f'<figure class="example"><figcaption><b>{name}</b> mean IoU {_percent(example.iou, 1)} %'
        f'</figcaption>\n<div class="four">\n{figures}</div>\n'
        f"{_legend(example, classes)}</figure>\n"
    )


def _legend(example: Example, classes: Sequence[str]) -> str:
    """Return the list of classes that occur, noting those in the truth or prediction only."""
    # What is predicted where the truth is void does not count, and may be no class at all.
    counted = example.prediction[example.truth != IGNORE]
    true, predicted = set(np.unique(example.truth)), set(np.unique(counted))
    shown = []
    for label in sorted(map(int, true | predicted)):
        where = "" if label in true else " (prediction only)"
        where = where if label in predicted else " (truth only)"
        name = "void" if label == IGNORE else escape(classes[label]) + where
        shown.append(label_swatch(label, classes) + name)
    return items("legend", shown)
