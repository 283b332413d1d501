"""The maps of one photo that its labels are made of, and how two nets are put together.

The paper's EDeconvNet (section 5.2) adds FCN-8s, which is better at large things and at the whole
scene, to DeconvNet, which is better at details. By the text it takes the mean of both outputs; the
released script multiplies DeconvNet's scores with what of FCN-8s' is above zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Ensemble:
    """How the maps of the two nets become one.

    Attributes:
        rule: "mean", weighted, or "product", DeconvNet's map times max(0, FCN-8s').
        share: FCN-8s' weight in the mean, 0 to 1; one half in the paper.
    """

    rule: str = "mean"
    share: float = 0.5

    def unless(self, rule: str | None, share: float | None) -> Ensemble:
        """This one, but for what is given."""
        return Ensemble(rule or self.rule, self.share if share is None else share)


@dataclass(frozen=True)
class ScoreMaps:
    """Merged maps of one photo, float32 C x H x W each, on the device where they were merged.

    Attributes:
        deconvnet: crops merged; None if only FCN-8s was run.
        fcn: of the whole photo; None if only DeconvNet was run.
        raw: the maps are raw scores; otherwise they are probabilities.
    """

    deconvnet: Tensor | None
    fcn: Tensor | None
    raw: bool

    def cpu(self) -> ScoreMaps:
        """The same on the CPU."""
        deconvnet = None if self.deconvnet is None else self.deconvnet.cpu()
        return ScoreMaps(deconvnet, None if self.fcn is None else self.fcn.cpu(), self.raw)

    def merged(self, ensemble: Ensemble = Ensemble()) -> Tensor:
        """One map of all there is, C x H x W; the label of a pixel is its greatest score."""
        if self.deconvnet is None or self.fcn is None:
            only = self.fcn if self.deconvnet is None else self.deconvnet
            if only is None:
                raise ValueError("no map at all")
            return only
        if ensemble.rule == "product":
            return self.deconvnet * self.fcn.clamp_min(0)
        return self.deconvnet.lerp(self.fcn, ensemble.share)

    def probabilities(self, ensemble: Ensemble = Ensemble()) -> Tensor:
        """The same as probabilities, each pixel adding up to 1: what the CRF starts from."""
        merged = self.merged(ensemble)
        if self.raw:
            return merged.softmax(0)
        total = merged.sum(0)
        # Of a product nothing may be left: then no class is likelier than another.
        return torch.where(total > 1e-30, merged / total, 1 / len(merged))


def whole_map(views: Tensor, height: int, width: int, *, raw: bool) -> Tensor:
    """The map C x height x width of a whole photo: the mean over its views.

    Args:
        views: raw scores V x C x h x w of the same photo.
        raw: leave them raw; otherwise they are made probabilities.
    """
    values = views if raw else views.softmax(1)
    if values.shape[2:] != (height, width):
        values = F.interpolate(
            values, size=(height, width), mode="bilinear", align_corners=False, antialias=True
        )
    return values.mean(0)
