"""Add a legend below a picture, which names its colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from deconvnet_cli.data.notes import note

PAPER, INK, FRAME = (255, 255, 255), (34, 34, 34), (120, 120, 120)
SMALLEST = 12  # pixels: smaller type cannot be read
TYPE = 9  # the type size is (width * height) ** 0.4 / TYPE
NOTHING = "nothing found"
# A legend is left out if its column makes a picture both so many times as large and this large.
MOST_TIMES, MOST_PIXELS = 4, 10_000_000


class Entry(NamedTuple):
    """A colour of the legend: name of the class, RGB, and share of the pixels, 0 to 1."""

    name: str
    colour: tuple[int, int, int]
    share: float


@dataclass(frozen=True)
class Layout:
    """The places of a legend, in pixels.

    Attributes:
        size: The height of the type, and the side of a swatch.
        column: The width of a column.
        columns: The number of columns.
        rows: The number of rows.
        width: The width of the image, at least that of the picture.
    """

    size: int
    column: int
    columns: int
    rows: int
    width: int

    @property
    def gap(self) -> int:
        """The space around texts and swatches."""
        return self.size // 2

    @property
    def row(self) -> int:
        """The height of a row."""
        return round(1.5 * self.size)

    @property
    def height(self) -> int:
        """The height of the strip."""
        return self.rows * self.row + self.gap

    @property
    def places(self) -> int:
        """The number of texts that there is a place for."""
        return self.rows * self.columns


def layout_for(size: tuple[int, int], texts: Sequence[str], most: int | None = None) -> Layout:
    """Return the layout of a legend below a picture of a size (width, height).

    The type grows more slowly than the picture, because large pictures are also viewed larger. If
    the picture is too narrow for one column, the image becomes wider.

    Args:
        size: The width and height of the picture.
        texts: The texts of all entries.
        most: The number of entries that need a place; None gives all of them one.
    """
    type_size = max(SMALLEST, round((size[0] * size[1]) ** 0.4 / TYPE))
    gap = type_size // 2
    font = ImageFont.load_default(type_size)
    column = type_size + ceil(max(font.getlength(text) for text in texts)) + 3 * gap
    columns = max(1, (size[0] - gap) // column)
    rows = ceil(min(len(texts), most or len(texts)) / columns)
    return Layout(type_size, column, columns, rows, max(size[0], gap + column))


def with_legend(
    picture: Image.Image, entries: Sequence[Entry], layout: Layout | None = None, name: str = ""
) -> Image.Image:
    """Return a picture, mode RGB, with its entries on a white strip below.

    The strip hides nothing of the picture. A long picture that is much narrower than the strip is
    returned without a legend, and this is noted on standard error: the white beside it would make
    it over 4 times as large, with over 10 million pixels.

    Args:
        picture: The picture, mode RGB.
        entries: The entries, the most important first.
        layout: The layout; None makes one with a place for each entry. Entries without a place are
            counted at the last place.
        name: The name of the photo, for this note.
    """
    texts = [entry_text(entry) for entry in entries] or [NOTHING]
    if layout is None:
        layout = layout_for(picture.size, texts)
    pixels = layout.width * (picture.height + layout.height)
    if pixels > max(MOST_PIXELS, MOST_TIMES * picture.width * picture.height):
        size_in_words = f"{picture.width}x{picture.height} pixels"
        note(f"{name or 'an overlay'}: {size_in_words} are too narrow for a legend")
        return picture
    if len(texts) > layout.places:
        texts[layout.places - 1 :] = [f"and {len(texts) - layout.places + 1} more"]
    size, gap = layout.size, layout.gap
    font = ImageFont.load_default(size)
    image = Image.new("RGB", (layout.width, picture.height + layout.height), PAPER)
    image.paste(picture)
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(texts):
        left = gap + number % layout.columns * layout.column
        middle = picture.height + (gap + layout.row) // 2 + number // layout.columns * layout.row
        has_swatch = number < len(entries) and text == entry_text(entries[number])
        indent = size + gap if has_swatch else 0
        draw.text((left + indent, middle), text, INK, font, anchor="lm")
        if has_swatch:
            top = middle - size // 2
            swatch = (left, top, left + size - 1, top + size - 1)
            draw.rectangle(swatch, entries[number].colour, FRAME, max(1, size // 14))
    return image


def entry_text(entry: Entry) -> str:
    """Return the text beside the swatch of an entry."""
    return f"{entry.name} {per_cent(entry.share)}"


def per_cent(share: float) -> str:
    """Return a share, 0 to 1, as whole per cent; "<1%" instead of "0%"."""
    text = f"{share:.0%}"
    return "<1%" if text == "0%" else text
