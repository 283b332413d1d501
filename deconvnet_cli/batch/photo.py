"""One photo of a batch, from its file to its label PNG: what a worker process does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from deconvnet_cli.batch.manifest import DONE, FAILED, Entry
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.source import Source, read_source, state
from deconvnet_cli.batch.spec import BatchSpec, Fingerprint, SystemInfo, system_info
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import CrashError, DeconvnetError, ImageError, WeightsError
from deconvnet_cli.outputs.files import write_outputs
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.segmentation.segment import Inferred, infer, label_photo
from deconvnet_cli.segmentation.stored_scores import write_scores
from deconvnet_cli.segmentation.summary import summarise as values_of
from deconvnet_cli.storage.files import make_folder
from deconvnet_cli.storage.hashing import file_sha256_or_none

Made = TypeVar("Made")
# In the words of torch, of C++, of OpenCV and of the system, in lower case.
NO_MEMORY = ("out of memory", "bad_alloc", "insufficient memory", "allocate memory")


def begin(spec: BatchSpec, known: Fingerprint) -> Callable[[Job], Entry]:
    """Load the nets in this process, for one photo at a time on one core.

    What it returns raises DeconvnetError for a photo that could not be read or written, to be
    tried again by the next run, and MemoryError; of one that cannot be segmented it returns the
    entry.

    Raises:
        WeightsError: the weights are no longer those that are ``known``.
    """
    one_core_a_photo()
    system, settings = spec.load()
    info = system_info(spec, system, settings)
    if info.fingerprint.weights != known.weights:
        raise WeightsError("the weights were changed while the batch ran; start it again")
    info = replace(info, fingerprint=known)

    def work(job: Job) -> Entry:
        source = read_source(job.photo)

        def label() -> Entry:
            photo = read_photo(source.data, str(job.photo), max_pixels=spec.max_pixels)
            scored = infer(photo, system, settings)
            return finish(job, source, photo, scored, spec, info)

        return attempt(label, job, source, spec.folder, known)

    return work


def attempt(
    work: Callable[[], Made], job: Job, source: Source, folder: Path, known: Fingerprint
) -> Made | Entry:
    """What comes of work on a photo; its entry, if it cannot be segmented.

    Raises:
        DeconvnetError: it could not be read or written.
        MemoryError: there was none.
    """
    try:
        return work()
    except Exception as error:  # of torch, OpenCV or memory: one photo must not stop the rest
        if out_of_memory(error):
            raise MemoryError from error
        if isinstance(error, DeconvnetError) and not isinstance(error, ImageError):
            raise
        if not isinstance(error, ImageError):
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            error = DeconvnetError(f"{job.photo}: cannot be segmented ({what})")
        return failure(job, error, folder, known, source)


def out_of_memory(error: BaseException | None) -> bool:
    """Whether this, or what it came from, says that there was no memory."""
    while error is not None:
        text = "" if isinstance(error, DeconvnetError) else str(error).lower()
        if isinstance(error, MemoryError) or any(words in text for words in NO_MEMORY):
            return True
        error = error.__cause__
    return False


def finish(
    job: Job,
    source: Source,
    photo: Image.Image,
    scored: Inferred,
    spec: BatchSpec,
    info: SystemInfo,
) -> Entry:
    """Label a photo that is scored, and write all that is wanted of it; the label PNG last.

    Raises:
        OutputError: something cannot be written.
        DependencyError: see :func:`deconvnet_cli.segmentation.segment.label_photo`.
    """
    classes, crf = info.classes, info.settings.crf
    result = label_photo(scored, photo.width, photo.height, info.ensemble, crf)
    if spec.save_scores:
        make_folder(job.scores.parent)
        write_scores(job.scores, scored, job.photo, photo.size, info.about, source.sha256)
    make_folder(job.target.parent)
    write_outputs(
        photo,
        result.labels,
        job.target,
        spec.outputs,
        classes,
        probabilities=result.probabilities,
        name=job.photo.name,
    )
    return Entry(
        image=str(job.photo),
        output=inside(job.target, spec.folder),
        status=DONE,
        size=source.size,
        mtime_ns=source.mtime_ns,
        sha256=source.sha256,
        output_sha256=file_sha256_or_none(job.target),
        extras={
            inside(path, spec.folder): file_sha256_or_none(path) or "" for path in spec.extras(job)
        },
        **values_of(result, classes),
        weights=info.fingerprint.weights,
        settings=info.fingerprint.settings,
        versions=info.fingerprint.versions,
    )


def failure(
    job: Job, error: DeconvnetError, folder: Path, known: Fingerprint, source: Source | None = None
) -> Entry:
    """The entry of a photo that has failed.

    Args:
        source: the photo as it was read, if it is to blame: it is not tried again until it
            changes. Without it only one that killed its worker is not.
    """
    text, size, mtime_ns, sha256 = str(error), None, None, None
    if source is not None:
        size, mtime_ns, sha256 = source.size, source.mtime_ns, source.sha256
    elif isinstance(error, CrashError):
        text = f"{job.photo}: {error}"  # of a worker that died only the fact is known
        sha256 = file_sha256_or_none(job.photo)
        if found := state(job.photo):
            size, mtime_ns = found.size, found.mtime_ns
    return Entry(
        image=str(job.photo),
        output=inside(job.target, folder),
        status=FAILED,
        size=size,
        mtime_ns=mtime_ns,
        sha256=sha256,
        error=text,
        weights=known.weights,
        settings=known.settings,
        versions=known.versions,
    )


def inside(path: Path, folder: Path) -> str:
    """A path in the output folder as the manifest has it."""
    return path.relative_to(folder).as_posix()
