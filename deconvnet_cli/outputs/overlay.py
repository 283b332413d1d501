"""A photo with its labels laid over it, and a photo cut out along them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.outputs.class_filter import chosen_labels, mask_of
from deconvnet_cli.outputs.legend import Entry, with_legend
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.segmentation.labels import class_shares

FILL = 0.45  # of the colour in the inside of a region; the rest is the photo
RIM = 0.7  # of white in the outermost line of a region; the rest is its colour
LINE = 64  # the root of the area to the power 0.8, over this, is the width of a contour


def overlay(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    *,
    colours: NDArray[np.uint8],
    classes: Sequence[str],
    only: Iterable[str] | None = None,
) -> Image.Image:
    """The photo with its classes in translucent colours, their contours, and a legend below.

    Where no shown class is, the photo is as it was: contours lie inside of the regions. A legend
    that is wider than a small photo makes the image wider.

    Args:
        photo: mode RGB.
        labels: uint8 H x W, of its size.
        colours: uint8 256 x 3, RGB by label (see ``palettes.colours_of``).
        classes: names of the labels, in order.
        only: names of the classes that are shown; None shows all but the background.

    Returns:
        Mode RGB; the photo is its upper left corner.

    Raises:
        UsageError: ``only`` names no class that there is.
    """
    chosen = chosen_labels(only, classes)
    shown = {classes[label]: colours[label].tolist() for label in chosen}
    entries = [
        Entry(name, tuple(shown[name]), share)
        for name, share in class_shares(labels, tuple(classes)).items()
        if name in shown
    ]
    return with_legend(painted(photo, labels, colours, chosen), entries)


def painted(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    chosen: Iterable[int],
) -> Image.Image:
    """The photo with fill and contours, in its own size.

    From its edge inwards a region has a light rim, which any photo sets off, then a line of its
    colour, then the fill. Arguments as of :func:`overlay`, but that classes are labels.
    """
    line = contour_width(*photo.size)
    rim = max(1.0, line / 3)
    inside = mask_of(labels, chosen)
    seen = np.where(inside, labels, 0).astype(np.uint8)
    colour = colours[seen]
    alpha = np.where(inside, round(255 * FILL), 0).astype(np.uint8)
    # Lines are few pixels of a large photo; arithmetic on all of them would take seconds.
    distance = border_distance(seen)
    lines = inside & (distance < rim + line)
    depth = distance[lines]
    cover = FILL + (1 - FILL) * np.clip(rim + line - depth, 0, 1)
    alpha[lines] = np.round(255 * cover)
    white = RIM * np.clip(rim - depth, 0, 1)[:, None]
    colour[lines] = np.round(colour[lines] * (1 - white) + 255 * white)
    return Image.composite(Image.fromarray(colour), photo, Image.fromarray(alpha))


def contour_width(width: int, height: int) -> float:
    """Width of a contour in pixels, at least 1: 2 in a photo of 500 x 375, 11 in 4000 x 3000.

    It grows more slowly than the photo, as a large one is looked at larger as well.
    """
    return max(1.0, math.pow(width * height, 0.4) / LINE)


def border_distance(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Distance in pixels to the nearest pixel that has a neighbour of another label, H x W.

    It is 0 on both sides of a border; the photo's edge is none. Infinite where there is no border.
    """
    border = np.zeros(labels.shape, bool)
    for near, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        differ = labels[near] != labels[other]
        border[near] |= differ
        border[other] |= differ
    if not border.any():
        return np.full(labels.shape, np.inf, np.float32)
    found: NDArray[np.float32] = cv2.distanceTransform(
        (~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5
    )
    return found


def cutout(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
) -> Image.Image:
    """The photo where it has one of the classes, transparent black elsewhere; mode RGBA.

    Args:
        photo: mode RGB.
        labels: uint8 H x W, of its size.
        classes: names of the labels, in order.
        only: names of the classes that are kept; None keeps all but the background.

    Raises:
        UsageError: ``only`` names no class that there is.
    """
    inside = mask_of(labels, chosen_labels(only, classes))
    alpha = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))
    found = Image.new("RGBA", photo.size)
    found.paste(photo, mask=alpha)
    return found
