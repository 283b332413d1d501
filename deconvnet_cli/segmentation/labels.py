"""The labels of a merged map: which wins where, how sure, and its share of the photo."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

BAND_PIXELS = 1 << 17  # of a large photo that are scored at full size at a time


def winners(scores: Tensor) -> Tensor:
    """The greatest of C x H x W scores, uint8 H x W where they are; the first of equals.

    Of a pixel that has a score of NaN it is 0. An eighth of the time of ``argmax``, which torch
    does not do several pixels at a time on a CPU.
    """
    labels = torch.arange(len(scores), dtype=torch.uint8, device=scores.device)[:, None, None]
    beaten = (scores < scores.amax(0)).view(torch.uint8).neg_()  # 255 where it is
    return beaten.bitwise_or_(labels).amin(0)


def labels_of(scores: Tensor) -> NDArray[np.uint8]:
    """Labels uint8 H x W of C x H x W scores, see :func:`winners`."""
    labels: NDArray[np.uint8] = winners(scores).cpu().numpy()
    return labels


def enlarge_and_label(merged: Tensor, width: int, height: int) -> NDArray[np.uint8]:
    """Labels at height x width from C x H x W scores, a band of rows at a time.

    The full-size scores of a large photo would take gigabytes; only one band of them exists.
    """
    rows, columns = merged.shape[1:]
    if (rows, columns) == (height, width):
        return labels_of(merged)
    labels = np.empty((height, width), np.uint8)
    band_rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, band_rows):
        bottom = min(top + band_rows, height)
        # Where the centres of these rows lie among the rows of the scores.
        centres = torch.arange(top, bottom, device=merged.device) + 0.5
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
    """Label -> mean probability of the label over the pixels it has in a map C x H x W.

    Only the probability of the label that wins is computed, as ``ScoreMaps.probabilities`` would.

    Args:
        labels: of that map, to save looking for them; in another size they are looked for.
    """
    known = labels.shape == merged.shape[1:]
    won = torch.from_numpy(labels).to(merged.device) if known else winners(merged)
    best = merged.amax(0)
    if raw:
        best = 1 / (merged - best).exp_().sum(0)
    else:
        total = merged.sum(0)
        best = torch.where(total > 1e-30, best / total, 1 / len(merged))
    counts = won.flatten().bincount()
    sums = won.flatten().bincount(best.flatten().double())
    return {label: float(sums[label] / counts[label]) for label in counts.nonzero()[:, 0].tolist()}


def class_shares(labels: NDArray[np.uint8], names: tuple[str, ...]) -> dict[str, float]:
    """Share of the pixels of each class that is there, the largest first."""
    # Pillow counts bytes as they are; numpy's bincount would make them 8 bytes each first.
    counts = np.array(Image.fromarray(labels).histogram()[: len(names)])
    order = sorted(np.flatnonzero(counts), key=lambda label: (-counts[label], label))
    return {names[label]: round(float(counts[label] / labels.size), 4) for label in order}
