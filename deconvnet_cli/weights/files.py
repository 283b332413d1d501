"""Weights files: safetensors with a card in their metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from deconvnet_cli.errors import WeightsError, why
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import build_net
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.weights.card import METADATA_KEY, SIDES, Card, check_card, plain_values
from deconvnet_cli.weights.eight_bit import compressed, expanded
from deconvnet_cli.weights.shipped import locate

STORED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Weights:
    """A net with its weights, in eval mode, and the card it came with."""

    net: nn.Module
    card: Card
    path: Path

    @property
    def device(self) -> torch.device:
        """Return the device of the net."""
        return next(self.net.parameters()).device


def read_card(path: Path) -> Card:
    """Return the card of a weights file without reading its tensors.

    Raises:
        WeightsError: The file is no safetensors file, or its card is missing or wrong.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: not a readable safetensors file ({error}); "
            "convert other formats with `deconvnet weights import`"
        ) from error
    if text is None:
        raise WeightsError(
            f"{path}: says nothing about its net; convert it with `deconvnet weights import`"
        )
    try:
        values = json.loads(text)
        check_card(values)
        for name in ("mean", *SIDES):
            if name in values["input"]:
                values["input"][name] = tuple(values["input"][name])
        values["input"] = InputConvention(**values["input"])
        values["classes"] = tuple(values["classes"])
        return Card(**values)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its card cannot be read ({error})") from error


def load(name_or_path: str) -> Weights:
    """Load a net with its weights for inference: float32, on the CPU, in eval mode.

    Args:
        name_or_path: The name of shipped weights, or the path of a weights file.

    Raises:
        WeightsError: The weights are not found, their card is wrong, or the tensors do not fit.
        ChecksumError: Shipped weights differ from the published file.
    """
    path = locate(name_or_path)
    card = read_card(path)
    try:
        with torch.device("meta"):  # takes no memory, whatever the card asks for
            net = build_net(card.net, card.settings)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    fit(net, expanded(read_tensors(path), path), path)
    return Weights(net.eval(), card, path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a safetensors file, unchanged.

    Raises:
        WeightsError: The file is missing or is not a readable safetensors file.
    """
    if not path.is_file():  # pipes and devices may never end
        raise WeightsError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged safetensors file ({why(error)})") from error


def fit(net: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Put exactly these tensors into a net, as float32.

    Args:
        net: The net, which may be on the ``meta`` device.
        tensors: The tensors by name, in half, single or double precision.
        path: The file of the tensors, for errors.

    Raises:
        WeightsError: A tensor is missing, left over or of another shape, or has values that are
            not finite or, for variances, negative.
    """
    expected = net.state_dict()
    counters = expected.keys() - without_counters(expected).keys()
    for key in counters:
        tensors = tensors | {key: torch.tensor(0)}
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    if missing or extra:
        what = f"{missing[0]} is missing" if missing else f"{extra[0]} is not of this net"
        raise WeightsError(
            f"{path}: not weights of this net, {what} "
            f"({len(missing)} missing, {len(extra)} left over)"
        )
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise WeightsError(
                f"{path}: {key} is {tuple(tensor.shape)}, the net's {tuple(expected[key].shape)}"
            )
        if key not in counters:
            check_values(key, tensor, path)
    # This follows the shape checks: a wrong shape may have far more values than the file bytes.
    singles = {key: t if key in counters else t.float() for key, t in tensors.items()}
    net.load_state_dict(singles, assign=True)


def without_counters(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors without BatchNorm's counters of batches, which only training needs."""
    return {key: value for key, value in tensors.items() if not key.endswith(COUNTER)}


def check_values(key: str, tensor: torch.Tensor, path: Path) -> None:
    """Raise WeightsError unless all values are finite floats, and variances not negative."""
    if tensor.dtype not in STORED:
        raise WeightsError(f"{path}: {key} is of {tensor.dtype}, which is not floating-point")
    if not tensor.isfinite().all():
        raise WeightsError(f"{path}: {key} has values that are not finite; train or get it again")
    if key.endswith("running_var") and (tensor < 0).any():
        raise WeightsError(f"{path}: {key} has a negative variance; train or get it again")


def store(
    path: Path, net: nn.Module, card: Card, *, half: bool = True, eight_bit: bool = False
) -> None:
    """Write a weights file: the net's tensors and the card.

    Args:
        net: The net, on any device.
        half: Whether to store float16, except for tensors with values that it cannot hold.
        eight_bit: Whether to store large kernels in 8 bits (see ``eight_bit.py``).

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {
        key: value.half() if half and fits_half(value) else value
        for key, value in without_counters(net.state_dict()).items()
    }
    if eight_bit:
        tensors |= compressed(net)
    tensors = {key: value.cpu().contiguous() for key, value in tensors.items()}
    data = save(tensors, {METADATA_KEY: json.dumps(plain_values(card))})
    write_whole(path, data)


def fits_half(tensor: torch.Tensor) -> bool:
    """Return whether float16 can hold the values of a tensor, which ends at 65,504."""
    return tensor.is_floating_point() and bool(tensor.half().isfinite().all())
