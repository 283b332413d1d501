"""How fast this machine segments: the plain path against prepared nets and several workers."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import DeconvnetError
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.runtime.worker_process import CONTEXT
from deconvnet_cli.runtime.workers import side_by_side
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import segment

SIZES = (320, 500, 1000)  # longer side of the photos, pixels


@dataclass(frozen=True)
class Trial:
    """One way to do it.

    Attributes:
        name: as it is printed.
        workers: photos at a time; 0 is the plain path: the net as it was trained, in fp32 and
            planes (NCHW), one photo after another, on all cores.
    """

    name: str
    workers: int


@dataclass(frozen=True)
class Work:
    """What is done in every trial.

    Attributes:
        photos: files; each is scaled to ``side``.
        side: longer side, pixels.
        count: how many photos are segmented, the files over and over.
        options: of the command line, as ``commands/options.py`` takes them.
    """

    photos: tuple[Path, ...]
    side: int
    count: int
    options: Mapping[str, Any]


def trials(workers: int) -> list[Trial]:
    """The plain path, then 1, 2, 4 ... workers up to ``workers``."""
    numbers = [1 << power for power in range(workers.bit_length()) if 1 << power < workers]
    named = [Trial(f"{n} worker" + "s" * (n > 1), n) for n in (*numbers, workers)]
    return [Trial("plain", 0), *named]


def measure(work: Work, workers: int) -> Iterator[dict[str, Any]]:
    """A line a trial, each in a process of its own: threads and memory are then its own.

    A line has the trial's name, ``photos_per_s``, ``speedup`` over the plain path, ``ms`` (median
    a photo by stage) and ``peak_mb``, the most memory that its processes had.
    """
    plain = 0.0
    for trial in trials(workers):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            line = pool.submit(run_trial, trial, work).result()
        plain = plain or line["photos_per_s"]
        yield {**line, "speedup": round(line["photos_per_s"] / plain, 2)}


def run_trial(trial: Trial, work: Work) -> dict[str, Any]:
    """Segment all photos in one way; the first of each process, which warms up, is not counted."""
    if trial.workers:
        together = CONTEXT.Barrier(trial.workers)
        begin = partial(begin_timing, work, together)
        answers = side_by_side(range(work.count), begin, trial.workers)
        timed = [worth(answer) for _, answer in answers]
    else:
        one = timer(work, plain=True)
        timed = [one(number) for number in range(work.count)]
    seconds = max(photo.end for photo in timed) - min(photo.start for photo in timed)
    memory = {photo.process: photo.peak for photo in timed}  # of each process the last, the most
    stages = timed[0].ms
    return {
        "trial": trial.name,
        "side": work.side,
        "photos_per_s": round(work.count / seconds, 3),
        "ms": {name: round(statistics.median(t.ms[name] for t in timed), 1) for name in stages},
        "peak_mb": round(sum(memory.values()) / 1e6),
    }


@dataclass(frozen=True)
class Timed:
    """One photo: when it was begun and done, seconds of a clock that all processes share."""

    start: float
    end: float
    ms: Mapping[str, float]
    process: int
    peak: int  # bytes, the most that the process had so far


def begin_timing(work: Work, together: Any) -> Callable[[int], Timed]:
    """A worker process that begins to work when all others do."""
    one_core_a_photo()
    one = timer(work, plain=False)
    together.wait()
    return one


def timer(work: Work, *, plain: bool) -> Callable[[int], Timed]:
    """Load and warm up; what it returns segments a photo by its number."""
    system, settings = load_system(**work.options, plain=plain)

    def one(number: int) -> Timed:
        start = time.monotonic()
        photo = read_photo(work.photos[number % len(work.photos)])
        scale = work.side / max(photo.size)
        scaled = photo.resize((round(photo.width * scale) or 1, round(photo.height * scale) or 1))
        ms = segment(scaled, system, settings).ms
        # Linux counts in kilobytes, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return Timed(start, time.monotonic(), ms, os.getpid(), peak)

    one(0)
    return one


def worth(answer: Timed | DeconvnetError) -> Timed:
    """What was measured.

    Raises:
        DeconvnetError: the photo failed.
    """
    if isinstance(answer, DeconvnetError):
        raise answer
    return answer
