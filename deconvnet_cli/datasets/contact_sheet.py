"""A sheet of small photos with their masks laid over them, to see at a glance what is labelled."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.objects import read_photo_and_mask
from deconvnet_cli.data.voc import IGNORE, VocTree
from deconvnet_cli.errors import DeconvnetError
from deconvnet_cli.outputs.legend import Entry, with_legend
from deconvnet_cli.outputs.palettes import bright_colours

TILE, GAP, COLUMNS = 200, 8, 6  # pixels, pixels, tiles
MOST = 24  # photos that are shown
STRENGTH = 0.55  # of the colours over the photo
WHITE = (255, 255, 255)


def contact_sheet(tree: VocTree, names: Sequence[str]) -> Image.Image:
    """Return a sheet, mode RGB, of photos spread evenly over the names, with a legend.

    A photo or mask that cannot be read leaves its tile grey; ``survey`` says why.
    """
    step = max(1, len(names) / MOST)
    shown = [names[int(number * step)] for number in range(min(MOST, len(names)))]
    rows = ceil(len(shown) / COLUMNS)
    columns = min(COLUMNS, max(1, len(shown)))
    size = columns * (TILE + GAP) + GAP, rows * (TILE + GAP) + GAP
    sheet = Image.new("RGB", size, WHITE)
    counts = np.zeros(256, np.int64)
    colours = bright_colours(tree.classes)
    for number, name in enumerate(shown):
        place = number % COLUMNS * (TILE + GAP) + GAP, number // COLUMNS * (TILE + GAP) + GAP
        tile, labels = _tile(tree, name, colours)
        counts += np.bincount(labels, minlength=256)
        sheet.paste(
            tile, (place[0] + (TILE - tile.width) // 2, place[1] + (TILE - tile.height) // 2)
        )
    total = max(1, int(counts[:IGNORE].sum()))
    entries = [
        Entry(name, tuple(colours[label].tolist()), counts[label] / total)
        for label, name in enumerate(tree.classes)
        if label and counts[label]
    ]
    return with_legend(sheet, entries)


def _tile(
    tree: VocTree, name: str, colours: NDArray[np.uint8]
) -> tuple[Image.Image, NDArray[np.generic]]:
    """Return a small photo under its mask, and the labels that it shows."""
    try:
        photo, mask = read_photo_and_mask(tree, name)
        photo.thumbnail((TILE, TILE))
        labels = np.asarray(Image.fromarray(mask).resize(photo.size, Image.Resampling.NEAREST))
    except (DeconvnetError, OSError):
        return Image.new("RGB", (TILE, TILE), (200, 200, 200)), np.zeros(0, np.int64)
    colour = Image.fromarray(colours[labels])
    strength = Image.fromarray(np.where(labels > 0, round(255 * STRENGTH), 0).astype(np.uint8))
    return Image.composite(colour, photo, strength), labels.ravel()
