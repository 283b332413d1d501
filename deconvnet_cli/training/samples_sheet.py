"""A picture of some samples as the net sees them: crop, labels and prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.nets.inputs import InputConvention

SHOWN, TILE, GAP = 8, 160, 6  # crops, pixels, pixels
PAPER = 255


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
    sheet = Image.new("RGB", (len(crops) * step + GAP, len(rows) * step + GAP), (PAPER,) * 3)
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            tile = Image.fromarray(np.ascontiguousarray(picture))
            tile = tile.resize((TILE, TILE), Image.Resampling.NEAREST)
            sheet.paste(tile, (across * step + GAP, down * step + GAP))
    return png_bytes(sheet, photo=True)
