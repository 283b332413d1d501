"""Add a legend below a picture, which names its colours."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FRAME = (255, 255, 255), (34, 34, 34), (120, 120, 120)
SMALLEST = 12  # pixels: smaller type cannot be read
TYPE = 9  # the type size is (width * height) ** 0.4 / TYPE
NOTHING = "no class found"


class Entry(NamedTuple):
    """A colour of the legend: name of the class, RGB, and share of the pixels, 0 to 1."""

    name: str
    colour: tuple[int, int, int]
    share: float


def with_legend(picture: Image.Image, entries: Sequence[Entry]) -> Image.Image:
    """Return a picture, mode RGB, with its entries on a white strip below.

    The type grows more slowly than the picture, because large pictures are also viewed larger. The
    strip hides nothing of the picture. If the picture is too narrow, the image becomes wider.
    """
    size = max(SMALLEST, round((picture.width * picture.height) ** 0.4 / TYPE))
    font = ImageFont.load_default(size)
    gap, row = size // 2, round(1.5 * size)
    texts = [f"{entry.name} {per_cent(entry.share)}" for entry in entries] or [NOTHING]
    indent = size + gap if entries else 0
    column = indent + ceil(max(font.getlength(text) for text in texts)) + 2 * gap
    columns = max(1, (picture.width - gap) // column)
    width = max(picture.width, gap + column)
    image = Image.new(
        "RGB", (width, picture.height + ceil(len(texts) / columns) * row + gap), PAPER
    )
    image.paste(picture)
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(texts):
        left = gap + number % columns * column
        middle = picture.height + (gap + row) // 2 + number // columns * row
        draw.text((left + indent, middle), text, INK, font, anchor="lm")
        if entries:
            top = middle - size // 2
            swatch = (left, top, left + size - 1, top + size - 1)
            draw.rectangle(swatch, entries[number].colour, FRAME, max(1, size // 14))
    return image


def per_cent(share: float) -> str:
    """Return a share, 0 to 1, as whole per cent; "<1%" instead of "0%"."""
    text = f"{share:.0%}"
    return "<1%" if text == "0%" else text
