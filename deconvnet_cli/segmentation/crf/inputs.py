"""The input that every implementation of the dense CRF accepts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Smaller probabilities are raised to this one: -log 0 would exclude a label for good.
LEAST_PROBABILITY = 1e-5


def check_shapes(image: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> None:
    """Raise ValueError unless both arrays fit the same photo."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 H x W x 3, not {image.dtype} {image.shape}")
    if probabilities.ndim != 3 or probabilities.shape[1:] != image.shape[:2]:
        raise ValueError(
            f"probabilities must be C x {image.shape[0]} x {image.shape[1]}, "
            f"not {probabilities.shape}"
        )
