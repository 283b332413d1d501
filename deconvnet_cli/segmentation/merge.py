"""Merge the logits of crops into one map of the photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deconvnet_cli.data.boxes import Box

# With the shipped weights, 0.3 did better than 0.5 on VOC 2012 val.
CROPS_SHARE = 0.3


class Canvas:
    """The merged map of one photo, float32 C x H x W, to which crops are added one at a time.

    The map is on one device, and the logits of the crops must be on the same device.

    Merge rules:
        max: The greatest logit of all crops, at least 0. As in the original system the canvas
            starts at zero, so negative logits have no effect.
        max-probability: The greatest probability (softmax over classes) of all crops.
        mean-probability: The mean probability over the crops that cover the pixel.
        context: The mean probability over the crops that cover the pixel, weighted by
            ``CROPS_SHARE``, plus that of the whole photo, weighted by the rest. If the whole photo
            is added more than once, its mean counts. Pixels without a crop take the whole photo's
            probability alone.
    """

    def __init__(
        self,
        classes: int,
        height: int,
        width: int,
        merge_rule: str,
        device: torch.device | None = None,  # None: the CPU
    ) -> None:
        self.merge_rule = merge_rule
        self.merged = torch.zeros(classes, height, width, device=device)
        self.covered = torch.zeros(height, width, device=device)
        self.whole = torch.zeros_like(self.merged) if merge_rule == "context" else None
        self.wholes = 0

    def add(self, logits: Tensor, box: Box) -> Tensor:
        """Scale the logits of one crop, float32 C x h x w, to its box and merge them.

        Returns:
            The merged values, logits or probabilities, of the part of the box inside the photo.
            They are empty if no part is inside.
        """
        x0, y0, x1, y1 = box
        height, width = self.covered.shape
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if right <= left or bottom <= top:
            return logits[:, :0, :0]
        values = logits if self.merge_rule == "max" else logits.softmax(0)
        size = (y1 - y0, x1 - x0)
        # Without shrinking, antialiasing would change nothing and take longer.
        antialias = size[0] < logits.shape[1] or size[1] < logits.shape[2]
        scaled = F.interpolate(
            values[None], size=size, mode="bilinear", align_corners=False, antialias=antialias
        )[0]
        inside = scaled[:, top - y0 : bottom - y0, left - x0 : right - x0]
        if self.whole is not None and box == (0, 0, width, height):
            self.whole += inside
            self.wholes += 1
            return inside
        view = self.merged[:, top:bottom, left:right]
        if self.merge_rule in ("mean-probability", "context"):
            view += inside
        else:
            torch.maximum(view, inside, out=view)
        self.covered[top:bottom, left:right] += 1
        return inside

    def merged_map(self, step: int = 1) -> Tensor:
        """Return the merged map, C x H x W: logits (merge rule max) or unnormalised probabilities.

        Args:
            step: The distance of the rows and columns that are returned; 1 returns all.
        """
        merged, covered = self.merged[:, ::step, ::step], self.covered[::step, ::step]
        if self.merge_rule in ("mean-probability", "context"):
            mean = merged / covered.clamp_min(1)
            if self.whole is None:
                return mean
            whole = self.whole[:, ::step, ::step] / max(1, self.wholes)
            return torch.where(covered > 0, torch.lerp(whole, mean, CROPS_SHARE), whole)
        return merged
