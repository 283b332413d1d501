"""``deconvnet batch``: label PNGs of folders, globs and lists."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.batch.engines import LOCAL, engine_of
from deconvnet_cli.commands.shared.batch_manifests import merge_shards, verify_outputs
from deconvnet_cli.commands.shared.batch_progress import do_all, keep_watching
from deconvnet_cli.commands.shared.engine_options import ENGINE, check_engine
from deconvnet_cli.commands.shared.options import (
    JSON,
    MAX_PIXELS,
    QUIET,
    SEGMENTING,
    SHARD,
    WORKERS,
    FolderOrUrl,
    apply,
)
from deconvnet_cli.commands.shared.output_options import OUTPUTS, SAVE_SCORES, outputs_of
from deconvnet_cli.errors import UsageError
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.storage.remote import is_url

if TYPE_CHECKING:
    from deconvnet_cli.batch.plan import Job
    from deconvnet_cli.batch.resume import Todo
    from deconvnet_cli.batch.spec import BatchSpec


@click.command("batch")
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=FolderOrUrl(),
    metavar="DIR|URL",
    help="Folder for the label PNGs. Default for one folder DIR: DIR-labels beside it.",
)
@click.option("--overwrite", is_flag=True, help="Make again what is done already.")
@click.option("--retry-failed", is_flag=True, help="Try photos again that failed before.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and why; make nothing.")
@click.option("--verify", is_flag=True, help="Check every file that was made; make nothing.")
@click.option(
    "--merge", is_flag=True, help="Make one manifest of those of all shards; make no labels."
)
@click.option("--watch", is_flag=True, help="Go on with photos that come in, until Ctrl-C.")
@click.option(
    "--voc-submission",
    "listed",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="LIST",
    help="Only the photos named in LIST (ImageSets/Segmentation/test.txt), in the folders that "
    "the VOC evaluation server takes.",
)
@apply(*OUTPUTS, SAVE_SCORES, SHARD, WORKERS, *ENGINE, MAX_PIXELS, *SEGMENTING, QUIET, JSON)
def command(
    sources: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    retry_failed: bool,
    dry_run: bool,
    verify: bool,
    merge: bool,
    watch: bool,
    save_scores: bool,
    listed: Path | None,
    shard: str | None,
    workers: int | None,
    engine: str,
    ray_address: str | None,
    nets_per_gpu: int | None,
    max_pixels: int,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Segment every photo of each SOURCE: a folder (with its tree), a glob, or @list.txt.
    Folders and globs, and OUTPUT, may be URLs as well: s3://bucket/photos.

    OUTPUT/manifest.jsonl gets a line for each photo, when it is done or has failed. Started
    again, a batch does what is not done yet: photos whose line, files, weights, settings and
    labels do not all agree. A photo that fails is named and the others go on; the exit code is
    then 1. Ctrl-C finishes the photos that are being worked on; a second one does not.

    With --voc-submission the label PNGs go to OUTPUT/results/VOC2012/Segmentation/comp6_LIST_cls/
    and are checked at the end.
    """
    if verify + merge + dry_run + watch > 1:
        raise UsageError("--verify, --merge, --dry-run and --watch are four things; give one")
    if watch and (listed is not None or shard is not None):
        raise UsageError("--watch takes all that comes in; leave out --shard and --voc-submission")
    if (watch or merge or listed is not None) and any(map(is_url, (*sources, str(output or "")))):
        raise UsageError("--watch, --merge and --voc-submission are for folders, not for URLs")
    check_engine(engine, ray_address, nets_per_gpu, workers, watch)
    outputs = outputs_of(options)
    if outputs.format != "png" and (watch or listed is not None):
        raise UsageError("--watch and --voc-submission write label PNGs; leave out --format")
    if verify:
        return verify_outputs(output_of(sources, output), quiet, as_json)
    if merge:
        return merge_shards(sources, output, quiet)
    output = output_of(sources, output)
    if not sources:
        raise UsageError("give photos: a folder, a glob, or @list.txt")

    from deconvnet_cli.runtime.worker_process import prepare_workers

    if not dry_run and engine == LOCAL:
        prepare_workers("deconvnet_cli.batch.preload")
    from deconvnet_cli.batch.manifest import read_entries
    from deconvnet_cli.batch.resume import sort_out
    from deconvnet_cli.batch.run import locked_run
    from deconvnet_cli.batch.spec import BatchSpec
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.shards import parse_shard

    part = None if shard is None else parse_shard(shard)
    failures: list[str] = []
    jobs = [] if watch else jobs_of(sources, output, listed, part, failures)
    jobs = [replace(job, target=job.target.with_suffix(f".{outputs.format}")) for job in jobs]
    spec = BatchSpec(partial(load_system, **options), output, save_scores, outputs, max_pixels)
    check_files(jobs, spec)
    place_of_work = (engine, ray_address, nets_per_gpu)
    with engine_of(*place_of_work, spec, workers, options["device"]) as (info, works):
        choose = partial(
            sort_out,
            fingerprint=info.fingerprint,
            folder=output,
            wanted=spec.extras,
            overwrite=overwrite,
            retry=retry_failed,
        )
        try:
            if dry_run:
                say_what(choose(jobs, read_entries(output)), output, quiet, as_json)
            else:
                with locked_run(spec, info.fingerprint, works, part) as run:
                    if watch:
                        keep_watching(run, sources, choose, failures, quiet, as_json)
                    else:
                        do_all(run, jobs, choose, failures, quiet, as_json)
        finally:
            if failures:
                console.batch_failures(failures)
    if failures:
        raise SystemExit(1)
    if listed is not None and part is None and not dry_run:
        check_all(jobs, output, quiet)


