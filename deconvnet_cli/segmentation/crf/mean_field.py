"""The dense CRF of ``crf.py`` in torch alone: no compiler, and several times faster on a photo.

Mean field of Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian
Edge Potentials", NIPS 2011, with Potts compatibility and kernels that are normalised on both
sides, as ``pydensecrf2`` has them by default.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deconvnet_cli.segmentation.crf.inputs import LEAST_PROBABILITY, check_shapes
from deconvnet_cli.segmentation.crf.permutohedral import Lattice
from deconvnet_cli.segmentation.settings import CrfSettings

REACH = 4.0  # of the smoothness kernel, standard deviations: 6e-5 of it lies further out
BLOCK = 32  # rows that are smoothed by one matrix product


class Smoothness:
    """The smoothness kernel, an exact Gaussian of the distance in the photo."""

    def __init__(self, height: int, width: int, sd: float, weight: float, device: torch.device):
        """Prepare for photos of one size.

        Args:
            sd: pixels.
            weight: of the kernel in the sum of kernels.
        """
        self.size = (height, width)
        self.reach = math.ceil(REACH * sd)
        # Row i of the band sums the pixels around pixel i of a block and its surroundings.
        offset = torch.arange(BLOCK + 2 * self.reach, device=device) - self.reach
        distance = offset - torch.arange(BLOCK, device=device)[:, None]
        self.band = torch.exp(-0.5 * (distance / sd).square())
        self.band *= distance.abs() <= self.reach
        self.factor = torch.ones(height * width, device=device)
        near = self.filter(torch.ones(1, height * width, device=device))[0]
        self.factor = math.sqrt(weight) / near.sqrt()

    def filter(self, values: Tensor) -> Tensor:
        """Weighted sums of the values of all pixels, C x HW, divided on both sides by the roots
        of the sums of weights."""
        plane = (values * self.factor).view(-1, *self.size)
        plane = self._down(self._down(plane).transpose(1, 2)).transpose(1, 2)
        return plane.reshape(values.shape) * self.factor

    def _down(self, plane: Tensor) -> Tensor:
        """Smooth the columns of C x H x W."""
        height = plane.shape[1]
        blocks = -(-height // BLOCK)
        below = blocks * BLOCK - height + self.reach
        padded = F.pad(plane, (0, 0, self.reach, below)).contiguous()
        windows = padded.unfold(1, len(self.band[0]), BLOCK)  # C x blocks x W x window
        return (self.band @ windows.mT).flatten(1, 2)[:, :height]


def appearance(image: NDArray[np.uint8], settings: CrfSettings, device: torch.device) -> Lattice:
    """The appearance kernel of a photo, H x W x 3, normalised and weighted."""
    height, width = image.shape[:2]
    features = torch.empty(5, height, width, device=device)
    features[0] = torch.arange(width, device=device) / settings.bilateral_sd
    features[1] = torch.arange(height, device=device)[:, None] / settings.bilateral_sd
    # A copy: torch complains of an array that may not be written to, such as a Pillow image's.
    colours = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C")).to(device)
    torch.div(colours, settings.bilateral_colour_sd, out=features[2:])
    lattice = Lattice(features.flatten(1))
    near = lattice.filter(torch.ones(1, height * width, device=device))[0]
    lattice.scale(math.sqrt(settings.bilateral_weight) / near.sqrt())
    return lattice


def winners(probabilities: NDArray[np.float32]) -> NDArray[np.intp]:
    """Labels that are the most probable of some pixel of C x H x W, ties included; in order."""
    best = probabilities.max(axis=0)
    return np.flatnonzero((probabilities == best).any(axis=(1, 2)))


@torch.inference_mode()
def refine(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    settings: CrfSettings = CrfSettings(),
    device: torch.device | None = None,
) -> NDArray[np.float32]:
    """Move the borders between labels to the borders in the photo.

    Labels that win no pixel beforehand are left out: they win none afterwards either but for one
    pixel in 20,000, and the time goes with the number of labels.

    Args:
        image: H x W x 3, RGB.
        probabilities: C x H x W, 0 to 1, the softmax of the scores. The unary energy is -log of
            them, with probabilities under 1e-5 taken as 1e-5.
        settings: kernels and number of steps.
        device: to compute on; None is the CPU.

    Returns:
        C x H x W, the probabilities after the last mean-field step; each pixel adds up to 1, and
        labels left out are 0. The same input gives the same output to the bit.

    Raises:
        ValueError: the shapes do not fit together.
        UsageError: a kernel is too narrow for the photo (see ``lattice.pack``).
    """
    check_shapes(image, probabilities)
    device = device or torch.device("cpu")
    height, width = image.shape[:2]
    kept = winners(probabilities)
    refined = np.zeros(probabilities.shape, np.float32)
    if len(kept) == 1:
        refined[kept] = 1
        return refined
    energy = torch.from_numpy(probabilities[kept].astype(np.float32)).to(device).flatten(1)
    energy = energy.clamp_(LEAST_PROBABILITY, 1).log_()
    kernels = (
        Smoothness(height, width, settings.gaussian_sd, settings.gaussian_weight, device),
        appearance(image, settings, device),
    )
    refined[kept] = mean_field(energy, kernels, settings.iterations).view(-1, height, width).cpu()
    return refined


def mean_field(scores: Tensor, kernels: tuple[Smoothness, Lattice], iterations: int) -> Tensor:
    """Probabilities after some steps from the softmax of the scores.

    The probabilities of a pixel add up to 1 and the kernels are linear, so the last label needs
    no filtering: its sums are those of a map of ones less those of the other labels.

    Args:
        scores: K x N, the negative unary energy.

    Returns:
        K x N.
    """

    def filtered(values: Tensor) -> Tensor:
        first, second = kernels
        return first.filter(values).add_(second.filter(values))

    ahead = scores[:-1] - scores[-1] - filtered(torch.ones_like(scores[:1]))
    logits = torch.zeros_like(scores)
    probabilities = scores.softmax(0)
    for _ in range(iterations):
        sums = filtered(probabilities[:-1])
        # Of each label less of the last: sums + (sum over labels of sums) - (sums of ones).
        torch.add(sums, sums.sum(0), out=logits[:-1]).add_(ahead)
        torch.softmax(logits, 0, out=probabilities)
    return probabilities
