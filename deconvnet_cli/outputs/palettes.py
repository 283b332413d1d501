"""The colours of overlays: those of label PNGs, and a set that colour-blind people can tell apart.

Label PNGs of VOC's classes use VOC's colours, which programs expect. Some of these look alike to
people with red-green colour blindness: bicycle and cow, bus and motorbike, chair and sheep.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.colours import OKABE_ITO, palette_for
from deconvnet_cli.data.voc import CLASSES

# Five colours of the scheme "muted" by P. Tol, "Colour Schemes", SRON/EPS/TN/09-002.
TOL_MUTED = {
    "indigo": 0x332288,
    "sand": 0xDDCC77,
    "rose": 0xCC6677,
    "purple": 0xAA4499,
    "teal": 0x44AA99,
}
# Each class has a base colour and a step of lightness, towards white if positive and towards black
# if negative. All eight colours of Okabe and Ito are used. A search chose the others to maximise
# the least distance between any two colours. It is 15.5 in CIE Lab (1976) for full protanopia or
# deuteranopia, simulated as by G. M. Machado, M. M. Oliveira and L. A. F. Fernandes (IEEE TVCG
# 15(6), 2009); that of VOC's colours is 1.0. Classes that often occur together are further apart.
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


def colours_of(name: str, classes: Sequence[str] = CLASSES) -> NDArray[np.uint8]:
    """Return the colours of one of ``outputs.files.PALETTES``, uint8 256 x 3, by label.

    In the palette "safe", labels beyond VOC's classes keep VOC's colours. Classes other than VOC's
    have the generated colours of ``data.colours`` in both palettes.
    """
    colours = palette_for(classes)
    if name == "safe" and tuple(classes) == CLASSES:
        colours[: len(CLASSES)] = [stepped(*SAFE[label]) for label in CLASSES]
    return colours


def stepped(base: str, step: float) -> tuple[int, int, int]:
    """Return a base colour moved by ``step`` towards white (above 0) or black (below 0)."""
    value = {**OKABE_ITO, **TOL_MUTED}[base]
    towards = 255 if step > 0 else 0
    red, green, blue = (
        round(channel + (towards - channel) * abs(step))
        for channel in (value >> 16, value >> 8 & 255, value & 255)
    )
    return red, green, blue
