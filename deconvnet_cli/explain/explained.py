"""The box whose activations are shown: it is run once more, and must give the logits of before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.errors import DeviceError
from deconvnet_cli.explain.activations import Activation, Rerun, choose_channels, rerun_box
from deconvnet_cli.explain.merge_observer import MergeObserver
from deconvnet_cli.explain.windows import Window, choose_window
from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.segmentation.crops import cut
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.segment import Inferred
from deconvnet_cli.weights.files import Weights

# As a share of the greatest value. A crop alone and the same crop in a batch may be computed by
# different kernels: the last digits differ in fp32, more in half precision or on a GPU.
TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class Explained:
    """The class and the box whose activations are shown.

    Attributes:
        number: The number of the box, from 0.
        pixels: How many pixels with this label the box decided.
        crop: The crop as the net is shown it, mode RGB.
        logits: The logits of the class in the crop, float32 h x w at the net's input size.
        decoder_logits: The decoder's part of them (see ``Rerun.decoder_logits``).
        activations: A channel of each stage of the decoder, in order.
        window: A pooling window of the crop.
        deviation: The greatest difference, where the box decided, between the values of the
            second run and those that the first run merged; 0 if they are equal to the bit.
    """

    label: int
    number: int
    pixels: int
    crop: Image.Image
    logits: NDArray[np.float32]
    decoder_logits: NDArray[np.float32]
    activations: tuple[Activation, ...]
    window: Window
    deviation: float


def explain_class(
    label: int,
    inferred: Inferred,
    weights: Weights,
    observer: MergeObserver,
    labels: NDArray[np.uint8],
) -> Explained:
    """Return the main box of a class (``MergeObserver.main_box``) and its activations.

    Args:
        labels: The labels before the CRF, uint8 h x w.

    Raises:
        DeviceError: See :func:`check_rerun`.
    """
    number = observer.main_box(label, labels)
    box = observer.boxes[number]
    decided = (observer.deciding_boxes(labels) == number) & (labels == label)
    rerun = rerun_box(inferred.photo, box, weights)
    logits = rerun.logits[label]
    height, width = logits.shape
    activations = choose_channels(rerun.stages, logits)
    unpooled = next(each for each in activations if each.stage.entering)
    strided = net_settings(weights.net).get("pool") == "stride"
    return Explained(
        label=label,
        number=number,
        pixels=int(decided.sum()),
        crop=Image.fromarray(cut(inferred.photo, box, width, height)),
        logits=logits.numpy(),
        decoder_logits=rerun.decoder_logits[label].numpy(),
        activations=activations,
        window=choose_window(rerun.unpooling, unpooled.channel, strided=strided),
        deviation=check_rerun(rerun, box, label, decided, observer, raw=inferred.maps.raw),
    )


def check_rerun(
    rerun: Rerun,
    box: Box,
    label: int,
    decided: NDArray[np.bool_],
    observer: MergeObserver,
    *,
    raw: bool,
) -> float:
    """Return the greatest difference between the second run of a box and the first.

    They are compared where the box decided (bool h x w), as the observer's greatest values there
    are those of this box.

    Raises:
        DeviceError: They differ so much that the activations are not those of the first run.
    """
    if not decided.any():
        return 0.0
    height, width = decided.shape
    rule = "max" if raw else "max-probability"
    canvas = Canvas(len(rerun.logits), height, width, rule)
    for logits in rerun.views:
        canvas.add(logits, box)
    where = torch.from_numpy(decided)
    first = observer.best[label][where]
    deviation = float((canvas.merged[label][where] - first).abs().max())
    if not deviation <= TOLERANCE * float(first.max()):
        raise DeviceError(
            "the device gives different values for the same crop in two runs "
            f"(by {deviation:.3g}); use --device cpu"
        )
    return deviation
