"""What a cluster does with photos, in three stages: boxes, net, CRF and labels.

A stage takes a table of Arrow, a row a photo: ``number``, and ``state``, the pickled state that
the photo is in. The states are, in order, :class:`Job`, :class:`Opened`, :class:`Judged` and what
has become of it: an Entry, an error, or :class:`Stop`. A stage works on the states that are for
it and hands the others on.

Ray does the task of a worker that died again, and again if that one dies. :class:`Tally` knows
which photo it was working on, so that this ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.batch.manifest import Entry
from deconvnet_cli.batch.photo import attempt, finish
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.source import Source, read_source
from deconvnet_cli.batch.spec import BatchSpec, SystemInfo, system_info
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import CrashError, DeconvnetError, DeviceError, WeightsError
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.runtime.workers import TRIES
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.segment import Inferred, infer, working_copy

State = TypeVar("State")
Key = tuple[str, int]  # stage, and number of the photo


@dataclass(frozen=True)
class Opened:
    """A photo that was read.

    Attributes:
        work: in the size that is worked on.
        boxes: int32 N x 4 in that size; None if no net takes boxes.
        ms: milliseconds by stage.
    """

    job: Job
    source: Source
    work: Image.Image
    boxes: NDArray[np.int32] | None
    ms: dict[str, float]


@dataclass(frozen=True)
class Judged:
    """A photo with what the nets say of it."""

    job: Job
    source: Source
    scored: Inferred


@dataclass(frozen=True)
class Stop:
    """What no photo is to blame for, and none can be done with: the run ends."""

    error: DeconvnetError


class Tally:
    """An actor that counts how often work on a photo was begun and never came to an end."""

    def __init__(self) -> None:
        self.begun: Counter[Key] = Counter()

    def begin(self, key: Key) -> int:
        """Work on a photo in a stage begins; how many times it was begun in vain before."""
        self.begun[key] += 1
        return self.begun[key] - 1

    def end(self, key: Key) -> None:
        """It has come to an end."""
        self.begun.pop(key, None)


def table(rows: Iterable[tuple[int, object]]) -> Any:
    """Numbers and states as a table of Arrow."""
    listed = [(number, pickle.dumps(state)) for number, state in rows]
    return pa.table(
        {
            "number": pa.array([number for number, _ in listed], pa.int64()),
            "state": pa.array([state for _, state in listed], pa.large_binary()),
        }
    )


def rows_of(block: Any) -> Iterator[tuple[int, Any]]:
    """The numbers and states in a table of Arrow, one at a time."""
    for number, state in zip(block["number"], block["state"], strict=True):
        yield number.as_py(), pickle.loads(state.as_buffer())


def staged(
    block: Any, tally: Any, kind: type[State], work: Callable[[State], object]
) -> Iterator[Any]:
    """A table with what ``work`` made of each state of a kind; a photo a table.

    Args:
        tally: handle of the actor.
    """
    for number, state in rows_of(block):
        if isinstance(state, kind):
            key = (kind.__name__, number)
            if ray.get(tally.begin.remote(key)) < TRIES:
                state = outcome(work, state)
            else:
                state = CrashError("its worker process died, twice")
            tally.end.remote(key)
        yield table([(number, state)])


def outcome(work: Callable[[State], object], state: State) -> object:
    """What work makes of a photo; without memory this worker ends, as it may be the reason."""
    try:
        return work(state)
    except DeconvnetError as error:
        return error
    except MemoryError:
        os._exit(1)


def settle(home: str) -> None:
    """Make this process a worker like those of the local engine, in the folder of the command."""
    with contextlib.suppress(OSError):  # not on this machine: nor are paths that are relative to it
        os.chdir(home)
    one_core_a_photo()


def survey(spec: BatchSpec, home: str) -> SystemInfo | DeconvnetError:
    """The facts, or the error, that a worker finds which is like those of the nets."""
    settle(home)
    try:
        return system_info(spec, *spec.load())
    except DeconvnetError as error:
        return error


def find_boxes(
    block: Any, spec: BatchSpec, info: SystemInfo, home: str, tally: Any
) -> Iterator[Any]:
    """First stage: read photos, and find the boxes that the net will be shown."""
    settle(home)

    def work(job: Job) -> Opened | Entry:
        source = read_source(job.photo)
        return attempt(
            lambda: opened(job, source, spec, info),
            job, source, spec.folder, info.fingerprint,
        )  # fmt: skip

    return staged(block, tally, Job, work)


def opened(job: Job, source: Source, spec: BatchSpec, info: SystemInfo) -> Opened:
    """A photo that is read, with its boxes.

    Raises:
        ImageError: it is no photo.
    """
    photo = read_photo(source.data, str(job.photo), max_pixels=spec.max_pixels)
    work = working_copy(photo, info.settings.max_side)
    boxes, watch = None, Stopwatch()
    if info.boxes is not None:
        with watch.timed("proposals"):
            boxes = propose(np.asarray(work), replace(info.settings.boxes, count=info.boxes)).boxes
    return Opened(job, source, work, boxes, watch.ms)


class Judge:
    """Second stage: the nets, in an actor that has loaded them once."""

    def __init__(self, spec: BatchSpec, info: SystemInfo, home: str, tally: Any) -> None:
        settle(home)
        self.spec, self.info, self.tally = spec, info, tally
        self.broken: DeconvnetError | None = None
        try:
            self.system, self.settings = spec.load()
            self.check(system_info(spec, self.system, self.settings))
        except DeconvnetError as error:
            self.broken = error

    def check(self, here: SystemInfo) -> None:
        """Raise DeconvnetError unless the nets are those of all others."""
        if here.fingerprint.weights != self.info.fingerprint.weights:
            raise WeightsError("workers have different weights; put the same file on all machines")
        if here.fingerprint.settings != self.info.fingerprint.settings:
            raise DeviceError(
                "workers would compute in different precisions; give --precision, or --device"
            )

    def __call__(self, block: Any) -> Iterator[Any]:
        return staged(block, self.tally, Opened, self.work)

    def work(self, photo: Opened) -> Judged | Entry | Stop:
        if self.broken is not None:
            return Stop(self.broken)

        def judge() -> Judged:
            scored = infer(photo.work, self.system, self.settings, boxes=photo.boxes)
            # The next stage may be on a machine without a GPU.
            scored = replace(scored, maps=scored.maps.cpu(), ms={**scored.ms, **photo.ms})
            return Judged(photo.job, photo.source, scored)

        folder, fingerprint = self.spec.folder, self.info.fingerprint
        return attempt(judge, photo.job, photo.source, folder, fingerprint)


def finish_photos(
    block: Any, spec: BatchSpec, info: SystemInfo, home: str, tally: Any
) -> Iterator[Any]:
    """Third stage: the CRF, the labels and all files that are wanted."""
    settle(home)

    def work(photo: Judged) -> Entry:
        job, source = photo.job, photo.source

        def label() -> Entry:
            image = read_photo(source.data, str(job.photo), max_pixels=spec.max_pixels)
            return finish(job, source, image, photo.scored, spec, info)

        return attempt(label, job, source, spec.folder, info.fingerprint)

    return staged(block, tally, Judged, work)
