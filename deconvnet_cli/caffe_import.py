"""From the blobs of a .caffemodel to the state of a ``DeconvNet``, with a table of what went where.

Layer names are those of the authors' released definition (conv1_1, bn1_1, fc6-deconv,
fc6-deconv-bn, seg-score-voc ...). Caffe's order of axes is torch's, for convolutions and
deconvolutions both, and conv1_1 stays as it is: it takes BGR, and so says the input convention.

A BN layer of the authors' fork stores a scale and a shift, in training files and in the inference
file alike, so that names and shapes cannot tell them apart: the caller says which it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from deconvnet_cli.caffe import FloatArray
from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet import LAYERS, SCORE, TRUNK, DeconvNet, DeconvNetSettings

Blobs = Mapping[str, Sequence[FloatArray]]
Kind = Literal["deconvnet", "vgg-trunk", "fcn8s", "unknown"]

CONVOLUTIONS = (*(layer.name for layer in LAYERS), SCORE)
NORMS = tuple(layer.norm for layer in LAYERS)
TRUNK_NAMES = tuple(layer.name for layer in TRUNK)
FCN8S_NAMES = {"score_fr", "score_pool4", "score_pool3"}
BATCHNORM_EPSILON = 1e-5  # torch's own, which DeconvNet leaves as it is

FOLDED = "statistics folded into scale and shift; do not train on"
NO_STATISTICS = "statistics to be recomputed"
NO_BIAS = "no bias in the file: 0"
NOT_USED = "not used: the net has no such layer"
NOT_TRUNK = "not used: not a convolution of the trunk"
LEFT = "left at its initial value"
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


def _importable_kind(blobs: Blobs) -> Kind:
    kind = detect_kind(blobs)
    if kind == "fcn8s":
        raise WeightsError("these are weights of FCN-8s: import them with --net fcn8s")
    if kind == "unknown":
        raise WeightsError(
            "these are weights of an unknown net; name a .caffemodel with the layers of DeconvNet "
            "(fc6-deconv, deconv5_1 ...) or of VGG-16 (conv1_1 .. conv5_3)"
        )
    return kind


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


def infer_settings(blobs: Blobs) -> DeconvNetSettings:
    """The settings of the net whose weights these are.

    The width is taken from conv1_1 .. conv5_3; ``fc`` and ``classes`` from fc6 and seg-score-voc,
    or the paper's where the file is a VGG trunk.

    Raises:
        WeightsError: an unknown kind of file, a layer missing, or widths that belong to no
            setting.
    """
    kind = _importable_kind(blobs)
    sources = sources_by_name(blobs)
    fc, classes = DeconvNetSettings.fc, DeconvNetSettings.classes
    if kind == "deconvnet":
        fc, classes = outputs_of(sources, blobs, "fc6"), outputs_of(sources, blobs, SCORE)
    return DeconvNetSettings(classes=classes, width=infer_width(sources, blobs), fc=fc)


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


def import_deconvnet(
    blobs: Blobs, settings: DeconvNetSettings | None = None, *, folded: bool = True
) -> tuple[dict[str, Tensor], list[LayerRow]]:
    """The state of a ``DeconvNet`` from the blobs of a .caffemodel.

    Args:
        blobs: what :func:`deconvnet_cli.caffe.read_caffemodel` returned.
        settings: of the net to import into; by default :func:`infer_settings` finds them.
        folded: for BN layers with scale and shift only, whether the statistics of training are
            folded into them (the released inference file) or absent (a result of training, whose
            statistics are to be recomputed before use). Either way the BatchNorm becomes exactly
            ``scale * x + shift``.

    Returns:
        A state for ``load_state_dict`` (``strict=False`` if parts are missing), float32 on the
        CPU, sharing memory with ``blobs`` where it can; and the table. The table has a row for
        every layer of the file in its order, then one for every layer of the net that got
        nothing. Of a VGG trunk only conv1_1 .. conv5_3 are taken.

    Raises:
        WeightsError: another kind of file, a blob too many or too few, a wrong shape, or values
            that are not finite or, for variances, negative.
    """
    kind = _importable_kind(blobs)
    sources = sources_by_name(blobs)
    if settings is None:
        settings = infer_settings(blobs)
    with torch.device("meta"):
        expected = DeconvNet(settings).state_dict()
    wanted = TRUNK_NAMES if kind == "vgg-trunk" else (*CONVOLUTIONS, *NORMS)
    state: dict[str, Tensor] = {}
    rows = []
    for name, source in sources.items():
        arrays = blobs[source]
        shapes = tuple(tuple(array.shape) for array in arrays)
        if name not in wanted:
            note = NOT_TRUNK if kind == "vgg-trunk" else NOT_USED
            rows.append(LayerRow(source, shapes, (), note))
            continue
        check_finite(source, arrays)
        if name in NORMS:
            found, note = _norm(source, arrays, expected[f"{name}.weight"].numel(), folded)
        else:
            shape = tuple(expected[f"{name}.weight"].shape)
            found, note = convolution_blobs(source, arrays, shape, expected[f"{name}.bias"].numel())
        named = {f"{name}.{part}": tensor for part, tensor in found.items()}
        state.update(named)
        rows.append(LayerRow(source, shapes, tuple(named), note))
    for name in (*CONVOLUTIONS, *NORMS):
        missing = tuple(key for key in expected if key.startswith(f"{name}.") and key not in state)
        if missing:
            rows.append(LayerRow("", (), missing, LEFT))
    return state, rows


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


def _norm(
    source: str, arrays: Sequence[FloatArray], channels: int, folded: bool
) -> tuple[dict[str, Tensor], str]:
    if len(arrays) not in (2, 4):
        raise WeightsError(
            f"layer {source} has {len(arrays)} blobs, not scale and shift, or those with mean and "
            f"variance; {_AGAIN}"
        )
    scale, shift, *statistics = (_vector(source, array, channels) for array in arrays)
    if statistics:
        mean, variance = statistics
        note = ""
        if bool((variance < 0).any()):
            raise WeightsError(f"layer {source} has a negative variance; {_AGAIN}")
    else:
        # In float32 this plus epsilon is 1, so that the layer is the affine to the last bit.
        mean = torch.zeros(channels)
        variance = torch.full((channels,), 1.0 - BATCHNORM_EPSILON)
        note = FOLDED if folded else NO_STATISTICS
    return {
        "weight": scale,
        "bias": shift,
        "running_mean": mean,
        "running_var": variance,
        "num_batches_tracked": torch.tensor(0),
    }, note
