"""Segment one photo: proposals, crops, net, merge, dense CRF, labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.choices import MERGES
from deconvnet_cli.runtime.devices import return_freed_memory
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.crf.refine import refine
from deconvnet_cli.segmentation.inference import (
    Observer,
    OnStep,
    canvas_for,
    fcn_map,
    merge_crops,
    no_step,
)
from deconvnet_cli.segmentation.labels import class_shares, enlarge_and_label, mean_confidence
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, box_settings, merge_rule
from deconvnet_cli.segmentation.working_copy import working_copy


def no_boxes() -> NDArray[np.int32]:
    """Return an empty array of boxes, int32 0 x 4."""
    return np.empty((0, 4), np.int32)


@dataclass(frozen=True)
class Segmentation:
    """The labels of one photo, and how they came about.

    Sizes other than that of ``labels`` are those of the working copy, which is scaled down if the
    photo exceeds ``SegmentSettings.max_side``.

    Attributes:
        labels: The labels, uint8 H x W, in the size of the photo.
        proposals: The number of boxes that were segmented; 0 if only FCN-8s was run.
        ms: The milliseconds of each stage.
        confidence: Label -> mean probability of that label over its pixels in the working copy.
            Labels that do not occur are left out.
        boxes: The boxes that were segmented, int32 N x 4, in pixels of the working copy.
        maps: The map that gave the labels: of all nets, after the CRF.
    """

    labels: NDArray[np.uint8]
    proposals: int
    ms: dict[str, float] = field(default_factory=dict)
    confidence: dict[int, float] = field(default_factory=dict)
    boxes: NDArray[np.int32] = field(default_factory=no_boxes)
    maps: ScoreMaps = ScoreMaps(None, None, raw=False)

    def probabilities(self) -> NDArray[np.float32]:
        """Return the probabilities of the classes in the working copy, float32 C x h x w."""
        values: NDArray[np.float32] = self.maps.probabilities().cpu().numpy()
        return values


@dataclass(frozen=True)
class Inferred:
    """A photo with the maps of the nets, before it is labelled.

    Attributes:
        photo: The working copy of the photo, see :func:`working_copy`.
        maps: The merged maps, in the size of ``photo``.
        proposals: The number of boxes that were segmented.
        ms: The milliseconds of each stage.
        boxes: The boxes that were segmented, int32 N x 4, in pixels of ``photo``; empty if they
            are not known.
    """

    photo: Image.Image
    maps: ScoreMaps
    proposals: int
    ms: dict[str, float]
    boxes: NDArray[np.int32] = field(default_factory=no_boxes)


@torch.inference_mode()
def infer(
    photo: Image.Image,
    system: System,
    settings: SegmentSettings,
    observe: Observer | None = None,
    boxes: NDArray[np.int32] | None = None,
    on_step: OnStep = no_step,
) -> Inferred:
    """Run the nets on one photo.

    Args:
        photo: The photo, mode RGB, oriented as a viewer shows it.
        system: The nets, on the device to compute on.
        observe: A function that is called after each crop is merged.
        boxes: The boxes to use, int32 N x 4; None lets EdgeBoxes find them.
        on_step: A function that is told of the stages "boxes", "crops", "merging" and "FCN-8s".

    Raises:
        DependencyError: OpenCV lacks ``ximgproc``.
    """
    watch = Stopwatch()
    work = working_copy(photo, settings.max_side)
    deconvnet = fcn = None
    found = no_boxes()
    rule = merge_rule(system, settings)
    raw = not MERGES[rule].probabilities
    if system.deconvnet is not None:
        on_step("boxes", 0, 0)
        with watch.timed("proposals"):
            wanted = box_settings(system.deconvnet, settings)
            found = propose(np.asarray(work), wanted).boxes if boxes is None else boxes
        with watch.timed("net"):
            canvas = canvas_for(work, system.deconvnet, rule)
            found = merge_crops(canvas, work, found, system.deconvnet, settings, observe, on_step)
            on_step("merging", 0, 0)
            deconvnet = canvas.merged_map()
    if system.fcn is not None:
        on_step("FCN-8s", 0, 0)
        with watch.timed("fcn"):
            fcn = fcn_map(work, system.fcn, raw=raw)
    return Inferred(work, ScoreMaps(deconvnet, fcn, raw), len(found), watch.ms, found)


def label_photo(
    inferred: Inferred,
    size: tuple[int, int],
    ensemble: Ensemble,
    crf: CrfSettings | None,
    on_step: OnStep = no_step,
) -> Segmentation:
    """Label a photo from the maps of its nets.

    Args:
        size: The width and height of the labels, those of the original photo, pixels.
        ensemble: How the maps of two nets become one.
        crf: The settings of the dense CRF that refines the map; None leaves it out.
        on_step: A function that is told of the stages "CRF" and "labels".

    Raises:
        DependencyError: The CRF of ``pydensecrf2`` is wanted but not installed.
    """
    watch = Stopwatch(dict(inferred.ms))
    maps = inferred.maps.as_one(ensemble)
    if crf is not None:
        on_step("CRF", 0, 0)
        with watch.timed("crf"):
            maps = refined(inferred.photo, maps, crf)
    on_step("labels", 0, 0)
    with watch.timed("labels"):
        merged = maps.merged()
        labels = enlarge_and_label(merged, *size)
        confidence = mean_confidence(merged, labels, raw=maps.raw)
    return_freed_memory()
    return Segmentation(labels, inferred.proposals, watch.ms, confidence, inferred.boxes, maps)


def refined(photo: Image.Image, maps: ScoreMaps, crf: CrfSettings) -> ScoreMaps:
    """Return one map of a photo after the dense CRF: probabilities, in the size of the photo."""
    before = maps.probabilities()
    after = refine(np.asarray(photo), before.cpu().numpy(), crf, before.device)
    return ScoreMaps(torch.from_numpy(after).to(before.device), None, raw=False)


def segment(photo: Image.Image, system: System, settings: SegmentSettings) -> Segmentation:
    """Segment one photo: :func:`infer`, then :func:`label_photo`.

    Raises:
        DependencyError: OpenCV lacks ``ximgproc``, or the CRF of ``pydensecrf2`` is wanted but not
            installed.
    """
    inferred = infer(photo, system, settings)
    return label_photo(inferred, photo.size, system.ensemble, settings.crf)


def summarise(result: Segmentation, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return a result as plain values.

    Returns:
        ``classes``: the share of the pixels, 0 to 1, of each class that occurs, the largest first;
        ``confidence``: the mean probability, 0 to 1, of each label over its pixels, in the same
        order; ``proposals``: the number of boxes segmented; ``ms``: the milliseconds of each stage.
    """
    shares = class_shares(result.labels, classes)
    confidence = {classes[label]: round(mean, 4) for label, mean in result.confidence.items()}
    return {
        "classes": shares,
        "confidence": {name: confidence[name] for name in shares if name in confidence},
        "proposals": result.proposals,
        "ms": result.ms,
    }
