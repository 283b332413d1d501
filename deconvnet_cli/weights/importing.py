"""Import of .caffemodel, .pth and bare .safetensors files as weights files with a card."""

from __future__ import annotations

import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from deconvnet_cli.choices import NET_NAMES
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNet, initialise
from deconvnet_cli.nets.registry import build_net
from deconvnet_cli.storage.quiet import warnings_ignored
from deconvnet_cli.weights.caffe_deconvnet import NO_STATISTICS, import_deconvnet
from deconvnet_cli.weights.caffe_fcn8s import import_fcn8s
from deconvnet_cli.weights.caffe_layers import LayerRow, detect_kind, infer_settings
from deconvnet_cli.weights.caffe_reader import read_caffemodel
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.eight_bit import expanded
from deconvnet_cli.weights.files import fit, read_tensors, store, without_counters
from deconvnet_cli.weights.shipped import weights_sha256

CAFFE_NETS = {"deconvnet": "deconvnet-vgg16", "vgg-trunk": "deconvnet-vgg16", "fcn8s": "fcn8s"}
NAME_THEM = "name them with --classes FILE"
ALIKE = 0.9  # share of common names from which on tensors are taken for a net's


@dataclass(frozen=True)
class Imported:
    """The result of an import: the weights file, and a table of its layers, or of its tensors."""

    path: Path
    rows: list[LayerRow]
    unit: str

    @property
    def summary(self) -> str:
        """How many layers or tensors of the file are used, and how many have a remark."""
        in_file = [row for row in self.rows if row.source]
        used = sum(bool(row.targets) for row in in_file)
        remarks: dict[str, list[LayerRow]] = {}
        for row in self.rows:
            if row.note:
                remarks.setdefault(row.note, []).append(row)
        parts = [f"{used} of {len(in_file)} {self.unit} in the file are used"]
        for remark, rows in remarks.items():
            first = rows[0].source or rows[0].targets[0]
            parts.append(f"{len(rows)} {remark} ({first}{', ...' if len(rows) > 1 else ''})")
        return "; ".join(parts)


def import_weights(
    source: Path,
    target: Path,
    net_name: str,
    *,
    licence: str,
    classes: tuple[str, ...] = CLASSES,
) -> Imported:
    """Convert ``source`` to ``target``, float32 safetensors with a card.

    Args:
        source: A .caffemodel (an FCN-8s, a DeconvNet, or a VGG-16 to start training from, whose
            other layers get their initial values), a .pth or .pt (a dict of tensors, or one
            under "state_dict"), or a .safetensors with our names of tensors.
        classes: The names of the classes, the background first.

    Raises:
        WeightsError: The source is missing, unreadable, incomplete or made for another net.
        OutputError: The target cannot be written.
    """
    settings: dict[str, Any] = {} if classes == CLASSES else {"classes": len(classes)}
    remark = ""
    if not source.is_file():
        raise WeightsError(f"{source}: no such file; name the weights to import")
    if source.suffix == ".caffemodel":
        tensors, rows, settings, remark = _from_caffe(source, net_name, len(classes))
    elif source.suffix in (".pth", ".pt", ".safetensors"):
        pickled = source.suffix != ".safetensors"
        tensors = _from_pickle(source) if pickled else expanded(read_tensors(source), source)
        rows = [LayerRow(name, (tuple(value.shape),), (name,)) for name, value in tensors.items()]
    else:
        raise WeightsError(f"{source}: give a .caffemodel, .pth, .pt or .safetensors file")
    try:
        with torch.device("meta"):
            net = build_net(net_name, settings)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    try:
        fit(net, tensors, source)
    except WeightsError as error:
        if other := wrong_net(source, net_of(tensors), net_name):
            raise other from error
        shapes = {key: value.shape for key, value in net.state_dict().items()}
        if all(shapes.get(key, value.shape) == value.shape for key, value in tensors.items()):
            raise
        raise WeightsError(f"{error}; if it has other classes, {NAME_THEM}") from error
    provenance = f"imported from {source.name}, SHA-256 {weights_sha256(source)}{remark}"
    store(
        target,
        net,
        card_for(net_name, settings, provenance=provenance, licence=licence, classes=classes),
        half=False,
    )
    return Imported(target, rows, "layers" if source.suffix == ".caffemodel" else "tensors")


