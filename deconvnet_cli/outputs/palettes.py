"""The colours of overlays: bright ones that colour-blind people can tell apart, or VOC's.

Label PNGs of VOC's classes use VOC's colours, which programs expect. Some of these are nearly
black, and some look alike to people with red-green colour blindness: bicycle and cow, bus and
motorbike, chair and sheep.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.voc import CLASSES

# All eight colours of Okabe and Ito are used. A search chose the others, of lightness 48 to 93 and
# chroma above 30 in CIE Lab (1976), to maximise the least distance between any two colours. It is
# 24.9 for normal sight, and 15.9 for full protanopia or deuteranopia, simulated as by Machado,
# Oliveira and Fernandes (IEEE TVCG 15(6), 2009); that of VOC's colours is 1.0. A second search gave
# colours that are far apart to classes that often occur together in VOC's photos.
SAFE = {
    "background": 0x000000,
    "aeroplane": 0xE69F00,
    "bicycle": 0xD2B478,
    "bird": 0xE1964B,
    "boat": 0xCC79A7,
    "bottle": 0xE1F0A5,
    "bus": 0x56B4E9,
    "car": 0xB4F069,
    "cat": 0xF0E442,
    "chair": 0x1EFFFF,
    "cow": 0x00FFD2,
    "diningtable": 0xD200B4,
    "dog": 0x695AFF,
    "horse": 0x7887FF,
    "motorbike": 0xFFA5A5,
    "person": 0xD55E00,
    "pottedplant": 0x009E73,
    "sheep": 0xD24B3C,
    "sofa": 0xE10F5A,
    "train": 0x3CC3D2,
    "tvmonitor": 0x0072B2,
}


def colours_of(name: str, classes: Sequence[str] = CLASSES) -> NDArray[np.uint8]:
    """Return the colours of one of ``outputs.files.PALETTES``, uint8 256 x 3, by label.

    In the palette "safe", labels beyond VOC's classes keep VOC's colours. Classes other than VOC's
    have the generated colours of ``data.colours`` in both palettes.
    """
    colours = palette_for(classes)
    if name == "safe" and tuple(classes) == CLASSES:
        values = (SAFE[label] for label in CLASSES)
        colours[: len(CLASSES)] = [(each >> 16, each >> 8 & 255, each & 255) for each in values]
    return colours


def bright_colours(classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the colours of overlays unless others are asked for, uint8 256 x 3, by label."""
    return colours_of("safe", classes)
