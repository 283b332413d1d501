"""Drawing of boxes in a photo, and of the box that decided each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.explain.sheets import INK, PAPER
from deconvnet_cli.reporting.label_images import shown_size
from deconvnet_cli.runtime.opencv import cv2

Colours = dict[int, tuple[int, int, int]]  # number of a box, from 0 -> its RGB colour
GOLDEN = 0.6180339887  # step between hues: they stay far apart however many there are
WHOLE = (150, 150, 150)  # colour of the whole photo among the boxes
FAINT = (205, 205, 205)  # colour of the boxes that are not told apart
FIRST_BOXES = 10  # boxes with colours and numbers of their own
MAP_WIDTH = 640  # width of a picture with boxes, pixels
TAG = 20  # height of a box's number in it, pixels
ROOM = 120 * 160  # pixels, of which the numbers of ten boxes take a quarter
LUMA = (0.299, 0.587, 0.114)  # weights of RGB in the brightness


def box_colours(ranked: Sequence[int]) -> Colours:
    """Return a colour for each box; the first ones are the easiest to tell apart.

    The whole photo, number 0, is grey.

    Args:
        ranked: The numbers of the boxes, from 0.
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
    """The place of a photo in a picture whose margin shows boxes beyond the photo's edges.

    Attributes:
        width, height: The size of the photo, pixels.
        margin: The margin on all sides, pixels of the photo.
        size: The width and height of the picture.
    """

    width: int
    height: int
    margin: int
    size: tuple[int, int]

    @property
    def zoom(self) -> float:
        """The number of pixels of the picture to one pixel of the photo."""
        return self.size[0] / (self.width + 2 * self.margin)

    def put(self, image: Image.Image, resampling: Image.Resampling) -> Image.Image:
        """Put the image in its place, with a black margin, which the net sees (0 in any mode)."""
        wide = Image.new(image.mode, (self.width + 2 * self.margin, self.height + 2 * self.margin))
        wide.paste(image, (self.margin, self.margin))
        return wide.resize(self.size, resampling)


def frame_for(photo: Image.Image, boxes: Sequence[Box]) -> Frame:
    """Return a frame that holds the photo and all of these boxes."""
    width, height = photo.size
    margin = max([0, *(max(-b[0], -b[1], b[2] - width, b[3] - height) for b in boxes)])
    size = shown_size(width + 2 * margin, height + 2 * margin, MAP_WIDTH)
    return Frame(width, height, margin, size)


def draw_proposals(photo: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """Return the faded photo with all boxes; the best are told apart.

    The first ``FIRST_BOXES`` have colours and numbers, the others are faint. Boxes end at the edge
    of the photo. A photo of fewer than ``ROOM`` pixels is enlarged, or numbers would cover it.
    """
    width, height = photo.size
    inside = [(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)) for x0, y0, x1, y1 in boxes]
    first = range(min(FIRST_BOXES, len(boxes)))
    faint: Colours = dict.fromkeys(range(len(first), len(boxes)), FAINT)
    colours = {**faint, **box_colours(first)}
    # The whole photo is drawn below the others, whose lines often run along its edge.
    broad = [*first[1:], *first[:1]]
    times = int(np.ceil(np.sqrt(ROOM / (width * height))))  # 1 if there is room
    size = (width * times, height * times)
    return draw_boxes(photo, inside, colours, broad, Frame(width, height, 0, size))


def draw_boxes(
    photo: Image.Image, boxes: Sequence[Box], colours: Colours, broad: Sequence[int], frame: Frame
) -> Image.Image:
    """Return the faded photo with boxes in their colours.

    Args:
        colours: The boxes to draw.
        broad: The boxes to draw with broad lines and their numbers (from 1).
    """
    unit = max(1, round(frame.size[0] / MAP_WIDTH))  # lines and numbers grow with the picture
    tag = TAG * unit
    faded = Image.blend(photo, Image.new("RGB", photo.size, PAPER), 0.35)
    image = frame.put(faded, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    corners = {}
    for number in [n for n in colours if n not in broad] + list(reversed(broad)):
        x0, y0, x1, y1 = (round((at + frame.margin) * frame.zoom) for at in boxes[number])
        corners[number] = (x0, y0)
        lower = max(x0, x1 - 1), max(y0, y1 - 1)
        width = unit * (3 if number in broad else 1)
        draw.rectangle((x0, y0, *lower), outline=colours[number], width=width)
    taken: list[tuple[int, int, int]] = []
    for number in broad:
        text = str(number + 1)
        wide = tag // 2 + tag // 2 * len(text)
        left, top = free_place(corners[number], (wide, tag), frame.size, taken)
        taken.append((left, top, wide))
        draw.rectangle((left, top, left + wide - 1, top + tag - 1), fill=colours[number])
        ink = INK if np.dot(colours[number], LUMA) > 110 else PAPER
        draw.text((left + tag // 4, top + unit), text, fill=ink, font_size=tag - 5 * unit)
    return image


def free_place(
    corner: tuple[int, int],
    size: tuple[int, int],
    picture: tuple[int, int],
    taken: Sequence[tuple[int, int, int]],
) -> tuple[int, int]:
    """Return the left and top of a number that lies in the picture and covers no other number.

    It moves right along the edge of its box (whose upper left is ``corner``), then left, and then
    to the rows below and above. If the picture is full of numbers, it covers one. ``taken`` has the
    left, top and width of the others.
    """
    wide, high = size
    last_left, last_top = max(0, picture[0] - wide), max(0, picture[1] - high)
    left, top = min(corner[0], last_left), min(corner[1], last_top)
    rows = (*range(top, last_top + 1, high), *range(top, -1, -high), 0, last_top)
    columns = (*range(left, last_left + 1), *range(left, -1, -1))
    places = ((x, y) for y in rows for x in columns)

    def free(place: tuple[int, int]) -> bool:
        x0, y0 = place
        return not any(abs(y0 - y) < high and x0 < x + w and x < x0 + wide for x, y, w in taken)

    return next(filter(free, places), (left, top))


def draw_deciders(
    decided: NDArray[np.int32], labels: NDArray[np.uint8], colours: Colours, frame: Frame
) -> Image.Image:
    """Draw each pixel in the colour of the box that decided it, with the outlines of the labels.

    Args:
        decided: The number of the box, from 0, int32 h x w; negative where no box decided, which
            is drawn white.
        labels: The labels, uint8 h x w.

    Returns:
        An image of mode P. Boxes from the 253rd on share a colour, as a palette has no more.
    """
    white, ink, first = 1, 2, 3  # indices into the palette; 0 is the black around the photo
    colour_of = np.full(max(colours, default=0) + 2, white, np.uint8)
    for rank, number in enumerate(colours):
        colour_of[number + 1] = min(first + rank, 255)
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
