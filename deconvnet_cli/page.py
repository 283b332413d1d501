"""One HTML page about an evaluation: no network, no script, light and dark, wide and narrow."""

from __future__ import annotations

import base64
import io
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.evaluation import Result
from deconvnet_cli.voc import CLASSES, IGNORE, palette

Labels = NDArray[np.uint8]
WIDEST = 480  # pixels of an embedded image; a page with eight examples stays below a megabyte
WRONG = (205, 20, 35)
COLOURS = palette()
COLOURS[IGNORE] = (226, 228, 232)
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # uneven, so that rare mistakes show too
REPORTED = "Mean IoU reported in the paper, its own weights, VOC 2012 test (not measured here)."
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
"""  # with this policy the browser itself loads nothing from the network and runs no script


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    result: Result
    reported: float | None = None  # per cent, of the paper's own weights on VOC 2012 test


@dataclass(frozen=True)
class Example:
    """One image."""

    name: str
    iou: float  # mean IoU of this image, 0 to 1
    photo: Image.Image  # RGB
    truth: Labels  # H x W, 255 for void
    prediction: Labels  # H x W


def page(
    title: str,
    rows: Sequence[Row],
    best: Sequence[Example],
    worst: Sequence[Example],
    about: Mapping[str, Mapping[str, Any]],
) -> str:
    """The whole page; every name and value in it is escaped.

    Of ``rows``, at least one, the best is shown class by class and the others are folded away.
    """
    # Of equal rows the last: later ones are the fuller methods.
    top = max(reversed(rows), key=lambda row: row.result.scores.mean_iou)
    figures = _figures(top.result)
    style = (resources.files("deconvnet_cli") / "page.css").read_text(encoding="utf-8")
    cards = (f"<section><h3>{escape(k)}</h3>{_value(v)}</section>\n" for k, v in about.items())
    folded = (
        f"<details><summary>Classes and confusion: {escape(row.name)}</summary>\n"
        f"{_classes(row, rows)}{_confusion(row)}</details>\n"
        for row in rows
        if row is not top
    )
    return (
        f"{HEAD}<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f'<body>\n<main>\n<h1>{escape(title)}</h1>\n<p class="lead">{escape(top.name)}: mean IoU '
        f"<strong>{figures['mean IoU']} %</strong> "
        f"(95 % interval {figures['95 % interval']}) over {top.result.images} images.</p>\n"
        + _section("Results", _summary(rows, top))
        + _section(f"Classes: {top.name}", _classes(top, rows))
        + _section(f"Confusion: {top.name}", _confusion(top) + "".join(folded))
        + _section("Best images", "".join(map(_example, best)))
        + _section("Worst images", "".join(map(_example, worst)))
        + _section("Settings and weights", "".join(cards), "cards")
        + "</main>\n</body>\n</html>\n"
    )


def _section(heading: str, content: str, kind: str = "plain") -> str:
    block = f'<h2>{escape(heading)}</h2>\n<div class="{kind}">\n{content}</div>'
    return f"<section>\n{block}\n</section>\n" if content else ""


def _list(kind: str, items: Iterable[str]) -> str:
    return f'<ul class="{kind}">{"".join(f"<li>{item}</li>" for item in items)}</ul>\n'


def _percent(share: float | None, digits: int = 2) -> str:
    return "&ndash;" if share is None or np.isnan(share) else f"{100 * share:.{digits}f}"


def _table(kind: str, caption: str, head: str, body: str, foot: str = "") -> str:
    """A table; a wide one scrolls sideways on a phone, by keyboard too, and the page does not."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption><span>{escape(caption)}</span></caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n"
        f"<tfoot>{foot}</tfoot></table></div>\n"
    )


def _line(name: str, cells: str, kind: str = "") -> str:
    return f'<tr class="{kind}"><th scope="row">{name}</th>{cells}</tr>\n'


def _summary(rows: Sequence[Row], top: Row) -> str:
    """What was measured, and apart from it what the paper reports."""
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
    caption = "All in per cent. The interval is a bootstrap over the images."
    return _table("summary", caption, head, body) + note


def _figures(result: Result) -> dict[str, str]:
    """The cells of a row under the names of their columns."""
    scores = result.scores
    return {
        "mean IoU": _percent(scores.mean_iou),
        "95 % interval": " to ".join(map(_percent, result.interval)),
        "classes averaged": f"{scores.averaged} of {len(scores.iou)}",
        "pixel accuracy": _percent(scores.pixel_accuracy),
        "mean accuracy": _percent(scores.mean_accuracy),
        "freq.-weighted IoU": _percent(scores.frequency_weighted_iou),
        "Boundary IoU": _percent(result.mean_boundary_iou),
    }


def _classes(row: Row, rows: Sequence[Row]) -> str:
    """A bar a class, with the IoU of other rows marked on it."""
    result = row.result
    others = [other for other in rows if other is not row]
    shown = [row, *others[:3]]  # more marks would hide each other
    body = ""
    for number, name in enumerate(CLASSES):
        values = [each.result.scores.iou[number] for each in shown]
        body += _line(_swatch(number) + name, _bar(values, result.boundary_iou[number]))
    means = [each.result.scores.mean_iou for each in shown]
    mean = _line(f"mean of {result.scores.averaged}", _bar(means, result.mean_boundary_iou))
    scale = '<span class="scale"><span>0</span><span>50</span><span>100</span></span>'
    names = ("class", scale, "IoU", "Boundary IoU")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    keys = (f'<i class="m{place}"></i>{escape(each.name)}' for place, each in enumerate(shown))
    return _list("legend keys", keys) + _table("classes", "IoU, per cent.", head, body, mean)


