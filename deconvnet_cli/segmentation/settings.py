"""How a photo is segmented: settings of the proposals, of the dense CRF, and of the whole way.

This module imports nothing of ours and nothing heavy, so that options can show its defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Lengths in pixels hold for a photo whose longer side is this (VOC's are); they scale with it.
REFERENCE_SIDE = 500.0


@dataclass(frozen=True)
class CrfSettings:
    """The figures of the released inference script.

    Attributes:
        gaussian_sd: reach of the smoothness kernel, pixels.
        gaussian_weight: its weight.
        bilateral_sd: reach of the appearance kernel, pixels.
        bilateral_colour_sd: its reach in colour, steps of 0 to 255.
        bilateral_weight: its weight.
        iterations: mean-field steps.
        backend: one of ``choices.BACKENDS``; "pydensecrf" is slower and optional.
    """

    gaussian_sd: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sd: float = 20.0
    bilateral_colour_sd: float = 3.0
    bilateral_weight: float = 5.0
    iterations: int = 10
    backend: str = "torch"


@dataclass(frozen=True)
class ProposalSettings:
    """How boxes are found and which are kept.

    Attributes:
        candidates: boxes asked of EdgeBoxes (paper: 2000).
        count: boxes kept, the whole image included (paper: 50).
        enlarge: factor on both sides of a box, for context (paper: 1.2).
        min_side: an enlarged box with a shorter side under this is skipped (released script:
            112), in pixels of a photo with a longer side of ``reference_side``.
        reference_side: see ``min_side``; the photos of PASCAL VOC are 500 pixels long.
        alpha: overlap (IoU) of neighbouring boxes in the search.
        beta: overlap (IoU) from which the weaker of two boxes is dropped. EdgeBoxes' own default,
            0.75, spends the first 50 on too few objects.
        structured_model: OpenCV's structured-edge forest (``model.yml.gz``); None for gradients.
    """

    candidates: int = 2000
    count: int = 50
    enlarge: float = 1.2
    min_side: float = 112.0
    reference_side: float = REFERENCE_SIDE
    alpha: float = 0.65
    beta: float = 0.6
    structured_model: Path | None = None


@dataclass(frozen=True)
class SegmentSettings:
    """How photos are segmented.

    Attributes:
        proposals: how many boxes are segmented; None takes what the weights say.
        until_settled: stop before that, once further boxes hardly change a label.
        boxes: how they are found.
        batch_size: crops a forward pass.
        merge: rule of merging (see ``Canvas``); None takes that of the weights.
        crf: refine with the dense CRF, with these settings; None does not.
        max_side: a photo with a longer side than this many pixels is worked on at this size and
            its scores are enlarged at the end; it bounds memory.
    """

    proposals: int | None = None
    until_settled: bool = False
    boxes: ProposalSettings = ProposalSettings()
    batch_size: int = 8
    merge: str | None = None
    crf: CrfSettings | None = None
    max_side: int = 1024
