"""Crops merged into one map of the photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deconvnet_cli.data.boxes import Box

# Best of 0.3 and 0.5 on VOC 2012 val for the shipped weights.
CROPS_SHARE = 0.3


class Canvas:
    """The merged map of one photo, C x H x W float32, to which crops are added one at a time.

    It is on one device, where the crops' scores must be as well.

    Rules of merging:
        max: the greatest raw score of any crop and of 0 (original system: the canvas starts at
            zero, so a crop that says less than zero leaves no trace).
        max-probability: the greatest probability (softmax over classes) of any crop.
        mean-probability: the mean probability over the crops that cover a pixel.
        context: the mean probability over the crops that cover a pixel counts ``CROPS_SHARE``,
            that in the whole photo (the mean, if it is added more than once) the rest; where no
            crop does, all of it is the whole photo's.
    """

    def __init__(
        self,
        classes: int,
        height: int,
        width: int,
        rule: str,
        device: torch.device | None = None,  # the CPU
    ) -> None:
        self.rule = rule
        self.merged = torch.zeros(classes, height, width, device=device)
        self.covered = torch.zeros(height, width, device=device)
        self.whole = torch.zeros_like(self.merged) if rule == "context" else None
        self.wholes = 0

    def add(self, scores: Tensor, box: Box) -> Tensor:
        """Put the raw scores of one crop, float32 C x h x w, back to its box and merge them.

        Returns:
            What was merged: scores, or probabilities, of the part of the box inside the photo;
            empty if there is none.
        """
        x0, y0, x1, y1 = box
        height, width = self.covered.shape
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if right <= left or bottom <= top:
            return scores[:, :0, :0]
        values = scores if self.rule == "max" else scores.softmax(0)
        size = (y1 - y0, x1 - x0)
        # The same where nothing shrinks, but slower.
        antialias = size[0] < scores.shape[1] or size[1] < scores.shape[2]
        back = F.interpolate(
            values[None], size=size, mode="bilinear", align_corners=False, antialias=antialias
        )[0]
        inside = back[:, top - y0 : bottom - y0, left - x0 : right - x0]
        if self.whole is not None and box == (0, 0, width, height):
            self.whole += inside
            self.wholes += 1
            return inside
        view = self.merged[:, top:bottom, left:right]
        if self.rule in ("mean-probability", "context"):
            view += inside
        else:
            torch.maximum(view, inside, out=view)
        self.covered[top:bottom, left:right] += 1
        return inside

    def scores(self, step: int = 1) -> Tensor:
        """The merged map, C x H x W: raw scores (rule max) or unnormalised probabilities.

        Args:
            step: of every so many rows and columns only one, the first.
        """
        merged, covered = self.merged[:, ::step, ::step], self.covered[::step, ::step]
        if self.rule in ("mean-probability", "context"):
            mean = merged / covered.clamp_min(1)
            if self.whole is None:
                return mean
            whole = self.whole[:, ::step, ::step] / max(1, self.wholes)
            return torch.where(covered > 0, torch.lerp(whole, mean, CROPS_SHARE), whole)
        return merged
