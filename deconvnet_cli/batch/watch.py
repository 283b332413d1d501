"""Watch a folder that fills, and yield its photos once they are whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from deconvnet_cli.batch.job import Job

INTERVAL = 2.0  # seconds between two looks
State = tuple[int, int, int]  # size and times of change: of the content, and of who may read it


def arriving(
    look: Callable[[], list[Job]],
    stop: Callable[[], bool],
    at_work: Container[Path] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Job | None]:
    """Yield each photo when it is unchanged between two looks, and again after each change.

    A file that is being copied into the folder grows for a while, and half of it is no photo.
    The iterator yields None while there is nothing to do, and ends when ``stop`` returns true.

    Args:
        look: Returns the jobs of all photos that are there now.
        at_work: The photos being segmented; one that changes meanwhile has to wait.
        clock: Returns the time in seconds.
    """
    before: dict[Path, State | None] = {}
    given: dict[Path, State | None] = {}
    due = clock()
    while not stop():
        if clock() < due:
            yield None
            continue
        due = clock() + INTERVAL
        jobs = look()
        now = {job.photo: state_of(job.photo) for job in jobs}
        given = {photo: state for photo, state in given.items() if photo in now}
        for job in jobs:
            state = now[job.photo]
            steady = state is not None and state == before.get(job.photo)
            if steady and state != given.get(job.photo) and job.photo not in at_work:
                given[job.photo] = state
                yield job
        before = now
        yield None


def state_of(photo: Path) -> State | None:
    """Return a file's size and times of change; None if it is gone."""
    try:
        status = photo.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
