"""Small nets whose BatchNorm does something, for tests of what must not change them."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import Dataset

from deconvnet_cli.nets.registry import build_net

SETTINGS = {
    "deconvnet-vgg16": {"width": 1 / 16, "fc": 32},
    "deconvnet-mobilenet": {"head": 16, "bridge": (16, 64)},
    "fcn8s-mobilenet": {"head": 16, "skip": 8},
    "fcn8s": {"width": 1 / 16, "fc": 32},
}


class Small(nn.Sequential):
    """A net with a BatchNorm, to be trained quickly."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 21, 1))


class Noise(Dataset[tuple[torch.Tensor, ...]]):
    """Crops of noise with labels, as samples of a training."""

    def __len__(self) -> int:
        return 400

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(number)
        crop = torch.randint(0, 256, (3, 16, 16), generator=generator).to(torch.uint8)
        return crop, torch.randint(0, 21, (16, 16), generator=generator)


def lively(name: str, seed: int = 0) -> nn.Module:
    """A net in eval mode with random weights and statistics; the same for the same seed."""
    torch.manual_seed(seed)
    net = build_net(name, SETTINGS[name]).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net
