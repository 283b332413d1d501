"""A quick score along the way of a run: whole photos, one crop each."""

from __future__ import annotations

import torch
from torch import nn

from deconvnet_cli.images import read_photo
from deconvnet_cli.metrics import confusion, scores
from deconvnet_cli.nets import InputConvention
from deconvnet_cli.segmenter import SegmentSettings, segment
from deconvnet_cli.voc import VocTree, read_mask
from deconvnet_cli.weights import Card, Weights

ONE_CROP = SegmentSettings(proposals=1)


def validate(net: nn.Module, tree: VocTree, names: list[str], convention: InputConvention) -> float:
    """Mean IoU over whole photos, 0 to 1. The net is in eval mode afterwards.

    Not the score of the tool, which merges many crops a photo, but cheap, and it rises with it.
    """
    net.eval()
    card = Card(net="", settings={}, input=convention, merge="mean-probability")
    weights = Weights(net, card, tree.root)
    with torch.inference_mode():
        total = sum(
            confusion(
                read_mask(tree.mask(name)),
                segment(read_photo(tree.image(name)), weights, ONE_CROP).labels,
            )
            for name in names
        )
    return round(scores(total).mean_iou, 4)  # type: ignore[arg-type]
