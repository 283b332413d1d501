"""The dense CRF in torch alone. It needs no compiler and is several times faster on a photo.

It is the mean-field inference of Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected
CRFs with Gaussian Edge Potentials", NIPS 2011. It uses Potts compatibility and kernels that are
normalised on both sides, which are the defaults of ``pydensecrf2``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deconvnet_cli.segmentation.crf.permutohedral import Lattice
from deconvnet_cli.segmentation.settings import LEAST_PROBABILITY, CrfSettings

REACH = 4.0  # radius of the smoothness kernel in standard deviations; 6e-5 of it lies outside
BLOCK = 32  # rows that one matrix product smooths


class Smoothness:
    """The smoothness kernel, an exact Gaussian of the distance in the photo."""

    def __init__(self, height: int, width: int, sd: float, device: torch.device):
        """Prepare the filter for photos of one size; :meth:`weigh` comes next.

        Args:
            sd: The standard deviation of the Gaussian, pixels.
        """
        self.size = (height, width)
        self.reach = math.ceil(REACH * sd)
        kind: Any = {"dtype": torch.float32, "device": device}  # whatever torch's default is
        # Row i of the band holds the weights of all pixels around pixel i of a block.
        offset = torch.arange(BLOCK + 2 * self.reach, **kind) - self.reach
        distance = offset - torch.arange(BLOCK, **kind)[:, None]
        self.band = torch.exp(-0.5 * (distance / sd).square())
        self.band *= distance.abs() <= self.reach
        self.factor = torch.ones(height * width, **kind)
        self.root = self.filter(self.factor[None])[0].sqrt()

    def weigh(self, weight: float) -> None:
        """Set the weight of the kernel in the sum of kernels."""
        self.factor = math.sqrt(weight) / self.root

    def filter(self, values: Tensor) -> Tensor:
        """Return the normalised weighted sums of the values of all pixels, C x HW.

        Values are divided by the root of the sum of weights before and after the filter.
        """
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


class Appearance:
    """The appearance kernel, a Gaussian of the distance and the colours in the photo."""

    def __init__(self, image: NDArray[np.uint8], sd: float, colour_sd: float, device: torch.device):
        """Prepare the filter for one photo; :meth:`weigh` comes next.

        Args:
            image: The photo, uint8 H x W x 3.
            sd: The standard deviation of the distance, pixels.
            colour_sd: The standard deviation of the colours, 0 to 255.
        """
        height, width = image.shape[:2]
        kind: Any = {"dtype": torch.float32, "device": device}
        features = torch.empty(5, height, width, **kind)
        features[0] = torch.arange(width, **kind) / sd
        features[1] = torch.arange(height, **kind)[:, None] / sd
        # The copy avoids a warning of torch about arrays that are read-only, such as Pillow's.
        colours = torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C")).to(device)
        features[2:].copy_(colours).div_(colour_sd)  # whole numbers divide in torch's default type
        self.lattice = Lattice(features.flatten(1))
        self.root = self.lattice.filter(torch.ones(1, height * width, **kind))[0].sqrt()

    def weigh(self, weight: float) -> None:
        """Set the weight of the kernel in the sum of kernels."""
        self.lattice.scale(math.sqrt(weight) / self.root)

    def filter(self, values: Tensor) -> Tensor:
        """Return the normalised weighted sums of the values of all pixels, C x HW."""
        return self.lattice.filter(values)


def labels_that_win(probabilities: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the labels, sorted, that are most probable at some pixel of C x H x W, with ties."""
    best = probabilities.max(axis=0)
    return np.flatnonzero((probabilities == best).any(axis=(1, 2)))


@torch.inference_mode()
def refine_each(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    settings: Sequence[CrfSettings],
    device: torch.device | None = None,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the number of each of several settings, and the refined probabilities C x H x W.

    The order is the one that shares most. Settings share a kernel if its reach is equal, and their
    mean-field steps if they differ only in the number of steps. Labels that win no pixel beforehand
    are left out, and have probability 0 then. They would win one pixel in 20,000, and the time
    grows with the number of labels.

    Args:
        image, probabilities, device: As for :func:`deconvnet_cli.segmentation.crf.refine.refine`.

    Raises:
        UsageError: A kernel is too narrow for the photo (see ``permutohedral.pack``).
    """
    device = device or torch.device("cpu")
    height, width = image.shape[:2]
    kept = labels_that_win(probabilities)
    if len(kept) == 1:
        certain = np.zeros(probabilities.shape, np.float32)
        certain[kept] = 1
        yield from ((number, certain.copy()) for number in range(len(settings)))
        return
    energy = torch.from_numpy(probabilities[kept].astype(np.float32)).to(device).flatten(1)
    energy = energy.clamp_(LEAST_PROBABILITY, 1).log_()
    # A kernel takes tens of megabytes, so only the last of each kind is kept.
    reach: dict[str, tuple[float, ...]] = {}
    for (wide, narrow, weights), numbers in by_kernels(settings).items():
        if reach.get("appearance") != wide:
            appearance = Appearance(image, *wide, device)
        if reach.get("smoothness") != narrow:
            smoothness = Smoothness(height, width, *narrow, device)
        reach = {"appearance": wide, "smoothness": narrow}
        smoothness.weigh(weights[0])
        appearance.weigh(weights[1])
        last = max(settings[number].iterations for number in numbers)
        for step, found in enumerate(mean_field(energy, (smoothness, appearance), last), 1):
            for number in numbers:
                if settings[number].iterations == step:
                    refined = np.zeros(probabilities.shape, np.float32)
                    refined[kept] = found.view(-1, height, width).cpu()
                    yield number, refined


Kernels = tuple[tuple[float, float], tuple[float], tuple[float, float]]


def by_kernels(settings: Sequence[CrfSettings]) -> dict[Kernels, list[int]]:
    """Return the numbers of the settings by their kernels, equal appearance kernels together.

    The kernels are the reach of the appearance kernel in pixels and colours, that of the smoothness
    kernel, and the weights of smoothness and appearance.
    """
    groups: dict[Kernels, list[int]] = {}
    for number, crf in enumerate(settings):
        wide = (crf.bilateral_sd, crf.bilateral_colour_sd)
        weights = (crf.gaussian_weight, crf.bilateral_weight)
        groups.setdefault((wide, (crf.gaussian_sd,), weights), []).append(number)
    return dict(sorted(groups.items()))


def mean_field(
    unary: Tensor, kernels: tuple[Smoothness, Appearance], iterations: int
) -> Iterator[Tensor]:
    """Yield the probabilities, K x N, after each mean-field step from the softmax of ``unary``.

    They are one tensor, which the next step changes.

    The probabilities of a pixel add up to 1 and the kernels are linear, so the last label need not
    be filtered: its sums are those of a map of ones minus those of the other labels.

    Args:
        unary: The negative unary energy, K x N.
        kernels: The smoothness kernel and the appearance kernel.
    """

    def filtered(values: Tensor) -> Tensor:
        first, second = kernels
        return first.filter(values).add_(second.filter(values))

    ahead = unary[:-1] - unary[-1] - filtered(torch.ones_like(unary[:1]))
    logits = torch.zeros_like(unary)
    probabilities = unary.softmax(0)
    for _ in range(iterations):
        sums = filtered(probabilities[:-1])
        # Each label minus the last one: sums + (sum over labels of sums) - (sums of ones).
        torch.add(sums, sums.sum(0), out=logits[:-1]).add_(ahead)
        torch.softmax(logits, 0, out=probabilities)
        yield probabilities
