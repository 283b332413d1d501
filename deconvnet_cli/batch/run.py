"""A run of a batch: locks, manifest, workers, and what is told of each photo."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli.batch.manifest import NAME, Entry, Manifest, manifest_name, read_entries
from deconvnet_cli.batch.photo import failure
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.remote_manifest import RemoteManifest
from deconvnet_cli.batch.spec import BatchSpec, Fingerprint
from deconvnet_cli.errors import DeconvnetError, DiskFullError
from deconvnet_cli.storage.files import locked, make_folder, remove_parts
from deconvnet_cli.storage.remote import RemotePath

# From jobs (None: nothing for now) and whether to stop, to each job with what came of it.
Engine = Callable[
    [Iterable[Job | None], Callable[[], bool]], Iterator[tuple[Job, Entry | DeconvnetError]]
]


@dataclass(frozen=True)
class Run:
    """One run of a batch over an output folder that it has locked.

    Attributes:
        labelling: what is made of each photo, and where.
        known: what labels depend on.
        engine: does the jobs.
        manifest: gets a line for each.
        locked: whether other runs are kept out of the folder; not on a file system without locks,
            nor of a remote folder.
    """

    spec: BatchSpec
    known: Fingerprint
    engine: Engine
    manifest: Manifest | RemoteManifest
    locked: bool = True

    def do(
        self,
        jobs: Iterable[Job | None],
        told: Callable[[Entry], None],
        stop: Callable[[], bool],
    ) -> None:
        """Do the jobs, and write the line of each before ``told`` is told of it.

        Raises:
            DiskFullError: no more room; no further job was begun, those in flight came out.
            OutputError: the manifest cannot be written to.
        """
        full: list[DiskFullError] = []
        answers = self.engine(jobs, lambda: bool(full) or stop())
        try:
            for job, answer in answers:
                if isinstance(answer, DiskFullError):
                    full.append(answer)  # not the photo's fault: the next run does it again
                    continue
                if isinstance(answer, DeconvnetError):
                    answer = failure(job, answer, self.spec.folder, self.known)
                self.manifest.add(answer)
                told(answer)
        finally:
            if isinstance(answers, Generator):  # if it was left halfway, its workers end now
                answers.close()
        if full:
            raise full[0]


@contextmanager
def locked_run(
    spec: BatchSpec, known: Fingerprint, engine: Engine, shard: tuple[int, int] | None
) -> Iterator[Run]:
    """A run that no other one writes beside; shards of one batch may, each to its manifest.

    Raises:
        BusyError: another run, or the same shard, is writing there.
        OutputError: the folder cannot be made or written to.
    """
    folder = spec.folder
    make_folder(folder)
    name = manifest_name(shard)
    with ExitStack() as stack:
        kept_out = stack.enter_context(locked(folder, shared=shard is not None))
        if shard is not None:
            stack.enter_context(locked(folder, f".{name}.lock"))
        manifest = open_manifest(folder / name)
        stack.callback(manifest.close)
        yield Run(spec, known, engine, manifest, kept_out)


def open_manifest(path: Path) -> Manifest | RemoteManifest:
    """The manifest of a run, to be written to."""
    return RemoteManifest(path) if isinstance(path, RemotePath) else Manifest(path)


def prepare_folder(jobs: Iterable[Job], spec: BatchSpec) -> dict[str, Entry]:
    """Clear away what a killed run has begun of ``jobs``, and read what the manifests say."""
    made = (path for job in jobs for path in (job.target, *spec.extras(job)))
    remove_parts((spec.folder / NAME, *made))
    return read_entries(spec.folder)
