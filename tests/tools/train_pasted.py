"""Run ``deconvnet train`` on crops into which objects of other photos are pasted.

The shipped weights were trained further in this way. In a share of the crops, an object of a rarer
class (any but cat, cow, dog, horse and sheep) covers a part of the crop, at a random size and
place; its rim of two pixels is ignored. It shows the net its few objects before many backgrounds
(Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method", CVPR 2021).

    python -m tests.tools.train_pasted 0.4 --voc-root VOC2012 --split trainaug --teacher soft ...
"""

from __future__ import annotations

import sys
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deconvnet_cli.cli import cli
from deconvnet_cli.training.samples import CropDataset, CropPlan, cut_crop, draw_colours

FREQUENT = {8, 10, 12, 13, 17}  # cat, cow, dog, horse, sheep
SHARE = (0.25, 0.9)  # the range of the object's longer side, as a share of the crop's
STREAM = 77  # of the random numbers of pasting, beside those of the crops
RIM = 5  # pixels, the side of the windows that the outline crosses: labels there are ignored


def plan_of_object(crops: CropDataset, rng: np.random.Generator) -> tuple[CropPlan, int]:
    """Draw an object of a rarer class; return the plan of a crop around it, and its label."""
    rarer = [items for items in crops.by_label if items[0].label not in FREQUENT]
    items = rarer[rng.integers(len(rarer))]
    item = items[rng.integers(len(items))]
    x0, y0, x1, y1 = item.box
    share = rng.uniform(*SHARE)
    # No object is enlarged by more than two.
    side = max(max(x1 - x0, y1 - y0) / share, crops.settings.size / 2)
    left = rng.uniform(x1 - side, x0) if side > x1 - x0 else x0
    top = rng.uniform(y1 - side, y0) if side > y1 - y0 else y0
    box = (round(left), round(top), round(left + side), round(top + side))
    limit = crops.settings.colour
    colours = draw_colours(rng, limit) if limit else None
    return CropPlan(item.name, box, 0, 0, colours, bool(rng.random() < 0.5), None), item.label


def pasted(sample: tuple[Tensor, ...], other: tuple[Tensor, ...], label: int) -> tuple[Tensor, ...]:
    """Return a sample that the pixels of this label in another one cover."""
    mask = other[1] == label
    if not mask.any():
        return sample
    covered = mask[None].float()
    widest = F.max_pool2d(covered, RIM, 1, RIM // 2)[0]
    narrowest = -F.max_pool2d(-covered, RIM, 1, RIM // 2)[0]
    labels = torch.where(mask, other[1], sample[1])
    labels = torch.where(widest > narrowest, 255, labels)
    parts = [torch.where(mask, other[0], sample[0]), labels]
    for soft in sample[2:]:
        share = F.adaptive_avg_pool2d(covered, soft.shape[1:])
        certain = torch.zeros_like(soft)
        certain[label] = 1
        inside = soft.sum(0, keepdim=True) > 0
        parts.append(soft * (1 - share) + certain * share * inside)
    return tuple(parts)


class PastedCrops(CropDataset):
    """The crops of a run, into a share of which objects are pasted."""

    paste = 0.0

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        sample = super().__getitem__(number)
        rng = np.random.default_rng((self.seed, number, STREAM))
        if rng.random() >= self.paste:
            return sample
        plan, label = plan_of_object(self, rng)
        other = cut_crop(self.source, plan, self.settings, soft=self.soft)
        return pasted(sample, other, label)


if __name__ == "__main__":
    import deconvnet_cli.training.setup as setup

    PastedCrops.paste = float(sys.argv[1])
    setup.CropDataset = cast(type[CropDataset], PastedCrops)
    cli.main(["train", "--cache", "memory", *sys.argv[2:]])