def output_of(sources: tuple[str, ...], output: Path | None) -> Path:
    """The output folder: as given, or beside the one folder that is."""
    if output is not None:
        return output
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        raise UsageError("give the output folder: -o DIR")
    folder = Path(sources[0]).resolve()
    return folder.with_name(f"{folder.name}-labels")


def jobs_of(
    sources: tuple[str, ...],
    output: Path,
    listed: Path | None,
    shard: tuple[int, int] | None,
    failures: list[str],
) -> list[Job]:
    """All photos, those of a list, or a shard of either; what cannot be read to ``failures``."""
    from deconvnet_cli.batch.plan import plan
    from deconvnet_cli.runtime.shards import shard_of

    jobs = plan(sources, output, unreadable=lambda error: failures.append(str(error)))
    if listed is not None:
        from deconvnet_cli.batch.voc_submission import plan_submission

        jobs = plan_submission(jobs, listed, output)
    return shard_of(jobs, shard)


def check_files(jobs: list[Job], spec: BatchSpec) -> None:
    """Raise UsageError if two photos would write to one file, as a.overlay.jpg and a.jpg may."""
    taken: dict[Path, Path] = {}
    for job in jobs:
        for path in (job.target, *spec.extras(job)):
            other = taken.setdefault(path, job.photo)
            if other != job.photo:
                raise UsageError(f"{other} and {job.photo} would both be written to {path}")


def say_what(todo: Todo, output: Path, quiet: bool, as_json: bool) -> None:
    """What a run would do, a line a photo with the reason."""
    from deconvnet_cli.reporting import console

    for job, why in todo.jobs:
        if as_json:
            line = {"image": str(job.photo), "output": str(job.target), "status": "to do"}
            console.json_line({**line, "reason": why})
        if not quiet:
            console.say(f"{job.photo} -> {job.target}: {why}")
    if not quiet:
        console.say(
            f"{output}: {len(todo.jobs)} to do, {len(todo.done)} done, "
            f"{len(todo.failed)} failed before (--retry-failed)"
        )


def check_all(jobs: list[Job], output: Path, quiet: bool) -> None:
    """Check a submission to the VOC server."""
    from deconvnet_cli.batch.voc_submission import check_submission
    from deconvnet_cli.reporting import console

    folder = check_submission(jobs)
    if not quiet:
        console.say(f"{folder}: complete; pack {output / 'results'} and submit it")
