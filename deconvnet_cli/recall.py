"""How many true objects the proposals find."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from deconvnet_cli.images import read_photo
from deconvnet_cli.objects import find_objects, overlap
from deconvnet_cli.proposals import ProposalSettings, propose
from deconvnet_cli.voc import VocTree

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


def recall(tree: VocTree, names: Iterable[str], settings: ProposalSettings) -> Recall:
    """Recall of the boxes as EdgeBoxes gives them, neither enlarged nor left out for their size.

    Objects are those of ``SegmentationObject/``, or connected parts of a class.
    """
    plain = replace(settings, count=max(COUNTS), enlarge=1.0, min_side=0.0)
    hits = {(iou, count): 0 for iou in IOUS for count in COUNTS}
    photos = objects = 0
    seconds = 0.0
    for name in names:
        photo = np.asarray(read_photo(tree.image(name)))
        start = time.perf_counter()
        boxes = propose(photo, plain).boxes
        seconds += time.perf_counter() - start
        photos += 1
        for found in find_objects(tree, [name]):
            objects += 1
            overlaps = overlap(boxes, found.box)
            for iou, count in hits:
                hits[iou, count] += bool((overlaps[:count] >= iou).any())
    shares = {key: round(value / max(1, objects), 4) for key, value in hits.items()}
    return Recall(photos, objects, shares, 1000 * seconds / max(1, photos))
