"""The parts of HTML reports, which need no network and no script and fit all screens."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.outputs.palettes import bright_colours

WIDEST = 480  # pixels of an embedded image; a page with eight examples stays below a megabyte
VOID = (226, 228, 232)  # VOC's cream would look like a class
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
"""  # this policy keeps the browser from loading anything or running scripts


def stylesheet(name: str) -> str:
    """Return a CSS file of this package: ``base.css`` for all pages, ``page.css`` for reports."""
    return (resources.files("deconvnet_cli.reporting") / name).read_text(encoding="utf-8")


def document(title: str, lead: str, body: str) -> str:
    """Return a whole page: title (plain text), a paragraph below it and the rest (both HTML)."""
    style = stylesheet("base.css") + stylesheet("page.css")
    return (
        f"{HEAD}<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f'<body>\n<main>\n<h1>{escape(title)}</h1>\n<p class="lead">{lead}</p>\n'
        f"{body}</main>\n</body>\n</html>\n"
    )


def section(heading: str, content: str, kind: str = "plain") -> str:
    """Return a section with a heading (plain text), or nothing if its content (HTML) is empty."""
    block = f'<h2>{escape(heading)}</h2>\n<div class="{kind}">\n{content}</div>'
    return f"<section>\n{block}\n</section>\n" if content else ""


def items(kind: str, parts: Iterable[str]) -> str:
    """Return an HTML list of parts, which are HTML."""
    return f'<ul class="{kind}">{"".join(f"<li>{part}</li>" for part in parts)}</ul>\n'


def swatch(colour: bytes) -> str:
    """Return a small square in a colour, given as three bytes."""
    return f'<i class="swatch" style="background:#{colour.hex()}"></i>'


def page_colours(classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the colours of labels on a page, uint8 256 x 3, by label: those of overlays."""
    colours = bright_colours(classes)
    colours[IGNORE] = VOID
    return colours


def label_swatch(label: int, classes: Sequence[str]) -> str:
    """Return a small square in the colour of a label."""
    return swatch(bytes(page_colours(classes)[label]))


def picture(image: Image.Image, caption: str, alt: str) -> str:
    """Return an image with its caption (HTML); ``alt`` is plain text."""
    return (
        f'<figure><img src="{source(image)}" alt="{escape(alt)}" width="{image.width}" '
        f'height="{image.height}"><figcaption>{caption}</figcaption></figure>\n'
    )


def source(image: Image.Image) -> str:
    """Return an image as a ``data:`` address: PNG if it has a palette, otherwise JPEG."""
    kind = "png" if image.mode == "P" else "jpeg"
    buffer = io.BytesIO()
    # Full colour resolution (subsampling 0) keeps red from bleeding over the edges of wrong pixels.
    # JPEG is not optimised, because Pillow then fails on an image of noise.
    image.save(buffer, kind, optimize=kind == "png", quality=80, subsampling=0)
    return data_address(f"image/{kind}", buffer.getvalue())


def data_address(kind: str, data: bytes) -> str:
    """Return data as a ``data:`` address of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def folded(heading: str, content: str) -> str:
    """Return content (HTML) below a heading (plain text) that a reader opens with a click."""
    return f"<details>\n<summary>{escape(heading)}</summary>\n{content}</details>\n"


def cards(about: Mapping[str, Mapping[str, Any]]) -> str:
    """Return blocks of settings, one card each; settings without a value are left out."""
    return "".join(
        f'<section><table class="settings"><caption>{escape(name)}</caption>\n<tbody>\n'
        f"{rows(settings)}</tbody></table></section>\n"
        for name, settings in about.items()
    )


def rows(settings: Mapping[str, Any], depth: int = 0) -> str:
    """Return the rows of a table of settings; blocks are rows below their name, set in."""
    lines = []
    for name, setting in settings.items():
        if setting is None or setting in ("", {}, [], ()):
            continue
        inside = isinstance(setting, Mapping)
        head = f'<th scope="{"rowgroup" if inside else "row"}" style="--depth:{depth}"'
        head += f"{' colspan=2' if inside else ''}>{whole_options(str(name))}</th>"
        if inside:
            lines.append(f"<tr>{head}</tr>\n{rows(setting, depth + 1)}")
        else:
            lines.append(f"<tr>{head}<td>{whole_options(plain(setting))}</td></tr>\n")
    return "".join(lines)


def whole_options(text: str) -> str:
    """Return plain text as HTML in which no line breaks within an option such as ``--crf``."""
    return re.sub(r"(?<!\S)--[a-z][a-z-]*", r'<span class="option">\g<0></span>', escape(text))


def plain(setting: Any) -> str:
    """Return the value of a setting as text for people."""
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, list | tuple):
        return ", ".join(plain(each) for each in setting)
    if isinstance(setting, float) and setting.is_integer():
        return str(int(setting))
    return str(setting)
