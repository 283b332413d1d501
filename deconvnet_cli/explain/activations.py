"""The activations of the decoder for one crop, stage by stage: the paper's figure 4 for any photo.

A stage has many channels and a picture shows one: the channel that correlates best with the
logits of the explained class. This is Pearson's correlation over the pixels of the stage, after
the logits are averaged down to its size. A constant channel has correlation 0, and the first of
equals is taken. So each picture is the channel that looks most like the result, and together they
show where the shape of the result comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.explain.windows import PoolRecorder, Unpooling
from deconvnet_cli.nets.layers import DecoderStage
from deconvnet_cli.nets.registry import name_of_net, net_spec
from deconvnet_cli.segmentation.inference import crop_logits
from deconvnet_cli.weights.files import Weights


@dataclass(frozen=True, eq=False)
class Activation:
    """A channel of a stage.

    Attributes:
        stage: The stage of the decoder.
        channel, channels: The channel's number, from 0, and how many the stage has.
        correlation: The correlation with the logits of the class, -1 to 1.
        values: The activations, float32 h x w, not negative.
    """

    stage: DecoderStage
    channel: int
    channels: int
    correlation: float
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Rerun:
    """A second run of the net on one box.

    Attributes:
        views: The logits of each view of the box, C x h x w, as they are merged. A whole photo has
            several, of one size or of different sizes; a crop has one.
        logits: The logits of the view whose activations these are, C x h x w: the crop, or the
            whole photo at its usual side, not mirrored.
        stages: The activations of all channels, float32 K x h x w on the CPU, in decoder order.
        decoder_logits: The decoder's own logits, float32 C x h x w. In ``deconvnet-vgg16`` they
            are the net's logits; ``deconvnet-mobilenet`` adds coarse logits of its head.
        unpooling: The last pool of the encoder and its unpooling.
    """

    views: tuple[Tensor, ...]
    logits: Tensor
    stages: dict[DecoderStage, Tensor]
    decoder_logits: Tensor
    unpooling: Unpooling


def decoder_stages(net: nn.Module) -> tuple[DecoderStage, ...]:
    """Return the decoder's first layer, then each unpooling and the layer that ends its block.

    The last is the layer after them, whose channels are the classes.

    Raises:
        ValueError: The net has no decoder with unpooling (an error of the caller).
    """
    decoder = net_spec(name_of_net(net)).decoder
    if decoder is None:
        raise ValueError(f"{type(net).__name__} has no decoder with unpooling")
    return decoder(net)


@contextmanager
def recording(net: nn.Module) -> Iterator[dict[DecoderStage, Tensor]]:
    """Yield a dict in which each forward pass records the activations of its first crop.

    A ReLU is applied to them, since some nets apply it outside their modules; the logits have none.
    """
    recorded: dict[DecoderStage, Tensor] = {}
    stages = decoder_stages(net)

    def record(
        stage: DecoderStage, module: nn.Module, inputs: tuple[Tensor, ...], *output: Any
    ) -> None:
        values = inputs[0][0] if stage.entering else output[0][0]
        # Both branches copy, because later layers may work in place.
        recorded[stage] = (values.clone() if stage == stages[-1] else values.relu()).float().cpu()

    with ExitStack() as hooks:
        for stage in stages:
            module = net.get_submodule(stage.module)
            if stage.entering:
                hooks.enter_context(module.register_forward_pre_hook(partial(record, stage)))
            else:
                hooks.enter_context(module.register_forward_hook(partial(record, stage)))
        yield recorded


@torch.inference_mode()
def rerun_box(photo: Image.Image, box: Box, weights: Weights) -> Rerun:
    """Run the net once more on one box of the photo and record its decoder's activations.

    The first run does not keep them, because those of 50 crops would take gigabytes.
    """
    boxes = np.array([box], np.int32)
    convention = replace(weights.card.input, further=(), coarse=())
    usual = replace(weights, card=replace(weights.card, input=convention))
    with recording(weights.net) as recorded, PoolRecorder() as pools:
        views = tuple(logits.cpu() for _, logits in crop_logits(photo, boxes, usual, 1))
    logits = views[0]
    if weights.card.input != convention and box == (0, 0, *photo.size):
        views = tuple(logits.cpu() for _, logits in crop_logits(photo, boxes, weights, 1))
    *stages, last = decoder_stages(weights.net)
    activations = {stage: recorded[stage] for stage in stages}
    return Rerun(views, logits, activations, recorded[last], pools.recorded())


def choose_channels(stages: dict[DecoderStage, Tensor], logits: Tensor) -> tuple[Activation, ...]:
    """Choose a channel of each stage, as the module's docstring says.

    Args:
        stages: The activations of each stage, float32 K x h x w.
        logits: The logits of the class, float32 at the net's input size.
    """
    chosen = []
    for stage, values in stages.items():
        target = F.adaptive_avg_pool2d(logits[None], (values.shape[1], values.shape[2]))[0]
        found = correlations(values.numpy(), target.numpy())
        # Constant channels have a correlation of 0, and show nothing.
        alive = np.ptp(values.numpy().reshape(len(values), -1), axis=1) > 0
        best = int(np.where(alive, found, -2).argmax())
        correlation = float(found[best])
        chosen.append(Activation(stage, best, len(values), correlation, values[best].numpy()))
    return tuple(chosen)


def correlations(maps: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Pearson's correlation of K x h x w maps with an h x w map; 0 for constant maps."""
    values = maps.reshape(len(maps), -1).astype(np.float64)
    target_values = target.ravel().astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)  # exactly 0 if all are the same float32
    target_values -= target_values.mean()
    lengths = np.linalg.norm(values, axis=1) * np.linalg.norm(target_values)
    found: NDArray[np.float64] = np.divide(
        values @ target_values, lengths, out=np.zeros(len(maps)), where=lengths > 0
    )
    return found
