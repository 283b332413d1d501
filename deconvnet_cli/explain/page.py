"""The files of an explanation: an HTML page, and its pictures as PNGs."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.explain import figures
from deconvnet_cli.explain.explanation import Explanation
from deconvnet_cli.explain.parts import LABELS, Part, parts_of
from deconvnet_cli.explain.sheets import Scale, animation, ramp, sheet
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.reporting.html import cards, document, folded, picture, section
from deconvnet_cli.segmentation.labels import class_shares

FILM, PAGE = "progress.gif", "index.html"
COLUMNS = {2: "two", 3: "three", 4: "four"}  # number of columns -> class in page.css


def rendered(
    explanation: Explanation, name: str, about: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return the content of all files by name, the page last.

    Args:
        about: The system and its settings, see ``system.describe``.
    """
    grown = figures.growth(explanation)
    film = animation([frame.image for frame in grown])
    parts = parts_of(explanation, grown, film)
    files = {LABELS: label_png(explanation.result.labels, explanation.classes), FILM: film}
    for part in parts:
        if part.name:
            columns = len(part.pictures) if part.strip else part.columns
            files[f"{part.name}.png"] = sheet(part.pictures, columns)
    shares = class_shares(Outputs().shown(explanation.result.labels), explanation.classes)
    lead = ", ".join(f"{escape(each)} {figures.share_text(part)}" for each, part in shares.items())
    body = "".join(
        (folded if part.folded else section)(part.heading, part.text + grid(part) + part.after)
        for part in parts
    )
    body += section("Settings and weights", cards(about), "cards")
    earlier = " and are from before the CRF, unless they say otherwise" * explanation.refined
    lead += f". Small parts are left out of these shares; the figures below have them{earlier}"
    page = document(f"Why {name} got its labels", f"{lead}.", body)
    files[PAGE] = page.encode(errors="replace")  # a file name may not be valid Unicode
    return files


def grid(part: Part) -> str:
    """Return the pictures of a part as HTML, with their captions and colour bars."""
    if not part.pictures:
        return ""
    shown = (
        picture(each.image, escape(each.caption) + bar(each.scale), each.alt)
        for each in part.pictures
    )
    return f'<div class="grid {COLUMNS[part.columns]}">\n{"".join(shown)}{part.film}</div>\n'


def bar(scale: Scale | None) -> str:
    """Return a colour bar as HTML, or nothing without a scale."""
    if scale is None:
        return ""
    colours = ", ".join(f"#{bytes(colour).hex()}" for colour in ramp()[::17])
    return (
        f'<span class="ramp"><span>{scale.low:.3g}</span>'
        f'<i style="background:linear-gradient(90deg, {colours})"></i>'
        f"<span>{scale.high:.3g} {escape(scale.unit)}</span></span>"
    )
