"""Which device computes, and in which precision."""

from __future__ import annotations

import torch

from deconvnet_cli.errors import DeviceError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device called ``name``: auto, cpu, cuda, cuda:N or mps.

    Raises:
        DeviceError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"--device {name}: unknown; use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"--device {name}: torch sees {count} CUDA devices; use --device cpu")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(f"--device {name}: not available here; use --device cpu")
    elif device.type != "cpu":
        raise DeviceError(f"--device {name}: unknown; use auto, cpu, cuda, cuda:N or mps")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """The precision called ``name``; "auto" is fp16 on CUDA and fp32 elsewhere.

    Raises:
        DeviceError: fp16 on a CPU, where it is slower and less exact than fp32.
    """
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("--precision fp16 needs a GPU; use bf16 or fp32 on the CPU")
    return name


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which the net runs in ``precision``."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")
