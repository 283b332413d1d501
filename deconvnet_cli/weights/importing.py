"""Weights of others made into a weights file of ours: .caffemodel, .pth and bare .safetensors."""

from __future__ import annotations

import warnings
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNet, DeconvNetSettings, initialise
from deconvnet_cli.nets.registry import build_net
from deconvnet_cli.weights.caffe_deconvnet import NO_STATISTICS, import_deconvnet, infer_settings
from deconvnet_cli.weights.caffe_fcn8s import import_fcn8s, infer_fcn8s_settings
from deconvnet_cli.weights.caffe_layers import LayerRow, detect_kind
from deconvnet_cli.weights.caffe_reader import read_caffemodel
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import fit, read_tensors, store
from deconvnet_cli.weights.shipped import weights_sha256


@dataclass(frozen=True)
class Imported:
    """What an import did: where the weights are, and what went where."""

    path: Path
    rows: list[LayerRow]


def import_weights(source: Path, target: Path, net_name: str, *, licence: str) -> Imported:
    """Make ``target`` (float32 safetensors with a card) of ``source``.

    Args:
        source: .caffemodel (an FCN-8s; a DeconvNet, or a VGG-16 trunk to start training from:
            what the trunk lacks gets its initial values), .pth or .pt (a dict of tensors, or one
            under "state_dict"), or .safetensors with the names of ours.
        net_name: of the net the weights are for.
        licence: of the weights, for the card.

    Raises:
        WeightsError: missing, unreadable, of another net, or not all of a net.
        OutputError: ``target`` cannot be written.
    """
    settings: dict[str, Any] = {}
    remark = ""
    if not source.is_file():
        raise WeightsError(f"{source}: no such file; name the weights to import")
    if source.suffix == ".caffemodel":
        tensors, rows, settings, remark = _from_caffe(source, net_name)
    elif source.suffix in (".pth", ".pt"):
        tensors = _from_pickle(source)
        rows = [LayerRow(name, (tuple(value.shape),), (name,)) for name, value in tensors.items()]
    elif source.suffix == ".safetensors":
        tensors = read_tensors(source)
        rows = [LayerRow(name, (tuple(value.shape),), (name,)) for name, value in tensors.items()]
    else:
        raise WeightsError(f"{source}: give a .caffemodel, .pth, .pt or .safetensors file")
    try:
        with torch.device("meta"):
            net = build_net(net_name, settings)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    fit(net, tensors, source)
    provenance = f"imported from {source.name}, SHA-256 {weights_sha256(source)}{remark}"
    store(
        target,
        net,
        card_for(net_name, settings, provenance=provenance, licence=licence),
        half=False,
    )
    return Imported(target, rows)


def _from_caffe(
    source: Path, net_name: str
) -> tuple[dict[str, torch.Tensor], list[LayerRow], dict[str, Any], str]:
    """Tensors, table, settings of the net, and what the card must say besides."""
    if net_name not in ("deconvnet-vgg16", "fcn8s"):
        raise WeightsError(f"{source}: a .caffemodel is for deconvnet-vgg16 or fcn8s")
    blobs = read_caffemodel(source)
    # A result of training has no folded statistics; the authors name such files so.
    folded = "train_result" not in source.name
    settings: DeconvNetSettings
    try:
        if net_name == "fcn8s":
            settings = fcn8s = infer_fcn8s_settings(blobs)
            check_classes(settings.classes)
            tensors, rows = import_fcn8s(blobs, fcn8s)
        else:
            settings = infer_settings(blobs)
            check_classes(settings.classes)
            tensors, rows = import_deconvnet(blobs, settings, folded=folded)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    remark = ""
    if detect_kind(blobs) == "vgg-trunk":
        net = DeconvNet(settings)
        initialise(net, seed=0)
        tensors = net.state_dict() | tensors
        remark = "; the trunk alone, the rest is untrained: to start training from"
    elif any(row.note == NO_STATISTICS for row in rows):
        remark = "; without BatchNorm statistics: they are to be recomputed before use"
    return tensors, rows, asdict(settings), remark


def check_classes(number: int) -> None:
    """Raise WeightsError unless weights score VOC's classes."""
    if number != len(CLASSES):
        raise WeightsError(f"scores {number} classes, this tool VOC's {len(CLASSES)}")


def _from_pickle(source: Path) -> dict[str, torch.Tensor]:
    check_unpacked_size(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on foreign pickles, which fail below if need be
            state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what is damaged or refused
        raise WeightsError(f"{source}: not a readable file of plain tensors") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and is_plain(value) for name, value in state.items()
    ):
        raise WeightsError(f"{source}: holds something else than named tensors")
    # Trained under DataParallel, names start with "module.".
    return {name.removeprefix("module."): value.detach() for name, value in state.items()}


def check_unpacked_size(source: Path) -> None:
    """Raise WeightsError for an archive that unpacks to more than it is: torch does not pack."""
    try:
        with zipfile.ZipFile(source) as archive:
            total = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return  # older files are no archives; what is damaged is said by torch
    if total > source.stat().st_size:
        raise WeightsError(f"{source}: unpacks to {total} bytes, as no file of torch does")


def is_plain(value: object) -> bool:
    """Whether this is a tensor whose values lie in memory, one by one."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
        and not value.is_quantized
    )
