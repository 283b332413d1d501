"""What ``deconvnet batch`` does with its photos, and what it says meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deconvnet_cli.errors import DeconvnetError

if TYPE_CHECKING:
    from deconvnet_cli.batch.manifest import Entry
    from deconvnet_cli.batch.plan import Job
    from deconvnet_cli.batch.resume import Todo
    from deconvnet_cli.batch.run import Run


def do_all(
    run: Run,
    jobs: list[Job],
    choose: Callable[..., Todo],
    failures: list[str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Do what is not done of a list of photos; what fails is added to ``failures``.

    Raises:
        DeconvnetError: it was stopped before all were done.
    """
    from deconvnet_cli.batch.run import prepare_folder
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.interrupts import stop_signals

    folder = run.spec.folder
    warn(run, quiet)
    todo = choose(jobs, prepare_folder(jobs, run.spec))
    failures += [f"{entry.error} (before; --retry-failed)" for entry in todo.failed]
    for entry in todo.done if as_json else ():
        console.json_line({**line_of(entry, folder), "status": "skipped"})
    made, left = 0, len(todo.jobs)
    try:
        with console.progress(quiet) as progress, stop_signals() as stopped:
            task = progress.add_task("batch", total=len(jobs), completed=len(jobs) - left)

            def told(entry: Entry) -> None:
                nonlocal made, left
                progress.update(task, advance=1)
                left -= 1
                if entry.error is None:
                    made += 1
                else:
                    failures.append(entry.error)
                if as_json:
                    console.json_line(line_of(entry, folder))

            run.do((job for job, _ in todo.jobs), told, lambda: bool(stopped))
    finally:
        if not quiet:
            console.batch_summary(folder, made, len(todo.done), left)
    if left:
        raise DeconvnetError(f"{folder}: stopped, {left} left; the same command goes on with them")


def keep_watching(
    run: Run,
    sources: tuple[str, ...],
    choose: Callable[..., Todo],
    failures: list[str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Do photos as they come in, until Ctrl-C; what fails is said and added to ``failures``."""
    from deconvnet_cli.batch.run import prepare_folder
    from deconvnet_cli.batch.watch import arriving
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.interrupts import stop_signals

    folder = run.spec.folder
    warn(run, quiet)
    entries = prepare_folder(look_for(sources, folder, failures), run.spec)
    at_work: set[Path] = set()

    def told(entry: Entry) -> None:
        entries[entry.output] = entry
        at_work.discard(Path(entry.image))
        if entry.error is not None:
            failures.append(entry.error)
            console.failure(DeconvnetError(entry.error))
        elif not quiet:
            console.say(f"{entry.image} -> {folder / entry.output}")
        if as_json:
            console.json_line(line_of(entry, folder))

    def wanted(coming: Iterator[Job | None]) -> Iterator[Job | None]:
        for job in coming:
            if job is None or not choose([job], entries).jobs:
                yield None
            else:
                at_work.add(job.photo)
                yield job

    with stop_signals() as stopped:
        if not quiet:
            console.say(f"watching {', '.join(sources)}; Ctrl-C ends it")
        coming = arriving(
            lambda: look_for(sources, folder, failures), lambda: bool(stopped), at_work
        )
        run.do(wanted(coming), told, lambda: bool(stopped))


def look_for(sources: tuple[str, ...], output: Path, failures: list[str]) -> list[Job]:
    """The photos that are there now; those that cannot be done are added to ``failures`` once."""
    from deconvnet_cli.batch.plan import plan
    from deconvnet_cli.reporting import console

    def refused(error: DeconvnetError) -> None:
        if str(error) not in failures:
            failures.append(str(error))
            console.failure(error)

    return plan(sources, output, refused, refused, missing_ok=True)


def warn(run: Run, quiet: bool) -> None:
    """Say if nothing keeps a second run out."""
    from deconvnet_cli.reporting import console

    if not (run.locked or quiet):
        console.say(f"{run.spec.folder}: no locks there; take care that no other run writes")


def line_of(entry: Entry, folder: Path) -> dict[str, Any]:
    """What standard output says of a photo: its line of the manifest, with paths from here."""
    return {**entry.line(), "output": str(folder / entry.output)}
