"""Fully connected conditional random field over a label map (paper section 5.2).

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", NIPS 2011: our own in torch (``crf_torch.py``), or the one of the optional package
``pydensecrf2`` (``crf_pydensecrf.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.segmentation.settings import CrfSettings

if TYPE_CHECKING:
    import torch


def refine(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    settings: CrfSettings = CrfSettings(),
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """Move the borders between labels to the borders in the photo.

    Args:
        image: H x W x 3, RGB.
        probabilities: C x H x W, 0 to 1, the softmax of the scores. The unary energy is -log of
            them, with probabilities under 1e-5 taken as 1e-5.
        settings: kernels, number of steps, and who computes it.
        device: where; pydensecrf knows the CPU alone, which is also what None means.

    Returns:
        C x H x W, the probabilities after the last mean-field step; each pixel adds up to 1. The
        same input gives the same output to the bit, on the same number of threads.

    Raises:
        DependencyError: the backend is not installed.
        ValueError: the shapes do not fit together (an error of the caller).
    """
    if settings.backend == "pydensecrf":
        from deconvnet_cli.segmentation.crf import pydensecrf

        return pydensecrf.refine(image, probabilities, settings)
    from deconvnet_cli.segmentation.crf import mean_field

    return mean_field.refine(image, probabilities, settings, device)


def require(settings: CrfSettings) -> None:
    """Raise DependencyError unless the backend is there: call it before the first photo."""
    if settings.backend == "pydensecrf":
        from deconvnet_cli.segmentation.crf.pydensecrf import require_pydensecrf

        require_pydensecrf()
