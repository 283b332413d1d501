"""Measure the share of true objects that the proposals find."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deconvnet_cli.data.boxes import Box, overlap
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.objects import find_objects
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.settings import ProposalSettings

COUNTS = (10, 50, 200, 2000)
IOUS = (0.5, 0.7)


@dataclass(frozen=True)
class Recall:
    """The recall of the proposals over a list of photos.

    Attributes:
        photos: The number of photos.
        objects: The number of true objects.
        shares: (IoU, number of boxes) -> share of the objects found, 0 to 1.
        ms: The milliseconds that the proposals of a photo took on average.
    """

    photos: int
    objects: int
    shares: dict[tuple[float, int], float]
    ms: float


def recall(
    tree: VocTree,
    names: Sequence[str],
    settings: ProposalSettings,
    done: Callable[[], None] = lambda: None,
) -> Recall:
    """Return the recall of EdgeBoxes' boxes, neither enlarged nor left out for their size.

    The objects are those of ``SegmentationObject/``, or else the connected parts of each class.

    Args:
        tree: The VOC tree with photos and masks.
        names: The names of the photos.
        settings: The settings of the proposals.
        done: A function that is called after each photo.

    Raises:
        DatasetError: The photos have no object, or a mask cannot be used.
    """
    plain = replace(settings, count=max(COUNTS), enlarge=1.0, min_side=0.0)
    by_photo: dict[str, list[Box]] = {name: [] for name in names}
    for found in find_objects(tree, list(by_photo)):
        by_photo[found.name].append(found.box)
    hits = {(iou, count): 0 for iou in IOUS for count in COUNTS}
    seconds = 0.0
    for name, objects in by_photo.items():
        photo = np.asarray(read_photo(tree.image(name)))
        start = time.perf_counter()
        boxes = propose(photo, plain).boxes
        seconds += time.perf_counter() - start
        for box in objects:
            overlaps = overlap(boxes, box)
            for iou, count in hits:
                hits[iou, count] += bool((overlaps[:count] >= iou).any())
        done()
    total = sum(map(len, by_photo.values()))
    shares = {key: round(value / total, 4) for key, value in hits.items()}
    return Recall(len(by_photo), total, shares, 1000 * seconds / len(by_photo))
