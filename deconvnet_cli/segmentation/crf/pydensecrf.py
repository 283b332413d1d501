"""The dense CRF by the optional package ``pydensecrf2``: the reference that ours is held to.

It holds Python's lock while it works, so that several photos at a time need processes.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DependencyError
from deconvnet_cli.segmentation.crf.inputs import LEAST_PROBABILITY, check_shapes
from deconvnet_cli.segmentation.settings import CrfSettings


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
    check_shapes(image, probabilities)
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
