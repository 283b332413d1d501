"""Refine a label map with a fully connected conditional random field (paper section 5.1).

The method is that of Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with
Gaussian Edge Potentials", NIPS 2011. It is computed in torch (``mean_field.py``) or by the
optional package ``pydensecrf2`` (``pydensecrf.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        image: The photo, uint8 H x W x 3, RGB.
        probabilities: The probabilities of the labels, C x H x W, 0 to 1. The unary energy is
            their -log, with probabilities under 1e-5 raised to 1e-5.
        settings: The kernels, the number of steps, and the backend.
        device: The device to compute on; None is the CPU, which is all that pydensecrf supports.

    Returns:
        The probabilities after the last mean-field step, C x H x W. They add up to 1 at each
        pixel. Equal input gives output equal to the bit, on the same number of threads.

    Raises:
        DependencyError: The backend is not installed.
        UsageError: In torch, a kernel is too narrow for the photo (see ``permutohedral.pack``).
    """
    ((_, refined),) = refine_each(image, probabilities, [settings], device)
    return refined


def refine_each(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    settings: Sequence[CrfSettings],
    device: torch.device | None,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the number of each of several settings of one backend, and what each makes of a photo.

    In torch, settings share the work that they have in common, and come in the order that shares
    most. Arguments and errors are those of :func:`refine`.
    """
    if any(crf.backend == "pydensecrf" for crf in settings):
        from deconvnet_cli.segmentation.crf import pydensecrf

        for number, crf in enumerate(settings):
            yield number, pydensecrf.refine(image, probabilities, crf)
        return
    from deconvnet_cli.segmentation.crf import mean_field

    yield from mean_field.refine_each(image, probabilities, settings, device)


def require(settings: CrfSettings) -> None:
    """Raise DependencyError unless the backend is installed; call this before the first photo."""
    if settings.backend == "pydensecrf":
        from deconvnet_cli.segmentation.crf.pydensecrf import require_pydensecrf

        require_pydensecrf()
