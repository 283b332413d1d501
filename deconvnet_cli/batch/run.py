"""One run of a batch: it locks the output folder, runs the jobs and writes the manifest."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import NAME, Entry, Manifest, manifest_name
from deconvnet_cli.batch.photo import failed_entry
from deconvnet_cli.batch.remote_manifest import RemoteManifest
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec
from deconvnet_cli.errors import DeconvnetError, DiskFullError, NetsError
from deconvnet_cli.outputs.shared_files import COCO_OF_ALL, CVAT_LIST
from deconvnet_cli.storage.files import locked, make_folder, remove_parts
from deconvnet_cli.storage.remote import RemotePath

# Takes the jobs (None: nothing to do for now) and a function that says whether to stop; yields
# each job with its entry or error, in the order in which they end.
Answers = Generator[tuple[Job, Entry | DeconvnetError], None, None]
Engine = Callable[[Iterable[Job | None], Callable[[], bool]], Answers]
NO_PHOTOS_FAULT = (DiskFullError, NetsError)  # the next run does the photo again


@dataclass(frozen=True)
class Run:
    """A run of a batch over an output folder that it has locked.

    Attributes:
        info: What is made of each photo, where, and by which system.
        engine: Runs the jobs.
        manifest: Gets a line for each job.
        shard: The shard, or None for a whole run.
        locked: Whether other runs are kept out of the folder. They are not on a file system
            without locks, nor in a remote folder.
    """

    info: BatchInfo
    engine: Engine
    manifest: Manifest | RemoteManifest
    shard: tuple[int, int] | None = None
    locked: bool = True

    def do(
        self, jobs: Iterable[Job | None], on_done: Callable[[Entry], None], stop: Callable[[], bool]
    ) -> None:
        """Run jobs; after each, write its line to the manifest and then call ``on_done``.

        Raises:
            DiskFullError, NetsError: The disk is full, or the nets cannot run. Jobs in flight have
                ended, and no more were begun.
            OutputError: The manifest cannot be written.
        """
        ended_by: list[DeconvnetError] = []
        # After an error of the manifest, closing the answers ends the workers now.
        with closing(self.engine(jobs, lambda: bool(ended_by) or stop())) as answers:
            for job, answer in answers:
                if isinstance(answer, NO_PHOTOS_FAULT):
                    ended_by.append(answer)
                    continue
                if isinstance(answer, DeconvnetError):
                    answer = failed_entry(job, answer, self.info)
                self.manifest.add(answer)
                on_done(answer)
        if ended_by:
            raise ended_by[0]


@contextmanager
def locked_run(info: BatchInfo, engine: Engine, shard: tuple[int, int] | None) -> Iterator[Run]:
    """Lock the output folder and yield a run over it.

    Shards of one batch may share the folder, as each has a manifest of its own.

    Raises:
        BusyError: Another run, or the same shard, is writing there.
        OutputError: The folder cannot be made or written to.
    """
    folder = info.spec.folder
    make_folder(folder)
    name = manifest_name(shard)
    with ExitStack() as stack:
        is_locked = stack.enter_context(locked(folder, shared=shard is not None))
        if shard is not None:
            stack.enter_context(locked(folder, f".{name}.lock"))
        path = folder / name
        manifest = RemoteManifest(path) if isinstance(path, RemotePath) else Manifest(path)
        stack.callback(manifest.close)
        yield Run(info, engine, manifest, shard, is_locked)


def remove_unfinished(jobs: Iterable[Job], spec: BatchSpec) -> None:
    """Remove the partial files that a killed run left of ``jobs`` and of all photos."""
    shared = (spec.folder / name for name in (NAME, COCO_OF_ALL, CVAT_LIST))
    remove_parts((*shared, *(path for job in jobs for path in spec.files(job))))
