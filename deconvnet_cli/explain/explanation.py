"""The explanation of a photo's labels, gathered while they are made.

The labels come from the functions that ``deconvnet segment`` calls, in the same order, and an
observer watches the crops being merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.boxes import Box, rescaled
from deconvnet_cli.errors import UsageError
from deconvnet_cli.explain.comparisons import Comparison, compare
from deconvnet_cli.explain.explained import Explained, explain_class
from deconvnet_cli.explain.merge_observer import MergeObserver
from deconvnet_cli.outputs.class_filter import chosen_labels
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.inference import OnStep, no_step
from deconvnet_cli.segmentation.labels import labels_of
from deconvnet_cli.segmentation.score_maps import ScoreMaps
from deconvnet_cli.segmentation.segment import Segmentation, infer, label_photo, refined
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, merge_rule


@dataclass(frozen=True, eq=False)
class Explanation:
    """A photo, its labels, and how they were made. Maps are h x w, the working size.

    Attributes:
        photo: The photo in the working size.
        result: The labels in the photo's own size, as ``deconvnet segment`` returns them.
        system: The name of the system, one of ``choices.SYSTEMS``.
        maps: The merged map of all nets before the CRF, C x h x w, on the CPU.
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
    maps: ScoreMaps
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
    result = label_photo(inferred, photo.size, system.ensemble, settings.crf, on_step)
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
        maps=maps.cpu(),
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
