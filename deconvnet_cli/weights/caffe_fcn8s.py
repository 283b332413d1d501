"""Import of FCN-8s: the blobs of a .caffemodel become the state of an ``FCN8s``.

There are two generations of the published file: ``fcn-8s-pascal`` (score-fr, score2, score4,
upsample) and ``voc-fcn8s`` (score_fr, upscore2, upscore_pool4, upscore8). Kernel size and order,
not names, tell the enlarging deconvolutions apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNetSettings
from deconvnet_cli.nets.fcn8s import FCN8s, bilinear_kernel
from deconvnet_cli.weights.caffe_layers import (
    TRUNK_NAMES,
    Blobs,
    LayerRow,
    as_tensor,
    convolution_blobs,
    import_layers,
    own_name,
)
from deconvnet_cli.weights.caffe_reader import FloatArray

CONVOLUTIONS = (*TRUNK_NAMES, "fc6", "fc7", "score_fr", "score_pool4", "score_pool3")
UPSCORES = {
    "upscore2": 4,
    "upscore_pool4": 4,
    "upscore8": 16,
}  # side of the kernel, in the order of the net
BILINEAR = "not in the file: bilinear"


def upscore_sources(blobs: Blobs) -> dict[str, str]:
    """Return our name for each layer of the file that enlarges logits, by the file's name."""
    found: dict[str, str] = {}
    for source, arrays in blobs.items():
        if own_name(source) in CONVOLUTIONS or arrays[0].ndim != 4:
            continue
        for name, side in UPSCORES.items():
            if arrays[0].shape[2:] == (side, side) and name not in found.values():
                found[source] = name
                break
    return found


def import_fcn8s(
    blobs: Blobs, settings: DeconvNetSettings
) -> tuple[dict[str, Tensor], list[LayerRow]]:
    """Return the state of an ``FCN8s``, float32 on the CPU, and a table of its layers.

    Raises:
        WeightsError: A layer has a wrong shape, or values are not finite. Layers that the file
            lacks are not in the state.
    """
    with torch.device("meta"):
        expected = FCN8s(settings).state_dict()
    convolutions = {name: own_name(name) for name in blobs if own_name(name) in CONVOLUTIONS}

    def read(name: str, source: str, arrays: Sequence[FloatArray]) -> tuple[dict[str, Tensor], str]:
        shape = tuple(expected[f"{name}.weight"].shape)
        if name in CONVOLUTIONS:
            return convolution_blobs(source, arrays, shape, shape[0])
        shapes = tuple(tuple(array.shape) for array in arrays)
        if shapes != (shape,):
            raise WeightsError(f"layer {source} has blobs {shapes}; the net takes {shape} alone")
        return {"weight": as_tensor(arrays[0])}, ""

    state, rows = import_layers(blobs, convolutions | upscore_sources(blobs), read)
    return state, rows + add_bilinear(state, settings)


def add_bilinear(state: dict[str, Tensor], settings: DeconvNetSettings) -> list[LayerRow]:
    """Add bilinear weights for enlarging layers that the file lacks; return rows for the table."""
    rows = []
    for name, kernel in UPSCORES.items():
        key = f"{name}.weight"
        if key not in state:
            state[key] = bilinear_kernel(settings.classes, kernel)
            rows.append(LayerRow("", (), (key,), BILINEAR))
    return rows
