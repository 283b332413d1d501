"""Import of DeconvNet: the blobs of a .caffemodel become the state of a ``DeconvNet``.

Layer names are those of the authors' released definition (conv1_1, bn1_1, fc6-deconv,
fc6-deconv-bn, seg-score-voc ...). Caffe and torch order axes alike, for convolutions and for
deconvolutions. conv1_1 is not changed: it takes BGR, as the input convention says.

A BN layer of the authors' fork stores a scale and a shift, both in training files and in the
inference file. Names and shapes cannot tell them apart, so the caller says which file it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import LAYERS, SCORE, DeconvNet, DeconvNetSettings
from deconvnet_cli.weights.caffe_layers import (
    DOWNLOAD_AGAIN,
    NOT_USED,
    TRUNK_NAMES,
    Blobs,
    LayerRow,
    channel_vector,
    convolution_blobs,
    detect_kind,
    import_layers,
    infer_settings,
    sources_by_name,
)
from deconvnet_cli.weights.caffe_reader import FloatArray

CONVOLUTIONS = (*(layer.name for layer in LAYERS), SCORE)
NORMS = tuple(layer.norm for layer in LAYERS)
VGG_CLASSIFIER = ("fc6", "fc7")  # the layers that a VGG-16 has beside its convolutions
BATCHNORM_EPSILON = 1e-5  # torch's default, which DeconvNet uses

FOLDED = "statistics folded into scale and shift; do not train on"
NO_STATISTICS = "statistics to be recomputed"
NOT_VGG = "not used: the net has no such layer, or one of another width"
LEFT = "left at its initial value"


def import_deconvnet(
    blobs: Blobs, settings: DeconvNetSettings | None = None, *, folded: bool = True
) -> tuple[dict[str, Tensor], list[LayerRow]]:
    """Return the state of a ``DeconvNet`` from the blobs of a .caffemodel, and a table.

    Args:
        blobs: The blobs from :func:`deconvnet_cli.weights.caffe_reader.read_caffemodel`.
        settings: The settings of the net; by default :func:`infer_settings` finds them.
        folded: For BN layers with scale and shift only: whether the statistics of training are
            folded into them (the released inference file) or absent (a result of training, whose
            statistics must be recomputed before use). Either way the BatchNorm becomes exactly
            ``scale * x + shift``.

    Returns:
        A state for ``load_state_dict`` (``strict=False`` if parts are missing), float32 on the
        CPU, which shares memory with ``blobs`` if possible; and the table. The table has a row
        for every layer of the file in its order, then one for every layer of the net that got no
        weights. A VGG-16 provides conv1_1 .. conv5_3, and fc6 and fc7 if they have the net's width.

    Raises:
        WeightsError: The file is of an unknown kind, a layer has too many or too few blobs or a
            wrong shape, or values are not finite or, for variances, negative.
    """
    sources = sources_by_name(blobs)
    if settings is None:
        settings = infer_settings(blobs)
    with torch.device("meta"):
        expected = DeconvNet(settings).state_dict()
    trunk = detect_kind(blobs) == "vgg-trunk"
    wanted = (*TRUNK_NAMES, *VGG_CLASSIFIER) if trunk else (*CONVOLUTIONS, *NORMS)

    def fits(name: str, source: str) -> bool:
        if not trunk or name in TRUNK_NAMES:
            return True  # or else `read` says what is wrong
        return bool(blobs[source][0].size == expected[f"{name}.weight"].numel())

    names = {
        source: name for name, source in sources.items() if name in wanted and fits(name, source)
    }

    def read(name: str, source: str, arrays: Sequence[FloatArray]) -> tuple[dict[str, Tensor], str]:
        weight, bias = expected[f"{name}.weight"], expected[f"{name}.bias"]
        if trunk and name in VGG_CLASSIFIER:
            # A classifier has the same values, in the same order, as a matrix.
            arrays = [arrays[0].reshape(tuple(weight.shape)), *arrays[1:]]
        if name in NORMS:
            return _norm(source, arrays, weight.numel(), folded)
        return convolution_blobs(source, arrays, weight.shape, bias.numel())

    state, rows = import_layers(blobs, names, read, NOT_VGG if trunk else NOT_USED)
    for name in (*CONVOLUTIONS, *NORMS):
        missing = tuple(key for key in expected if key.startswith(f"{name}.") and key not in state)
        if missing:
            rows.append(LayerRow("", (), missing, LEFT))
    return state, rows


def _norm(
    source: str, arrays: Sequence[FloatArray], channels: int, folded: bool
) -> tuple[dict[str, Tensor], str]:
    """Return the state of a BatchNorm, and a note for the table."""
    if len(arrays) not in (2, 4):
        raise WeightsError(
            f"layer {source} has {len(arrays)} blobs, not scale and shift, or these with mean and "
            f"variance; {DOWNLOAD_AGAIN}"
        )
    scale, shift, *statistics = (channel_vector(source, array, channels) for array in arrays)
    if statistics:
        mean, variance = statistics
        note = ""
        if bool((variance < 0).any()):
            raise WeightsError(f"layer {source} has a negative variance; {DOWNLOAD_AGAIN}")
    else:
        # In float32 this plus epsilon is exactly 1, so the layer is exactly scale * x + shift.
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
