"""``deconvnet-vgg16``: the net of the paper, layer by layer (section 3.1).

    block      layers                                               channels        output
    conv1      conv1_1, conv1_2; pool1 keeps its switches           64, 64          112
    conv2      conv2_1, conv2_2; pool2                              128, 128        56
    conv3      conv3_1, conv3_2, conv3_3; pool3                     256, 256, 256   28
    conv4      conv4_1, conv4_2, conv4_3; pool4                     512, 512, 512   14
    conv5      conv5_1, conv5_2, conv5_3; pool5                     512, 512, 512   7
    fc         fc6 7x7, fc7 1x1                                     4096, 4096      1
               fc6_deconv, a 7x7 deconvolution                      512             7
    deconv5    unpool5; deconv5_1, deconv5_2, deconv5_3             512, 512, 512   14
    deconv4    unpool4; deconv4_1, deconv4_2, deconv4_3             512, 512, 256   28
    deconv3    unpool3; deconv3_1, deconv3_2, deconv3_3             256, 256, 128   56
    deconv2    unpool2; deconv2_1, deconv2_2                        128, 64         112
    deconv1    unpool1; deconv1_1, deconv1_2                        64, 64          224
    score      seg_score_voc, a bare 1x1 convolution                21              224

Kernels are 3x3 with padding 1 unless noted. Every layer except the last has a bias, BatchNorm and
ReLU. Names are those of the released definition, with ``_`` instead of ``-``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconvnet_cli.nets.layers import BatchNorm, DecoderStage, pool_with_switches, unpool


@dataclass(frozen=True)
class DeconvNetSettings:
    """The widths of the net; the defaults are the paper's.

    Attributes:
        classes: The number of logits for each pixel.
        width: The factor for the channels of every layer except fc6, fc7 and the last; each layer
            keeps at least one channel.
        fc: The channels of fc6 and fc7.
    """

    classes: int = 21
    width: float = 1.0
    fc: int = 4096

    def scaled(self, channels: int) -> int:
        """Return the channels at this width of a layer with ``channels`` in the paper."""
        return max(1, round(channels * self.width))


@dataclass(frozen=True)
class Layer:
    """A convolution or deconvolution of stride 1, with the BatchNorm that follows it.

    Attributes:
        name, norm: The module names of the layer and of its BatchNorm.
        channels: The output channels at width 1; None for fc6 and fc7, whose setting is ``fc``.
        kernel, padding: The sides of the kernel and of the padding, pixels.
        deconvolution: Whether the layer is a ``ConvTranspose2d``.
    """

    name: str
    norm: str
    channels: int | None
    kernel: int = 3
    padding: int = 1
    deconvolution: bool = False


def _layers(stage: int, *channels: int, deconvolution: bool = False) -> tuple[Layer, ...]:
    de = "de" if deconvolution else ""
    return tuple(
        Layer(f"{de}conv{stage}_{index}", f"{de}bn{stage}_{index}", outputs, 3, 1, deconvolution)
        for index, outputs in enumerate(channels, start=1)
    )


# A pool follows each block of the encoder.
ENCODER = (
    _layers(1, 64, 64),
    _layers(2, 128, 128),
    _layers(3, 256, 256, 256),
    _layers(4, 512, 512, 512),
    _layers(5, 512, 512, 512),
)
FULLY_CONNECTED = (
    Layer("fc6", "bnfc6", None, kernel=7, padding=0),
    Layer("fc7", "bnfc7", None, kernel=1, padding=0),
    Layer("fc6_deconv", "fc6_deconv_bn", 512, kernel=7, padding=0, deconvolution=True),
)
# Before each block, an unpooling uses the switches of the pool of the same number.
DECODER = (
    _layers(5, 512, 512, 512, deconvolution=True),
    _layers(4, 512, 512, 256, deconvolution=True),
    _layers(3, 256, 256, 128, deconvolution=True),
    _layers(2, 128, 64, deconvolution=True),
    _layers(1, 64, 64, deconvolution=True),
)
SCORE = "seg_score_voc"
TRUNK = tuple(layer for block in ENCODER for layer in block)
# VGG-16, trained on ImageNet, has weights for these; each BatchNorm goes with its convolution.
PUBLISHED_PARTS = tuple(f"{name}." for layer in TRUNK for name in (layer.name, layer.norm))
LAYERS = (*TRUNK, *FULLY_CONNECTED, *(layer for block in DECODER for layer in block))


class DeconvNet(nn.Module):
    """The paper's net. Input N x 3 x 224 x 224; output logits N x classes x 224 x 224.

    fc6 has no padding, so 224 is the smallest input. Larger inputs (multiples of 32) work too,
    but the paper does not train or test with them.
    """

    def __init__(self, settings: DeconvNetSettings = DeconvNetSettings()) -> None:
        super().__init__()
        self.settings = settings
        inputs = 3
        for layer in LAYERS:
            outputs = settings.fc if layer.channels is None else settings.scaled(layer.channels)
            kind = nn.ConvTranspose2d if layer.deconvolution else nn.Conv2d
            module = kind(inputs, outputs, layer.kernel, padding=layer.padding)
            self.add_module(layer.name, module)
            self.add_module(layer.norm, BatchNorm(outputs))
            inputs = outputs
        self.add_module(SCORE, nn.Conv2d(inputs, settings.classes, 1))
        # fusion.py replaces this by the identity, as fused layers apply the activation themselves.
        self.activate: Callable[[Tensor], Tensor] = partial(F.relu, inplace=True)

    def _block(self, layers: tuple[Layer, ...], x: Tensor) -> Tensor:
        for layer in layers:
            x = self.activate(getattr(self, layer.norm)(getattr(self, layer.name)(x)))
        return x

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map after fc6_deconv, N x 512 x 7 x 7, and the switches of pool1 .. pool5."""
        switches = []
        for block in ENCODER:
            x, where = pool_with_switches(self._block(block, x))
            switches.append(where)
        return self._block(FULLY_CONNECTED, x), switches

    def decode(self, x: Tensor, switches: list[Tensor]) -> Tensor:
        """Return logits N x classes x 224 x 224 from the map and switches of :meth:`encode`."""
        for block, where in zip(DECODER, reversed(switches), strict=True):
            x = self._block(block, unpool(x, where))
        logits: Tensor = getattr(self, SCORE)(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(*self.encode(x))


@torch.no_grad()
def initialise(net: DeconvNet, seed: int) -> None:
    """Set every parameter to its value before training (paper section 6.1, released definition).

    Deconvolutions and the last layer: Gaussian of mean 0, sd 0.01. BatchNorm: scale 1, shift 0.001,
    mean 0, variance 1. Biases: 0. The paper has VGG-16's weights in all other layers: load them
    afterwards, as this overwrites everything. Until then the trunk has He's normal values, and fc6
    and fc7, which VGG-16 fits at 4096 channels only, are Gaussian like the deconvolutions.

    Args:
        net: The net, on any device except ``meta``; the values do not depend on the device.
    """
    generator = torch.Generator().manual_seed(seed)
    trunk = {layer.name for layer in TRUNK}
    for name, module in net.named_children():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.weight.fill_(1.0)
            module.bias.fill_(0.001)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fan_in = module.weight[0].numel()
            deviation = (2.0 / fan_in) ** 0.5 if name in trunk else 0.01
            values = torch.empty(module.weight.shape).normal_(0.0, deviation, generator=generator)
            module.weight.copy_(values)
            if module.bias is not None:
                module.bias.zero_()


def decoder_stages(net: DeconvNet) -> tuple[DecoderStage, ...]:
    """Return the stages of the decoder: fc6_deconv, each unpooling and block, the logits."""
    stages = [DecoderStage("fc6_deconv", "fc6_deconv_bn")]
    for number, block in zip(range(len(DECODER), 0, -1), DECODER, strict=True):
        stages.append(DecoderStage(f"unpool{number}", block[0].name, entering=True))
        stages.append(DecoderStage(block[-1].name, block[-1].norm))
    return (*stages, DecoderStage(SCORE, SCORE))
