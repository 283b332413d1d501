"""What the decoder does to one crop, stage by stage: figure 4 of the paper for any photo.

A stage has many channels and a picture shows one. The rule: the channel whose map correlates best
with the score map of the explained class. That is Pearson's correlation over the pixels of the
stage, the score map brought to its size by averaging; a channel that is the same everywhere has
none, and of equals the first is taken. So each picture is the channel that looks most like the
answer, and the pictures together show where the answer's shape comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.nets.layers import DecoderStage
from deconvnet_cli.nets.registry import name_of_net, net_spec
from deconvnet_cli.segmentation.inference import crop_logits
from deconvnet_cli.weights.files import Weights


@dataclass(frozen=True, eq=False)
class Activation:
    """One channel of a stage.

    Attributes:
        stage: where.
        channel, channels: which, from 0, of how many.
        correlation: with the score map of the class, -1 to 1.
        values: float32 h x w, not negative.
    """

    stage: DecoderStage
    channel: int
    channels: int
    correlation: float
    values: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Look:
    """One box as the net sees it.

    Attributes:
        views: raw scores of the box, V x C x h x w; V is 2 for a whole photo with its mirror
            image, and activations are those of the first.
        stages: activations of all channels, float32 K x h x w on the CPU, in the decoder's order.
        decoder: the scores that the decoder ends with, float32 C x h x w. In ``deconvnet-vgg16``
            these are the scores; in ``deconvnet-mobilenet`` coarse ones of its head are added.
    """

    views: Tensor
    stages: dict[DecoderStage, Tensor]
    decoder: Tensor


def decoder_stages(net: nn.Module) -> tuple[DecoderStage, ...]:
    """Return what the decoder starts from, then each unpooling and the layer that ends its block.

    Raises:
        ValueError: The net has no decoder with unpooling (an error of the caller).
    """
    return _walk(net)[:-1]


def logits_layer(net: nn.Module) -> DecoderStage:
    """Return the layer after the last of :func:`decoder_stages`; its channels are the classes."""
    return _walk(net)[-1]


def _walk(net: nn.Module) -> tuple[DecoderStage, ...]:
    decoder = net_spec(name_of_net(net)).decoder
    if decoder is None:
        raise ValueError(f"{type(net).__name__} has no decoder with unpooling")
    return decoder(net)


@contextmanager
def listening(net: nn.Module) -> Iterator[dict[DecoderStage, Tensor]]:
    """Inside, a forward pass leaves the activations of its first crop in the dict that is given.

    They are taken after the ReLU, which some nets apply outside of their modules; but for the
    scores, which have none.
    """
    heard: dict[DecoderStage, Tensor] = {}
    last = logits_layer(net)

    def take(
        stage: DecoderStage, module: nn.Module, inputs: tuple[Tensor, ...], *output: Any
    ) -> None:
        values = inputs[0][0] if stage.entering else output[0][0]
        # A copy in either case: layers that follow may work in place.
        heard[stage] = (values.clone() if stage == last else values.relu()).float().cpu()

    hooks = []
    for stage in (*decoder_stages(net), last):
        module = net.get_submodule(stage.module)
        hear = module.register_forward_pre_hook if stage.entering else module.register_forward_hook
        hooks.append(hear(partial(take, stage)))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def look_again(photo: Image.Image, box: Box, weights: Weights) -> Look:
    """Run the net once more on one box of the photo, as a run does, and listen to its decoder.

    No run keeps the activations of all its crops: those of 50 would take gigabytes.
    """
    with listening(weights.net) as heard:
        crops = crop_logits(photo, np.array([box], np.int32), weights, batch_size=1)
        views = torch.stack([scores.cpu() for _, scores in crops])
    decoder = heard.pop(logits_layer(weights.net))
    return Look(views, {stage: heard[stage] for stage in decoder_stages(weights.net)}, decoder)


def choose_channels(stages: dict[DecoderStage, Tensor], scores: Tensor) -> tuple[Activation, ...]:
    """One channel of each stage by the rule of this module.

    Args:
        scores: raw scores of the class, h x w at the net's input size.
    """
    chosen = []
    for stage, values in stages.items():
        target = F.adaptive_avg_pool2d(scores[None], (values.shape[1], values.shape[2]))[0]
        fits = correlations(values.numpy(), target.numpy())
        best = int(fits.argmax())
        chosen.append(Activation(stage, best, len(values), float(fits[best]), values[best].numpy()))
    return tuple(chosen)


def correlations(maps: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Pearson's correlation of each of K x h x w maps with one h x w; 0 of what is constant."""
    values = maps.reshape(len(maps), -1).astype(np.float64)
    wanted = target.ravel().astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)  # exact where all are one float32
    wanted -= wanted.mean()
    lengths = np.linalg.norm(values, axis=1) * np.linalg.norm(wanted)
    found: NDArray[np.float64] = np.divide(
        values @ wanted, lengths, out=np.zeros(len(maps)), where=lengths > 0
    )
    return found
