"""Colours of overlays: VOC's own, and a set that colour-blind people can tell apart.

Label PNGs are always in VOC's colours, which programs expect. Some of those look the same to people
who do not see red and green as others do: bicycle and cow, bus and motorbike, chair and sheep.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.voc import CLASSES, palette

# The eight colours of M. Okabe and K. Ito, "Color Universal Design" (2008).
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
# Five of the scheme "muted" of P. Tol, "Colour Schemes", SRON/EPS/TN/09-002.
TOL_MUTED = {
    "indigo": 0x332288,
    "sand": 0xDDCC77,
    "rose": 0xCC6677,
    "purple": 0xAA4499,
    "teal": 0x44AA99,
}
# Base colour and step of lightness by class: a step t > 0 goes that far to white, t < 0 to black.
# All eight of Okabe and Ito are here; the others were searched for, to make the least distance
# between any two great: 15.5 in CIE Lab (1976) for full protanopia or deuteranopia as G. M.
# Machado, M. M. Oliveira and L. A. F. Fernandes simulate it (IEEE TVCG 15(6), 2009), where VOC's
# colours have 1.0. Classes that are often seen together are further apart.
SAFE = {
    "background": ("black", 0.0),
    "aeroplane": ("sand", -0.6),
    "bicycle": ("vermilion", 0.5),
    "bird": ("purple", -0.2),
    "boat": ("rose", 0.5),
    "bottle": ("reddish purple", 0.0),
    "bus": ("yellow", 0.0),
    "car": ("blue", 0.0),
    "cat": ("orange", 0.0),
    "chair": ("orange", 0.8),
    "cow": ("bluish green", 0.0),
    "diningtable": ("reddish purple", -0.6),
    "dog": ("yellow", 0.4),
    "horse": ("sky blue", 0.0),
    "motorbike": ("teal", -0.3),
    "person": ("vermilion", 0.0),
    "pottedplant": ("vermilion", -0.6),
    "sheep": ("vermilion", -0.3),
    "sofa": ("sand", -0.3),
    "train": ("sky blue", 0.6),
    "tvmonitor": ("indigo", 0.0),
}


def colours_of(name: str) -> NDArray[np.uint8]:
    """The colours of a palette called one of ``outputs.PALETTES``, uint8 256 x 3; row 0 is label 0.

    Labels that ``safe`` has no colour for, beyond VOC's classes, keep VOC's.
    """
    colours = palette()
    if name == "safe":
        colours[: len(CLASSES)] = [stepped(*SAFE[label]) for label in CLASSES]
    return colours


def stepped(base: str, step: float) -> tuple[int, int, int]:
    """A base colour, ``step`` of the way to white (above 0) or to black (below 0)."""
    value = {**OKABE_ITO, **TOL_MUTED}[base]
    towards = 255 if step > 0 else 0
    red, green, blue = (
        round(channel + (towards - channel) * abs(step))
        for channel in (value >> 16, value >> 8 & 255, value & 255)
    )
    return red, green, blue
