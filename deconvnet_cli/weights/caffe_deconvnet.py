"""From the blobs of a .caffemodel to the state of a ``DeconvNet``, with a table of what went where.

Layer names are those of the authors' released definition (conv1_1, bn1_1, fc6-deconv,
fc6-deconv-bn, seg-score-voc ...). Caffe's order of axes is torch's, for convolutions and
deconvolutions both, and conv1_1 stays as it is: it takes BGR, and so says the input convention.

A BN layer of the authors' fork stores a scale and a shift, in training files and in the inference
file alike, so that names and shapes cannot tell them apart: the caller says which it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import LAYERS, SCORE, DeconvNet, DeconvNetSettings
from deconvnet_cli.weights.caffe_layers import (
    _AGAIN,
    NOT_USED,
    TRUNK_NAMES,
    Blobs,
    Kind,
    LayerRow,
    _vector,
    check_finite,
    convolution_blobs,
    detect_kind,
    infer_width,
    outputs_of,
    sources_by_name,
)
from deconvnet_cli.weights.caffe_reader import FloatArray

CONVOLUTIONS = (*(layer.name for layer in LAYERS), SCORE)
NORMS = tuple(layer.norm for layer in LAYERS)
BATCHNORM_EPSILON = 1e-5  # torch's own, which DeconvNet leaves as it is

FOLDED = "statistics folded into scale and shift; do not train on"
NO_STATISTICS = "statistics to be recomputed"
NOT_TRUNK = "not used: not a convolution of the trunk"
LEFT = "left at its initial value"


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


def import_deconvnet(
    blobs: Blobs, settings: DeconvNetSettings | None = None, *, folded: bool = True
) -> tuple[dict[str, Tensor], list[LayerRow]]:
    """The state of a ``DeconvNet`` from the blobs of a .caffemodel.

    Args:
        blobs: what :func:`deconvnet_cli.weights.caffe_reader.read_caffemodel` returned.
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
