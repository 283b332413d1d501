"""Watch a folder that fills, and yield its photos once they are whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.source import file_state
from deconvnet_cli.storage.remote import Found

INTERVAL = 2.0  # seconds between two looks


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
    before: dict[Path, Found | None] = {}
    given: dict[Path, Found | None] = {}
    due = clock()
    while not stop():
        if clock() < due:
            yield None
            continue
        due = clock() + INTERVAL
        jobs = look()
        now = {job.photo: file_state(job.photo) for job in jobs}
        given = {photo: state for photo, state in given.items() if photo in now}
        for job in jobs:
            state = now[job.photo]
            steady = state is not None and state == before.get(job.photo)
            if steady and state != given.get(job.photo) and job.photo not in at_work:
                given[job.photo] = state
                yield job
        before = now
        yield None
