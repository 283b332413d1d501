"""One photo of a batch, from its file to its label PNG: what a worker process does."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from deconvnet_cli import __version__
from deconvnet_cli.batch import Job
from deconvnet_cli.decoding import MAX_PIXELS
from deconvnet_cli.devices import one_core_a_photo
from deconvnet_cli.errors import CrashError, DeconvnetError, ImageError, WeightsError
from deconvnet_cli.facts import facts as values_of
from deconvnet_cli.files import make_folder
from deconvnet_cli.images import read_photo
from deconvnet_cli.manifest import DONE, FAILED, Entry
from deconvnet_cli.maps import Ensemble
from deconvnet_cli.outputs import Outputs, write_outputs
from deconvnet_cli.resume import Recipe, Source, file_hash, read_source, state
from deconvnet_cli.score_store import write_scores
from deconvnet_cli.segmenter import (
    Scored,
    SegmentSettings,
    box_settings,
    label_photo,
    score_photo,
)
from deconvnet_cli.systems import Nets, describe

Made = TypeVar("Made")
PACKAGES = ("torch", "opencv-contrib-python", "numpy", "Pillow")
# Settings that only say how quickly labels are made.
NO_MATTER = ("batch_size",)
# In the words of torch, of C++, of OpenCV and of the system, in lower case.
NO_MEMORY = ("out of memory", "bad_alloc", "insufficient memory", "allocate memory")


@dataclass(frozen=True)
class Labelling:
    """What is made of each photo.

    Attributes:
        load: gives the nets on their device, and the settings; picklable.
        folder: the output folder.
        save_scores: keep the merged scores as well.
        outputs: what is written beside a label PNG.
        max_pixels: width times height that a photo may have.
    """

    load: Callable[[], tuple[Nets, SegmentSettings]]
    folder: Path
    save_scores: bool = False
    outputs: Outputs = Outputs()
    max_pixels: int = MAX_PIXELS

    def extras(self, job: Job) -> list[Path]:
        """The files that are made beside a label PNG."""
        scores = [job.scores] if self.save_scores else []
        return [*self.outputs.beside(job.target), *scores]


@dataclass(frozen=True)
class Facts:
    """What there is to know of nets and settings where no net is run.

    Attributes:
        settings: how photos are segmented.
        recipe: what labels depend on.
        classes: names of the labels.
        ensemble: how the maps of two nets are put together.
        boxes: how many are looked for in a photo; None if no net takes boxes.
        about: what stored scores say of the nets; nothing unless scores are kept.
    """

    settings: SegmentSettings
    recipe: Recipe
    classes: tuple[str, ...]
    ensemble: Ensemble
    boxes: int | None
    about: Mapping[str, Any]


def facts_of(labelling: Labelling, nets: Nets, settings: SegmentSettings) -> Facts:
    """Of nets that are loaded.

    Raises:
        UsageError: the outputs name a class that there is not.
    """
    labelling.outputs.check(nets.classes)
    return Facts(
        settings,
        recipe(nets, settings, labelling.outputs),
        nets.classes,
        nets.ensemble,
        box_settings(nets.deconvnet, settings).count if nets.deconvnet else None,
        describe(nets, settings) if labelling.save_scores else {},
    )


def recipe(nets: Nets, settings: SegmentSettings, outputs: Outputs = Outputs()) -> Recipe:
    """What the labels, and the files beside them, depend on, as the manifest has it."""
    about = describe(nets, settings)
    weights = {name: part["sha256"] for name, part in about.items() if "sha256" in part}
    rest: dict[str, Any] = {name: part for name, part in about.items() if name not in weights}
    rest["settings"] = {k: v for k, v in rest["settings"].items() if k not in NO_MATTER}
    if outputs.only is not None or outputs.palette != Outputs.palette:
        rest["outputs"] = [outputs.only, outputs.palette]
    text = json.dumps(rest, sort_keys=True, default=str)
    return Recipe(weights, hashlib.sha256(text.encode()).hexdigest(), versions())


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the packages that compute."""
    found = {"deconvnet": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # installed otherwise, as by conda
            continue
    return found


def begin(labelling: Labelling, known: Recipe) -> Callable[[Job], Entry]:
    """Load the nets in this process, for one photo at a time on one core.

    What it returns raises DeconvnetError for a photo that could not be read or written, to be
    tried again by the next run, and MemoryError; of one that cannot be segmented it returns the
    entry.

    Raises:
        WeightsError: the weights are no longer those that are ``known``.
    """
    one_core_a_photo()
    nets, settings = labelling.load()
    facts = facts_of(labelling, nets, settings)
    if facts.recipe.weights != known.weights:
        raise WeightsError("the weights were changed while the batch ran; start it again")
    facts = replace(facts, recipe=known)

    def work(job: Job) -> Entry:
        source = read_source(job.photo)

        def label() -> Entry:
            photo = read_photo(source.data, str(job.photo), max_pixels=labelling.max_pixels)
            scored = score_photo(photo, nets, settings)
            return finish(job, source, photo, scored, labelling, facts)

        return attempt(label, job, source, labelling.folder, known)

    return work


def attempt(
    work: Callable[[], Made], job: Job, source: Source, folder: Path, known: Recipe
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
    scored: Scored,
    labelling: Labelling,
    facts: Facts,
) -> Entry:
    """Label a photo that is scored, and write all that is wanted of it; the label PNG last.

    Raises:
        OutputError: something cannot be written.
        DependencyError: see :func:`deconvnet_cli.segmenter.label_photo`.
    """
    classes, crf = facts.classes, facts.settings.crf
    result = label_photo(scored, photo.width, photo.height, facts.ensemble, crf)
    if labelling.save_scores:
        make_folder(job.scores.parent)
        write_scores(job.scores, scored, job.photo, photo.size, facts.about, source.sha256)
    make_folder(job.target.parent)
    write_outputs(
        photo,
        result.labels,
        job.target,
        labelling.outputs,
        classes,
        probabilities=result.probabilities,
        name=job.photo.name,
    )
    return Entry(
        image=str(job.photo),
        output=inside(job.target, labelling.folder),
        status=DONE,
        size=source.size,
        mtime_ns=source.mtime_ns,
        sha256=source.sha256,
        output_sha256=file_hash(job.target),
        extras={
            inside(path, labelling.folder): file_hash(path) or "" for path in labelling.extras(job)
        },
        **values_of(result, classes),
        weights=facts.recipe.weights,
        settings=facts.recipe.settings,
        versions=facts.recipe.versions,
    )


def failure(
    job: Job, error: DeconvnetError, folder: Path, known: Recipe, source: Source | None = None
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
        sha256 = file_hash(job.photo)
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
