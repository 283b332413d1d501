"""Labels of a merged map, with their mean confidence and their share of the photo."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

BAND_PIXELS = 1 << 17  # pixels of a large photo that are labelled at a time


def winning_labels(merged: Tensor) -> Tensor:
    """Return the label with the greatest value at each pixel of a map C x H x W, uint8 H x W.

    The first of equal labels wins; a pixel with a NaN gets label 0. This takes an eighth of the
    time of ``argmax``, which torch does not vectorise on a CPU.
    """
    labels = torch.arange(len(merged), dtype=torch.uint8, device=merged.device)[:, None, None]
    beaten = (merged < merged.amax(0)).view(torch.uint8).neg_()  # 255 where true
    return beaten.bitwise_or_(labels).amin(0)


def labels_of(merged: Tensor) -> NDArray[np.uint8]:
    """Return the :func:`winning_labels` of a map C x H x W as a NumPy array, uint8 H x W."""
    labels: NDArray[np.uint8] = winning_labels(merged).cpu().numpy()
    return labels


def enlarge_and_label(merged: Tensor, width: int, height: int) -> NDArray[np.uint8]:
    """Enlarge a map C x H x W and return its labels, uint8 height x width.

    It works on one band of rows at a time, because the full-size map of a large photo would take
    gigabytes.
    """
    rows, columns = merged.shape[1:]
    if (rows, columns) == (height, width):
        return labels_of(merged)
    labels = np.empty((height, width), np.uint8)
    band_rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, band_rows):
        bottom = min(top + band_rows, height)
        # The centres of these rows, in rows of the map.
        centres = torch.arange(top, bottom, dtype=torch.float32, device=merged.device) + 0.5
        at = (centres * rows / height - 0.5).clamp(0, rows - 1)
        above = at.floor().long()
        first, last = int(above[0]), min(int(above[-1]) + 2, rows)
        wide = F.interpolate(
            merged[None, :, first:last],
            size=(last - first, width),
            mode="bilinear",
            align_corners=False,
        )[0]
        below = (above + 1).clamp_max(rows - 1)
        part = (at - above)[None, :, None]
        band = torch.lerp(wide[:, above - first], wide[:, below - first], part)
        labels[top:bottom] = labels_of(band)
    return labels


def mean_confidence(merged: Tensor, labels: NDArray[np.uint8], *, raw: bool) -> dict[int, float]:
    """Return label -> mean probability of that label over its pixels in a map C x H x W.

    Only the probability of the winning label is computed, as ``ScoreMaps.probabilities`` would.

    Args:
        labels: The labels of ``merged``; recomputed if the sizes differ.
        raw: Whether the map holds logits (merge rule max).
    """
    same_size = labels.shape == merged.shape[1:]
    won = torch.from_numpy(labels).to(merged.device) if same_size else winning_labels(merged)
    best = merged.amax(0)
    best = 1 / (merged - best).exp_().sum(0) if raw else of_total(best, merged.sum(0), len(merged))
    counts = won.flatten().bincount()
    # Not bincount, which takes many times as long, and which torch refuses on a GPU if a program
    # asks for deterministic algorithms.
    sums = best.new_zeros(len(counts), dtype=torch.float64)
    sums.index_add_(0, won.flatten().int(), best.flatten().double())
    return {label: float(sums[label] / counts[label]) for label in counts.nonzero()[:, 0].tolist()}


def of_total(values: Tensor, total: Tensor, classes: int) -> Tensor:
    """Return values divided by the sum over the classes, as probabilities.

    A product of two maps may be zero for all classes: they are then equally likely.
    """
    return torch.where(total > 1e-30, values / total, 1 / classes)


def class_shares(labels: NDArray[np.uint8], names: tuple[str, ...]) -> dict[str, float]:
    """Return the share of the pixels, 0 to 1, of each class that occurs, the largest first."""
    # Pillow counts bytes directly; NumPy's bincount would widen each to 8 bytes first.
    counts = np.array(Image.fromarray(labels).histogram()[: len(names)])
    order = sorted(np.flatnonzero(counts), key=lambda label: (-counts[label], label))
    return {names[label]: round(float(counts[label] / labels.size), 4) for label in order}
