"""The net after pool4: the trunk's last block, bottleneck, decoder; the losses of all logits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.nets.deconvnet_vgg16 import (
    DECODER,
    ENCODER,
    FULLY_CONNECTED,
    SCORE,
    DeconvNet,
    DeconvNetSettings,
    Layer,
)
from tests.tools.paper_net.crops import FROZEN, SIDE, Crops, pool

FROZEN_LAYERS = tuple(layer for block in ENCODER[:FROZEN] for layer in block)
FC = 512  # channels of fc6 and fc7; the paper has 4096
CLASSES = 21
SOFT = 0.5  # the share of the soft labels in the losses of cells
SOFT_PIXELS = 0.25  # and in the loss of pixels
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


def cell_targets(labels: Tensor, soft: Tensor, side: int) -> Tensor:
    """Return the mean of those shares and the soft labels of the cells, N*side*side x classes."""
    means = F.avg_pool2d(soft, soft.shape[-1] // side).permute(0, 2, 3, 1).flatten(0, 2)
    return cell_labels(labels, side).lerp(means, SOFT)


def soft_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of N x classes x h x w logits against N*h*w x classes targets."""
    rows = logits.permute(0, 2, 3, 1).flatten(0, 2).float()
    return -(target * rows.log_softmax(1)).sum() / target.sum().clamp_min(1)


class Learner(nn.Module):
    """The net from conv5 on, and the logits after each of the coarser stages of its decoder."""

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

    @torch.no_grad()
    def take(self, net: DeconvNet) -> None:
        """Take what a net has after pool4; the BatchNorm of conv5 is folded away again."""
        frozen = {part for layer in FROZEN_LAYERS for part in (layer.name, layer.norm)}
        tensors = net.state_dict().items()
        later = {name: value for name, value in tensors if name.partition(".")[0] not in frozen}
        self.net.load_state_dict(later, strict=False)
        net.eval()
        for layer in ENCODER[FROZEN]:
            folded = fuse_conv_bn_eval(*(net.get_submodule(n) for n in (layer.name, layer.norm)))
            self.net.get_submodule(layer.name).load_state_dict(folded.state_dict())

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

    def conv5(self, pool4: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map after pool5 and its switches, as ``crops.pool`` does."""
        x = pool4.contiguous(memory_format=torch.channels_last)
        for layer in ENCODER[FROZEN]:  # VGG-16 has no BatchNorm; it is put in at the end
            x = F.relu(self.net.get_submodule(layer.name)(x))
        return pool(x)

    def bottleneck(self, pool4: Tensor) -> Tensor:
        """Return the logits of 7 x 7 cells; a fifth of the inputs and half of fc6, fc7 are off."""
        x = F.dropout(self.conv5(pool4)[0], 0.2, self.training)
        return self.coarse[0](self.block(FULLY_CONNECTED, x, 0.5))

    def decoder(self, pool4: Tensor, places: list[Tensor], window: Window) -> Iterator[Tensor]:
        """Yield the logits after fc6_deconv, deconv5, deconv4, deconv3, and the last ones.

        From deconv2 on there is only the window that begins at these rows and columns of the map
        after deconv3, if one is given.
        """
        with torch.no_grad():
            x, fifth = self.conv5(pool4)
            x = self.block(FULLY_CONNECTED[:2], x)
        x = self.block(FULLY_CONNECTED[2:], x)
        yield self.coarse[0](x)
        places = [fifth, *places]
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
        labels, soft = crops.label_maps(numbers), crops.soft_labels(numbers)
        *coarse, last = self.decoder(crops.maps(numbers), crops.places(numbers, depth - 1), window)
        coarse = coarse if depth == len(DECODER) else [*coarse, last]
        losses = [soft_loss(x, cell_targets(labels, soft, x.shape[-1])) for x in coarse]
        if depth < len(DECODER):
            return losses
        if window is not None:
            labels = windowed(labels, window)
            rows, columns = (slice(at, at + WINDOW) for at in window)
            soft = soft[:, :, rows, columns]
        logs = last.float().log_softmax(1)
        hard = F.nll_loss(logs, labels, ignore_index=IGNORE)
        cells = F.avg_pool2d(logs, last.shape[-1] // soft.shape[-1])
        taught = -(soft * cells).sum() / soft.sum().clamp_min(1)
        return [*losses, hard.lerp(taught, SOFT_PIXELS)]


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