def _bar(values: Sequence[float | None], boundary: float | None) -> str:
    """The first value as a bar and a number, the others as marks."""
    bar = "".join(
        f'<i class="m{place}" style="--at:{100 * value:.1f}%"></i>'
        for place, value in enumerate(values)
        if value is not None
    )
    iou = '<td class="absent">absent' if values[0] is None else f"<td>{_percent(values[0], 1)}"
    return f'<td class="bar"><div>{bar}</div></td>{iou}</td><td>{_percent(boundary, 1)}</td>'


def _swatch(label: int) -> str:
    return f'<i class="swatch" style="background:#{bytes(COLOURS[label]).hex()}"></i>'


def _confusion(row: Row) -> str:
    """The share of each true class's pixels that got each label."""
    body = ""
    for name, counts in zip(CLASSES, row.result.confusion, strict=True):
        cells = f'<td class="absent" colspan="{len(CLASSES)}">absent from the truth</td>'
        if total := int(counts.sum()):
            shares = [int(count) / total for count in counts]
            texts = (f"{100 * share:.0f}" if share >= STEPS[0] else "" for share in shares)
            steps = (bisect_right(STEPS, share) for share in shares)
            cells = "".join(map('<td class="h{}">{}</td>'.format, steps, texts))
        body += _line(name, cells)
    starts = ("below 1", *(f"{100 * step:.0f}" for step in STEPS))
    keys = (f'<span class="h{step}">{start}</span>' for step, start in enumerate(starts))
    caption = "Rows: true class; columns: predicted class; per cent of the true class's pixels."
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in ("true class", *CLASSES))
    return _list("steps", ("From, per cent:", *keys)) + _table("confusion", caption, head, body)


def _example(example: Example) -> str:
    """Photo, truth, prediction and errors side by side, and the classes that occur."""
    name = escape(example.name)
    photo, truth, prediction = _small(example)
    wrong = (example.truth != example.prediction)[example.truth != IGNORE]
    share = _percent(float(wrong.mean()) if wrong.size else 0.0, 1)
    errors = error_map(photo, np.asarray(truth), np.asarray(prediction))
    figures = "".join(
        f'<figure><img src="{_source(image)}" alt="{alt} {name}" width="{image.width}" '
        f'height="{image.height}"><figcaption>{caption}</figcaption></figure>\n'
        for caption, alt, image in (
            ("photo", "Photo", photo),
            ("truth", "True labels of", truth),
            ("prediction", "Predicted labels of", prediction),
            (f"wrong in red: {share} %", "Wrong pixels in red on the faded photo", errors),
        )
    )
    return (
        f'<figure class="example"><figcaption><b>{name}</b> mean IoU {_percent(example.iou, 1)} %'
        f'</figcaption>\n<div class="four">\n{figures}</div>\n{_legend(example)}</figure>\n'
    )


def _small(example: Example) -> list[Image.Image]:
    """Photo, truth and prediction in one size, no wider than ``WIDEST``; labels with colours."""
    height, width = example.truth.shape
    size = (min(width, WIDEST), max(1, round(height * min(1.0, WIDEST / width))))
    images = [example.photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)]
    for labels in (example.truth, example.prediction):
        image = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
        image.putpalette(COLOURS.tobytes())
        images.append(image)
    return images


def error_map(photo: Image.Image, truth: Labels, prediction: Labels) -> Image.Image:
    """The photo faded in grey with the wrong pixels in red; void is never wrong."""
    faded = Image.blend(photo.convert("L"), Image.new("L", photo.size, 255), 0.5)
    pixels = np.array(faded.convert("RGB"))
    pixels[(truth != prediction) & (truth != IGNORE)] = WRONG
    return Image.fromarray(pixels)


def _source(image: Image.Image) -> str:
    """A PNG of labels, a JPEG of what is no labels, inside its own address."""
    kind = "png" if image.mode == "P" else "jpeg"
    buffer = io.BytesIO()
    # Colour at full resolution (subsampling 0): else red bleeds over the edges of wrong pixels.
    image.save(buffer, kind, optimize=True, quality=80, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _legend(example: Example) -> str:
    """The classes that occur, and where if only in one of truth and prediction."""
    true, predicted = set(np.unique(example.truth)), set(np.unique(example.prediction))
    items = []
    for label in sorted(map(int, true | predicted)):
        where = "" if label in true else " (prediction only)"
        where = where if label in predicted else " (truth only)"
        name = "void" if label == IGNORE else CLASSES[label] + where
        items.append(_swatch(label) + name)
    return _list("legend", items)


def _value(value: Any) -> str:
    """A setting: blocks as nested lists, the rest as in JSON."""
    if isinstance(value, Mapping):
        items = (f"<dt>{escape(str(k))}</dt><dd>{_value(v)}</dd>" for k, v in value.items())
        return f"<dl>{''.join(items)}</dl>"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return escape(text)
