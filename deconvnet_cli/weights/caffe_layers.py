"""Layers of a .caffemodel made tensors: what the importers of both nets share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import TRUNK, DeconvNetSettings
from deconvnet_cli.weights.caffe_reader import FloatArray

Blobs = Mapping[str, Sequence[FloatArray]]
Kind = Literal["deconvnet", "vgg-trunk", "fcn8s", "unknown"]
TRUNK_NAMES = tuple(layer.name for layer in TRUNK)
FCN8S_NAMES = {"score_fr", "score_pool4", "score_pool3"}
NOT_USED = "not used: the net has no such layer"
NO_BIAS = "no bias in the file: 0"
_AGAIN = "download the file again"


@dataclass(frozen=True)
class LayerRow:
    """One line of the table that an import prints.

    Attributes:
        source: layer in the file; empty where the net has parameters that the file does not.
        shapes: of its blobs.
        targets: names in the net's state; empty where the layer went nowhere.
        note: what a reader should know, or empty.
    """

    source: str
    shapes: tuple[tuple[int, ...], ...]
    targets: tuple[str, ...]
    note: str = ""


def own_name(source: str) -> str:
    return source.replace("-", "_")


def detect_kind(blobs: Blobs) -> Kind:
    """What a file is, by the names of its layers.

    "deconvnet" has layers of the decoder, "fcn8s" score layers on pools, "vgg-trunk" all 13
    convolutions conv1_1 .. conv5_3 and none of those.
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
    if name not in sources:
        raise WeightsError(f"layer {name} is missing; the file is cut short or of another net")
    weight = blobs[sources[name]][0]
    if weight.ndim != 4:
        raise WeightsError(f"layer {name} has weights of shape {weight.shape}; expected 4 axes")
    return int(weight.shape[0])


def sources_by_name(blobs: Blobs) -> dict[str, str]:
    """Layer name of this net to the file's name for it."""
    sources: dict[str, str] = {}
    for name in blobs:
        if not blobs[name]:
            raise WeightsError(f"layer {name!r} has no blobs; download the file again")
        if own_name(name) in sources:
            raise WeightsError(
                f"layers {sources[own_name(name)]!r} and {name!r} are the same one; "
                "download the file again"
            )
        sources[own_name(name)] = name
    return sources


def infer_width(sources: Mapping[str, str], blobs: Blobs) -> float:
    """The width at which conv1_1 .. conv5_3 have the channels they have in the file.

    Raises:
        WeightsError: there is none, or a layer is missing.
    """
    low, high = 0.0, float("inf")
    exact = []
    counts = [(layer.channels or 0, outputs_of(sources, blobs, layer.name)) for layer in TRUNK]
    for paper, channels in counts:
        # Rounding, and the minimum of one channel, leave a range of widths that fit.
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


def check_finite(source: str, arrays: Sequence[FloatArray]) -> None:
    """Raise WeightsError if a layer holds a value that is not a number."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise WeightsError(f"layer {source} has values that are not finite; {_AGAIN}")


def as_tensor(array: FloatArray) -> Tensor:
    # Torch warns of arrays that it may not write to.
    whole = np.require(array, np.float32, ["C", "W"])
    return torch.from_numpy(whole)


def _vector(source: str, array: FloatArray, length: int) -> Tensor:
    """A blob of one value a channel: C, 1 x C x 1 x 1 or 1 x 1 x 1 x C."""
    if array.size != length or sum(side != 1 for side in array.shape) > 1:
        raise WeightsError(
            f"layer {source} has a blob of shape {tuple(array.shape)}; the net takes ({length},)"
        )
    return as_tensor(array.reshape(length))


def convolution_blobs(
    source: str, arrays: Sequence[FloatArray], shape: tuple[int, ...], outputs: int
) -> tuple[dict[str, Tensor], str]:
    if len(arrays) > 2:
        raise WeightsError(
            f"layer {source} has {len(arrays)} blobs, not weights and bias; {_AGAIN}"
        )
    if tuple(arrays[0].shape) != shape:
        raise WeightsError(
            f"layer {source} has weights of shape {tuple(arrays[0].shape)}; the net takes {shape}"
        )
    weight = as_tensor(arrays[0])
    if len(arrays) == 1:
        return {"weight": weight, "bias": torch.zeros(outputs)}, NO_BIAS
    return {"weight": weight, "bias": _vector(source, arrays[1], outputs)}, ""
