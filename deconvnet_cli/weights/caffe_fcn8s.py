"""Import of FCN-8s: the blobs of a .caffemodel become the state of an ``FCN8s``.

There are two generations of the published file: ``fcn-8s-pascal`` (score-fr, score2, score4,
upsample) and ``voc-fcn8s`` (score_fr, upscore2, upscore_pool4, upscore8). Kernel size and order,
not names, tell the enlarging deconvolutions apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.fcn8s import FCN8s, FCN8sSettings, bilinear_kernel
from deconvnet_cli.weights.caffe_layers import (
    NOT_USED,
    TRUNK_NAMES,
    Blobs,
    LayerRow,
    as_tensor,
    check_finite,
    convolution_blobs,
    detect_kind,
    infer_width,
    outputs_of,
    own_name,
    sources_by_name,
)

CONVOLUTIONS = (*TRUNK_NAMES, "fc6", "fc7", "score_fr", "score_pool4", "score_pool3")
UPSCORES = {
    "upscore2": 4,
    "upscore_pool4": 4,
    "upscore8": 16,
}  # side of the kernel, in the order of the net
BILINEAR = "not in the file: bilinear"


def infer_fcn8s_settings(blobs: Blobs) -> FCN8sSettings:
    """Return the settings of the net that these weights belong to.

    Raises:
        WeightsError: The file is of another net, a layer is missing, or no settings have these
            widths.
    """
    if detect_kind(blobs) != "fcn8s":
        raise WeightsError(
            "these are not weights of FCN-8s (no layer score-fr); name fcn-8s-pascal.caffemodel"
        )
    sources = sources_by_name(blobs)
    return FCN8sSettings(
        classes=outputs_of(sources, blobs, "score_fr"),
        width=infer_width(sources, blobs),
        fc=outputs_of(sources, blobs, "fc6"),
    )


def upscore_sources(blobs: Blobs) -> dict[str, str]:
    """Return our name for each layer of the file that enlarges logits, by the file's name."""
    found: dict[str, str] = {}
    for source, arrays in blobs.items():
        if own_name(source) in CONVOLUTIONS or arrays[0].ndim != 4:
            continue
        kernel = arrays[0].shape[2:]
        name = next(
            (
                name
                for name, size in UPSCORES.items()
                if kernel == (size, size) and name not in found.values()
            ),
            None,
        )
        if name is not None:
            found[source] = name
    return found


def import_fcn8s(blobs: Blobs, settings: FCN8sSettings) -> tuple[dict[str, Tensor], list[LayerRow]]:
    """Return the state of an ``FCN8s``, float32 on the CPU, and a table of its layers.

    Raises:
        WeightsError: A layer has a wrong shape, or values are not finite. Layers that the file
            lacks are not in the state.
    """
    with torch.device("meta"):
        expected = FCN8s(settings).state_dict()
    upscores = upscore_sources(blobs)
    state: dict[str, Tensor] = {}
    rows = []
    for source, arrays in blobs.items():
        shapes = tuple(tuple(array.shape) for array in arrays)
        name = upscores.get(source, own_name(source))
        if name not in CONVOLUTIONS and name not in UPSCORES:
            rows.append(LayerRow(source, shapes, (), NOT_USED))
            continue
        check_finite(source, arrays)
        shape = tuple(expected[f"{name}.weight"].shape)
        if name in UPSCORES:
            if shapes != (shape,):
                raise WeightsError(
                    f"layer {source} has blobs {shapes}; the net takes {shape} alone"
                )
            found, note = {"weight": as_tensor(arrays[0])}, ""
        else:
            found, note = convolution_blobs(source, arrays, shape, shape[0])
        named = {f"{name}.{part}": tensor for part, tensor in found.items()}
        state.update(named)
        rows.append(LayerRow(source, shapes, tuple(named), note))
    return state, rows + add_bilinear(state, settings)


def add_bilinear(state: dict[str, Tensor], settings: FCN8sSettings) -> list[LayerRow]:
    """Add bilinear weights for enlarging layers that the file lacks; return rows for the table."""
    rows = []
    for name, kernel in UPSCORES.items():
        key = f"{name}.weight"
        if key not in state:
            state[key] = bilinear_kernel(settings.classes, kernel)
            rows.append(LayerRow("", (), (key,), BILINEAR))
    return rows