def _from_caffe(
    source: Path, net_name: str, classes: int
) -> tuple[dict[str, torch.Tensor], list[LayerRow], dict[str, Any], str]:
    """Return the tensors, the table, the net's settings, and a remark for the card."""
    blobs = read_caffemodel(source)
    kind = detect_kind(blobs)
    if error := wrong_net(source, CAFFE_NETS.get(kind), net_name):
        raise error
    if net_name not in CAFFE_NETS.values():
        raise WeightsError(f"{source}: a .caffemodel is for deconvnet-vgg16 or fcn8s")
    # The authors call the results of training so; these have no folded statistics.
    folded = "train_result" not in source.name
    try:
        settings = infer_settings(blobs)
        if kind == "vgg-trunk":  # which has no classes of its own
            settings = replace(settings, classes=classes)
        check_classes(settings.classes, classes)
        if kind == "fcn8s":
            tensors, rows = import_fcn8s(blobs, settings)
        else:
            tensors, rows = import_deconvnet(blobs, settings, folded=folded)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from error
    remark = ""
    if kind == "vgg-trunk":
        net = DeconvNet(settings)
        initialise(net, seed=0)
        tensors = net.state_dict() | tensors
        remark = "; the layers of VGG-16 alone, the rest is untrained: to start training from"
    elif any(row.note == NO_STATISTICS for row in rows):
        remark = "; without BatchNorm statistics, which are to be recomputed before use"
    return tensors, rows, asdict(settings), remark


def net_of(tensors: dict[str, torch.Tensor]) -> str | None:
    """Return the net that has nearly all parameters of these names and few others, or None."""
    given = set(without_counters(tensors))
    alike: dict[str, float] = {}
    with torch.device("meta"):
        for name in NET_NAMES:
            names = build_net(name).state_dict()
            expected = set(without_counters(names))
            alike[name] = len(expected & given) / len(expected | given)
    best = max(alike, key=lambda name: alike[name])
    return best if alike[best] >= ALIKE else None


def wrong_net(source: Path, fitting: str | None, net_name: str) -> WeightsError | None:
    """Return the error that names the net that the weights fit, if it is another one."""
    if fitting in (None, net_name):
        return None
    return WeightsError(
        f"{source}: these are weights of {fitting}, not of {net_name}: import them with "
        f"--net {fitting}"
    )


def check_classes(number: int, named: int) -> None:
    """Raise WeightsError unless the weights have as many classes as are named."""
    if number != named:
        raise WeightsError(f"has {number} classes, and {named} are named; {NAME_THEM}")


def _from_pickle(source: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file of ``torch.save`` by name."""
    check_unpacked_size(source)
    try:
        with warnings_ignored():  # about unusual pickles; bad ones fail below
            state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged or refused files
        raise WeightsError(f"{source}: not a readable file of plain tensors") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and is_plain(value) for name, value in state.items()
    ):
        raise WeightsError(f"{source}: holds something else than named tensors")
    # DataParallel puts "module." before all names.
    return {name.removeprefix("module."): value.detach() for name, value in state.items()}


def check_unpacked_size(source: Path) -> None:
    """Raise WeightsError for an archive larger unpacked than packed; torch does not compress."""
    try:
        with zipfile.ZipFile(source) as archive:
            total = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return  # older files are no archives; torch reports damaged ones
    if total > source.stat().st_size:
        raise WeightsError(
            f"{source}: unpacks to {total} bytes, more than the file has, unlike a file of torch"
        )


def is_plain(value: object) -> bool:
    """Return whether this is a dense tensor in main memory."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
        and not value.is_quantized
    )
