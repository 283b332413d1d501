"""The pictures of a training run as PNGs: its curves, and some samples as the net sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.nets.inputs import InputConvention

WIDTH, HEIGHT, MARGIN = 720, 260, 48
INK, GRID, LINE = (40, 40, 40), (220, 220, 220), (31, 98, 180)
PANELS = (
    ("loss", "loss"),
    ("val_mean_iou", "mean IoU"),
    ("val_mean_iou_average", "mean IoU of the average"),
)
SHOWN, TILE, GAP = 8, 160, 6  # crops of a sheet of samples, pixels, pixels


def curves_png(lines: Sequence[dict[str, Any]]) -> bytes:
    """Draw a panel for each metric in the log and return the picture as a PNG."""
    panels = []
    for key, title in PANELS:
        points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        if points:
            panels.append((title, points))
    image = Image.new("RGB", (WIDTH, HEIGHT * max(1, len(panels))), "white")
    draw = ImageDraw.Draw(image)
    last_step = max((step for _, points in panels for step, _ in points), default=1)
    for number, (title, points) in enumerate(panels):
        draw_panel(draw, number * HEIGHT, title, points, last_step)
    return png_bytes(image)


def draw_panel(
    draw: ImageDraw.ImageDraw,
    top: int,
    title: str,
    points: Sequence[tuple[int, float]],
    last_step: int,
) -> None:
    """Draw one curve with its axes, ``top`` pixels below the upper edge."""
    lowest = min(0.0, min(value for _, value in points))
    highest = max(value for _, value in points) or 1.0
    left, right = MARGIN, WIDTH - MARGIN // 2
    upper, lower = top + MARGIN // 2, top + HEIGHT - MARGIN // 2

    def position(step: float, value: float) -> tuple[float, float]:
        x = left + (right - left) * step / last_step
        return x, lower - (lower - upper) * (value - lowest) / (highest - lowest)

    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = lowest + share * (highest - lowest)
        _, y = position(0, value)
        draw.line((left, y, right, y), fill=GRID)
        draw.text((6, y - 6), f"{value:.3g}", fill=INK)
        x, _ = position(share * last_step, 0)
        step = share * last_step  # in a short run no whole number
        label = f"{step:g}" if last_step < 100 else str(round(step))
        draw.text((x - 12, lower + 4), label, fill=INK)
    draw.text((left + 6, upper - 14), f"{title}, by step", fill=INK)
    corners = [position(step, value) for step, value in points]
    if len(corners) > 1:
        draw.line(corners, fill=LINE, width=2)
    for x, y in corners if len(corners) < 40 else ():
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=LINE)


@torch.no_grad()
def samples_png(
    net: nn.Module,
    crops: Tensor,
    labels: Tensor,
    convention: InputConvention,
    classes: Sequence[str],
) -> bytes:
    """Return a PNG with a row of crops, below it their labels, and below these the predictions.

    Args:
        net: The net, which is left in eval mode.
        crops: uint8 N x 3 x S x S, RGB, on the net's device; the first eight are shown.
        labels: Their labels, int64 N x S x S, 255 ignored.
    """
    crops, labels = crops[:SHOWN], labels[:SHOWN]
    found = net.eval()(convention.prepare(crops)).argmax(1)
    colours = palette_for(classes)
    photos = crops.permute(0, 2, 3, 1).cpu().numpy()
    rows = photos, colours[labels.cpu().numpy()], colours[found.cpu().numpy()]
    step = TILE + GAP
    sheet = Image.new("RGB", (len(crops) * step + GAP, len(rows) * step + GAP), "white")
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            tile = Image.fromarray(np.ascontiguousarray(picture))
            tile = tile.resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(tile, (across * step + GAP, down * step + GAP))
    return png_bytes(sheet, photo=True)
