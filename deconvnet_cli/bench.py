"""How fast this machine segments: the plain path against prepared nets and several workers."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    a photo by stage) and ``peak_mb``, the most memory the process had.
    """
    plain = 0.0
    for trial in trials(workers):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            line = pool.submit(run_trial, trial, work).result()
        plain = plain or line["photos_per_s"]
        yield {**line, "speedup": round(line["photos_per_s"] / plain, 2)}


def run_trial(trial: Trial, work: Work) -> dict[str, Any]:
    """Segment all photos in one way; the first, which warms up, is not counted."""
    from deconvnet_cli.commands.options import prepare
    from deconvnet_cli.devices import one_core_a_photo
    from deconvnet_cli.images import read_photo
    from deconvnet_cli.pipeline import in_order
    from deconvnet_cli.segmenter import segment

    nets, settings = prepare(**work.options, plain=trial.workers == 0)
    workers = max(1, trial.workers)
    if trial.workers:
        one_core_a_photo()

    def one(number: int) -> dict[str, float]:
        photo = read_photo(work.photos[number % len(work.photos)])
        scale = work.side / max(photo.size)
        scaled = photo.resize((round(photo.width * scale) or 1, round(photo.height * scale) or 1))
        return segment(scaled, nets, settings).ms

    one(0)
    start = time.perf_counter()
    stages = [result() for _, result in in_order(range(work.count), one, workers)]
    seconds = time.perf_counter() - start
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "trial": trial.name,
        "side": work.side,
        "photos_per_s": round(work.count / seconds, 3),
        "ms": {name: round(statistics.median(ms[name] for ms in stages), 1) for name in stages[0]},
        "peak_mb": round(peak / 1e6),
    }
