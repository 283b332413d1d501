"""The curves of ``reproduce.md``: how good labels are with 1, 5, 10, 20 and 50 boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

BOXES = (1, 5, 10, 20, 50)
# Mean IoU of the classes in four of the photos or more, as tests/tools/paper_net/claims.py measured
# it on 248 photos of VOC 2012 val.
PAPER_NET = {
    "mean-probability": (0.469, 0.509, 0.521, 0.519, 0.527),
    "max": (0.467, 0.502, 0.510, 0.507, 0.492),
}
DEFAULT_NET = {
    "context": (0.764, 0.769, 0.775, 0.774, 0.774),
    "context-max": (0.764, 0.767, 0.769, 0.771, 0.765),
}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 300, 56, 130, 40, 48
INK, GRID = (40, 40, 40), (220, 220, 220)
COLOURS = ((0, 114, 178), (213, 94, 0))  # of Okabe and Ito
STEPS = 5  # lines of the grid


def panel(title: str, lines: Mapping[str, Sequence[float]]) -> Image.Image:
    """Return a drawing with one line for each merge rule; boxes stand at equal distances."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    values = [value for line in lines.values() for value in line]
    lowest, highest = min(values) - 0.01, max(values) + 0.01

    def position(number: int, value: float) -> tuple[float, float]:
        across = (WIDTH - LEFT - RIGHT) * number / (len(BOXES) - 1)
        down = (HEIGHT - TOP - BOTTOM) * (highest - value) / (highest - lowest)
        return LEFT + across, TOP + down

    draw.text((LEFT, 8), title, fill=INK, font=font)
    for step in range(STEPS):
        value = lowest + (highest - lowest) * step / (STEPS - 1)
        x, y = position(0, value)
        draw.line((x, y, WIDTH - RIGHT, y), fill=GRID)
        draw.text((8, y - 8), f"{value:.3f}", fill=INK, font=font)
    for number, count in enumerate(BOXES):
        x, y = position(number, lowest)
        draw.text((x, y + 6), str(count), fill=INK, font=font, anchor="ma")
    draw.text(((WIDTH + LEFT - RIGHT) / 2, HEIGHT - 20), "boxes", fill=INK, font=font, anchor="ma")
    # The name of a lower line stands below that of the line above it, though both end alike.
    below = -HEIGHT
    falling = sorted(lines.items(), key=lambda item: -item[1][-1])
    colours = dict(zip(lines, COLOURS, strict=False))
    for rule, line in falling:
        colour = colours[rule]
        points = [position(number, value) for number, value in enumerate(line)]
        draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        below = max(round(points[-1][1]) - 8, below + 16)
        draw.text((WIDTH - RIGHT + 8, below), rule, fill=colour, font=font)
    return image


def curves() -> Image.Image:
    """Return the panels of both nets beside each other."""
    image = Image.new("RGB", (2 * WIDTH, HEIGHT), "white")
    image.paste(panel("deconvnet-vgg16, frequent classes: mean IoU", PAPER_NET), (0, 0))
    image.paste(panel("deconvnet-mobilenet, frequent classes: mean IoU", DEFAULT_NET), (WIDTH, 0))
    return image
