"""The speed of a GPU: of the nets alone, and of whole photos one after another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.diagnostics.throughput import peak_memory, scaled
from deconvnet_cli.errors import DeviceError
from deconvnet_cli.runtime.devices import choose_device
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.segment import infer, label_photo
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System, box_settings
from deconvnet_cli.segmentation.working_copy import working_copy


def require_gpu(name: str) -> torch.device:
    """Return the GPU called ``name``; "auto" is the first.

    Raises:
        DeviceError: This machine has no such GPU, or the device is no GPU with CUDA.
    """
    device = choose_device(name)
    if device.type != "cuda":
        raise DeviceError(
            "bench gpu needs a GPU with CUDA, and torch sees none; `deconvnet doctor` says why"
            if name == "auto"
            else f"--device {name}: bench gpu measures a GPU with CUDA; leave out --device"
        )
    return device


@contextmanager
def device_time(device: torch.device, spans: list[float]) -> Iterator[None]:
    """Append the seconds from the first to the last work of the ``with`` block on a device.

    On CUDA its events tell them, so that the CPU's work before and after does not count.
    """
    if device.type != "cuda":
        start = time.perf_counter()
        yield
        spans.append(time.perf_counter() - start)
        return
    begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    begin.record()
    yield
    end.record()
    end.synchronize()
    spans.append(begin.elapsed_time(end) / 1000)


def measure(
    files: Sequence[Path],
    side: int,
    count: int,
    system: System,
    settings: SegmentSettings,
    device: torch.device,
) -> dict[str, Any]:
    """Measure the nets alone on photos whose boxes are known, then whole photos.

    Each photo is segmented once before, since kernels are chosen and compiled for each shape.

    Args:
        files: The photos, each scaled to ``side``.
        side: The longer side of the scaled photos, pixels.
        count: How many photos are segmented; the files are reused in turn.
        system: The nets, on ``device``.
        device: The device that is measured: a GPU, or the CPU in tests.

    Returns:
        ``device``; ``side``; ``photos``; ``net_photos_per_s``, with boxes found beforehand and
        without labels; ``photos_per_s``, from the file to the labels; ``busy``, the share of that
        time between the first and the last work of each photo on the device; ``ms``, the median of
        each stage; and ``peak_mb``, the peak memory of the device.
    """
    known = []
    for file in files[:count]:
        photo = scaled(read_photo(file), side)
        boxes = boxes_of(photo, system, settings)
        known.append((photo, boxes))
        label(photo, boxes, system, settings)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    start = time.perf_counter()
    for number in range(count):
        photo, boxes = known[number % len(known)]
        infer(photo, system, settings, boxes=boxes)  # waits for the device
    net_seconds = time.perf_counter() - start

    spans: list[float] = []
    stages = []
    start = time.perf_counter()
    for number in range(count):
        begin = time.perf_counter()
        photo = scaled(read_photo(files[number % len(files)]), side)
        read = time.perf_counter()
        boxes = boxes_of(photo, system, settings)
        boxed = time.perf_counter()
        with device_time(device, spans):
            label(photo, boxes, system, settings)
        ended = time.perf_counter()
        stages.append({"reading": read - begin, "proposals": boxed - read, "rest": ended - boxed})
    seconds = time.perf_counter() - start
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "side": side,
        "photos": count,
        "net_photos_per_s": round(count / net_seconds, 3),
        "photos_per_s": round(count / seconds, 3),
        "busy": round(sum(spans) / seconds, 3),
        "ms": {
            name: round(statistics.median(one[name] for one in stages) * 1000, 1)
            for name in stages[0]
        },
        "peak_mb": round(peak_bytes(device) / 1e6),
    }


def boxes_of(photo: Image.Image, system: System, settings: SegmentSettings) -> Any:
    """Return the boxes of a photo, int32 N x 4, in its working copy; None if no net takes any."""
    if system.deconvnet is None:
        return None
    work = working_copy(photo, settings.max_side)
    return propose(np.asarray(work), box_settings(system.deconvnet, settings)).boxes


def label(photo: Image.Image, boxes: Any, system: System, settings: SegmentSettings) -> None:
    """Segment a photo whose boxes are known."""
    found = infer(photo, system, settings, boxes=boxes)
    label_photo(found, photo.size, system.ensemble, settings.crf)


def peak_bytes(device: torch.device) -> int:
    """Return the peak memory of a GPU's tensors, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
