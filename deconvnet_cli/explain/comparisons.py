"""The labels of the photo as they would be with another merge rule, or without the decoder.

The net is run once more on the same boxes, and its logits are merged in these other ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.nets.layers import HasCoarseLogits
from deconvnet_cli.segmentation.inference import canvas_for, crop_logits
from deconvnet_cli.segmentation.labels import labels_of
from deconvnet_cli.segmentation.merge import CONTEXT
from deconvnet_cli.segmentation.system import maximum_of
from deconvnet_cli.weights.files import Weights


@dataclass(frozen=True, eq=False)
class Comparison:
    """DeconvNet's labels of a photo, made in other ways; uint8 h x w in the working size.

    Attributes:
        labels: The labels as they are, before the CRF.
        other_rule: The merge rule that the used one is compared with.
        other_labels: The labels with that merge rule.
        coarse_labels: The labels from the coarse logits of the head alone; None if the net has
            none, so that all of its logits come from the decoder.
    """

    labels: NDArray[np.uint8]
    other_rule: str
    other_labels: NDArray[np.uint8]
    coarse_labels: NDArray[np.uint8] | None


class BothLogits(nn.Module):
    """A net whose output has the logits and then the coarse logits, N x 2C x H x W."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = cast(HasCoarseLogits, net)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.net.forward_with_coarse(x), 1)

    def coarse_logits(self, x: Tensor) -> Tensor:
        """Return the coarse logits twice, N x 2C x h x w: such a view has no others."""
        coarse = self.net.coarse_logits(x)
        return torch.cat((coarse, coarse), 1)

    def enlarge(self, coarse: Tensor, size: tuple[int, int]) -> Tensor:
        """Enlarge coarse logits as the net does."""
        return self.net.enlarge(coarse, size)


@torch.inference_mode()
def compare(
    photo: Image.Image,
    boxes: Sequence[Box],
    weights: Weights,
    labels: NDArray[np.uint8],
    merge_rule: str,
    batch_size: int,
) -> Comparison:
    """Run the net on all boxes again, and merge its logits in other ways.

    Args:
        photo: The photo in the working size, mode RGB.
        boxes: The boxes that were merged, in order.
        weights: DeconvNet.
        labels: Its labels before the CRF, uint8 h x w.
    """
    maximum = maximum_of(weights)
    other_rule = CONTEXT if merge_rule == maximum else maximum
    classes = len(weights.card.classes)
    other, coarse = canvas_for(photo, weights, other_rule), None
    if isinstance(weights.net, HasCoarseLogits):
        coarse = canvas_for(photo, weights, merge_rule)
        weights = replace(weights, net=BothLogits(weights.net))
    for box, logits in crop_logits(photo, np.array(boxes, np.int32), weights, batch_size):
        other.add(logits[:classes], box)
        if coarse is not None:
            coarse.add(logits[classes:], box)
    return Comparison(
        labels=labels,
        other_rule=other_rule,
        other_labels=labels_of(other.merged_map()),
        coarse_labels=None if coarse is None else labels_of(coarse.merged_map()),
    )
