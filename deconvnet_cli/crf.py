"""Fully connected conditional random field over a label map (paper section 5.2).

Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", NIPS 2011: our own in torch (``crf_torch.py``), or the one of the optional package
``pydensecrf2`` (``crf_pydensecrf.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

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
        backend: one of ``choices.BACKENDS``; "pydensecrf" is slower and optional.
    """

    gaussian_sd: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sd: float = 20.0
    bilateral_colour_sd: float = 3.0
    bilateral_weight: float = 5.0
    iterations: int = 10
    backend: str = "torch"


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
        from deconvnet_cli import crf_pydensecrf

        return crf_pydensecrf.refine(image, probabilities, settings)
    from deconvnet_cli import crf_torch

    return crf_torch.refine(image, probabilities, settings, device)


def require(settings: CrfSettings) -> None:
    """Raise DependencyError unless the backend is there: call it before the first photo."""
    if settings.backend == "pydensecrf":
        from deconvnet_cli.crf_pydensecrf import require_pydensecrf

        require_pydensecrf()


def check_shapes(image: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> None:
    """Raise ValueError unless both are of one photo."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 H x W x 3, not {image.dtype} {image.shape}")
    if probabilities.ndim != 3 or probabilities.shape[1:] != image.shape[:2]:
        raise ValueError(
            f"probabilities must be C x {image.shape[0]} x {image.shape[1]}, "
            f"not {probabilities.shape}"
        )
