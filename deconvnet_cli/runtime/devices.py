"""Devices, precisions, cores and memory settings."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from deconvnet_cli.errors import DeviceError, UsageError
from deconvnet_cli.runtime.cores import cores

# Options of glibc's malloc.h: blocks up to 1 GB are not mapped separately, freed memory is kept,
# and all threads share one heap (heaps of their own would map large blocks separately).
MALLOC = {-3: 1 << 30, -1: (1 << 31) - 1, -8: 1}
TRIM_EVERY = 16  # photos
# Environment variables of oneDNN and of torch's use of it: how many compiled kernels they keep. The
# default net has fewer for a photo and its crops, so none is compiled again for a known size.
KERNEL_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": 192, "LRU_CACHE_CAPACITY": 32}
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_photos = itertools.count(1)
MOST_WORKERS = 8  # unless the user asks for more
CPU = torch.device("cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``: auto, cpu, cuda, cuda:N or mps.

    "auto" is a GPU with CUDA if there is one, otherwise the CPU. It is never MPS, as torch before
    2.9 cannot unpool there, and no Mac was there to try a newer one.

    Raises:
        UsageError: No device is called so.
        DeviceError: This machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: unknown; use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"--device {name}: torch sees {count} CUDA devices; use --device cpu")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError(f"--device {name}: not available here; use --device cpu")
    elif device.type != "cpu":
        raise UsageError(f"--device {name}: unknown; use auto, cpu, cuda, cuda:N or mps")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Return the precision called ``name``; for "auto", the fastest of the device.

    That is bf16 if the hardware supports it, otherwise fp16 on a GPU and fp32 on a CPU.

    Raises:
        DeviceError: The name is fp16 and the device a CPU, where fp16 is slower and less exact
            than fp32.
    """
    if name == "auto":
        if has_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("--precision fp16 needs a GPU; use bf16 or fp32 on the CPU")
    return name


def has_bf16(device: torch.device) -> bool:
    """Return whether the hardware computes in bfloat16 and does not only emulate it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # Older versions of torch cannot tell; fp32 is then the safe choice.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def merge_device(device: torch.device) -> torch.device:
    """Return the device that merges the logits of a net on ``device``: that one if torch can.

    On MPS, torch cannot resize with antialiasing.
    """
    return device if device.type == "cuda" else CPU


@contextmanager
def torch_by_default(*devices: torch.device) -> Iterator[None]:
    """Compute in the block as torch does by default, whatever a program has set for its thread.

    It may be within autocast for a model of its own, or have set another default device. The nets
    are on ``devices``.
    """
    with ExitStack() as stack:
        # Not get_default_device, which before torch 2.6 does not see `with torch.device(...)`.
        if torch.empty(0).device != CPU:  # else CPU's block would slow down each call for nothing
            stack.enter_context(CPU)
        for kind in {CPU.type, *(device.type for device in devices)}:
            if torch.amp.is_autocast_available(kind):  # for MPS, since torch 2.5
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def one_core_a_photo() -> None:
    """Compute each photo on one core, so that several photos share the cores of this machine.

    This is faster than using all cores for one photo. Results do not depend on the number of
    photos at a time, whereas the number of threads changes how sums are rounded.
    """
    from deconvnet_cli.runtime.opencv import cv2

    bound_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def bound_memory() -> None:
    """Keep few kernels and reuse freed memory, for photos of many sizes; call it before a net runs.

    Memory is then fast and does not grow with each photo.
    """
    bound_kernel_caches()
    keep_freed_memory()


def bound_kernel_caches() -> None:
    """Keep few compiled kernels, unless the environment says how many; call this before a net runs.

    The CPU's kernels are compiled for each size of photo. By default 1024 of them are kept, and
    memory grows with each new size. With too few, those of the crops are compiled for each photo.
    """
    for name, kept in KERNEL_CACHES.items():
        os.environ.setdefault(name, str(kept))


def keep_freed_memory() -> None:
    """Reuse the freed memory of a photo for the next one; call this before threads start.

    glibc returns large blocks to the system at once, which must clear their pages again for the
    next tensor: a fifth of the time of a photo. Without glibc this does nothing.
    """
    if LIBC is not None and hasattr(LIBC, "mallopt"):
        for option, value in MALLOC.items():
            LIBC.mallopt(option, value)


def return_freed_memory() -> None:
    """Return freed memory to the system once in ``TRIM_EVERY`` calls; call this after each photo.

    Photos of many sizes leave gaps in a heap that keeps its memory, and it would grow with them.
    """
    if LIBC is not None and hasattr(LIBC, "malloc_trim") and next(_photos) % TRIM_EVERY == 0:
        LIBC.malloc_trim(0)


def at_a_time(workers: int | None) -> int:
    """Return the number of photos to work on at a time; each takes some hundred megabytes."""
    return workers or min(cores(), MOST_WORKERS)
