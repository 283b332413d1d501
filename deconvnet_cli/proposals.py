"""Object proposals: EdgeBoxes (Zitnick and Dollar, ECCV 2014), enlarged to take in context.

Boxes are int32 N x 4, (x0, y0, x1, y1) in pixels, 0-based and half open.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DependencyError, WeightsError

Boxes = NDArray[np.int32]
LEAST_SIDE = 16  # OpenCV finds nothing in a smaller photo, or stops the process


@dataclass(frozen=True)
class ProposalSettings:
    """Which boxes are segmented (figures of the original system).

    Attributes:
        count: boxes in all, the whole photo among them.
        candidates: how many EdgeBoxes is asked for.
        enlarge: factor on the sides of each box, about its centre.
        min_side: a box whose shorter side is under this many pixels, in a photo whose longer
            side is ``reference_side``, is skipped and does not count; it scales with the photo.
        structured_model: OpenCV's structured-edge model; None takes edges from the gradient.
        alpha: step of EdgeBoxes' search.
        beta: overlap at which EdgeBoxes drops the lesser of two boxes.
    """

    count: int = 50
    candidates: int = 2000
    enlarge: float = 1.2
    min_side: float = 112.0
    reference_side: float = 500.0
    structured_model: Path | None = None
    alpha: float = 0.65
    beta: float = 0.75


@dataclass(frozen=True)
class Proposals:
    """Boxes that may reach over the photo's edge, and their scores (infinite: the whole photo)."""

    boxes: Boxes
    scores: NDArray[np.float32]


def require_ximgproc() -> None:
    """Raise DependencyError unless OpenCV has its contrib module ximgproc."""
    if not hasattr(getattr(cv2, "ximgproc", None), "createEdgeBoxes"):
        raise DependencyError(
            "this OpenCV has no ximgproc: another OpenCV wheel hides opencv-contrib-python; run "
            "`pip uninstall -y opencv-python opencv-python-headless && "
            "pip install --force-reinstall opencv-contrib-python`"
        )


def gradient_edges(
    image: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Edges from the gradient of the smoothed photo, no model needed.

    Args:
        image: H x W x 3, RGB.

    Returns:
        Strength, float32 H x W in 0..1, and the direction across the edge, float32 H x W in
        radians from 0 to pi. Each pixel follows the Lab channel that changes most.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32) / 255, (0, 0), 1.5)
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    strongest = strength.argmax(2)[..., None]
    angle = np.arctan2(
        np.take_along_axis(down, strongest, 2), np.take_along_axis(across, strongest, 2)
    )
    edges = strength.max(2)
    # A few very sharp edges must not make all others vanish.
    top = max(float(np.percentile(edges, 99)), 1e-3)
    return (edges / top).clip(0, 1).astype(np.float32), (angle[..., 0] % np.pi).astype(np.float32)


def structured_edges(
    image: NDArray[np.uint8], model: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Edges of OpenCV's structured forest (Dollar and Zitnick); same shapes as gradient_edges.

    Raises:
        WeightsError: the model is missing or cannot be read.
    """
    require_ximgproc()
    remedy = "get model.yml.gz from opencv_extra's test data (its terms allow research only)"
    if not model.is_file():
        raise WeightsError(f"{model}: no such structured-edge model; {remedy}")
    try:
        detector = cv2.ximgproc.createStructuredEdgeDetection(str(model))
        edges = detector.detectEdges(np.ascontiguousarray(image, np.float32) / 255)
        return edges, detector.computeOrientation(edges)
    except cv2.error as error:
        raise WeightsError(f"{model}: not a structured-edge model; {remedy}") from error


def edge_boxes(
    image: NDArray[np.uint8], settings: ProposalSettings
) -> tuple[Boxes, NDArray[np.float32]]:
    """EdgeBoxes' candidates, best first, as they are: N x 4 boxes and N scores (N may be 0).

    Args:
        image: uint8 H x W x 3, RGB.
    """
    nothing = np.empty((0, 4), np.int32), np.empty(0, np.float32)
    if min(image.shape[:2]) < LEAST_SIDE:
        return nothing
    require_ximgproc()
    if settings.structured_model is None:
        edges, angle = gradient_edges(image)
    else:
        edges, angle = structured_edges(image, settings.structured_model)
    # The third positional argument of edgesNms is its output.
    thin = _edge_detector().edgesNms(edges, angle, r=2, s=0, m=1, isParallel=True)
    # A new object for each photo: one that is used again remembers the last photo.
    finder = cv2.ximgproc.createEdgeBoxes(
        alpha=settings.alpha, beta=settings.beta, maxBoxes=settings.candidates
    )
    found, scores = finder.getBoundingBoxes(thin, angle)
    if found is None or len(found) == 0:
        return nothing
    boxes = np.asarray(found, np.int32).reshape(-1, 4)
    x0, y0 = boxes[:, 0] - 1, boxes[:, 1] - 1  # OpenCV counts from 1 here
    corners = np.stack([x0, y0, x0 + boxes[:, 2], y0 + boxes[:, 3]], axis=1)
    # Scores are N x 1 in OpenCV 4, N in 5.
    values = np.asarray(scores, np.float32).reshape(-1)
    return corners.astype(np.int32), values


def enlarged(boxes: Boxes, factor: float) -> Boxes:
    """Boxes with both sides ``factor`` times as long, about their centres, rounded."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    centre, half = (low + high) / 2, (high - low) * factor / 2
    corners: Boxes = np.rint(np.concatenate([centre - half, centre + half], axis=1)).astype(
        np.int32
    )
    return corners


def propose(image: NDArray[np.uint8], settings: ProposalSettings) -> Proposals:
    """The boxes to segment: the whole photo, then the best of EdgeBoxes, enlarged.

    Args:
        image: uint8 H x W x 3, RGB.

    Raises:
        DependencyError: OpenCV without ximgproc.
        WeightsError: the structured-edge model cannot be read.
    """
    height, width = image.shape[:2]
    whole = np.array([[0, 0, width, height]], np.int32)
    boxes, scores = whole, np.array([np.inf], np.float32)
    if settings.count > 1:
        found, values = edge_boxes(image, settings)
        found = enlarged(found, settings.enlarge)
        least = settings.min_side * max(height, width) / settings.reference_side
        large = (found[:, 2:] - found[:, :2]).min(axis=1) >= least
        boxes = np.concatenate([whole, found[large]])
        scores = np.concatenate([scores, values[large]])
        _, first = np.unique(boxes, axis=0, return_index=True)
        keep = np.sort(first)[: settings.count]
        boxes, scores = boxes[keep], scores[keep]
    return Proposals(boxes, scores)


@cache
def _edge_detector() -> cv2.ximgproc.StructuredEdgeDetection:
    """OpenCV's edge detector without a forest: edgesNms is a method of it and needs none."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "none.yml"
        model.write_text("%YAML:1.0\n---\noptions:\n   numberOfTrees: 1\n")
        return cv2.ximgproc.createStructuredEdgeDetection(str(model))
