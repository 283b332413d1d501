"""Why a photo got its labels: all that the run which made them can show.

The labels come from the functions that ``deconvnet segment`` calls, in the same order; an observer
looks on while the crops are merged. One box is run once more to see its activations, and its
scores must be those of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.errors import DeviceError, UsageError
from deconvnet_cli.explain.activations import Activation, Look, choose_channels, look_again
from deconvnet_cli.explain.merge_observer import MergeObserver
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.crops import cut
from deconvnet_cli.segmentation.labels import enlarge_and_label, labels_of, mean_confidence
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.segment import Inferred, Segmentation, infer, merge_rule, refined
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System
from deconvnet_cli.weights.files import Weights

# In parts of the greatest score. The same crop alone and among others may be computed by other
# kernels: in fp32 the last digits differ, in half precision or on a GPU more.
TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Explained:
    """The class and the box whose way through the decoder is shown.

    Attributes:
        label: the class.
        number: of the box, from 0.
        pixels: how many with this label the box decided.
        crop: what the net is shown, RGB.
        scores: float32 h x w, the raw scores of the class in the crop, at the net's input size.
        decoder_scores: the part of them that the decoder ends with (see ``Look.decoder``).
        activations: one of each stage of the decoder, in order.
        deviation: the greatest difference, where the box decided, between this look's values
            and those that the run merged; 0 says they are equal to the bit.
    """

    label: int
    number: int
    pixels: int
    crop: Image.Image
    scores: NDArray[np.float32]
    decoder_scores: NDArray[np.float32]
    activations: tuple[Activation, ...]
    deviation: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """One photo, its labels, and where they come from. Maps are in the size worked on, h x w.

    Attributes:
        photo: in that size.
        result: labels in the photo's own size, as ``deconvnet segment`` gives them.
        system: one of ``choices.SYSTEMS``.
        classes: their names.
        rule: of merging.
        scores: float32 C x h x w, merged scores (rule "max") or probabilities before the CRF.
        probabilities: the same as probabilities that add up to 1.
        before, after: labels uint8 h x w before and after the CRF.
        refined: whether ``result`` has the CRF's labels.
        growth: labels after so many boxes, of DeconvNet alone, by their number.
        boxes: in order.
        decided: int16 h x w, the box that decided each pixel's label before the CRF (see
            ``MergeObserver.decided``); negative where none did.
        explained: see there.
    """

    photo: Image.Image
    result: Segmentation
    system: str
    classes: tuple[str, ...]
    rule: str
    scores: Tensor
    probabilities: Tensor
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    refined: bool
    growth: Mapping[int, NDArray[np.uint8]]
    boxes: tuple[Box, ...]
    decided: NDArray[np.int16]
    explained: Explained

    @property
    def raw(self) -> bool:
        """Whether ``metrics_of`` are raw scores; else they are probabilities."""
        return self.rule == "max"

    @property
    def present(self) -> list[int]:
        """Classes that occur before the CRF, the commonest first."""
        counts = np.bincount(self.before.ravel(), minlength=len(self.classes))
        return sorted(map(int, np.flatnonzero(counts)), key=lambda label: (-counts[label], label))


def explain(
    photo: Image.Image,
    system: System,
    settings: SegmentSettings,
    crf: CrfSettings = CrfSettings(),
    class_name: str | None = None,
) -> Explanation:
    """Segment one photo and keep what explains its labels.

    Args:
        photo: mode RGB, oriented as a viewer shows it.
        nets: on the device to compute on; DeconvNet is among them.
        settings: as for ``segmenter.segment``; ``settings.crf`` decides about the labels alone.
        crf: settings of the CRF whose effect is shown, unless ``settings.crf`` has some.
        class_name: the class that is explained; by default the commonest but for background.

    Raises:
        UsageError: FCN-8s alone, which has neither boxes nor unpooling; or no such class.
        DependencyError: as ``segmenter.segment``.
        DeviceError: the device gives other scores for the same crop.
    """
    if system.deconvnet is None:
        raise UsageError(
            "FCN-8s alone has neither boxes nor unpooling to explain; "
            "use --net deconvnet or edeconvnet"
        )
    named = None if class_name is None else class_number(class_name, system.classes)
    merge = MergeObserver()
    scored = infer(photo, system, settings, merge)
    merge.finish()
    stages = Stopwatch(dict(scored.ms))
    scores = scored.maps.merged(system.ensemble)
    with stages.timed("crf"):
        after = refined(scored, system.ensemble, settings.crf or crf)
    with stages.timed("labels"):
        last = after if settings.crf else scores
        labels = enlarge_and_label(last, photo.width, photo.height)
        sure = mean_confidence(last, labels, raw=scored.maps.raw and not settings.crf)
    before = labels_of(scores)
    with stages.timed("activations"):
        label = commonest(before) if named is None else named
        explained = explain_class(label, scored, system.deconvnet, merge, before)
    return Explanation(
        photo=scored.photo,
        result=Segmentation(labels, scored.proposals, stages.ms, sure, scored.boxes),
        system=system.name,
        classes=system.classes,
        rule=merge_rule(system, settings),
        scores=scores.cpu(),
        probabilities=scored.maps.probabilities(system.ensemble).cpu(),
        before=before,
        after=labels_of(after),
        refined=settings.crf is not None,
        growth=merge.growth,
        boxes=tuple(merge.boxes),
        decided=merge.decided(before),
        explained=explained,
    )


def class_number(name: str, classes: tuple[str, ...]) -> int:
    """The number of a class.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in classes:
        raise UsageError(f"--class {name}: unknown; there are: {', '.join(classes)}")
    return classes.index(name)


