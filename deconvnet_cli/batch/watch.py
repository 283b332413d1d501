"""A folder that fills: photos as they come in, once they are whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from deconvnet_cli.batch.plan import Job

INTERVAL = 2.0  # seconds between two looks
Seen = tuple[int, int]  # size and time of change


def arriving(
    look: Callable[[], list[Job]],
    stop: Callable[[], bool],
    at_work: Container[Path] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Job | None]:
    """Each photo once it has not changed between two looks, and again whenever it changes.

    Whoever copies a file into the folder writes to it for a while; half of it is no photo.
    Yields None while there is nothing to do, and ends when ``stop`` says so.

    Args:
        look: gives all photos that are there.
        at_work: photos that are being worked on; one that changes meanwhile has to wait.
        clock: seconds.
    """
    before: dict[Path, Seen | None] = {}
    given: dict[Path, Seen | None] = {}
    due = clock()
    while not stop():
        if clock() < due:
            yield None
            continue
        due = clock() + INTERVAL
        jobs = look()
        now = {job.photo: state(job.photo) for job in jobs}
        given = {photo: then for photo, then in given.items() if photo in now}
        for job in jobs:
            found = now[job.photo]
            steady = found is not None and found == before.get(job.photo)
            if steady and found != given.get(job.photo) and job.photo not in at_work:
                given[job.photo] = found
                yield job
        before = now
        yield None


def state(photo: Path) -> Seen | None:
    """What tells that a file was written to; None if it is gone."""
    try:
        found = photo.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
