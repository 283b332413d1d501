"""One photo of a batch, from its file to its label PNG, as a worker process handles it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import DONE, FAILED, Entry
from deconvnet_cli.batch.source import Source, file_state, read_source
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec, fingerprint_of
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.notes import collected
from deconvnet_cli.errors import CrashError, DeconvnetError, ImageError, WeightsError
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.segment import (
    Inferred,
    Segmentation,
    infer,
    label_photo,
    summarise,
)
from deconvnet_cli.segmentation.stored_scores import write_scores
from deconvnet_cli.segmentation.working_copy import working_copy
from deconvnet_cli.storage.files import make_folder
from deconvnet_cli.storage.hashing import file_sha256_or_none

Result = TypeVar("Result")
# The labels of a photo, and the maps of the nets if they are wanted.
Segmented = tuple[Segmentation, Inferred | None]
# In the words of torch, C++, OpenCV and the operating system, in lower case.
NO_MEMORY = ("out of memory", "bad_alloc", "insufficient memory", "allocate memory")


def start_worker(info: BatchInfo) -> Callable[[Job], Entry]:
    """Load the system in this process and return a function that labels a photo on one core.

    See :func:`labeller` for what that function raises.

    Raises:
        WeightsError: The weights no longer match the fingerprint.
    """
    one_core_a_photo()
    system, settings = info.spec.load()
    if fingerprint_of(system, settings).weights != info.fingerprint.weights:
        raise WeightsError("the weights changed while the batch ran; start it again")

    def segment(photo: Image.Image) -> Segmented:
        inferred = infer(photo, system, settings)
        return label_photo(inferred, photo.size, system.ensemble, settings.crf), inferred

    return labeller(info, segment)


def labeller(
    info: BatchInfo, segment: Callable[[Image.Image], Segmented]
) -> Callable[[Job], Entry]:
    """Return a function that reads a photo, lets ``segment`` segment it, and writes its files.

    If a photo cannot be segmented, it returns a failed entry. It raises DeconvnetError if a photo
    cannot be read or written (the next run retries it), and MemoryError if memory runs out.
    """

    def label_job(job: Job) -> Entry:
        source = read_source(job)

        def label() -> Entry:
            photo = decoded_photo(source, info.spec)
            return write_result(source, photo, *segment(photo), info)

        return result_or_failed_entry(label, source, info)

    return label_job


def decoded_photo(source: Source, spec: BatchSpec) -> Image.Image:
    """Return a photo, or its page that the batch takes, decoded from its file's bytes.

    Raises:
        ImageError: The file is not a photo, or has no such page.
    """
    name = str(source.job.photo)
    return read_photo(source.data, name, max_pixels=spec.max_pixels, page=spec.page)


def prepared(
    photo: Image.Image, info: BatchInfo
) -> tuple[Image.Image, NDArray[np.int32] | None, dict[str, float]]:
    """Return what the nets are given of a photo.

    Returns:
        The photo in the size that is segmented; its boxes, int32 N x 4, in that size, or None if no
        net takes boxes; and the milliseconds by stage.
    """
    working = working_copy(photo, info.settings.max_side)
    boxes, watch = None, Stopwatch()
    if info.boxes is not None:
        box_settings = replace(info.settings.boxes, count=info.boxes)
        with watch.timed("proposals"):
            boxes = propose(np.asarray(working), box_settings).boxes
    return working, boxes, watch.ms


def result_or_failed_entry(
    call: Callable[[], Result], source: Source, info: BatchInfo
) -> Result | Entry:
    """Return the result of ``call``, or a failed entry if the photo cannot be segmented.

    An entry has the notes of the call.

    Raises:
        DeconvnetError: The photo cannot be read, or its files cannot be written.
        MemoryError: Memory ran out.
    """
    result: Result | Entry
    with collected() as notes:
        try:
            result = call()
        except Exception as error:  # from torch, OpenCV or memory: one photo must not stop the rest
            if out_of_memory(error):
                raise MemoryError from error
            if isinstance(error, DeconvnetError) and not isinstance(error, ImageError):
                raise
            if not isinstance(error, ImageError):
                what = f"{type(error).__name__}: {error}".splitlines()[0]
                error = DeconvnetError(f"{source.job.photo}: cannot be segmented ({what})")
            result = failed_entry(source.job, error, info, source)
    if isinstance(result, Entry):
        return replace(result, notes=tuple(dict.fromkeys(notes)))
    return result


def out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, says that memory ran out."""
    while error is not None:
        text = "" if isinstance(error, DeconvnetError) else str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
            return True
        error = error.__cause__
    return False


def write_result(
    source: Source,
    photo: Image.Image,
    result: Segmentation,
    inferred: Inferred | None,
    info: BatchInfo,
) -> Entry:
    """Write the files of a labelled photo, the label PNG last; ``inferred`` has the scores to keep.

    Raises:
        OutputError: A file cannot be written.
    """
    job, spec = source.job, info.spec
    if spec.save_scores and inferred is not None:
        make_folder(job.scores.parent)
        write_scores(
            job.scores, inferred, job.photo, photo.size, info.about, source.sha256, spec.page
        )
    make_folder(job.target.parent)
    shown = spec.outputs.shown(result.labels)
    write_outputs(
        photo,
        result.labels,
        job.target,
        spec.outputs,
        info.classes,
        probabilities=result.probabilities,
        name=job.photo.name,
        source=job.photo,
        shown=shown,
    )
    _, *beside = spec.files(job)
    return Entry(
        image=str(job.photo),
        output=spec.name_of(job.target),
        status=DONE,
        size=source.size,
        mtime_ns=source.mtime_ns,
        sha256=source.sha256,
        output_sha256=file_sha256_or_none(job.target),
        extras={spec.name_of(path): file_sha256_or_none(path) or "" for path in beside},
        **summarise(replace(result, labels=shown), info.classes),
        **vars(info.fingerprint),
    )


def failed_entry(
    job: Job, error: DeconvnetError, info: BatchInfo, source: Source | None = None
) -> Entry:
    """Return the entry of a photo that failed.

    With ``source``, the file as it was read, the photo is to blame: it is not tried again until the
    file changes. Without it, the photo is tried again unless it crashed its worker.
    """
    text, size, mtime_ns, sha256 = str(error), None, None, None
    if source is not None:
        size, mtime_ns, sha256 = source.size, source.mtime_ns, source.sha256
    elif isinstance(error, CrashError):
        text = f"{job.photo}: {error}"  # a dead worker cannot name the photo itself
        sha256 = file_sha256_or_none(job.photo)
        if found := file_state(job.photo):
            size, mtime_ns = found.size, found.mtime_ns
    return Entry(
        image=str(job.photo),
        output=info.spec.name_of(job.target),
        status=FAILED,
        size=size,
        mtime_ns=mtime_ns,
        sha256=sha256,
        error=text,
        **vars(info.fingerprint),
    )
