"""The whole way of one photo: proposals, crops, net, merge, dense CRF, labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.crf.refine import refine
from deconvnet_cli.segmentation.inference import crop_logits, whole_photo_logits
from deconvnet_cli.segmentation.labels import enlarge_and_label, mean_confidence, winners
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps, whole_map
from deconvnet_cli.segmentation.settings import CrfSettings, ProposalSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System
from deconvnet_cli.weights.files import Weights

CHECK_EVERY = 4  # boxes between two looks at whether further ones still change labels
SETTLED = 0.002  # share of the labels
# Called after each crop: the number of its box from 0, the box, what ``Canvas.add`` made of it,
# and the canvas with it. The canvas is for looking at only.
Observer = Callable[[int, Box, Tensor, Canvas], None]


def no_boxes() -> NDArray[np.int32]:
    """None, N x 4 with N = 0."""
    return np.empty((0, 4), np.int32)


@dataclass(frozen=True)
class Segmentation:
    """Labels of one photo.

    Attributes:
        labels: uint8 H x W, the size of the photo.
        proposals: how many boxes were segmented; 0 if only FCN-8s was run.
        ms: milliseconds by stage.
        confidence: label -> mean probability of that label over the pixels it has, in the size
            that was worked on (``SegmentSettings.max_side``); without labels that are not there.
        boxes: those that were segmented, int32 N x 4, in the size that was worked on.
        maps: the map that the labels are of, in that size: of all nets, after the CRF.
    """

    labels: NDArray[np.uint8]
    proposals: int
    ms: dict[str, float] = field(default_factory=dict)
    confidence: dict[int, float] = field(default_factory=dict)
    boxes: NDArray[np.int32] = field(default_factory=no_boxes)
    maps: ScoreMaps = ScoreMaps(None, None, raw=False)

    def probabilities(self) -> NDArray[np.float32]:
        """Of the classes, float32 C x h x w in the size that was worked on; they add up to 1."""
        found: NDArray[np.float32] = self.maps.probabilities().cpu().numpy()
        return found


def working_copy(photo: Image.Image, max_side: int) -> Image.Image:
    """The photo itself, or scaled down so that its longer side is ``max_side``."""
    longer = max(photo.size)
    if longer <= max_side:
        return photo
    width, height = (max(1, round(side * max_side / longer)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


@dataclass(frozen=True)
class Inferred:
    """A photo with what the nets say of it, before it is labelled.

    Attributes:
        photo: in the size that was worked on, see ``SegmentSettings.max_side``.
        maps: in that size as well.
        proposals: how many boxes were segmented.
        ms: milliseconds by stage.
        boxes: those that were segmented, int32 N x 4, in that size; none if not known.
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
) -> Inferred:
    """Run the nets on one photo.

    Args:
        photo: mode RGB, oriented as a viewer shows it.
        nets: on the device to compute on.
        observe: is shown each crop as it is merged.
        boxes: int32 N x 4, to take instead of looking for them.

    Raises:
        DependencyError: OpenCV without ximgproc.
    """
    watch = Stopwatch()
    work = working_copy(photo, settings.max_side)
    deconvnet = fcn = None
    found, count = no_boxes(), 0
    rule = merge_rule(system, settings)
    if system.deconvnet is not None:
        card = system.deconvnet.card
        with watch.timed("proposals"):
            wanted = box_settings(system.deconvnet, settings)
            found = propose(np.asarray(work), wanted).boxes if boxes is None else boxes
        with watch.timed("net"):
            size = (len(card.classes), work.height, work.width)
            canvas = Canvas(*size, rule, system.merge_device)
            count = merge_crops(canvas, work, found, system.deconvnet, settings, observe)
            deconvnet = canvas.scores()
    if system.fcn is not None:
        with watch.timed("fcn"):
            views = whole_photo_logits(work, system.fcn)
            fcn = whole_map(views, work.height, work.width, raw=rule == "max")
    return Inferred(work, ScoreMaps(deconvnet, fcn, rule == "max"), count, watch.ms, found[:count])


def merge_crops(
    canvas: Canvas,
    photo: Image.Image,
    boxes: NDArray[np.int32],
    weights: Weights,
    settings: SegmentSettings,
    observe: Observer | None = None,
) -> int:
    """Score the crops of a photo and merge them, and return how many boxes that took.

    With ``until_settled``, in order of the boxes' scores, and no more once ``CHECK_EVERY`` of
    them have changed the labels of fewer than ``SETTLED`` of the pixels.
    """
    count = 0
    last: Box | None = None
    before: Tensor | None = None
    batch_size = CHECK_EVERY if settings.until_settled else settings.batch_size
    for box, scores in crop_logits(photo, boxes, weights, batch_size):
        merged = canvas.add(scores, box)
        count += box != last  # the mirror image of the whole photo is the same box once more
        last = box
        if observe is not None:
            observe(count - 1, box, merged, canvas)
        if not settings.until_settled or count % CHECK_EVERY != 1:
            continue
        labels = winners(canvas.scores(step=4))  # one pixel in 16 tells as much
        if before is not None and count > 1 and (labels != before).float().mean() < SETTLED:
            break
        before = labels
    return count


def box_settings(weights: Weights, settings: SegmentSettings) -> ProposalSettings:
    """How the boxes are found that a net is shown; its weights say how many by default."""
    return replace(settings.boxes, count=settings.proposals or weights.card.proposals)


def merge_rule(system: System, settings: SegmentSettings) -> str:
    """How crops are merged; "max" says that all maps are raw scores."""
    weights = system.deconvnet or system.fcn
    return settings.merge or (weights.card.merge if weights else "max")


def label_photo(
    scored: Inferred, width: int, height: int, ensemble: Ensemble, crf: CrfSettings | None
) -> Segmentation:
    """Labels, height x width, of a photo that is scored; ``crf`` refines them first.

    Raises:
        DependencyError: the CRF of pydensecrf is wanted, which is missing.
    """
    watch = Stopwatch(dict(scored.ms))
    if crf is None:
        merged = scored.maps.merged(ensemble)
    else:
        with watch.timed("crf"):
            merged = refined(scored, ensemble, crf)
    with watch.timed("labels"):
        labels = enlarge_and_label(merged, width, height)
        raw = scored.maps.raw and crf is None
        confidence = mean_confidence(merged, labels, raw=raw)
    maps = ScoreMaps(merged, None, raw=raw)
    return Segmentation(labels, scored.proposals, watch.ms, confidence, scored.boxes, maps)


def segment(photo: Image.Image, system: System, settings: SegmentSettings) -> Segmentation:
    """Segment one photo: :func:`infer`, then :func:`label_photo`.

    Raises:
        DependencyError: OpenCV without ximgproc; or the CRF of pydensecrf is wanted and missing.
    """
    scored = infer(photo, system, settings)
    return label_photo(scored, photo.width, photo.height, system.ensemble, settings.crf)


def refined(scored: Inferred, ensemble: Ensemble, settings: CrfSettings = CrfSettings()) -> Tensor:
    """The map of all there is after the dense CRF, float32 C x H x W probabilities."""
    maps = scored.maps.probabilities(ensemble)
    found = refine(np.asarray(scored.photo), maps.cpu().numpy(), settings, maps.device)
    return torch.from_numpy(found).to(maps.device)
