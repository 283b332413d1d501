"""Heat maps, and sheets of several pictures with their captions and colour bars."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.runtime.opencv import cv2

INK, PAPER = (28, 30, 33), (255, 255, 255)
TEXT, LINE, GAP = 13, 17, 12  # font size, line height and spacing of a sheet, pixels
BAR, BESIDE = 14, 76  # width of a sheet's colour bar, and of the text beside it, pixels
FRAME_MS, LAST_FRAME_MS = 900, 2700


@dataclass(frozen=True)
class Scale:
    """The values at the ends of a colour bar, and their unit."""

    low: float
    high: float
    unit: str = ""


def scale_of(*maps: NDArray[np.float32]) -> Scale:
    """Return a scale from the least to the greatest value of all maps."""
    return Scale(float(min(map(np.min, maps))), float(max(map(np.max, maps))))


@dataclass(frozen=True)
class Picture:
    """An image with its caption.

    Attributes:
        caption: One or two short sentences, plain text.
        alt: A description for people who cannot see the image.
        scale: The scale of a heat map.
    """

    image: Image.Image
    caption: str
    alt: str
    scale: Scale | None = None


@lru_cache(maxsize=1)
def ramp() -> NDArray[np.uint8]:
    """Return the colours of heat maps, uint8 256 x 3: OpenCV's inferno, black to pale yellow.

    Their lightness rises evenly, so that the maps can be read without colour vision.
    """
    steps = np.arange(256, dtype=np.uint8)[None]
    return np.ascontiguousarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[0, :, ::-1])


def heat(values: NDArray[np.float32], scale: Scale, size: tuple[int, int]) -> Image.Image:
    """Return a heat map, mode P, of h x w values in this size (width, height).

    Smaller maps show their cells; larger ones are averaged.
    """
    small = values.shape[1] < size[0]
    resampling = Image.Resampling.NEAREST if small else Image.Resampling.BOX
    shown = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, resampling))
    span = max(scale.high - scale.low, 1e-12)
    steps = ((shown - scale.low) / span * 255).round().clip(0, 255).astype(np.uint8)
    image = Image.fromarray(steps)
    image.putpalette(ramp().tobytes())
    return image


def animation(frames: Sequence[Image.Image]) -> bytes:
    """Return a GIF of palette images that loops forever and pauses at its last frame."""
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS],
        loop=0,
    )
    return buffer.getvalue()


def sheet(pictures: Sequence[Picture], columns: int) -> bytes:
    """Return a PNG of pictures in rows, each with its caption below and its colour bar beside."""
    cell = max(picture.image.width for picture in pictures)
    bar = BAR + BESIDE if any(picture.scale for picture in pictures) else 0
    texts = [textwrap.wrap(picture.caption, max(12, (cell + bar) // 7)) for picture in pictures]
    below = LINE * max(map(len, texts)) + GAP
    row_height = max(picture.image.height for picture in pictures) + below
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = (columns * (cell + bar + GAP) + GAP, rows * (row_height + GAP) + GAP)
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    for index, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        left = GAP + index % columns * (cell + bar + GAP)
        top = GAP + index // columns * (row_height + GAP)
        image.paste(picture.image.convert("RGB"), (left, top))
        if picture.scale:
            at = (left + picture.image.width + 6, top)
            draw_bar(image, at, picture.image.height, picture.scale)
        for number, line in enumerate(lines):
            at = (left, top + picture.image.height + 4 + LINE * number)
            draw.text(at, line, fill=INK, font_size=TEXT)
    return png_bytes(image)


def draw_bar(image: Image.Image, at: tuple[int, int], height: int, scale: Scale) -> None:
    """Draw a colour bar with the values of its ends and their unit."""
    left, top = at
    colours = Image.fromarray(ramp()[::-1, None]).resize((BAR, height), Image.Resampling.BILINEAR)
    image.paste(colours, (left, top))
    draw = ImageDraw.Draw(image)
    for number, text in enumerate((f"{scale.high:.3g}", scale.unit)):
        at = (left + BAR + 4, top - 2 + number * LINE)
        draw.text(at, text, fill=INK, font_size=TEXT)
    draw.text((left + BAR + 4, top + height - LINE), f"{scale.low:.3g}", fill=INK, font_size=TEXT)
