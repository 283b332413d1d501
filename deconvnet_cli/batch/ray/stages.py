"""The three stages that run on a cluster: boxes, nets, and CRF with labels.

A stage takes an Arrow table with a row for each photo: ``number``, and ``state``, the pickled
state of the photo. A photo starts as a :class:`Job`, becomes an :class:`OpenedPhoto` and then an
:class:`InferredPhoto`, and ends as an Entry or an error. A stage works on its own kind of state and
passes the others on.

Ray repeats the task of a worker that died, again and again if the next one dies too.
:class:`~deconvnet_cli.batch.ray.attempts.AttemptCounter` knows which photo the worker had, so the
repeats end.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import Entry
from deconvnet_cli.batch.photo import decoded_photo, prepared, result_or_failed_entry, write_result
from deconvnet_cli.batch.source import Source, read_source
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec, batch_info
from deconvnet_cli.errors import CrashError, DeconvnetError, DeviceError, NetsError, WeightsError
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.runtime.workers import TRIES
from deconvnet_cli.segmentation.segment import Inferred, infer, label_photo

State = TypeVar("State")


@dataclass(frozen=True)
class OpenedPhoto:
    """A photo that has been read, with its boxes; see :func:`prepared` for the last three."""

    source: Source
    working: Image.Image
    boxes: NDArray[np.int32] | None
    ms: dict[str, float]


@dataclass(frozen=True)
class InferredPhoto:
    """A photo that has been through the nets."""

    source: Source
    inferred: Inferred


def to_table(rows: Iterable[tuple[int, object]]) -> Any:
    """Return an Arrow table of numbers and pickled states."""
    pickled = [(number, pickle.dumps(state)) for number, state in rows]
    return pa.table(
        {
            "number": pa.array([number for number, _ in pickled], pa.int64()),
            "state": pa.array([state for _, state in pickled], pa.large_binary()),
        }
    )


def rows_of(block: Any) -> Iterator[tuple[int, Any]]:
    """Yield the numbers and states of an Arrow table, one at a time."""
    for number, state in zip(block["number"], block["state"], strict=True):
        yield number.as_py(), pickle.loads(state.as_buffer())


def map_states(
    block: Any, counter: Any, kind: type[State], advance: Callable[[State], object]
) -> Iterator[Any]:
    """Yield a table for each photo, with every state of ``kind`` replaced by its next one.

    Args:
        counter: The handle of the ``AttemptCounter`` actor.
        advance: Returns the next state of a photo.
    """
    for number, state in rows_of(block):
        if isinstance(state, kind):
            key = (kind.__name__, number)
            if ray.get(counter.start.remote(key)) < TRIES:
                state = result_or_error(advance, state)
            else:
                state = CrashError("its worker process died, twice")
            counter.end.remote(key)
        yield to_table([(number, state)])


def result_or_error(advance: Callable[[State], object], state: State) -> object:
    """Return the next state of a photo, or the error.

    Without memory this worker ends, as it may itself be the cause.
    """
    try:
        return advance(state)
    except DeconvnetError as error:
        return error
    except MemoryError:
        os._exit(1)


def set_up_worker(home: str) -> None:
    """Make this process a worker like those of the local engine, in the command's folder."""
    with contextlib.suppress(OSError):  # if this machine lacks the folder, so do relative paths
        os.chdir(home)
    one_core_a_photo()


def survey(spec: BatchSpec, home: str) -> BatchInfo | DeconvnetError:
    """Load the system on a worker and return what is known of the batch, or the error."""
    set_up_worker(home)
    try:
        return batch_info(spec, *spec.load())
    except DeconvnetError as error:
        return error


def find_boxes(block: Any, info: BatchInfo, home: str, counter: Any) -> Iterator[Any]:
    """Read photos and find the boxes that the net is shown (first stage)."""
    set_up_worker(home)

    def advance(job: Job) -> OpenedPhoto | Entry:
        source = read_source(job)

        def opened() -> OpenedPhoto:
            return OpenedPhoto(source, *prepared(decoded_photo(source, info.spec), info))

        return result_or_failed_entry(opened, source, info)

    return map_states(block, counter, Job, advance)


class NetActor:
    """An actor that loads the nets once and runs them on photos (second stage)."""

    def __init__(self, info: BatchInfo, home: str, counter: Any) -> None:
        set_up_worker(home)
        self.info, self.counter = info, counter
        self.load_error: NetsError | None = None
        try:
            self.system, self.settings = info.spec.load()
            self.check(batch_info(info.spec, self.system, self.settings))
        except DeconvnetError as error:
            self.load_error = NetsError(str(error))

    def check(self, here: BatchInfo) -> None:
        """Raise DeconvnetError unless the system here is the one of all other workers."""
        if here.fingerprint.weights != self.info.fingerprint.weights:
            raise WeightsError("workers have different weights; put the same file on all machines")
        if here.fingerprint.settings != self.info.fingerprint.settings:
            raise DeviceError(
                "workers would compute in different precisions; give --precision, or --device"
            )

    def __call__(self, block: Any) -> Iterator[Any]:
        """Run the nets on the opened photos of a table."""
        return map_states(block, self.counter, OpenedPhoto, self.infer_photo)

    def infer_photo(self, photo: OpenedPhoto) -> InferredPhoto | Entry:
        """Run the nets on one photo; raise NetsError if they could not be loaded."""
        if self.load_error is not None:
            raise self.load_error

        def run_nets() -> InferredPhoto:
            inferred = infer(photo.working, self.system, self.settings, boxes=photo.boxes)
            # The next stage may run on a machine without a GPU.
            ms = {**inferred.ms, **photo.ms}
            inferred = replace(inferred, maps=inferred.maps.cpu(), ms=ms)
            return InferredPhoto(photo.source, inferred)

        return result_or_failed_entry(run_nets, photo.source, self.info)


def finish_photos(block: Any, info: BatchInfo, home: str, counter: Any) -> Iterator[Any]:
    """Refine with the CRF, label and write all wanted files (third stage)."""
    set_up_worker(home)

    def advance(photo: InferredPhoto) -> Entry:
        source, inferred = photo.source, photo.inferred

        def label() -> Entry:
            image = decoded_photo(source, info.spec)
            result = label_photo(inferred, image.size, info.ensemble, info.settings.crf)
            return write_result(source, image, result, inferred, info)

        return result_or_failed_entry(label, source, info)

    return map_states(block, counter, InferredPhoto, advance)
