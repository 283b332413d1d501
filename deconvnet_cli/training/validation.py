"""A quick validation during a training run: whole photos, one crop each."""

from __future__ import annotations

from torch import nn

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import read_mask
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.weights.card import Card
from deconvnet_cli.weights.files import Weights

ONE_CROP = SegmentSettings(proposals=1)


def validate(
    net: nn.Module, name: str, tree: VocTree, names: list[str], convention: InputConvention
) -> float:
    """Return the mean IoU over whole photos, 0 to 1, and leave the net in eval mode.

    `evaluate` merges many crops a photo and gives other values; these are cheap and rise with them.

    Args:
        net: The net to validate.
        name: The net's name. An FCN is shown each photo in its own shape, other nets a square one.
        tree: The VOC tree of the photos.
        names: The photos.
        convention: The net's input convention.
    """
    net.eval()
    card = Card(net=name, settings={}, input=convention, merge="mean-probability")
    system = alone(Weights(net, card, tree.root))
    total = sum(
        confusion(
            read_mask(tree.mask(photo)),
            segment(read_photo(tree.image(photo)), system, ONE_CROP).labels,
        )
        for photo in names
    )
    return round(metrics_of(total).mean_iou, 4)  # type: ignore[arg-type]
