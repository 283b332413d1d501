"""The explanation of a photo's labels, gathered while they are made.

The labels come from the functions that ``deconvnet segment`` calls, in the same order, and an
observer watches the crops being merged. One box is run once more for its activations, and must
give the logits of the first run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.data.boxes import Box, rescaled
from deconvnet_cli.errors import DeviceError, UsageError
from deconvnet_cli.explain.activations import Activation, Rerun, choose_channels, rerun_box
from deconvnet_cli.explain.comparisons import Comparison, compare
from deconvnet_cli.explain.merge_observer import MergeObserver
from deconvnet_cli.explain.windows import Window, choose_window
from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.outputs.class_filter import chosen_labels
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.crops import cut
from deconvnet_cli.segmentation.inference import OnStep, no_step
from deconvnet_cli.segmentation.labels import labels_of
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.segment import (
    Inferred,
    Segmentation,
    infer,
    label_photo,
    refined,
)
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, merge_rule
from deconvnet_cli.weights.files import Weights

# As a share of the greatest value. A crop alone and the same crop in a batch may be computed by
# different kernels: the last digits differ in fp32, more in half precision or on a GPU.
TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Explained:
    """The class and the box whose activations are shown.

    Attributes:
        label: The class.
        number: The number of the box, from 0.
        pixels: How many pixels with this label the box decided.
        crop: The crop as the net is shown it, mode RGB.
        logits: The logits of the class in the crop, float32 h x w at the net's input size.
        decoder_logits: The decoder's part of them (see ``Rerun.decoder_logits``).
        activations: A channel of each stage of the decoder, in order.
        window: A pooling window of the crop.
        deviation: The greatest difference, where the box decided, between the values of the
            second run and those that the first run merged; 0 if they are equal to the bit.
    """

    label: int
    number: int
    pixels: int
    crop: Image.Image
    logits: NDArray[np.float32]
    decoder_logits: NDArray[np.float32]
    activations: tuple[Activation, ...]
    window: Window
    deviation: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """A photo, its labels, and how they were made. Maps are h x w, the working size.

    Attributes:
        photo: The photo in the working size.
        result: The labels in the photo's own size, as ``deconvnet segment`` returns them.
        system: The name of the system, one of ``choices.SYSTEMS``.
        classes: The names of the classes.
        merge_rule: The merge rule.
        merged: The merged map before the CRF, float32 C x h x w.
        raw: Whether ``merged`` holds logits; otherwise it holds probabilities.
        probabilities: The same map as probabilities that add up to 1.
        before, after: The labels before and after the CRF, uint8 h x w.
        refined: Whether ``result`` has the labels after the CRF.
        growth: The number of boxes -> DeconvNet's labels after them, uint8 h x w.
        boxes: The boxes in the order in which they were merged.
        decided: The number of the box that decided each pixel's label before the CRF, int32 h x w
            (see ``MergeObserver.deciding_boxes``); negative where none did.
        explained: The class and the box whose activations are shown.
        comparison: DeconvNet's labels with another merge rule, and without its decoder.
    """

    photo: Image.Image
    result: Segmentation
    system: str
    classes: tuple[str, ...]
    merge_rule: str
    merged: Tensor
    raw: bool
    probabilities: Tensor
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    refined: bool
    growth: Mapping[int, NDArray[np.uint8]]
    boxes: tuple[Box, ...]
    decided: NDArray[np.int32]
    explained: Explained
    comparison: Comparison

    @property
    def magnification(self) -> float:
        """How many pixels of the photo in its own size one pixel of the working size is."""
        return self.result.labels.size / (self.photo.width * self.photo.height)

    @property
    def corners(self) -> Box:
        """The box that is explained, [x0, y0, x1, y1), in pixels of the photo in its own size."""
        height, width = self.result.labels.shape
        box = np.array([self.boxes[self.explained.number]], np.int32)
        x0, y0, x1, y1 = rescaled(box, self.photo.size, (width, height))[0].tolist()
        return x0, y0, x1, y1

    @property
    def present(self) -> list[int]:
        """The classes that occur before the CRF, the most common first."""
        counts = np.bincount(self.before.ravel(), minlength=len(self.classes))
        return sorted(map(int, np.flatnonzero(counts)), key=lambda label: (-counts[label], label))


def explain(
    photo: Image.Image,
    system: System,
    settings: SegmentSettings,
    crf: CrfSettings = CrfSettings(),
    class_name: str | None = None,
    on_step: OnStep = no_step,
) -> Explanation:
    """Segment one photo and explain its labels.

    Args:
        photo: The photo, mode RGB, oriented as a viewer shows it.
        system: The system, on the device to compute on; it must have a DeconvNet.
        settings: As for ``segment.segment``; ``settings.crf`` decides which labels are returned.
        crf: Settings of the CRF whose effect is shown, if ``settings.crf`` is None.
        class_name: The class to explain; by default the most common one except background.
        on_step: A function that is told of the stages, see ``inference.OnStep``.

    Raises:
        UsageError: The system is FCN-8s alone, which has neither boxes nor unpooling, or it has
            no such class.
        DependencyError: See ``segment.segment``.
        DeviceError: The device gives other logits for the same crop.
    """
    if system.deconvnet is None:
        raise UsageError(
            "FCN-8s alone has neither boxes nor unpooling to explain; "
            "use --net deconvnet or edeconvnet"
        )
    chosen = (
        None if class_name is None else chosen_labels((class_name,), system.classes, "--class")[0]
    )
    observer = MergeObserver()
    inferred = infer(photo, system, settings, observer, on_step=on_step)
    observer.finish()
    size = (photo.width, photo.height)
    result = label_photo(inferred, *size, system.ensemble, settings.crf, on_step)
    stopwatch = Stopwatch(dict(result.ms))
    maps = inferred.maps.as_one(system.ensemble)
    if settings.crf is None:
        on_step("CRF", 0, 0)
        with stopwatch.timed("crf"):
            after = refined(inferred.photo, maps, crf).merged()
    else:
        after = result.maps.merged()
    before = labels_of(maps.merged())
    on_step("activations", 0, 0)
    with stopwatch.timed("activations"):
        label = most_common(before) if chosen is None else chosen
        explained = explain_class(label, inferred, system.deconvnet, observer, before)
    rule = merge_rule(system, settings)
    own = observer.growth[len(observer.boxes)]
    on_step("comparing", 0, 0)
    with stopwatch.timed("comparison"):
        comparison = compare(
            inferred.photo, observer.boxes, system.deconvnet, own, rule, settings.batch_size
        )
    return Explanation(
        photo=inferred.photo,
        result=replace(result, ms=stopwatch.ms),
        system=system.name,
        classes=system.classes,
        merge_rule=rule,
        merged=maps.merged().cpu(),
        raw=maps.raw,
        probabilities=maps.probabilities().cpu(),
        before=before,
        after=labels_of(after),
        refined=settings.crf is not None,
        growth=observer.growth,
        boxes=tuple(observer.boxes),
        decided=observer.deciding_boxes(before),
        explained=explained,
        comparison=comparison,
    )


def most_common(labels: NDArray[np.uint8]) -> int:
    """Return the most common label of H x W pixels except background (0), or 0 if all are."""
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return int(counts.argmax())


def explain_class(
    label: int,
    inferred: Inferred,
    weights: Weights,
    observer: MergeObserver,
    labels: NDArray[np.uint8],
) -> Explained:
    """Return the main box of a class (``MergeObserver.main_box``) and its activations.

    Args:
        label: The class.
        inferred: The photo and its maps.
        weights: DeconvNet.
        observer: The observer of the run.
        labels: The labels before the CRF, uint8 h x w.

    Raises:
        DeviceError: See :func:`check_rerun`.
    """
    number = observer.main_box(label, labels)
    box = observer.boxes[number]
    decided = (observer.deciding_boxes(labels) == number) & (labels == label)
    rerun = rerun_box(inferred.photo, box, weights)
    logits = rerun.logits[label]
    height, width = logits.shape
    activations = choose_channels(rerun.stages, logits)
    unpooled = next(each for each in activations if each.stage.entering)
    strided = net_settings(weights.net).get("pool") == "stride"
    return Explained(
        label=label,
        number=number,
        pixels=int(decided.sum()),
        crop=Image.fromarray(cut(inferred.photo, box, width, height)),
        logits=logits.numpy(),
        decoder_logits=rerun.decoder_logits[label].numpy(),
        activations=activations,
        window=choose_window(rerun.unpooling, unpooled.channel, strided=strided),
        deviation=check_rerun(rerun, box, label, decided, observer, raw=inferred.maps.raw),
    )


def check_rerun(
    rerun: Rerun,
    box: Box,
    label: int,
    decided: NDArray[np.bool_],
    observer: MergeObserver,
    *,
    raw: bool,
) -> float:
    """Return the greatest difference between the second run of a box and the first.

    They are compared where the box decided (bool h x w), as the observer's greatest values there
    are those of this box.

    Raises:
        DeviceError: They differ so much that the activations are not those of the first run.
    """
    if not decided.any():
        return 0.0
    height, width = decided.shape
    rule = "max" if raw else "max-probability"
    canvas = Canvas(len(rerun.logits), height, width, rule)
    for logits in rerun.views:
        canvas.add(logits, box)
    where = torch.from_numpy(decided)
    first = observer.best[label][where]
    deviation = float((canvas.merged[label][where] - first).abs().max())
    if not deviation <= TOLERANCE * float(first.max()):
        raise DeviceError(
            "the device gives different values for the same crop in two runs "
            f"(by {deviation:.3g}); use --device cpu"
        )
    return deviation
