"""Measure the share of true objects that the proposals find."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from deconvnet_cli.data.boxes import Box, overlap
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.objects import find_objects
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.segmentation.settings import ProposalSettings
from deconvnet_cli.segmentation.working_copy import propose_for

SEARCHES = {50: (10, 50), 2000: (200, 2000)}  # boxes searched for -> the counts they are used for
COUNTS = tuple(count for counts in SEARCHES.values() for count in counts)
IOUS = (0.5, 0.7)


@dataclass(frozen=True)
class Recall:
    """The recall of the proposals over a list of photos.

    Attributes:
        photos: The number of photos.
        objects: The number of true objects.
        shares: (IoU, number of boxes) -> share of the objects found, 0 to 1.
        ms: Number of boxes searched for -> milliseconds that this took per photo on average.
    """

    photos: int
    objects: int
    shares: dict[tuple[float, int], float]
    ms: dict[int, float]


def recall(
    tree: VocTree,
    names: Sequence[str],
    settings: ProposalSettings,
    done: Callable[[], None] = lambda: None,
) -> Recall:
    """Return the recall of EdgeBoxes' boxes, neither enlarged nor left out for their size.

    The first 50 boxes are searched for as a prediction does, and those up to 2000 once more.

    The objects are those of ``SegmentationObject/``, or else the connected parts of each class.

    Raises:
        DatasetError: The photos have no object, or a mask cannot be used.
    """
    plain = replace(settings, enlarge=1.0, min_side=0.0)
    by_photo: dict[str, list[Box]] = {name: [] for name in names}
    for found in find_objects(tree, list(by_photo)):
        by_photo[found.name].append(found.box)
    hits = {(iou, count): 0 for iou in IOUS for count in COUNTS}
    seconds = dict.fromkeys(SEARCHES, 0.0)
    for number, (name, objects) in enumerate(by_photo.items()):
        photo = read_photo(tree.image(name))
        if number == 0:
            # The first search of a process takes longer.
            propose_for(photo, replace(plain, count=max(SEARCHES)))
        for searched, counts in SEARCHES.items():
            start = time.perf_counter()
            boxes = propose_for(photo, replace(plain, count=searched)).boxes
            seconds[searched] += time.perf_counter() - start
            for box in objects:
                overlaps = overlap(boxes, box)
                for iou, count in product(IOUS, counts):
                    hits[iou, count] += bool((overlaps[:count] >= iou).any())
        done()
    total = sum(map(len, by_photo.values()))
    shares = {key: round(value / total, 4) for key, value in hits.items()}
    ms = {searched: 1000 * spent / len(by_photo) for searched, spent in seconds.items()}
    return Recall(len(by_photo), total, shares, ms)
