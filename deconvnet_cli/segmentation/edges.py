"""Edge maps for object proposals, from a colour gradient or from a structured forest.

The edges of the original EdgeBoxes need a model that only its authors may distribute and that
forbids commercial use. The default is therefore a plain colour gradient, weakened in texture, where
the surroundings consist of edges too.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.sizes import nominal_side
from deconvnet_cli.runtime.opencv import cv2, require_ximgproc
from deconvnet_cli.segmentation.settings import REFERENCE_SIDE

BLUR = 2.5
SURROUND = 12.0
# The peak gradient (Sobel, Lab units) of a step of about 2 Lab units. It keeps the noise of a flat
# photo from being stretched to full strength.
LEAST_PEAK = 2.0
PEAK_PERCENTILE = 99.0


def gradient_edges(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return thin edges from the colour gradient in Lab.

    Args:
        image: The photo, H x W x 3, RGB.

    Returns:
        The edge strength, H x W, 0 to 1, and the direction across the edge, H x W, radians in
        [0, pi), clockwise from the x axis as seen on the screen: 0 for a vertical edge. OpenCV's
        ``computeOrientation`` returns the same direction, and EdgeBoxes expects it.
    """
    scale = nominal_side(*image.shape[:2]) / REFERENCE_SIDE
    smooth = cv2.GaussianBlur(
        image.astype(np.float32) / 255,
        (0, 0),
        max(BLUR * scale, 0.5),
        borderType=cv2.BORDER_REFLECT,
    )
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    # The channels are combined by their squares (Di Zenzo 1986), so that a rising and a falling
    # channel add up instead of cancelling each other.
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    over_channels = np.ones((1, 3), np.float32)
    xx, yy, xy = (
        cv2.transform(product, over_channels)
        for product in (across * across, down * down, across * down)
    )
    angle = np.arctan2(2 * xy, xx - yy) / 2
    orientation = np.where(angle < 0, angle + np.float32(np.pi), angle)
    strength = np.sqrt(xx + yy)
    surround = cv2.GaussianBlur(strength, (0, 0), max(SURROUND * scale, 1.0))
    ridges = thin(np.maximum(strength - surround, 0), orientation)
    found = ridges[ridges > 0]
    peak = max(float(np.percentile(found, PEAK_PERCENTILE)), LEAST_PEAK) if found.size else 1.0
    return np.minimum(ridges / np.float32(peak), np.float32(1)), orientation


def thin(edges: NDArray[np.float32], orientation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set every pixel to zero that is not a maximum across the edge, two pixels to either side.

    Args:
        edges: The edge strength, H x W, 0 to 1.
        orientation: The direction across the edge, H x W, radians.
    """
    # The arguments are named because OpenCV's third positional argument is the output.
    thinned: NDArray[np.float32] = edge_thinner().edgesNms(
        edges, orientation, r=2, s=0, m=1, isParallel=True
    )
    return thinned


@lru_cache(maxsize=1)
def edge_thinner() -> Any:
    """Return OpenCV's edge detector with an empty forest, for its method ``edgesNms``."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "empty.yml"
        model.write_text("%YAML:1.0\n---\noptions:\n   numberOfTrees: 1\n")
        return require_ximgproc().createStructuredEdgeDetection(str(model))


@lru_cache(maxsize=1)
def load_forest(model: Path) -> Any:
    """Load OpenCV's structured-edge forest and cache it, because loading takes a second or two.

    Raises:
        DependencyError: OpenCV lacks ``ximgproc``.
        WeightsError: The file is missing or is not a structured-edge forest.
    """
    ximgproc = require_ximgproc()
    hint = (
        "get model.yml.gz from the test data of OpenCV (github.com/opencv/opencv_extra, "
        "testdata/cv/ximgproc; for research only), or leave the option out to use gradients"
    )
    if not model.is_file():
        raise WeightsError(f"{model}: no such structured-edge model; {hint}")
    try:
        # OpenCV divides by this number unchecked; a zero would end the whole process.
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
    """Return thin edges from a structured forest (Dollar and Zitnick, ICCV 2013).

    Args:
        image: The photo, H x W x 3, RGB, with both sides at least 32 pixels.
        model: The path of OpenCV's ``model.yml.gz``.

    Returns:
        The strength and direction of the edges, as :func:`gradient_edges` returns them.

    Raises:
        DependencyError, WeightsError: :func:`load_forest` fails.
    """
    forest = load_forest(model)
    edges = forest.detectEdges(image.astype(np.float32) / 255)
    orientation = forest.computeOrientation(edges)
    return thin(edges, orientation), orientation
