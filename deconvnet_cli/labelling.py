"""One photo of a batch, from its file to its label PNG: what a worker process does."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deconvnet_cli import __version__
from deconvnet_cli.batch import Job
from deconvnet_cli.devices import one_core_a_photo
from deconvnet_cli.errors import CrashError, DeconvnetError
from deconvnet_cli.files import make_folder, write_whole
from deconvnet_cli.images import label_png, read_photo
from deconvnet_cli.manifest import DONE, FAILED, Entry
from deconvnet_cli.resume import Recipe, file_hash, read_source
from deconvnet_cli.score_store import write_scores
from deconvnet_cli.segmenter import SegmentSettings, class_shares, label_photo, score_photo
from deconvnet_cli.systems import Nets, describe

PACKAGES = ("torch", "opencv-contrib-python", "numpy", "Pillow")
# Settings that only say how quickly labels are made.
NO_MATTER = ("batch_size",)


@dataclass(frozen=True)
class Labelling:
    """What is made of each photo.

    Attributes:
        load: gives the nets on their device, and the settings; picklable.
        folder: the output folder.
        save_scores: keep the merged scores as well.
    """

    load: Callable[[], tuple[Nets, SegmentSettings]]
    folder: Path
    save_scores: bool = False

    def extras(self, job: Job) -> list[Path]:
        """The files that are made beside a label PNG."""
        return [job.scores] if self.save_scores else []


def recipe(nets: Nets, settings: SegmentSettings) -> Recipe:
    """What the labels depend on, as the manifest has it."""
    about = describe(nets, settings)
    weights = {name: part["sha256"] for name, part in about.items() if "sha256" in part}
    rest: dict[str, Any] = {name: part for name, part in about.items() if name not in weights}
    rest["settings"] = {k: v for k, v in rest["settings"].items() if k not in NO_MATTER}
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
    """Load the nets in this process, for one photo at a time on one core."""
    one_core_a_photo()
    nets, settings = labelling.load()
    about = describe(nets, settings) if labelling.save_scores else {}

    def work(job: Job) -> Entry:
        try:
            return label(job, labelling, nets, settings, known, about)
        except DeconvnetError:
            raise
        except Exception as error:  # of torch, OpenCV or memory: one photo must not stop the rest
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DeconvnetError(f"{job.photo}: cannot be segmented ({what})") from error

    return work


def label(
    job: Job,
    labelling: Labelling,
    nets: Nets,
    settings: SegmentSettings,
    known: Recipe,
    about: Mapping[str, Any],
) -> Entry:
    """Segment one photo and write all that is wanted of it; the label PNG last.

    Raises:
        ImageError: the photo cannot be read.
        OutputError: something cannot be written.
        DependencyError: see :func:`deconvnet_cli.segmenter.segment`.
    """
    source = read_source(job.photo)
    photo = read_photo(source.data, str(job.photo))
    scored = score_photo(photo, nets, settings)
    result = label_photo(scored, photo.width, photo.height, nets.ensemble, settings.crf)
    if labelling.save_scores:
        make_folder(job.scores.parent)
        write_scores(job.scores, scored, job.photo, photo.size, about)
    png = label_png(result.labels)
    make_folder(job.target.parent)
    write_whole(job.target, png)
    return Entry(
        image=str(job.photo),
        output=inside(job.target, labelling.folder),
        status=DONE,
        size=source.size,
        mtime_ns=source.mtime_ns,
        sha256=source.sha256,
        output_sha256=hashlib.sha256(png).hexdigest(),
        extras={
            inside(path, labelling.folder): file_hash(path) or "" for path in labelling.extras(job)
        },
        classes=class_shares(result.labels, nets.classes),
        proposals=result.proposals,
        ms=result.ms,
        weights=known.weights,
        settings=known.settings,
        versions=known.versions,
    )


def failure(job: Job, error: DeconvnetError, folder: Path, known: Recipe) -> Entry:
    """The entry of a photo that has failed."""
    # Of a worker that died only the fact is known, not at which photo.
    text = f"{job.photo}: {error}" if isinstance(error, CrashError) else str(error)
    entry = Entry(
        image=str(job.photo),
        output=inside(job.target, folder),
        status=FAILED,
        error=text,
        weights=known.weights,
        settings=known.settings,
        versions=known.versions,
    )
    try:
        found = job.photo.stat()
    except OSError:
        return entry
    sha256 = file_hash(job.photo) if job.photo.is_file() else None
    return replace(entry, size=found.st_size, mtime_ns=found.st_mtime_ns, sha256=sha256)


def inside(path: Path, folder: Path) -> str:
    """A path in the output folder as the manifest has it."""
    return path.relative_to(folder).as_posix()
