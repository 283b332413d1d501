"""The colours of classes: VOC's own for VOC's names, and generated ones for all others.

Generated colours depend on the label alone, so another class does not change the colours of those
before it. The first seven are made for colour-blind people. Each further one is the colour that is
farthest from all before it, in CIE Lab, for people with normal sight and with red-green colour
blindness.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.voc import CLASSES, IGNORE, palette

# The eight colours by M. Okabe and K. Ito, "Color Universal Design" (2008).
OKABE_ITO = {
    "black": 0x000000,
    "orange": 0xE69F00,
    "sky blue": 0x56B4E9,
    "bluish green": 0x009E73,
    "yellow": 0xF0E442,
    "blue": 0x0072B2,
    "vermilion": 0xD55E00,
    "reddish purple": 0xCC79A7,
}
LEVELS = range(0, 256, 15)  # of red, green and blue in the colours that are tried
# Full protanopia and deuteranopia on linear RGB: G. M. Machado, M. M. Oliveira and L. A. F.
# Fernandes, IEEE TVCG 15(6), 2009.
SIGHTS = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    ]
)
# From linear sRGB to CIE XYZ (IEC 61966-2-1).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def palette_for(classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the colours of label PNGs with these classes, uint8 256 x 3, by label.

    Background is black and ignored pixels (255) are VOC's cream in every palette. Labels beyond
    the classes are black, unless the classes are VOC's.
    """
    return palette() if tuple(classes) == CLASSES else own_palette(len(classes))


def own_palette(count: int) -> NDArray[np.uint8]:
    """Return the colours of the first ``count`` labels of own classes, as in ``palette_for``."""
    colours = np.zeros((256, 3), np.uint8)
    colours[:count] = generated(count)
    colours[IGNORE] = palette()[IGNORE]
    return colours


@lru_cache(maxsize=8)
def generated(count: int) -> NDArray[np.uint8]:
    """Return the first ``count`` generated colours, uint8 count x 3; the first is black."""
    chosen = [[value >> 16, value >> 8 & 255, value & 255] for value in OKABE_ITO.values()]
    if count > len(chosen):
        candidates = np.stack(np.meshgrid(*[LEVELS] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        places = seen_lab(candidates)
        taken = seen_lab(np.array([*chosen, palette()[IGNORE]]))
        nearest = np.min([distances(places, one) for one in taken.swapaxes(0, 1)], axis=0)
        while len(chosen) < count:
            best = int(nearest.round(6).argmax())  # rounded: all machines find the same colour
            chosen.append(candidates[best].tolist())
            nearest = np.minimum(nearest, distances(places, places[:, best]))
    return np.array(chosen[:count], np.uint8)


def distances(places: NDArray[np.float64], one: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of N colours to one, as the sight that confuses them most sees it.

    Args:
        places: CIE Lab of the colours for each sight, S x N x 3.
        one: CIE Lab of the other colour for each sight, S x 3.
    """
    found: NDArray[np.float64] = np.linalg.norm(places - one[:, None], axis=2).min(axis=0)
    return found


def seen_lab(colours: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return CIE Lab (D65) of N sRGB colours as each of ``SIGHTS`` sees them, S x N x 3."""
    shares = np.asarray(colours, np.float64) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    seen = (linear @ SIGHTS.swapaxes(1, 2)).clip(0, 1)
    relative = seen @ XYZ.T / XYZ.sum(axis=1)
    curve = np.where(relative > 216 / 24389, np.cbrt(relative), relative * 841 / 108 + 4 / 29)
    x, y, z = curve[..., 0], curve[..., 1], curve[..., 2]
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)
