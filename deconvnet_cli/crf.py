"""Fully connected conditional random field over a label map (paper section 5.2).

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", NIPS 2011, in the implementation of the optional package ``pydensecrf2``, which holds
Python's lock while it works: several images at a time need processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DependencyError

# Below this a probability counts as this: -log 0 would rule a label out for good.
LEAST_PROBABILITY = 1e-5


@dataclass(frozen=True)
class CrfSettings:
    """The figures of the released inference script.

    Attributes:
        gaussian_sd: reach of the smoothness kernel, pixels.
        gaussian_weight: its weight.
        bilateral_sd: reach of the appearance kernel, pixels.
        bilateral_colour_sd: its reach in colour, steps of 0 to 255.
        bilateral_weight: its weight.
        iterations: mean-field steps.
    """

    gaussian_sd: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sd: float = 20.0
    bilateral_colour_sd: float = 3.0
    bilateral_weight: float = 5.0
    iterations: int = 10


def require_pydensecrf() -> ModuleType:
    """The module ``pydensecrf.densecrf``.

    Raises:
        DependencyError: it is not installed, or not loadable. Call this before the first image,
            so that a run with ``--crf`` stops at once.
    """
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise DependencyError(
            "the CRF needs the optional package pydensecrf2: "
            'pip install "deconvnet[crf]" (needs a C++ compiler)'
        ) from error
    module: ModuleType = densecrf
    return module


def refine(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    settings: CrfSettings = CrfSettings(),
) -> NDArray[np.float32]:
    """Move the borders between labels to the borders in the photo.

    All labels are kept: those that look hopeless cost time, but leaving them out changes the
    share of the others.

    Args:
        image: H x W x 3, RGB.
        probabilities: C x H x W, 0 to 1, the softmax of the scores. The unary energy is -log of
            them, with probabilities under 1e-5 taken as 1e-5.
        settings: kernels and number of steps.

    Returns:
        C x H x W, the probabilities after the last mean-field step; each pixel adds up to 1. The
        same input gives the same output to the bit.

    Raises:
        DependencyError: ``pydensecrf2`` is not installed.
        ValueError: the shapes do not fit together (an error of the caller).
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 H x W x 3, not {image.dtype} {image.shape}")
    if probabilities.ndim != 3 or probabilities.shape[1:] != image.shape[:2]:
        raise ValueError(
            f"probabilities must be C x {image.shape[0]} x {image.shape[1]}, "
            f"not {probabilities.shape}"
        )
    densecrf = require_pydensecrf()
    labels, height, width = probabilities.shape
    energy = -np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0))
    field = densecrf.DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(labels, -1), dtype=np.float32))
    field.addPairwiseGaussian(sxy=settings.gaussian_sd, compat=settings.gaussian_weight)
    # A copy: pydensecrf refuses an array that may not be written to, such as a Pillow image's.
    field.addPairwiseBilateral(
        sxy=settings.bilateral_sd,
        srgb=settings.bilateral_colour_sd,
        rgbim=np.array(image, order="C"),
        compat=settings.bilateral_weight,
    )
    refined = np.asarray(field.inference(settings.iterations), dtype=np.float32)
    return refined.reshape(labels, height, width)
