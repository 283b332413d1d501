"""``deconvnet batch``: label PNGs of folders, globs and lists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.manifests import merge_shards, verify_outputs
from deconvnet_cli.commands.options import JSON, QUIET, SEGMENTING, SHARD, WORKERS, apply, prepare
from deconvnet_cli.errors import DeconvnetError, ImageError, UsageError

if TYPE_CHECKING:
    from deconvnet_cli.batch import Job
    from deconvnet_cli.batch_run import Run
    from deconvnet_cli.manifest import Entry
    from deconvnet_cli.resume import Todo


@click.command("batch")
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
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
    "--save-scores",
    is_flag=True,
    help="Keep merged scores as NAME.npz beside NAME.png, for `crf` and `evaluate --scores`; "
    "with --voc-submission in OUTPUT/scores/.",
)
@click.option(
    "--voc-submission",
    "listed",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="LIST",
    help="Only the photos named in LIST (ImageSets/Segmentation/test.txt), in the folders that "
    "the VOC evaluation server takes.",
)
@apply(SHARD, WORKERS, *SEGMENTING, QUIET, JSON)
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
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Segment every photo of each SOURCE: a folder (with its tree), a glob, or @list.txt.

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
    if verify:
        return verify_outputs(output_of(sources, output), quiet, as_json)
    if merge:
        return merge_shards(sources, output, quiet)
    output = output_of(sources, output)
    if not sources:
        raise UsageError("give photos: a folder, a glob, or @list.txt")

    from deconvnet_cli.workers import prepare_workers

    if not dry_run:
        prepare_workers("deconvnet_cli.labelling")
    from deconvnet_cli.batch_run import local_engine, locked_run
    from deconvnet_cli.devices import at_a_time
    from deconvnet_cli.labelling import Labelling, recipe
    from deconvnet_cli.manifest import read_entries
    from deconvnet_cli.resume import sort_out
    from deconvnet_cli.shards import parse_shard

    part = None if shard is None else parse_shard(shard)
    jobs = [] if watch else jobs_of(sources, output, listed, part)
    labelling = Labelling(partial(prepare, **options), output, save_scores)
    known = recipe(*labelling.load())
    choose = partial(
        sort_out,
        recipe=known,
        folder=output,
        wanted=labelling.extras,
        overwrite=overwrite,
        retry=retry_failed,
    )
    if dry_run:
        return say_what(choose(jobs, read_entries(output)), output, quiet, as_json)
    engine = local_engine(labelling, known, at_a_time(workers))
    with locked_run(labelling, known, engine, part) as run:
        if watch:
            failures = keep_watching(run, sources, choose, quiet, as_json)
        else:
            failures = do_all(run, jobs, choose, quiet, as_json)
    if failures:
        from deconvnet_cli import report

        report.batch_failures(failures)
        raise SystemExit(1)
    if listed is not None and part is None:
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
    sources: tuple[str, ...], output: Path, listed: Path | None, shard: tuple[int, int] | None
) -> list[Job]:
    """All photos, those of a list, or a shard of either."""
    from deconvnet_cli.batch import plan
    from deconvnet_cli.shards import shard_of

    jobs = plan(sources, output)
    if listed is not None:
        from deconvnet_cli.submission import plan_submission

        jobs = plan_submission(jobs, listed, output)
    return shard_of(jobs, shard)


def say_what(todo: Todo, output: Path, quiet: bool, as_json: bool) -> None:
    """What a run would do, a line a photo with the reason."""
    from deconvnet_cli import report

    for job, why in todo.jobs:
        if as_json:
            line = {"image": str(job.photo), "output": str(job.target), "status": "to do"}
            report.json_line({**line, "reason": why})
        if not quiet:
            report.note(f"{job.photo} -> {job.target}: {why}")
    if not quiet:
        report.note(
            f"{output}: {len(todo.jobs)} to do, {len(todo.done)} done, "
            f"{len(todo.failed)} failed before (--retry-failed)"
        )


def do_all(
    run: Run, jobs: list[Job], choose: Callable[..., Todo], quiet: bool, as_json: bool
) -> list[str]:
    """Do what is not done of a list of photos; what failed, a line each."""
    from deconvnet_cli import report
    from deconvnet_cli.batch_run import prepare_folder
    from deconvnet_cli.interrupts import stop_signals

    folder = run.labelling.folder
    todo = choose(jobs, prepare_folder(jobs, run.labelling))
    failures = [f"{entry.error} (before; --retry-failed)" for entry in todo.failed]
    for entry in todo.done if as_json else ():
        report.json_line({**line_of(entry, folder), "status": "skipped"})
    made = 0
    with report.progress(quiet) as progress, stop_signals() as stopped:
        known = len(todo.done) + len(todo.failed)
        task = progress.add_task("batch", total=len(jobs), completed=known)

        def told(entry: Entry) -> None:
            nonlocal made
            progress.update(task, advance=1)
            if entry.error is None:
                made += 1
            else:
                failures.append(entry.error)
            if as_json:
                report.json_line(line_of(entry, folder))

        try:
            run.do((job for job, _ in todo.jobs), told, lambda: bool(stopped))
        finally:
            left = len(jobs) - known - made - (len(failures) - len(todo.failed))
            if not quiet:
                report.batch_summary(folder, made, len(todo.done), left)
    if left:
        raise DeconvnetError(f"{folder}: stopped, {left} left; the same command goes on with them")
    return failures


def keep_watching(
    run: Run, sources: tuple[str, ...], choose: Callable[..., Todo], quiet: bool, as_json: bool
) -> list[str]:
    """Do photos as they come in, until Ctrl-C; what failed, a line each."""
    from deconvnet_cli import report
    from deconvnet_cli.batch_run import prepare_folder
    from deconvnet_cli.interrupts import stop_signals
    from deconvnet_cli.watch import arriving

    folder = run.labelling.folder
    failures: list[str] = []
    entries = prepare_folder(look_for(sources, folder, failures), run.labelling)

    def told(entry: Entry) -> None:
        entries[entry.output] = entry
        if entry.error is not None:
            failures.append(entry.error)
            report.failure(DeconvnetError(entry.error))
        elif not quiet:
            report.note(f"{entry.image} -> {folder / entry.output}")
        if as_json:
            report.json_line(line_of(entry, folder))

    with stop_signals() as stopped:
        if not quiet:
            report.note(f"watching {', '.join(sources)}; Ctrl-C ends it")
        coming = arriving(lambda: look_for(sources, folder, failures), lambda: bool(stopped))
        run.do(
            (job if job and choose([job], entries).jobs else None for job in coming),
            told,
            lambda: bool(stopped),
        )
    return failures


def look_for(sources: tuple[str, ...], output: Path, failures: list[str]) -> list[Job]:
    """The photos that are there now; those that cannot be done are added to ``failures`` once."""
    from deconvnet_cli import report
    from deconvnet_cli.batch import plan

    def refused(error: UsageError) -> None:
        if str(error) not in failures:
            failures.append(str(error))
            report.failure(error)

    try:
        return plan(sources, output, refused)
    except ImageError:  # nothing there yet
        return []


def line_of(entry: Entry, folder: Path) -> dict[str, Any]:
    """What standard output says of a photo: its line of the manifest, with paths from here."""
    return {**entry.line(), "output": str(folder / entry.output)}


def check_all(jobs: list[Job], output: Path, quiet: bool) -> None:
    """Check a submission to the VOC server."""
    from deconvnet_cli import report
    from deconvnet_cli.submission import check_submission

    folder = check_submission(jobs)
    if not quiet:
        report.note(f"{folder}: complete; pack {output / 'results'} and submit it")
