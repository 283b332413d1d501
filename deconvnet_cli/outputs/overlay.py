"""Lay labels over a photo, and cut a photo out along its labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.class_filter import chosen_labels, mask_of
from deconvnet_cli.outputs.legend import Entry, with_legend
from deconvnet_cli.outputs.matting import foreground, soft_alpha
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.segmentation.labels import class_shares

FILL = 0.45  # share of the colour inside a region; the rest is the photo
RIM = 0.7  # share of white in the outermost line of a region; the rest is its colour
LINE = 64  # the width of a contour is (width * height) ** 0.4 / LINE


def overlay(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    *,
    colours: NDArray[np.uint8],
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    name: str = "",
) -> Image.Image:
    """Return the photo with its classes in translucent colours, their contours, and a legend.

    Contours lie inside the regions, so pixels without a shown class are unchanged. A legend that is
    wider than the photo makes the image wider, within bounds (see ``legend.with_legend``).

    Args:
        photo: The photo, mode RGB.
        labels: The labels, uint8 H x W, in the size of the photo.
        colours: The colours, uint8 256 x 3, RGB by label (see ``palettes.colours_of``).
        classes: The names of the labels, in order.
        only: The names of the classes that are shown; None shows all but the background.
        name: The name of the photo, for a note if it has no legend.

    Returns:
        The image, mode RGB, with the photo in its upper left corner.

    Raises:
        UsageError: ``only`` names an unknown class.
    """
    chosen = chosen_labels(only, classes)
    entries = legend_entries(labels, colours, classes, chosen)
    return with_legend(painted(photo, labels, colours, chosen), entries, name=name)


def legend_entries(
    labels: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    classes: Sequence[str],
    chosen: Iterable[int],
) -> list[Entry]:
    """Return the entries of the chosen labels that occur, the largest share first."""
    shown = {classes[label]: colours[label].tolist() for label in chosen}
    return [
        Entry(name, tuple(shown[name]), share)
        for name, share in class_shares(labels, tuple(classes)).items()
        if name in shown
    ]


def painted(
    photo: Image.Image, labels: NDArray[np.uint8], colours: NDArray[np.uint8], chosen: Iterable[int]
) -> Image.Image:
    """Return the photo with fill and contours, in its own size.

    From its edge inwards, a region has a light rim, which contrasts with any photo, then a line of
    its colour, then the fill. The arguments are those of :func:`overlay`, with labels in place of
    class names.
    """
    line = contour_width(*photo.size)
    rim = max(1.0, line / 3)
    inside = mask_of(labels, chosen)
    seen = np.where(inside, labels, 0).astype(np.uint8)
    colour = colours[seen]
    alpha = np.where(inside, round(255 * FILL), 0).astype(np.uint8)
    # Contours are few of the pixels; arithmetic on all pixels of a large photo takes seconds.
    distance = border_distance(seen)
    lines = inside & (distance < rim + line)
    depth = distance[lines]
    cover = FILL + (1 - FILL) * np.clip(rim + line - depth, 0, 1)
    alpha[lines] = np.round(255 * cover)
    white = RIM * np.clip(rim - depth, 0, 1)[:, None]
    colour[lines] = np.round(colour[lines] * (1 - white) + 255 * white)
    return Image.composite(Image.fromarray(colour), photo, Image.fromarray(alpha))


def contour_width(width: int, height: int) -> float:
    """Return the width of a contour in pixels, at least 1: 2 for 500 x 375, 11 for 4000 x 3000.

    It grows more slowly than the photo, because large photos are also viewed larger.
    """
    return max(1.0, math.pow(width * height, 0.4) / LINE)


def border_distance(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the distance in pixels to the nearest border between labels, float32 H x W.

    Pixels on both sides of a border have 0. The photo's edge is not a border. Without any border
    the distance is infinite.
    """
    border = np.zeros(labels.shape, bool)
    for near, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        differ = labels[near] != labels[other]
        border[near] |= differ
        border[other] |= differ
    if not border.any():
        return np.full(labels.shape, np.inf, np.float32)
    distance: NDArray[np.float32] = cv2.distanceTransform(
        (~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5
    )
    return distance


def cutout(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    probabilities: NDArray[np.float32] | None = None,
    background: str | None = None,
    crop: bool = False,
) -> Image.Image:
    """Return the photo, mode RGBA, with transparent black outside the chosen classes.

    Args:
        photo: The photo, mode RGB.
        labels: The labels, uint8 H x W, in the size of the photo.
        classes: The names of the labels, in order.
        only: The names of the classes that are kept; None keeps all but the background.
        probabilities: The probabilities, float32 C x h x w, which make the edges soft (see
            ``matting.soft_alpha``); None leaves them hard.
        background: A colour in place of transparency, such as "white" or "#ffcc00"; the image then
            has mode RGB.
        crop: Whether to keep only the box around the chosen classes. Without any pixel of them
            the image has the size of the photo.

    Raises:
        UsageError: ``only`` names an unknown class, or ``background`` is no colour.
    """
    chosen = chosen_labels(only, classes)
    if probabilities is None:
        alpha = np.where(mask_of(labels, chosen), 255, 0).astype(np.uint8)
        cut = photo
    else:
        alpha = soft_alpha(labels, chosen, probabilities)
        cut = Image.fromarray(foreground(np.asarray(photo), alpha))
    mask = Image.fromarray(alpha)
    if background is None:
        image = Image.new("RGBA", photo.size)
        image.paste(cut, mask=Image.fromarray(np.where(alpha > 0, 255, 0).astype(np.uint8)))
        image.putalpha(mask)
    else:
        image = Image.new("RGB", photo.size, colour_of(background))
        image.paste(cut, mask=mask)
    return image.crop(mask.getbbox()) if crop and mask.getbbox() else image


def colour_of(text: str) -> tuple[int, int, int]:
    """Return the RGB of a colour: a CSS name such as "white", or "#ffcc00".

    Raises:
        UsageError: The text is no colour, or one that is partly transparent.
    """
    try:
        # A program may give a tuple, which is no colour here.
        red, green, blue, *alpha = ImageColor.getrgb(str(text).strip())
        if alpha and alpha != [255]:
            raise UsageError(
                f"--background {text}: is partly transparent; give a colour of six digits, or "
                "leave the option out for a transparent background"
            )
    except ValueError:
        raise UsageError(
            f"--background {text}: no colour; give a name such as white, or #ffcc00"
        ) from None
    return red, green, blue
