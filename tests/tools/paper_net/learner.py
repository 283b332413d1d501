"""The net without its trunk: bottleneck, decoder, and the losses of all their logits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.nets.deconvnet_vgg16 import (
    DECODER,
    FULLY_CONNECTED,
    SCORE,
    DeconvNet,
    DeconvNetSettings,
    Layer,
)
from tests.tools.paper_net.crops import SIDE, Crops

FC = 512  # channels of fc6 and fc7; the paper has 4096
CLASSES = 21
SIDES = (7, 14, 28, 56)  # of the maps after fc6_deconv, deconv5, deconv4, deconv3
WINDOW = 28  # side of the window in the map after deconv3
RIM = 10  # pixels at the window's inner edges that do not count, as they lack their surroundings

Window = tuple[int, int] | None


class Unpool(torch.autograd.Function):
    """Unpooling by places of 0 to 3; equal to ``layers.unpool``, and quick in channels_last."""

    @staticmethod
    def forward(ctx, x: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        n, channels, height, width = x.shape
        values = x.permute(0, 2, 3, 1)
        made = values.new_empty(n, height, 2, width, 2, channels)
        for number in range(4):
            torch.mul(values, place == number, out=made[:, :, number // 2, :, number % 2])
        return made.view(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (place,) = ctx.saved_tensors
        n, height, width, channels = place.shape
        windows = gradient.permute(0, 2, 3, 1).reshape(n, height, 2, width, 2, channels)
        parts = (
            windows[:, :, number // 2, :, number % 2] * (place == number) for number in range(4)
        )
        return sum(parts).permute(0, 3, 1, 2), None


def cell_labels(labels: Tensor, side: int) -> Tensor:
    """Return the share of each class in each of side x side cells, N*side*side x classes."""
    cell = SIDE // side
    known = torch.where(labels == IGNORE, CLASSES, labels)
    pixels = known.view(-1, side, cell, side, cell).permute(0, 1, 3, 2, 4).flatten(0, 2)
    pixels = pixels.flatten(1)
    counts = torch.zeros(len(pixels), CLASSES + 1)
    ones = torch.ones(()).expand_as(pixels)
    return counts.scatter_add_(1, pixels, ones)[:, :CLASSES] / cell**2


def cell_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of N x classes x side x side logits against those shares."""
    target = cell_labels(labels, logits.shape[-1])
    rows = logits.permute(0, 2, 3, 1).flatten(0, 2).float()
    return -(target * rows.log_softmax(1)).sum() / target.sum().clamp_min(1)


class Learner(nn.Module):
    """The net without its trunk, and the logits after each of its coarser stages."""

    def __init__(self) -> None:
        super().__init__()
        self.net = DeconvNet(DeconvNetSettings(fc=FC)).to(memory_format=torch.channels_last)
        self.coarse = nn.ModuleList(
            nn.Conv2d(channels, CLASSES, 1) for channels in (512, 512, 256, 128)
        )
        for layer in (layer for block in (FULLY_CONNECTED, *DECODER) for layer in block):
            module = self.net.get_submodule(layer.name)
            fan_in = module.weight[0].numel()
            if layer.deconvolution:
                area = 1 if layer.name == "fc6_deconv" else layer.kernel**2
                fan_in = module.weight.shape[0] * area
            nn.init.normal_(module.weight, 0, (2 / fan_in) ** 0.5)
            nn.init.zeros_(module.bias)
        nn.init.normal_(self.net.get_parameter(f"{SCORE}.weight"), 0, 0.05)

    def block(self, layers: tuple[Layer, ...], x: Tensor, dropout: float = 0) -> Tensor:
        for layer in layers:
            module = self.net.get_submodule(layer.name)
            kernel = module.weight
            # As matrix products, and deconvolutions as convolutions, these are quicker on a CPU.
            if layer.name == "fc6_deconv":
                matrix = kernel.permute(2, 3, 1, 0).flatten(0, 2)
                x = F.linear(x.flatten(1), matrix).view(-1, 7, 7, 512).permute(0, 3, 1, 2)
            elif not layer.deconvolution:
                flat = x.permute(0, 2, 3, 1).flatten(1)
                x = F.linear(flat, kernel.permute(0, 2, 3, 1).flatten(1), module.bias)
                x = x[:, :, None, None]
            else:
                x = F.conv2d(x, kernel.flip(2, 3).transpose(0, 1), padding=1)
            x = F.relu(self.net.get_submodule(layer.norm)(x), inplace=True)
            x = F.dropout(x, dropout if layer.name in ("fc6", "fc7") else 0, self.training)
        return x

    def bottleneck(self, pool5: Tensor) -> Tensor:
        """Return the logits of 7 x 7 cells; a fifth of the inputs and half of fc6, fc7 are off."""
        x = F.dropout(pool5, 0.2, self.training)
        return self.coarse[0](self.block(FULLY_CONNECTED, x, 0.5))

    def decoder(self, pool5: Tensor, places: list[Tensor], window: Window) -> Iterator[Tensor]:
        """Yield the logits after fc6_deconv, deconv5, deconv4, deconv3, and the last ones.

        From deconv2 on there is only the window that begins at these rows and columns of the map
        after deconv3, if one is given.
        """
        with torch.no_grad():
            x = self.block(FULLY_CONNECTED[:2], pool5)
        x = self.block(FULLY_CONNECTED[2:], x)
        yield self.coarse[0](x)
        for stage, (layers, place) in enumerate(zip(DECODER, places, strict=False), start=1):
            if window is not None and stage >= 4:
                scale = 2 ** (stage - 4)
                rows, columns = (slice(at * scale, (at + WINDOW) * scale) for at in window)
                place = place[:, rows, columns]
                x = x[:, :, rows, columns] if stage == 4 else x
            x = x.contiguous(memory_format=torch.channels_last)
            x = self.block(layers, Unpool.apply(x, place.contiguous()))
            if stage < len(SIDES):
                yield self.coarse[stage](x)
        if len(places) == len(DECODER):
            yield self.net.get_submodule(SCORE)(x)

    def losses(self, crops: Crops, numbers: np.ndarray, depth: int, window: Window) -> list[Tensor]:
        """Return the loss of each of the logits of a batch."""
        labels, places = crops.label_maps(numbers), crops.places(numbers, depth)
        *coarse, last = self.decoder(crops.maps(numbers), places, window)
        losses = [cell_loss(logits, labels) for logits in coarse]
        if depth < len(DECODER):
            return [*losses, cell_loss(last, labels)]
        if window is not None:
            labels = windowed(labels, window)
        rows = last.permute(0, 2, 3, 1).flatten(0, 2).float()
        return [*losses, F.cross_entropy(rows, labels.flatten(), ignore_index=IGNORE)]


def windowed(labels: Tensor, window: tuple[int, int]) -> Tensor:
    """Return the labels of a window; its rim is ignored where it is not the crop's own edge."""
    (top, bottom), (left, right) = ((at * 4, (at + WINDOW) * 4) for at in window)
    part = labels[:, top:bottom, left:right].clone()
    if top > 0:
        part[:, :RIM] = IGNORE
    if left > 0:
        part[:, :, :RIM] = IGNORE
    if bottom < SIDE:
        part[:, -RIM:] = IGNORE
    if right < SIDE:
        part[:, :, -RIM:] = IGNORE
    return part
