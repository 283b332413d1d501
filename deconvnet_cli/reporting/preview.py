"""Show a segmented photo on a terminal: a small picture beside its labels, and a table of classes.

This module makes text, and ``console.py`` writes it. A picture uses the graphics protocol of the
terminal (kitty's, iTerm2's, sixel), or half blocks: each cell is an upper half in the colour of the
text and a lower half in that of the background.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import printable
from deconvnet_cli.outputs.palettes import bright_colours
from deconvnet_cli.reporting.numerals import effort
from deconvnet_cli.reporting.terminal import HALF_BLOCK, Screen

MOST_COLUMNS, MOST_ROWS = 60, 15
RESET = "\x1b[0m"
KITTY_CHUNK = 4096  # characters: the protocol's limit
SIXEL_COLOURS = 255


def about(
    show: Screen,
    line: Mapping[str, Any],
    classes: Sequence[str],
    photo: Image.Image,
    labels: NDArray[np.uint8],
) -> str:
    """Return all text about one photo: name, picture, table, the labels' file, boxes and time.

    Args:
        line: The fields of the JSON line about the photo.
        photo: The photo, mode RGB.
        labels: The labels, H x W, in the size of the photo.
    """
    files = [] if line["output"] is None else [("labels", line["output"])]
    files += [("also", path) for path in line.get("beside", ())]
    shown = picture(show, photo, labels, classes) + table(show, line, classes)
    named = "".join(
        f"{what}: {'standard output' if path == '-' else printable(path)}\n" for what, path in files
    )
    return f"{printable(line['image'])}\n{shown}{named}{effort(line)}\n\n"


def picture(
    show: Screen, photo: Image.Image, labels: NDArray[np.uint8], classes: Sequence[str] = CLASSES
) -> str:
    """Return the photo beside its labels H x W, as text with a newline; empty for "none"."""
    if show.kind == "none":
        return ""
    cell = (1, 2) if show.kind == "blocks" else show.cell
    columns, rows = fit(photo.size, show.columns, cell)
    size = columns * cell[0], rows * cell[1]
    image = side_by_side(photo, labels, size, cell[0], classes)
    if show.kind == "kitty":
        return kitty(image, 2 * columns + 1, rows) + "\n"
    if show.kind == "iterm":
        return iterm(image, 2 * columns + 1, rows) + "\n"
    return sixel(image) + "\n" if show.kind == "sixel" else blocks(image, show.colours)


def fit(size: tuple[int, int], columns: int, cell: tuple[int, int]) -> tuple[int, int]:
    """Return the columns and rows of each of two pictures, side by side with a column between.

    Together they take at most ``columns``, ``MOST_COLUMNS`` and ``MOST_ROWS``. The shape of the
    photo, of ``size`` width x height, is kept; a ``cell`` is width x height in any unit.
    """
    most = max(1, (min(columns, MOST_COLUMNS) - 1) // 2)
    width, height = size[0] / cell[0], size[1] / cell[1]
    scale = min(most / width, MOST_ROWS / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def side_by_side(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    size: tuple[int, int],
    gap: int,
    classes: Sequence[str] = CLASSES,
) -> Image.Image:
    """Return the photo and its labels H x W in their colours side by side, mode RGBA.

    Each has the given ``size`` (width, height); the ``gap`` pixels between them are transparent.
    """
    width, height = size
    image = Image.new("RGBA", (2 * width + gap, height))
    image.paste(photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), (0, 0))
    small = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    image.paste(Image.fromarray(bright_colours(classes)[small]), (width + gap, 0))
    return image


def kitty(image: Image.Image, columns: int, rows: int) -> str:
    """Return an image in kitty's graphics protocol; the terminal is told not to answer."""
    data = base64.b64encode(png_bytes(image, photo=True)).decode()
    parts = [data[start : start + KITTY_CHUNK] for start in range(0, len(data), KITTY_CHUNK)]
    keys = f"a=T,f=100,q=2,c={columns},r={rows}"
    text = []
    for number, part in enumerate(parts, 1):
        more = int(number < len(parts))
        text.append(f"\x1b_G{keys if number == 1 else 'q=2'},m={more};{part}\x1b\\")
    return "".join(text)


