"""``fcn8s``: FCN-8s on VGG-16, the net that EDeconvNet adds to DeconvNet.

    block   layers                                                   channels        stride
    conv1   conv1_1 (padding 100), conv1_2; pool1                    64, 64          2
    conv2   conv2_1, conv2_2; pool2                                  128, 128        4
    conv3   conv3_1, conv3_2, conv3_3; pool3                         256, 256, 256   8
    conv4   conv4_1, conv4_2, conv4_3; pool4                         512, 512, 512   16
    conv5   conv5_1, conv5_2, conv5_3; pool5                         512, 512, 512   32
    fc      fc6 7x7, fc7 1x1, each with ReLU and dropout             4096, 4096      32
    score   score_fr 1x1; upscore2, a 4x4 deconvolution              21              16
            + score_pool4 1x1 of pool4; upscore_pool4, 4x4           21              8
            + score_pool3 1x1 of pool3; upscore8, 16x16              21              1

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015. No
BatchNorm. conv1_1 pads by 100 pixels, so that fc6 fits on any photo, and each sum crops the excess
that padding and fc6 leave on a side: 5, 9 and, for the output, 31. Pools round up, as in Caffe.
Names are those of Caffe's ``voc-fcn8s`` and of its usual port to torch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconvnet_cli.nets.deconvnet_vgg16 import ENCODER, TRUNK, DeconvNetSettings

PADDING = 100
CROP_POOL4, CROP_POOL3, CROP_OUTPUT = 5, 9, 31
DROPOUT = 0.5
# VGG-16, trained on ImageNet, has weights for these.
PUBLISHED_PARTS = tuple(f"{layer.name}." for layer in TRUNK)


def bilinear_kernel(classes: int, size: int) -> Tensor:
    """Return deconvolution weights, classes x classes x size x size, to enlarge by size / 2.

    Each class is interpolated separately, and linearly in both directions.
    """
    centre = (size - 1) / 2
    tent = 1 - (torch.arange(size) - centre).abs() / (size / 2)
    weight = torch.zeros(classes, classes, size, size)
    weight[torch.arange(classes), torch.arange(classes)] = tent[:, None] * tent
    return weight


class FCN8s(nn.Module):
    """The FCN-8s. Input N x 3 x H x W of any size; output logits N x classes x H x W.

    The ``width`` of its settings applies to conv1_1 .. conv5_3.
    """

    def __init__(self, settings: DeconvNetSettings = DeconvNetSettings()) -> None:
        super().__init__()
        self.settings = settings
        classes, fc = settings.classes, settings.fc
        pooled = [3]
        for block in ENCODER:
            inputs = pooled[-1]
            for layer in block:
                outputs = settings.scaled(layer.channels or fc)
                padding = PADDING if layer.name == "conv1_1" else 1
                self.add_module(layer.name, nn.Conv2d(inputs, outputs, 3, padding=padding))
                inputs = outputs
            pooled.append(inputs)
        self.fc6 = nn.Conv2d(pooled[5], fc, 7)
        self.fc7 = nn.Conv2d(fc, fc, 1)
        self.score_fr = nn.Conv2d(fc, classes, 1)
        self.score_pool4 = nn.Conv2d(pooled[4], classes, 1)
        self.score_pool3 = nn.Conv2d(pooled[3], classes, 1)
        self.upscore2 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore_pool4 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore8 = nn.ConvTranspose2d(classes, classes, 16, 8, bias=False)

    def encode(self, x: Tensor) -> list[Tensor]:
        """Return the maps after pool1 .. pool5, each N x channels x h x w, for N x 3 x H x W."""
        pools = []
        for block in ENCODER:
            for layer in block:
                x = F.relu(getattr(self, layer.name)(x), inplace=True)
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            pools.append(x)
        return pools

    def forward(self, x: Tensor) -> Tensor:
        _, _, pool3, pool4, pool5 = self.encode(x)
        y = pool5
        for layer in (self.fc6, self.fc7):
            y = F.dropout(F.relu(layer(y), inplace=True), DROPOUT, self.training)
        y = self.upscore2(self.score_fr(y))
        y = y + cropped(self.score_pool4(pool4), CROP_POOL4, y)
        y = self.upscore_pool4(y)
        y = y + cropped(self.score_pool3(pool3), CROP_POOL3, y)
        return cropped(self.upscore8(y), CROP_OUTPUT, x).contiguous()


def cropped(x: Tensor, offset: int, like: Tensor) -> Tensor:
    """Return the part of N x C x h x w that starts at ``offset``, with the size of ``like``."""
    height, width = like.shape[2:]
    return x[:, :, offset : offset + height, offset : offset + width]


@torch.no_grad()
def initialise(net: FCN8s, seed: int) -> None:
    """Set every parameter to its value before training.

    Enlarging deconvolutions are bilinear and the logits start at 0 (CVPR 2015, section 4.3).
    Other convolutions get He's normal values, which VGG-16's weights then replace.

    Args:
        net: The net, on any device except ``meta``; the values do not depend on the device.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in net.named_children():
        if isinstance(module, nn.ConvTranspose2d):
            kernel = bilinear_kernel(net.settings.classes, module.kernel_size[0])
            module.weight.copy_(kernel)
        elif isinstance(module, nn.Conv2d):
            deviation = 0.0 if name.startswith("score") else (2 / module.weight[0].numel()) ** 0.5
            values = torch.empty(module.weight.shape).normal_(generator=generator)
            module.weight.copy_(values * deviation)
            if module.bias is not None:
                module.bias.zero_()
