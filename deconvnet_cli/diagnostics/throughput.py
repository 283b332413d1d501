"""The speed of this machine: the plain path against optimised nets and several workers."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import DeconvnetError
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.runtime.worker_process import CONTEXT
from deconvnet_cli.runtime.workers import side_by_side
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentOptions

SIZES = (320, 500, 1000)  # longer sides of the photos, pixels


@dataclass(frozen=True)
class Work:
    """The work of every trial.

    Attributes:
        photos: The photo files; each photo is scaled to ``side``.
        side: The longer side of the scaled photos, pixels.
        count: How many photos are segmented, at least one per worker; the files are reused in turn.
        options: The system that is timed, and its settings.
    """

    photos: tuple[Path, ...]
    side: int
    count: int
    options: SegmentOptions


def trials(workers: int) -> dict[str, int]:
    """Return the ways to segment the photos, by name: with 1, 2, 4 ... workers up to ``workers``.

    Before them comes the plain path, with 0: the net as it was trained, in fp32 and NCHW, one photo
    after another, on all cores.
    """
    numbers = [1 << power for power in range(workers.bit_length()) if 1 << power < workers]
    return {"plain": 0, **{counted(n, "worker"): n for n in (*numbers, workers)}}


def measure(work: Work, workers: int) -> Iterator[dict[str, Any]]:
    """Run each trial and yield a line of results for it.

    Photos are segmented in worker processes of the trial's own, so none shares threads or memory
    with another trial.

    Returns:
        Lines with the trial's name, ``side``, ``photos_per_s``, ``speedup`` over the plain path,
        ``ms`` (the median of each stage) and ``peak_mb``, the peak memory of all its processes,
        None where it is not known.
    """
    plain_speed = 0.0
    for name, number in trials(workers).items():
        line = run_trial(number, work)
        plain_speed = plain_speed or line["photos_per_s"]
        yield {"trial": name, **line, "speedup": round(line["photos_per_s"] / plain_speed, 2)}


def run_trial(workers: int, work: Work) -> dict[str, Any]:
    """Segment all photos with so many workers, 0 for the plain path.

    The first photo of each process is a warm-up, which does not count.
    """
    processes = workers or 1
    count = max(work.count, processes)  # a worker without a photo would not begin
    begin = partial(begin_timing, work, CONTEXT.Barrier(processes), plain=not workers)
    results = side_by_side(range(count), begin, processes)
    timed = []
    for _, result in results:
        if isinstance(result, DeconvnetError):
            raise result
        timed.append(result)
    seconds = max(photo.end for photo in timed) - min(photo.start for photo in timed)
    memory = {photo.process: photo.peak for photo in timed}  # the last of a process is its greatest
    stages = timed[0].ms
    return {
        "side": work.side,
        "photos_per_s": round(count / seconds, 3),
        "ms": {name: round(statistics.median(t.ms[name] for t in timed), 1) for name in stages},
        "peak_mb": round(sum(memory.values()) / 1e6) or None,
    }


@dataclass(frozen=True)
class Timed:
    """The timing of one photo.

    Attributes:
        start, end: When it began and ended, seconds of a clock that all processes share.
        ms: The milliseconds of each stage.
        process: The id of the process.
        peak: The peak memory of the process so far, bytes.
    """

    start: float
    end: float
    ms: Mapping[str, float]
    process: int
    peak: int


def begin_timing(work: Work, all_ready: Any, *, plain: bool) -> Callable[[int], Timed]:
    """Load the system, warm it up, and return a function that times a photo by its number.

    This runs in a worker process, and returns when all of them are ready.
    """
    if not plain:
        one_core_a_photo()
    system, settings = load_system(work.options, plain=plain)

    def time_photo(number: int) -> Timed:
        start = time.monotonic()
        photo = read_photo(work.photos[number % len(work.photos)])
        ms = segment(scaled(photo, work.side), system, settings).ms
        return Timed(start, time.monotonic(), ms, os.getpid(), peak_memory())

    time_photo(0)
    all_ready.wait()
    return time_photo


def scaled(photo: Image.Image, side: int) -> Image.Image:
    """Return a photo with a longer side of ``side`` pixels."""
    scale = side / max(photo.size)
    return photo.resize((round(photo.width * scale) or 1, round(photo.height * scale) or 1))


def peak_memory() -> int:
    """Return the peak memory of this process so far, bytes; 0 if Python cannot tell (Windows)."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    # The unit of ru_maxrss is kilobytes on Linux and bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