def commonest(labels: NDArray[np.uint8]) -> int:
    """The label of most of H x W pixels but for background (0), if there is any other."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return int(counts.argmax())


def explain_class(
    label: int, scored: Inferred, weights: Weights, merge: MergeObserver, labels: NDArray[np.uint8]
) -> Explained:
    """The most telling box of a class (``MergeObserver.telling``) and its way through the decoder.

    Args:
        labels: uint8 h x w, before the CRF.

    Raises:
        DeviceError: see :func:`deviation`.
    """
    number = merge.telling(label, labels)
    box = merge.boxes[number]
    decided = (merge.decided(labels) == number) & (labels == label)
    look = look_again(scored.photo, box, weights)
    own = look.views[0, label]
    height, width = own.shape
    return Explained(
        label=label,
        number=number,
        pixels=int(decided.sum()),
        crop=Image.fromarray(cut(scored.photo, box, width, height)),
        scores=own.numpy(),
        decoder_scores=look.decoder[label].numpy(),
        activations=choose_channels(look.stages, own),
        deviation=deviation(look, box, label, decided, merge, raw=scored.maps.raw),
    )


def deviation(
    look: Look,
    box: Box,
    label: int,
    decided: NDArray[np.bool_],
    merge: MergeObserver,
    *,
    raw: bool,
) -> float:
    """How far a second look at a box is from what the run merged of it, at most.

    Compared where the box decided (bool h x w), since there the run's greatest value is this box's.

    Raises:
        DeviceError: too far: the activations would not be those of the run.
    """
    if not decided.any():
        return 0.0
    height, width = decided.shape
    rule = "max" if raw else "max-probability"
    canvas = Canvas(look.views.shape[1], height, width, rule)
    for scores in look.views:
        canvas.add(scores, box)
    at = torch.from_numpy(decided)
    of_run = merge.best[label][at]
    far = float((canvas.merged[label][at] - of_run).abs().max())
    if not far <= TOLERANCE * float(of_run.max()):
        raise DeviceError(
            f"the device gives other scores for the same crop (by {far:.3g}); use --device cpu"
        )
    return far
