"""The dense CRF of the optional package ``pydensecrf2``, the reference for the one in torch.

It holds Python's lock while it works, so working on several photos at a time needs processes.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DependencyError, install
from deconvnet_cli.segmentation.settings import LEAST_PROBABILITY, CrfSettings


def require_pydensecrf() -> ModuleType:
    """Return the module ``pydensecrf.densecrf``.

    Call this before the first photo, so that a run without the package stops at once.

    Raises:
        DependencyError: The package is not installed or cannot be loaded.
    """
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise DependencyError(
            "the CRF needs the optional package pydensecrf2: "
            f"{install('crf')} (needs a C++ compiler)"
        ) from error
    module: ModuleType = densecrf
    return module


def refine(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    settings: CrfSettings = CrfSettings(),
) -> NDArray[np.float32]:
    """Move the borders between labels, as :func:`deconvnet_cli.segmentation.crf.refine.refine`.

    All labels are kept. Leaving out unlikely ones would save time but change the probabilities of
    the others.
    """
    densecrf = require_pydensecrf()
    labels, height, width = probabilities.shape
    energy = -np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0))
    field = densecrf.DenseCRF2D(width, height, labels)
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(labels, -1), dtype=np.float32))
    field.addPairwiseGaussian(sxy=settings.gaussian_sd, compat=settings.gaussian_weight)
    # The copy is needed because pydensecrf refuses read-only arrays, such as Pillow's.
    field.addPairwiseBilateral(
        sxy=settings.bilateral_sd,
        srgb=settings.bilateral_colour_sd,
        rgbim=np.array(image, order="C"),
        compat=settings.bilateral_weight,
    )
    refined = np.asarray(field.inference(settings.iterations), dtype=np.float32)
    return refined.reshape(labels, height, width)
