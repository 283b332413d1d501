"""Object proposals: EdgeBoxes on gradient edges or on structured edges (paper section 4.2).

Zitnick and Dollar, "Edge Boxes: Locating Object Proposals from Edges", ECCV 2014, as in
``cv2.ximgproc``. Its own edges need a model that only its makers may hand out and that forbids
commercial use, so the default is a plain colour gradient that is weakened where everything around
it is an edge as well (texture).

A box is [x0, y0, x1, y1), 0-based and half-open, in pixels of the photo.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DependencyError, ImageError, WeightsError

try:
    import cv2
except ImportError as error:
    raise DependencyError(
        f"OpenCV cannot be loaded ({error}): pip install --force-reinstall opencv-contrib-python; "
        "where it is libGL that is missing, install that (Debian, Ubuntu: apt-get install libgl1)"
    ) from error

# Lengths in pixels below hold for a photo whose longer side is this; they scale with the photo.
REFERENCE_SIDE = 500.0
BLUR = 2.5
SURROUND = 12.0
# Peak gradient (Sobel, Lab units) of a step of about 2 Lab units: the noise of a flat photo is
# not stretched to full strength.
LEAST_PEAK = 2.0
PEAK_PERCENTILE = 99.0
# EdgeBoxes looks for boxes of 1000 square pixels and more; smaller photos hold none.
LEAST_SIDE = 32
# EdgeBoxes has a table of this many half perimeters and reads beyond it without a check.
GREATEST_HALF_PERIMETER = 9_999
# The whole image is no finding of EdgeBoxes; a finite figure, so that JSON can hold it.
WHOLE_IMAGE_SCORE = 1.0


@dataclass(frozen=True)
class ProposalSettings:
    """How boxes are found and which are kept.

    Attributes:
        candidates: boxes asked of EdgeBoxes (paper: 2000).
        count: boxes kept, the whole image included (paper: 50).
        enlarge: factor on both sides of a box, for context (paper: 1.2).
        min_side: an enlarged box with a shorter side under this is skipped (released script:
            112), in pixels of a photo with a longer side of ``reference_side``.
        reference_side: see ``min_side``; the photos of PASCAL VOC are 500 pixels long.
        alpha: overlap (IoU) of neighbouring boxes in the search.
        beta: overlap (IoU) from which the weaker of two boxes is dropped. EdgeBoxes' own default,
            0.75, spends the first 50 on too few objects.
        structured_model: OpenCV's structured-edge forest (``model.yml.gz``); None for gradients.
    """

    candidates: int = 2000
    count: int = 50
    enlarge: float = 1.2
    min_side: float = 112.0
    reference_side: float = REFERENCE_SIDE
    alpha: float = 0.65
    beta: float = 0.6
    structured_model: Path | None = None


@dataclass(frozen=True, eq=False)
class Proposals:
    """Boxes of one photo, the whole image first, then by falling score.

    Attributes:
        boxes: N x 4, int32, [x0, y0, x1, y1), 0-based; may reach beyond the photo's edge.
        scores: N, float32; EdgeBoxes' score. The whole image has 1 by convention, whatever the
            others have.
    """

    boxes: NDArray[np.int32]
    scores: NDArray[np.float32]


def require_ximgproc() -> Any:
    """The module ``cv2.ximgproc``.

    Raises:
        DependencyError: a plain ``opencv-python`` took the place of ``opencv-contrib-python``.
    """
    module = getattr(cv2, "ximgproc", None)
    if not hasattr(module, "createEdgeBoxes"):
        raise DependencyError(
            "cv2.ximgproc is missing, another OpenCV package shadows opencv-contrib-python: "
            "pip uninstall opencv-python opencv-python-headless && "
            "pip install --force-reinstall opencv-contrib-python"
        )
    return module


def gradient_edges(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Thin edges from the colour gradient in Lab.

    Args:
        image: H x W x 3, RGB.

    Returns:
        Edge strength, H x W, 0 to 1; and the direction across the edge, H x W, radians in
        [0, pi), clockwise from the x axis as seen on the screen: 0 for a vertical edge. That is
        what OpenCV's ``computeOrientation`` returns and EdgeBoxes expects.
    """
    scale = max(image.shape[:2]) / REFERENCE_SIDE
    smooth = cv2.GaussianBlur(
        image.astype(np.float32) / 255,
        (0, 0),
        max(BLUR * scale, 0.5),
        borderType=cv2.BORDER_REFLECT,
    )
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    across = cv2.Sobel(lab, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    # The channels vote with their squares (Di Zenzo 1986): a rising and a falling channel add up
    # instead of cancelling out, and no channel's sign matters.
    xx, yy, xy = (
        np.sum(a * b, axis=2) for a, b in ((across, across), (down, down), (across, down))
    )
    orientation = np.mod(0.5 * np.arctan2(2 * xy, xx - yy), np.pi).astype(np.float32)
    strength = np.sqrt(xx + yy)
    surround = cv2.GaussianBlur(strength, (0, 0), max(SURROUND * scale, 1.0))
    ridges = thin(np.maximum(strength - surround, 0), orientation)
    found = ridges[ridges > 0]
    peak = max(float(np.percentile(found, PEAK_PERCENTILE)), LEAST_PEAK) if found.size else 1.0
    return np.minimum(ridges / np.float32(peak), np.float32(1)), orientation


def thin(edges: NDArray[np.float32], orientation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero every pixel that is not a maximum across the edge, two pixels to either side.

    Args:
        edges: H x W, 0 to 1.
        orientation: H x W, radians, the direction across the edge.
    """
    # OpenCV's third positional argument is the output, so all are named.
    thinned: NDArray[np.float32] = edge_thinner().edgesNms(
        edges, orientation, r=2, s=0, m=1, isParallel=True
    )
    return thinned


@lru_cache(maxsize=1)
def edge_thinner() -> Any:
    """OpenCV's edge detector with an empty forest: ``edgesNms`` is a method of it, uses none."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "empty.yml"
        model.write_text("%YAML:1.0\n---\noptions:\n   numberOfTrees: 1\n")
        return require_ximgproc().createStructuredEdgeDetection(str(model))


@lru_cache(maxsize=1)
def load_forest(model: Path) -> Any:
    """OpenCV's structured-edge forest; reading it takes a second or two, so it is kept.

    Raises:
        DependencyError: no ``cv2.ximgproc``.
        WeightsError: the file is missing or is not such a forest.
    """
    ximgproc = require_ximgproc()
    hint = (
        "get model.yml.gz from the test data of OpenCV (github.com/opencv/opencv_extra, "
        "testdata/cv/ximgproc; for research only), or leave the option out to use gradients"
    )
    if not model.is_file():
        raise WeightsError(f"{model}: no such structured-edge model; {hint}")
    try:
        # OpenCV divides by this number without a look at it, which would end the whole process.
        storage = cv2.FileStorage(str(model), cv2.FILE_STORAGE_READ)
        trees = storage.getNode("options").getNode("numberOfTrees")
        usable = not trees.empty() and trees.real() >= 1
        storage.release()
        if usable:
            return ximgproc.createStructuredEdgeDetection(str(model))
    except (cv2.error, SystemError) as error:
        raise WeightsError(f"{model}: not readable as a structured-edge model; {hint}") from error
    raise WeightsError(f"{model}: not a structured-edge model; {hint}")


def structured_edges(
    image: NDArray[np.uint8], model: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Thin edges from a structured forest (Dollar and Zitnick, ICCV 2013).

    Args:
        image: H x W x 3, RGB, both sides at least 32.
        model: OpenCV's ``model.yml.gz``.

    Returns:
        As :func:`gradient_edges`.

    Raises:
        DependencyError, WeightsError: as :func:`load_forest`.
    """
    forest = load_forest(model)
    edges = forest.detectEdges(image.astype(np.float32) / 255)
    orientation = forest.computeOrientation(edges)
    return thin(edges, orientation), orientation


def edge_boxes(
    image: NDArray[np.uint8], settings: ProposalSettings = ProposalSettings()
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The boxes of EdgeBoxes inside the photo, by falling score, not enlarged.

    Args:
        image: H x W x 3, RGB.

    Returns:
        N x 4 boxes and N scores; N is 0 for a flat photo or one with a side under 32 pixels.

    Raises:
        DependencyError: no ``cv2.ximgproc``.
        ImageError: width and height add up to more than EdgeBoxes can take (19,998 pixels).
        WeightsError: the structured-edge model cannot be used.
    """
    height, width = image.shape[:2]
    if (height + width) // 2 > GREATEST_HALF_PERIMETER:
        raise ImageError(f"{width}x{height} pixels are too many for EdgeBoxes: shrink the photo")
    nothing = np.zeros((0, 4), dtype=np.int32), np.zeros(0, dtype=np.float32)
    ximgproc = require_ximgproc()
    if min(height, width) < LEAST_SIDE:
        return nothing
    model = settings.structured_model
    edges, orientation = structured_edges(image, model) if model else gradient_edges(image)
    if not edges.any():
        return nothing
    # A new object each time: it keeps state of the last photo, which changes the boxes.
    finder = ximgproc.createEdgeBoxes(
        maxBoxes=settings.candidates, alpha=settings.alpha, beta=settings.beta
    )
    found, scores = finder.getBoundingBoxes(edges, orientation)
    if found is None or scores is None or len(found) == 0:
        return nothing
    # x, y, w, h, with x and y counted from 1.
    x, y, w, h = np.asarray(found, dtype=np.int32).reshape(-1, 4).T
    boxes = np.stack((x - 1, y - 1, x - 1 + w, y - 1 + h), axis=1)
    # N x 1 in OpenCV 4, N in OpenCV 5.
    return boxes, np.asarray(scores, dtype=np.float32).reshape(-1)


def enlarged(boxes: NDArray[np.int32], factor: float) -> NDArray[np.int32]:
    """N x 4 boxes scaled about their centres, rounded half up."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    corners = np.concatenate((centre - half, centre + half), axis=1)
    return np.floor(corners + 0.5).astype(np.int32)


def propose(image: NDArray[np.uint8], settings: ProposalSettings = ProposalSettings()) -> Proposals:
    """The boxes that the net looks at.

    The whole image always comes first. The boxes of EdgeBoxes follow in order of score, enlarged;
    one with a shorter side under the least, or equal to one before it, is skipped and does not
    count. The same photo always gets the same boxes.

    Args:
        image: H x W x 3, RGB.

    Returns:
        At most ``settings.count`` boxes, at least one. EdgeBoxes is not run for a count of 1.

    Raises:
        DependencyError, ImageError, WeightsError: as :func:`edge_boxes`.
    """
    height, width = image.shape[:2]
    whole = np.array([[0, 0, width, height]], dtype=np.int32)
    first = np.array([WHOLE_IMAGE_SCORE], dtype=np.float32)
    if settings.count <= 1:
        return Proposals(whole, first)
    boxes, scores = edge_boxes(image, settings)
    boxes = enlarged(boxes, settings.enlarge)
    least = settings.min_side * max(height, width) / settings.reference_side
    large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= least
    boxes = np.concatenate((whole, boxes[large]))
    scores = np.concatenate((first, scores[large]))
    _, firsts = np.unique(boxes, axis=0, return_index=True)
    kept = np.sort(firsts)[: settings.count]
    return Proposals(boxes[kept], scores[kept])
