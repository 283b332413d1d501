"""Object proposals: EdgeBoxes on gradient edges or on structured edges (paper section 6.1).

EdgeBoxes is the method of Zitnick and Dollar, "Edge Boxes: Locating Object Proposals from Edges",
ECCV 2014, in the implementation of ``cv2.ximgproc``. The edges come from ``edges.py``.

A box is [x0, y0, x1, y1), 0-based and half-open, in pixels of the photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.boxes import rescaled
from deconvnet_cli.errors import ImageError
from deconvnet_cli.nets.sizes import nominal_side, scaled_down
from deconvnet_cli.runtime.opencv import cv2, require_ximgproc
from deconvnet_cli.segmentation.edges import gradient_edges, structured_edges
from deconvnet_cli.segmentation.settings import ProposalSettings

# EdgeBoxes finds only boxes of at least 1000 square pixels; smaller photos contain none.
LEAST_AREA = 1000.0
LEAST_SIDE = 32
# EdgeBoxes has a table of this many half perimeters and reads beyond its end without a check.
GREATEST_HALF_PERIMETER = 9_999
# EdgeBoxes' own least score of a box, before its sides are moved.
LEAST_SCORE = 0.01
# EdgeBoxes does not score the whole image. The value is finite so that JSON can hold it.
WHOLE_IMAGE_SCORE = 1.0


@dataclass(frozen=True, eq=False)
class Proposals:
    """The boxes of one photo: the whole image first, then the others by falling score.

    Attributes:
        boxes: The boxes, int32 N x 4, [x0, y0, x1, y1), 0-based. They may reach beyond the
            photo's edge.
        scores: EdgeBoxes' scores, float32 N. The whole image has 1 by convention, whatever the
            others have.
    """

    boxes: NDArray[np.int32]
    scores: NDArray[np.float32]


def edge_boxes(
    image: NDArray[np.uint8],
    settings: ProposalSettings = ProposalSettings(),
    least_scores: Sequence[float] = (LEAST_SCORE,),
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Yield the boxes that EdgeBoxes finds in the photo, by falling score, not enlarged.

    Args:
        image: The photo, H x W x 3, RGB.
        settings: The settings of the search. The count is not applied; boxes that ``min_side``
            would leave out are found only in part (see :func:`first_area`).
        least_scores: The scores above which boxes of the coarse grid are moved to fit, and kept;
            the photo is searched for each of them in turn.

    Yields:
        N x 4 boxes and N scores. N is 0, and no further search follows, for a flat photo or if a
        side of the photo that is searched is under ``LEAST_SIDE`` pixels.

    Raises:
        DependencyError: OpenCV lacks ``ximgproc``.
        ImageError: Width and height of a photo that is not scaled down, as its edges are
            structured, add up to more than EdgeBoxes can take (19,998 pixels).
        WeightsError: The structured-edge model cannot be used.
    """
    model = settings.structured_model
    searched = image if model else at_most(image, settings.search_side)
    height, width = searched.shape[:2]
    if (height + width) // 2 > GREATEST_HALF_PERIMETER:
        raise ImageError(f"{width}x{height} pixels are too many for EdgeBoxes; shrink the photo")
    nothing = np.zeros((0, 4), dtype=np.int32), np.zeros(0, dtype=np.float32)
    ximgproc = require_ximgproc()
    if min(height, width) < LEAST_SIDE:
        yield nothing
        return
    edges, orientation = structured_edges(searched, model) if model else gradient_edges(searched)
    if not edges.any():
        yield nothing
        return
    for least_score in least_scores:
        # The object is not reused: it keeps state of the last search that would change the boxes.
        finder = ximgproc.createEdgeBoxes(
            maxBoxes=settings.candidates,
            alpha=settings.alpha,
            beta=settings.beta,
            minScore=least_score,
            minBoxArea=first_area(settings, nominal_side(width, height)),
        )
        found, scores = finder.getBoundingBoxes(edges, orientation)
        if found is None or scores is None or len(found) == 0:
            yield nothing
            continue
        # The columns are x, y, w, h, with x and y counted from 1.
        x, y, w, h = np.asarray(found, dtype=np.int32).reshape(-1, 4).T
        boxes = np.stack((x - 1, y - 1, x - 1 + w, y - 1 + h), axis=1)
        boxes = rescaled(boxes, (width, height), (image.shape[1], image.shape[0]))
        # The scores have shape N x 1 in OpenCV 4, and N in OpenCV 5.
        yield boxes, np.asarray(scores, dtype=np.float32).reshape(-1)


def at_most(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the photo, H x W x 3, scaled down if its nominal side exceeds ``side`` pixels."""
    height, width = image.shape[:2]
    size = scaled_down(width, height, side)
    if size == (width, height):
        return image
    smaller: NDArray[np.uint8] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller


def first_area(settings: ProposalSettings, side: float) -> float:
    """Return the area, in square pixels, of the first boxes that EdgeBoxes has to try.

    EdgeBoxes tries boxes from ``LEAST_AREA`` on, each size larger by 1 / alpha, and then moves
    their sides outwards, each by at most (1 - alpha) / (1 + alpha) of its length. The first sizes,
    which are most of the work, are left out if none of their boxes can reach ``min_side``.
    """
    growth = 1 + 2 * (1 - settings.alpha) / (1 + settings.alpha)
    least = settings.min_side * side / settings.reference_side / settings.enlarge / growth
    area = LEAST_AREA
    while area < least**2:
        area /= settings.alpha
    return area


def enlarged(boxes: NDArray[np.int32], factor: float) -> NDArray[np.int32]:
    """Return N x 4 boxes scaled about their centres, rounded half up."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return np.floor(corners + 0.5).astype(np.int32)


def propose(image: NDArray[np.uint8], settings: ProposalSettings = ProposalSettings()) -> Proposals:
    """Return the boxes that the net is shown.

    The whole image always comes first. The boxes of EdgeBoxes follow in order of score, enlarged.
    A box that is too small, or equal to an earlier one, is skipped and does not count. The same
    photo always gets the same boxes. A small count is searched for quickly at first
    (``ProposalSettings.quick_score``), so its boxes differ in part from the first of a large one.

    Args:
        image: The working copy of the photo (``working_copy.py``), H x W x 3, RGB.
        settings: The number of boxes, their enlargement and their least side.

    Returns:
        At most ``settings.count`` boxes, and at least one. EdgeBoxes is not run for a count of 1.

    Raises:
        DependencyError, ImageError, WeightsError: :func:`edge_boxes` fails.
    """
    height, width = image.shape[:2]
    whole = np.array([[0, 0, width, height]], dtype=np.int32)
    first = np.array([WHOLE_IMAGE_SCORE], dtype=np.float32)
    if settings.count <= 1:
        return Proposals(whole, first)
    least_scores = [LEAST_SCORE]
    if settings.count <= settings.quick_count and settings.structured_model is None:
        least_scores.insert(0, settings.quick_score)
    for boxes, scores in edge_boxes(image, settings, least_scores):
        boxes = enlarged(boxes, settings.enlarge)
        least = settings.min_side * nominal_side(width, height) / settings.reference_side
        large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= least
        boxes = np.concatenate((whole, boxes[large]))
        scores = np.concatenate((first, scores[large]))
        _, firsts = np.unique(boxes, axis=0, return_index=True)
        kept = np.sort(firsts)[: settings.count]
        if len(kept) == settings.count:
            break
    return Proposals(boxes[kept], scores[kept])
