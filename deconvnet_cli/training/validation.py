"""The validation of a net during a training run, as a prediction merges its crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.segmentation.loading import leaves_out_boxes
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.weights.card import Card
from deconvnet_cli.weights.files import Weights


def validate(
    net: nn.Module, card: Card, tree: VocTree, names: Sequence[str], boxes: int = 0
) -> float:
    """Return the mean IoU over the classes that the photos show, 0 to 1.

    Args:
        net: The net to validate, in eval mode.
        card: Its card, with the merge rule and the number of boxes of a prediction.
        boxes: The number of boxes a photo, the whole photo included; 0 takes the card's.
    """
    system = alone(Weights(net, card, tree.root))  # the net has no file yet, so any path will do
    settings = SegmentSettings(proposals=boxes or None)
    skips = leaves_out_boxes(boxes or None, system, settings)
    settings = replace(settings, until_settled=skips)
    total = sum(
        confusion(
            tree_mask(tree, name),
            segment(read_photo(tree.image(name)), system, settings).labels,
            classes=len(card.classes),
        )
        for name in names
    )
    return metrics_of(total).mean_iou  # type: ignore[arg-type]
