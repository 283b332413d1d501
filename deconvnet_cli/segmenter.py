"""The whole way of one photo: proposals, crops, net, merge, dense CRF, labels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.crops import Box, Canvas, cut
from deconvnet_cli.devices import autocast
from deconvnet_cli.proposals import ProposalSettings, propose
from deconvnet_cli.weights import Weights

BAND_PIXELS = 1 << 17  # of a large photo that are scored at full size at a time


@dataclass(frozen=True)
class SegmentSettings:
    """How photos are segmented.

    Attributes:
        proposals: how many boxes are segmented; None takes what the weights say.
        boxes: how they are found.
        batch_size: crops a forward pass.
        merge: rule of merging (see ``Canvas``); None takes that of the weights.
        crf: refine with the dense CRF.
        max_side: a photo with a longer side than this many pixels is worked on at this size and
            its scores are enlarged at the end; it bounds memory.
        precision: "fp32", "bf16" or "fp16", of the net.
    """

    proposals: int | None = None
    boxes: ProposalSettings = ProposalSettings()
    batch_size: int = 8
    merge: str | None = None
    crf: bool = False
    max_side: int = 1024
    precision: str = "fp32"


@dataclass(frozen=True)
class Segmentation:
    """Labels of one photo.

    Attributes:
        labels: uint8 H x W, the size of the photo.
        proposals: how many boxes were segmented.
        ms: milliseconds by stage.
    """

    labels: NDArray[np.uint8]
    proposals: int
    ms: dict[str, float] = field(default_factory=dict)


def working_copy(photo: Image.Image, max_side: int) -> Image.Image:
    """The photo itself, or scaled down so that its longer side is ``max_side``."""
    longer = max(photo.size)
    if longer <= max_side:
        return photo
    width, height = (max(1, round(side * max_side / longer)) for side in photo.size)
    return photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)


@torch.inference_mode()
def score_crops(
    photo: Image.Image, boxes: NDArray[np.int32], weights: Weights, settings: SegmentSettings
) -> Iterator[tuple[Box, Tensor]]:
    """Each box with the raw scores of its crop, float32 C x h x w on the CPU, in order.

    Crops are square, but for the whole photo where the weights want it in its own shape: it then
    comes twice, the second time as its mirror image is scored, mirrored back.
    """
    convention = weights.card.input
    device = next(weights.net.parameters()).device
    rest: list[Box] = [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in boxes]

    def score(crops: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).to(device)
        inputs = convention.prepare(pixels).contiguous(memory_format=torch.channels_last)
        with autocast(device, settings.precision):
            scores: Tensor = weights.net(inputs)
        return scores.float().cpu().contiguous()

    whole = (0, 0, *photo.size)
    if convention.whole and rest and rest[0] == whole:
        crop = cut(photo, whole, *convention.whole_size(*photo.size))
        scores, mirrored = score(np.stack((crop, crop[:, ::-1])))
        yield from ((whole, scores), (whole, mirrored.flip(2)))
        rest = rest[1:]
    for start in range(0, len(rest), settings.batch_size):
        batch = rest[start : start + settings.batch_size]
        crops = np.stack([cut(photo, box, convention.size, convention.size) for box in batch])
        yield from zip(batch, score(crops), strict=True)


def enlarge_and_label(merged: Tensor, width: int, height: int) -> NDArray[np.uint8]:
    """Labels at height x width from C x H x W scores, a band of rows at a time.

    The full-size scores of a large photo would take gigabytes; only one band of them exists.
    """
    rows, columns = merged.shape[1:]
    if (rows, columns) == (height, width):
        return merged.argmax(0).to(torch.uint8).numpy()
    labels = np.empty((height, width), np.uint8)
    band_rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, band_rows):
        bottom = min(top + band_rows, height)
        # Where the centres of these rows lie among the rows of the scores.
        at = ((torch.arange(top, bottom) + 0.5) * rows / height - 0.5).clamp(0, rows - 1)
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
        labels[top:bottom] = band.argmax(0).to(torch.uint8).numpy()
    return labels


def segment(photo: Image.Image, weights: Weights, settings: SegmentSettings) -> Segmentation:
    """Segment one photo.

    Args:
        photo: mode RGB, oriented as a viewer shows it.
        weights: on the device to compute on.

    Raises:
        DependencyError: OpenCV without ximgproc; or a CRF is wanted and pydensecrf is missing.
    """
    ms: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        ms[stage] = round((time.perf_counter() - start) * 1000, 1)

    work = working_copy(photo, settings.max_side)
    with timed("proposals"):
        count = settings.proposals or weights.card.proposals
        boxes = propose(np.asarray(work), replace(settings.boxes, count=count)).boxes
    with timed("net"):
        rule = settings.merge or weights.card.merge
        canvas = Canvas(len(weights.card.classes), work.height, work.width, rule)
        for box, scores in score_crops(work, boxes, weights, settings):
            canvas.add(scores, box)
    merged = canvas.scores()
    if settings.crf:
        from deconvnet_cli.crf import refine

        with timed("crf"):
            refined = refine(np.asarray(work), canvas.probabilities().numpy())
            merged = torch.from_numpy(refined)
    with timed("labels"):
        labels = enlarge_and_label(merged, photo.width, photo.height)
    return Segmentation(labels, len(boxes), ms)


def class_shares(labels: NDArray[np.uint8], names: tuple[str, ...]) -> dict[str, float]:
    """Share of the pixels of each class that is there, the largest first."""
    # Pillow counts bytes as they are; numpy's bincount would make them 8 bytes each first.
    counts = np.array(Image.fromarray(labels).histogram()[: len(names)])
    order = sorted(np.flatnonzero(counts), key=lambda label: (-counts[label], label))
    return {names[label]: round(float(counts[label] / labels.size), 4) for label in order}
