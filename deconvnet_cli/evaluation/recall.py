"""How many true objects the proposals find."""

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
    """What was found.

    Attributes:
        photos, objects: how many there were.
        shares: (IoU, number of boxes) -> share of the objects found, 0 to 1.
        ms: milliseconds a photo for its proposals.
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
    """Recall of the boxes as EdgeBoxes gives them, neither enlarged nor left out for their size.

    Objects are those of ``SegmentationObject/``, or connected parts of a class.

    Args:
        done: called after each photo.

    Raises:
        DatasetError: not one object in all photos, or a mask that cannot be used.
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