def iterm(image: Image.Image, columns: int, rows: int) -> str:
    """Return an image in iTerm2's protocol, over so many cells."""
    data = png_bytes(image, photo=True)
    keys = f"inline=1;size={len(data)};width={columns};height={rows};preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{base64.b64encode(data).decode()}\a"


def sixel(image: Image.Image) -> str:
    """Return an RGBA image as sixels (DEC VT340): bands of six rows, one colour at a time.

    Transparent pixels are left out.
    """
    flat = image.convert("RGB").quantize(SIXEL_COLOURS, dither=Image.Dither.NONE)
    indices = np.asarray(flat).astype(np.int16)
    indices[np.asarray(image)[..., 3] == 0] = -1
    used = np.unique(indices[indices >= 0])
    colours = np.array(flat.getpalette(), np.int32).reshape(-1, 3)[used] * 100 / 255
    parts = [f'\x1bP0;1;0q"1;1;{image.width};{image.height}']
    for number, (red, green, blue) in zip(used, colours.round().astype(int), strict=True):
        parts.append(f"#{number};2;{red};{green};{blue}")
    bands = []
    for top in range(0, image.height, 6):
        band = indices[top : top + 6]
        weights = 1 << np.arange(len(band))[:, None]
        rows = [
            f"#{number}{runs(((band == number) * weights).sum(0))}"
            for number in np.unique(band[band >= 0])
        ]
        bands.append("$".join(rows))
    return "".join(parts) + "-".join(bands) + "\x1b\\"


def runs(sixels: NDArray[np.int64]) -> str:
    """Return a row of sixels, 0 to 63 each, with runs compressed and empty ones at the end cut."""
    text = "".join(map(chr, 63 + np.trim_zeros(sixels, "b")))
    lengths = ((character, len(list(group))) for character, group in groupby(text))
    return "".join(f"!{n}{one}" if n > 3 else one * n for one, n in lengths)


def blocks(image: Image.Image, colours: str) -> str:
    """Return an RGBA image of even height as half blocks, one line for two rows of pixels."""
    pixels = np.asarray(image)
    text = ""
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        styles = [
            f"\x1b[38;{colour(above[:3], colours)};48;{colour(below[:3], colours)}m"
            if above[3]
            else RESET
            for above, below in zip(upper, lower, strict=True)
        ]
        for style, alike in groupby(styles):  # colours are set only where they change
            text += style + (" " if style == RESET else HALF_BLOCK) * len(list(alike))
        text += f"{RESET}\n"
    return text


def colour(rgb: NDArray[np.uint8], colours: str) -> str:
    """Return the part of an escape sequence that sets a colour, or the nearest of xterm's 256."""
    if colours == "true":
        return "2;" + ";".join(map(str, rgb))
    return f"5;{16 + int(np.abs(XTERM - rgb.astype(int)).sum(1).argmin())}"


def xterm_colours() -> NDArray[np.int64]:
    """Return colours 16 to 255 of xterm, 240 x 3: a cube of 6 x 6 x 6, then 24 greys."""
    levels = np.array([0, 95, 135, 175, 215, 255])
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    greys = np.repeat(np.arange(8, 248, 10)[:, None], 3, 1)
    return np.concatenate([cube, greys])


XTERM = xterm_colours()


def table(show: Screen, line: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return one line per class: colour, share of the pixels, and mean probability over them."""
    width = max(map(len, line["classes"]))
    blank = "" if show.colours == "none" else " " * 4
    colours = bright_colours(classes)
    lines = [f"{blank}{'class':{width}}  pixels  confidence\n"]
    for name, share in line["classes"].items():
        swatch = blank
        if blank:
            swatch = f"\x1b[48;{colour(colours[classes.index(name)], show.colours)}m  {RESET}  "
        percent = f"{share:.1%}" if share >= 0.001 else "<0.1%"
        confidence = line["confidence"].get(name)
        sure = "-" if confidence is None else f"{confidence:.2f}"
        lines.append(f"{swatch}{name:{width}}  {percent:>6}  {sure:>10}\n")
    return "".join(lines)
