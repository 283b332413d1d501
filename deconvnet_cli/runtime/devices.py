"""Which device computes, and in which precision."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from deconvnet_cli.errors import DeviceError

# glibc's malloc.h: no block is mapped by itself up to 1 GB, freed memory stays, and all threads
# share one heap (in those of their own, large blocks would be mapped by themselves after all).
MALLOC = {-3: 1 << 30, -1: (1 << 31) - 1, -8: 1}
MOST_WORKERS = 8  # unless more are asked for
CPU = torch.device("cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    """The precision called ``name``; "auto" is the quickest that the device really has.

    bf16 where it computes in it, else fp16 on a GPU and fp32 on a CPU.

    Raises:
        DeviceError: fp16 on a CPU, where it is slower and less exact than fp32.
    """
    if name == "auto":
        if has_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("--precision fp16 needs a GPU; use bf16 or fp32 on the CPU")
    return name


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, and does not only imitate it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # Older versions of torch do not say; they then compute in fp32, which is right anywhere.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def merge_device(device: torch.device) -> torch.device:
    """Where the scores of a net on ``device`` are worked on: there, if torch can do all of it.

    On MPS it cannot scale with antialiasing.
    """
    return device if device.type == "cuda" else CPU


def one_core_a_photo() -> None:
    """Compute each photo on one core, so that several photos share the cores of this machine.

    That is quicker than to share each of them out, and its results do not depend on how many are
    worked on: sums are rounded in another order on another number of threads.
    """
    from deconvnet_cli.runtime.opencv import cv2

    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def keep_freed_memory() -> None:
    """Let memory that a photo has freed be used by the next one; call before threads begin.

    glibc gives large blocks back to the system at once, which clears each of their pages again
    when the next tensor needs them: a fifth of the time of a photo. Elsewhere nothing changes.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        for option, value in MALLOC.items():
            libc.mallopt(option, value)


def at_a_time(workers: int | None) -> int:
    """How many photos are worked on at a time; each takes some hundred megabytes of memory."""
    return workers or min(cores(), MOST_WORKERS)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
