"""Layers of a .caffemodel as tensors: the code that both importers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import SCORE, TRUNK, DeconvNetSettings
from deconvnet_cli.weights.caffe_reader import FloatArray

Blobs = Mapping[str, Sequence[FloatArray]]
Kind = Literal["deconvnet", "vgg-trunk", "fcn8s", "unknown"]
TRUNK_NAMES = tuple(layer.name for layer in TRUNK)
SCORES: Mapping[Kind, str] = {"deconvnet": SCORE, "fcn8s": "score_fr"}  # have the classes
FCN8S_NAMES = {"score_fr", "score_pool4", "score_pool3"}
NOT_USED = "not used: the net has no such layer"
NO_BIAS = "no bias in the file: 0"
DOWNLOAD_AGAIN = "download the file again"


@dataclass(frozen=True)
class LayerRow:
    """A line of the table that an import prints.

    Attributes:
        source: The layer in the file; empty for parameters of the net that the file lacks.
        shapes: The shapes of its blobs.
        targets: The names in the net's state; empty if the layer is not used.
        note: A remark for the reader, or empty.
    """

    source: str
    shapes: tuple[tuple[int, ...], ...]
    targets: tuple[str, ...]
    note: str = ""


def own_name(source: str) -> str:
    """Return our name for a layer of the file: with ``_`` instead of ``-``."""
    return source.replace("-", "_")


def detect_kind(blobs: Blobs) -> Kind:
    """Return the kind of a file, judged by the names of its layers.

    A "deconvnet" has layers of the decoder, an "fcn8s" has score layers on pools, and a
    "vgg-trunk" has neither but all 13 convolutions conv1_1 .. conv5_3.
    """
    names = {own_name(name) for name in blobs}
    if "fc6_deconv" in names or any(name.startswith("deconv5_") for name in names):
        return "deconvnet"
    if names & FCN8S_NAMES:
        return "fcn8s"
    if names.issuperset(TRUNK_NAMES):
        return "vgg-trunk"
    return "unknown"


def outputs_of(sources: Mapping[str, str], blobs: Blobs, name: str) -> int:
    """Return the number of output channels of a layer.

    Raises:
        WeightsError: The layer is missing, or its weights do not have 4 axes.
    """
    if name not in sources:
        raise WeightsError(f"layer {name} is missing; the file is cut short or of another net")
    weight = blobs[sources[name]][0]
    if weight.ndim != 4:
        raise WeightsError(f"layer {name} has weights of shape {weight.shape}; expected 4 axes")
    return int(weight.shape[0])


def sources_by_name(blobs: Blobs) -> dict[str, str]:
    """Return the file's name for each layer, by our name.

    Raises:
        WeightsError: A layer has no blobs, or two layers have the same name.
    """
    sources: dict[str, str] = {}
    for name in blobs:
        if not blobs[name]:
            raise WeightsError(f"layer {name!r} has no blobs; {DOWNLOAD_AGAIN}")
        if own_name(name) in sources:
            raise WeightsError(
                f"layers {sources[own_name(name)]!r} and {name!r} are the same one; "
                f"{DOWNLOAD_AGAIN}"
            )
        sources[own_name(name)] = name
    return sources


def infer_settings(blobs: Blobs) -> DeconvNetSettings:
    """Return the settings of the net, DeconvNet or FCN-8s, that these weights belong to.

    The width comes from conv1_1 .. conv5_3, ``fc`` and ``classes`` from fc6 and the score layer.
    For a VGG trunk, ``fc`` and ``classes`` are the paper's.

    Raises:
        WeightsError: The kind of file is unknown, a layer is missing, or no settings have these
            widths.
    """
    kind = detect_kind(blobs)
    if kind == "unknown":
        raise WeightsError(
            "these are weights of an unknown net; name a .caffemodel with the layers of DeconvNet "
            "(fc6-deconv, deconv5_1 ...), FCN-8s (score-fr ...) or VGG-16 (conv1_1 .. conv5_3)"
        )
    sources = sources_by_name(blobs)
    fc, classes = DeconvNetSettings.fc, DeconvNetSettings.classes
    if kind in SCORES:
        fc, classes = (outputs_of(sources, blobs, name) for name in ("fc6", SCORES[kind]))
    return DeconvNetSettings(classes=classes, width=infer_width(sources, blobs), fc=fc)


def infer_width(sources: Mapping[str, str], blobs: Blobs) -> float:
    """Return the width setting at which conv1_1 .. conv5_3 have the channels of the file.

    Raises:
        WeightsError: No width fits, or a layer is missing.
    """
    low, high = 0.0, float("inf")
    exact = []
    counts = [(layer.channels or 0, outputs_of(sources, blobs, layer.name)) for layer in TRUNK]
    for paper, channels in counts:
        # Because of rounding and the minimum of one channel, a range of widths fits.
        low = max(low, (channels - 0.5) / paper if channels > 1 else 0.0)
        high = min(high, (channels + 0.5) / paper)
        exact.append(channels / paper)
    for width in (*exact, (low + high) / 2):
        settings = DeconvNetSettings(width=width)
        if all(settings.scaled(paper) == channels for paper, channels in counts):
            return width
    raise WeightsError(
        f"no width of the net has {', '.join(str(channels) for _, channels in counts)} channels "
        "in conv1_1 .. conv5_3; the file is of another net"
    )


def import_layers(
    blobs: Blobs,
    names: Mapping[str, str],
    read: Callable[[str, str, Sequence[FloatArray]], tuple[dict[str, Tensor], str]],
    not_used: str = NOT_USED,
) -> tuple[dict[str, Tensor], list[LayerRow]]:
    """Return the tensors of a file by their names in the net, and a row for each of its layers.

    Args:
        names: Our name of each layer that is used, by the file's name.
        read: Returns the tensors of a layer and a note for the table, given both names and blobs.
        not_used: The note for all other layers.

    Raises:
        WeightsError: A layer has a value that is not finite, or ``read`` refuses it.
    """
    state: dict[str, Tensor] = {}
    rows = []
    for source, arrays in blobs.items():
        shapes = tuple(tuple(array.shape) for array in arrays)
        if source not in names:
            rows.append(LayerRow(source, shapes, (), not_used))
            continue
        if not all(np.isfinite(array).all() for array in arrays):
            raise WeightsError(f"layer {source} has values that are not finite; {DOWNLOAD_AGAIN}")
        name = names[source]
        found, note = read(name, source, arrays)
        named = {f"{name}.{part}": tensor for part, tensor in found.items()}
        state |= named
        rows.append(LayerRow(source, shapes, tuple(named), note))
    return state, rows


def as_tensor(array: FloatArray) -> Tensor:
    """Return a blob as a float32 tensor, which shares its memory if possible."""
    # torch warns about arrays that are not writable.
    whole = np.require(array, np.float32, ["C", "W"])
    return torch.from_numpy(whole)


def channel_vector(source: str, array: FloatArray, length: int) -> Tensor:
    """Return a blob of one value a channel (C, 1 x C x 1 x 1 or 1 x 1 x 1 x C) as C values.

    Raises:
        WeightsError: The blob has another shape.
    """
    if array.size != length or sum(side != 1 for side in array.shape) > 1:
        raise WeightsError(
            f"layer {source} has a blob of shape {tuple(array.shape)}; the net takes ({length},)"
        )
    return as_tensor(array.reshape(length))


def convolution_blobs(
    source: str, arrays: Sequence[FloatArray], shape: Sequence[int], outputs: int
) -> tuple[dict[str, Tensor], str]:
    """Return weight and bias of a convolution or deconvolution, and a note for the table.

    Args:
        shape: The shape of the net's weight.
        outputs: The number of values of the net's bias, which is 0 if the file has none.

    Raises:
        WeightsError: The layer has too many blobs or a wrong shape.
    """
    if len(arrays) > 2:
        raise WeightsError(
            f"layer {source} has {len(arrays)} blobs, not weights and bias; {DOWNLOAD_AGAIN}"
        )
    if tuple(arrays[0].shape) != tuple(shape):
        raise WeightsError(
            f"layer {source} has weights of shape {tuple(arrays[0].shape)}; the net takes "
            f"{tuple(shape)}"
        )
    weight = as_tensor(arrays[0])
    if len(arrays) == 1:
        return {"weight": weight, "bias": torch.zeros(outputs)}, NO_BIAS
    return {"weight": weight, "bias": channel_vector(source, arrays[1], outputs)}, ""
