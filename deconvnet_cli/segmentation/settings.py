"""Settings of segmentation: the options, the proposals, the dense CRF and the whole way.

Every default of an option stands here and nowhere else. This module imports nothing heavy, so
that `--help` can show the defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deconvnet_cli.choices import BACKENDS, DEFAULT, FCN_DEFAULT, PRECISIONS

# The longer side of VOC's photos. The lengths of edges and boxes refer to it, and scale with the
# photo's nominal side (``nets.sizes``). Those of the dense CRF do not.
REFERENCE_SIDE = 500.0
# The dense CRF raises smaller probabilities to this one: -log 0 would exclude a label for good.
LEAST_PROBABILITY = 1e-5


@dataclass(frozen=True)
class CrfSettings:
    """The settings of the dense CRF; the defaults are those of the released inference script.

    Pixels are those of the working copy (``working_copy.py``), whatever its size.

    Attributes:
        gaussian_sd: The reach of the smoothness kernel, in pixels.
        gaussian_weight: The weight of the smoothness kernel.
        bilateral_sd: The reach of the appearance kernel, in pixels.
        bilateral_colour_sd: The reach of the appearance kernel in colour, in steps of 0 to 255.
        bilateral_weight: The weight of the appearance kernel.
        iterations: The number of mean-field steps.
        backend: One of ``choices.BACKENDS``; "pydensecrf" is slower and optional.
    """

    gaussian_sd: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sd: float = 20.0
    bilateral_colour_sd: float = 3.0
    bilateral_weight: float = 5.0
    iterations: int = 10
    backend: str = BACKENDS[0]


@dataclass(frozen=True)
class ProposalSettings:
    """The settings that say how boxes are found and which are kept.

    Attributes:
        candidates: The number of boxes that EdgeBoxes is asked for (paper: 2000).
        count: The number of boxes that are kept, the whole photo included (paper: 50).
        enlarge: The factor by which both sides of a box grow, for context (paper: 1.2).
        min_side: An enlarged box is skipped if its shorter side is below this (released script:
            112), in pixels of a photo whose nominal side is ``reference_side``.
        reference_side: The side to which ``min_side`` refers, in pixels.
        alpha: The overlap (IoU) of neighbouring boxes in the search.
        beta: The overlap (IoU) from which the weaker of two boxes is dropped. EdgeBoxes' own
            default, 0.75, spends the first 50 boxes on too few objects.
        structured_model: OpenCV's structured-edge forest (``model.yml.gz``); None takes gradients.
        search_side: A photo is scaled down to this nominal side, in pixels, before its gradients
            are searched for boxes. Structured edges are found in the size they were trained for.
        quick_score: EdgeBoxes tries boxes on a coarse grid and moves the sides of the promising
            ones, which is most of its work. If up to ``quick_count`` boxes are wanted, only those
            that score more than this are moved at first. With gradients, the first 50 then find as
            many objects in two thirds of the time.
        quick_count: See ``quick_score``.
    """

    candidates: int = 2000
    count: int = 50
    enlarge: float = 1.2
    min_side: float = 112.0
    reference_side: float = REFERENCE_SIDE
    alpha: float = 0.65
    beta: float = 0.6
    structured_model: Path | None = None
    search_side: int = int(REFERENCE_SIDE)
    quick_score: float = 0.05
    quick_count: int = 50


@dataclass(frozen=True)
class SegmentSettings:
    """The settings with which photos are segmented.

    Attributes:
        proposals: The number of boxes that are segmented; None takes the weights' number.
        until_settled: Whether to leave out boxes that would hardly change the labels.
        boxes: How the boxes are found.
        batch_size: The number of crops in a forward pass.
        merge: The merge rule (see ``Canvas``); None takes the weights' rule.
        crf: The settings of the dense CRF; None leaves it out.
        max_side: A photo with a larger nominal side, in pixels, is scaled down to this, and its
            maps are enlarged at the end. This bounds memory.
    """

    proposals: int | None = None
    until_settled: bool = False
    boxes: ProposalSettings = ProposalSettings()
    batch_size: int = 8
    merge: str | None = None
    crf: CrfSettings | None = None
    max_side: int = 1024


@dataclass(frozen=True)
class SegmentOptions:
    """The plain values that the command line, ``Segmenter.load`` and the server choose from.

    Attributes:
        system_name: One of ``choices.SYSTEMS``; None takes the net that the weights are for.
        weights: Shipped weights by name, or a safetensors file.
        fcn_weights: The weights of FCN-8s, for edeconvnet and fcn8s.
        ensemble: The ensemble rule, one of ``choices.ENSEMBLES``; None takes the weights' rule.
        share: FCN-8s' weight in the mean, 0 to 1; None takes the weights' share.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: One of ``choices.PRECISIONS``.
        proposals: The number of boxes, the whole photo included; "auto" leaves out boxes that
            would hardly change the labels. None takes the weights' number, and leaves out such
            boxes with the merge rules "context" and "context-max".
        candidates: The number of boxes that EdgeBoxes is asked for.
        edges: "gradient" or "structured:FILE".
        batch_size: The number of crops in a forward pass; None takes 2 on a CPU and 8 elsewhere.
        merge_rule: One of ``choices.MERGES``; None takes the weights' rule.
        crf: Whether the dense CRF refines the labels.
        crf_backend: One of ``choices.BACKENDS``.
    """

    system_name: str | None = None
    weights: str = DEFAULT
    fcn_weights: str = FCN_DEFAULT
    ensemble: str | None = None
    share: float | None = None
    device: str = "auto"
    precision: str = PRECISIONS[0]
    proposals: int | Literal["auto"] | None = None
    candidates: int = ProposalSettings.candidates
    edges: str = "gradient"
    batch_size: int | None = None
    merge_rule: str | None = None
    crf: bool = False
    crf_backend: str = CrfSettings.backend
