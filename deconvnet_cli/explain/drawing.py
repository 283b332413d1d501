"""Pictures of maps: heat maps, boxes, and sheets that hold several with their captions."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.reporting.label_images import shown_size
from deconvnet_cli.runtime.opencv import cv2

Colours = dict[int, tuple[int, int, int]]  # of boxes by their numbers from 0
INK, PAPER = (28, 30, 33), (255, 255, 255)
TEXT, LINE, GAP = 13, 17, 12  # of a sheet: size of letters, height of a line, space, pixels
BAR, BESIDE = 14, 76  # width on a sheet of a colour bar, and of what is written beside it
GOLDEN = 0.6180339887  # hues this far apart stay far apart however many there are
WHOLE = (150, 150, 150)  # colour of the whole photo among the boxes
MAP_WIDTH = 640  # of a picture with boxes, pixels
TAG = 20  # height of a box's number in it, pixels
LUMA = (0.299, 0.587, 0.114)
FRAME_MS, LAST_FRAME_MS = 900, 2700


@dataclass(frozen=True)
class Scale:
    """What the ends of a colour bar stand for."""

    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class Picture:
    """An image with what is said about it.

    Attributes:
        caption: one or two short sentences, plain text.
        alt: what is to be seen, for those who cannot see it.
        scale: of a heat map.
    """

    image: Image.Image
    caption: str
    alt: str
    scale: Scale | None = None


@lru_cache(maxsize=1)
def ramp() -> NDArray[np.uint8]:
    """The colours of heat maps, uint8 256 x 3: OpenCV's inferno, black to pale yellow.

    Its lightness rises evenly, so that it can be read without seeing colours.
    """
    steps = np.arange(256, dtype=np.uint8)[None]
    return np.ascontiguousarray(cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[0, :, ::-1])


def heat(values: NDArray[np.float32], scale: Scale, size: tuple[int, int]) -> Image.Image:
    """A heat map, mode P, of h x w values in this size (width, height).

    Smaller maps show their cells; of larger ones several values are averaged for each pixel.
    """
    small = values.shape[1] < size[0]
    how = Image.Resampling.NEAREST if small else Image.Resampling.BOX
    shown = np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, how))
    span = max(scale.high - scale.low, 1e-12)
    steps = ((shown - scale.low) / span * 255).round().clip(0, 255).astype(np.uint8)
    image = Image.fromarray(steps)
    image.putpalette(ramp().tobytes())
    return image


def box_colours(ranked: Sequence[int]) -> Colours:
    """A colour for each box, from its number; those that come first are the easiest to tell apart.

    The whole photo, number 0, is grey.
    """
    others = [number for number in ranked if number != 0]
    colours = dict.fromkeys(ranked, WHOLE)
    for rank, number in enumerate(others):
        hue, fade = round(rank * GOLDEN % 1 * 179), 1 - 0.25 * (rank // 8 % 3)
        hsv = np.array([[[hue, 205, round(240 * fade)]]], np.uint8)
        red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        colours[number] = (red, green, blue)
    return colours


@dataclass(frozen=True)
class Frame:
    """Where a photo lies in a picture that also shows what boxes have beyond its edges.

    Attributes:
        width, height: of the photo, pixels.
        margin: on all sides, pixels of the photo.
        size: width and height of the picture.
    """

    width: int
    height: int
    margin: int
    size: tuple[int, int]

    @property
    def zoom(self) -> float:
        """Pixels of the picture a pixel of the photo."""
        return self.size[0] / (self.width + 2 * self.margin)

    def put(self, image: Image.Image, how: Image.Resampling) -> Image.Image:
        """The image in its place; around it is black, as the net sees it (0 in any mode)."""
        wide = Image.new(image.mode, (self.width + 2 * self.margin, self.height + 2 * self.margin))
        wide.paste(image, (self.margin, self.margin))
        return wide.resize(self.size, how)


def frame_for(photo: Image.Image, boxes: Sequence[Box]) -> Frame:
    """A frame that holds the photo and all of these boxes."""
    width, height = photo.size
    margin = max([0, *(max(-b[0], -b[1], b[2] - width, b[3] - height) for b in boxes)])
    size = shown_size(width + 2 * margin, height + 2 * margin, MAP_WIDTH)
    return Frame(width, height, margin, size)


def boxes_drawn(
    photo: Image.Image, boxes: Sequence[Box], colours: Colours, broad: Sequence[int], frame: Frame
) -> Image.Image:
    """The faded photo with boxes in their colours.

    Args:
        colours: of the boxes that are drawn, by their numbers from 0.
        broad: those that are drawn with broad lines and their numbers, from 1.
    """
    faded = Image.blend(photo, Image.new("RGB", photo.size, PAPER), 0.35)
    image = frame.put(faded, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    corners = {}
    for number in [n for n in colours if n not in broad] + list(reversed(broad)):
        x0, y0, x1, y1 = (round((at + frame.margin) * frame.zoom) for at in boxes[number])
        corners[number] = (x0, y0)
        lower = max(x0, x1 - 1), max(y0, y1 - 1)
        draw.rectangle((x0, y0, *lower), outline=colours[number], width=3 if number in broad else 1)
    taken: list[tuple[int, int, int]] = []
    for number in broad:
        left, top = corners[number]
        text = str(number + 1)
        wide = TAG // 2 + TAG // 2 * len(text)
        # Along the upper edge to where no other number stands.
        while any(abs(top - y) < TAG and left < x + w and x < left + wide for x, y, w in taken):
            left += 1
        taken.append((left, top, wide))
        draw.rectangle((left, top, left + wide - 1, top + TAG - 1), fill=colours[number])
        ink = INK if np.dot(colours[number], LUMA) > 110 else PAPER
        draw.text((left + TAG // 4, top + 1), text, fill=ink, font_size=TAG - 5)
    return image


def deciders_drawn(
    decided: NDArray[np.int16], labels: NDArray[np.uint8], colours: Colours, frame: Frame
) -> Image.Image:
    """Each pixel in the colour of the box that decided it, with the outlines of the labels.

    Args:
        decided: h x w, the number of the box from 0; negative where none did, which is white.

    Returns:
        Mode P. From box 253 of ``colours`` on they share a colour, as a palette has no more.
    """
    white, ink, first = 1, 2, 3  # places in the palette; 0 is the black around the photo
    colour_of = np.full(max(colours, default=0) + 2, white, np.uint8)
    for place, number in enumerate(colours):
        colour_of[number + 1] = min(first + place, 255)
    image = frame.put(Image.fromarray(colour_of[decided + 1]), Image.Resampling.NEAREST)
    small = np.asarray(frame.put(Image.fromarray(labels), Image.Resampling.NEAREST))
    kernel = np.ones((3, 3), np.uint8)
    rim = cv2.dilate(small, kernel) != cv2.erode(small, kernel)
    pixels = np.array(image)
    pixels[cv2.dilate(rim.astype(np.uint8), kernel) > 0] = white
    pixels[rim] = ink
    drawn = Image.fromarray(pixels)
    palette = np.array([(0, 0, 0), PAPER, INK, *colours.values()], np.uint8)[:256]
    drawn.putpalette(palette.tobytes())
    return drawn


def animation(frames: Sequence[Image.Image]) -> bytes:
    """A GIF of palette images that goes round for ever and rests at its last frame."""
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
    """A PNG of several pictures in rows, each with its caption below and its colour bar beside."""
    cell = max(picture.image.width for picture in pictures)
    bar = BAR + BESIDE if any(picture.scale for picture in pictures) else 0
    texts = [textwrap.wrap(picture.caption, max(12, (cell + bar) // 7)) for picture in pictures]
    below = LINE * max(map(len, texts)) + GAP
    tall = max(picture.image.height for picture in pictures) + below
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = (columns * (cell + bar + GAP) + GAP, rows * (tall + GAP) + GAP)
    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    for place, (picture, lines) in enumerate(zip(pictures, texts, strict=True)):
        left = GAP + place % columns * (cell + bar + GAP)
        top = GAP + place // columns * (tall + GAP)
        image.paste(picture.image.convert("RGB"), (left, top))
        if picture.scale:
            draw_bar(image, left + picture.image.width + 6, top, picture)
        for number, line in enumerate(lines):
            at = (left, top + picture.image.height + 4 + LINE * number)
            draw.text(at, line, fill=INK, font_size=TEXT)
    return png(image)


def draw_bar(image: Image.Image, left: int, top: int, picture: Picture) -> None:
    """A colour bar as high as the picture, with the values of its ends and their unit."""
    height, scale = picture.image.height, picture.scale
    if scale is None:
        return
    colours = Image.fromarray(ramp()[::-1, None]).resize((BAR, height), Image.Resampling.BILINEAR)
    image.paste(colours, (left, top))
    draw = ImageDraw.Draw(image)
    for number, text in enumerate((f"{scale.high:.3g}", scale.unit)):
        at = (left + BAR + 4, top - 2 + number * LINE)
        draw.text(at, text, fill=INK, font_size=TEXT)
    draw.text((left + BAR + 4, top + height - LINE), f"{scale.low:.3g}", fill=INK, font_size=TEXT)


def png(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
