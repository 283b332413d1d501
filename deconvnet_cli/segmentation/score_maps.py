"""The score maps of one photo, and the ensemble of two nets.

The paper's EDeconvNet (section 5.2) combines DeconvNet, which is better at details, with FCN-8s,
which is better at large objects and at the whole scene. The text takes the mean of both nets'
probabilities; the released script multiplies DeconvNet's map by the positive part of FCN-8s' map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deconvnet_cli.segmentation.labels import of_total
from deconvnet_cli.segmentation.merge import classes_that_matter, merge_into, scaled


@dataclass(frozen=True)
class Ensemble:
    """The way in which the maps of the two nets become one.

    Attributes:
        rule: The ensemble rule: "mean" (of probabilities, weighted), or "product" (DeconvNet's map
            times the positive part of FCN-8s' map).
        share: FCN-8s' weight in the mean, 0 to 1; one half in the paper.
    """

    rule: str = "mean"
    share: float = 0.5

    def unless(self, rule: str | None, share: float | None) -> Ensemble:
        """Return this ensemble with the given values in place of its own; None keeps one."""
        return Ensemble(rule or self.rule, self.share if share is None else share)


@dataclass(frozen=True)
class ScoreMaps:
    """The merged maps of one photo, float32 C x H x W each, on the device where they were merged.

    Attributes:
        deconvnet: The map of the merged crops; None if only FCN-8s was run.
        fcn: The map of the whole photo; None if only DeconvNet was run.
        raw: Whether the maps are logits (merge rule max); otherwise they are probabilities.
    """

    deconvnet: Tensor | None
    fcn: Tensor | None
    raw: bool

    @property
    def system(self) -> str:
        """The system that uses all of these maps, one of ``choices.SYSTEMS``."""
        if self.deconvnet is None:
            return "fcn8s"
        return "deconvnet" if self.fcn is None else "edeconvnet"

    @property
    def first(self) -> Tensor:
        """DeconvNet's map, or that of FCN-8s if there is no other."""
        found = self.fcn if self.deconvnet is None else self.deconvnet
        if found is None:
            raise ValueError("no map at all")
        return found

    def cpu(self) -> ScoreMaps:
        """Return the maps on the CPU."""
        deconvnet = None if self.deconvnet is None else self.deconvnet.cpu()
        return ScoreMaps(deconvnet, None if self.fcn is None else self.fcn.cpu(), self.raw)

    def as_one(self, ensemble: Ensemble = Ensemble()) -> ScoreMaps:
        """Return the maps of two nets as one; a single map is returned as it is."""
        if self.deconvnet is None or self.fcn is None:
            return self
        if ensemble.rule == "product":
            return ScoreMaps(self.deconvnet * self.fcn.clamp_min(0), None, self.raw)
        first, second = self.deconvnet, self.fcn
        if self.raw:
            first, second = first.softmax(0), second.softmax(0)
        return ScoreMaps(first.lerp(second, ensemble.share), None, raw=False)

    def merged(self, ensemble: Ensemble = Ensemble()) -> Tensor:
        """Return one map of all nets, C x H x W; the greatest value of a pixel is its label."""
        return self.as_one(ensemble).first

    def probabilities(self, ensemble: Ensemble = Ensemble()) -> Tensor:
        """Return one map of all nets as probabilities that add up to 1 at each pixel."""
        one = self.as_one(ensemble)
        merged = one.merged()
        if one.raw:
            return merged.softmax(0)
        return of_total(merged, merged.sum(0), len(merged))


def whole_map(views: Sequence[Tensor], height: int, width: int, *, raw: bool) -> Tensor:
    """Return the map of a whole photo, C x height x width: the mean over its views.

    Args:
        views: The logits of each view of the photo, C x h x w.
        raw: Whether the map is to be logits (merge rule max); otherwise it is probabilities.
    """
    count = len(views[0])
    classes: Sequence[int] = range(count)
    if not raw:  # classes with hardly a share anywhere are left out, as in crops
        classes = sorted({label for view in views for label in classes_that_matter(view)})
        views = [(view if len(classes) == count else view[classes]).softmax(0) for view in views]
    values = torch.stack([scaled(view, height, width) for view in views]).mean(0)
    if len(classes) == count:
        return values
    merged = values.new_zeros(count, height, width)
    merge_into(merged, classes, values, torch.add)
    return merged
