"""Run ``deconvnet batch`` on its photos, and report the progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deconvnet_cli.errors import DeconvnetError, UsageError

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
    left_out: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Segment the photos that are not done yet.

    Args:
        run: The run, which holds the output folder.
        jobs: All photos, done or not.
        choose: A function that decides which jobs need work, given the manifest's entries.
        failures: The list to which the message of each photo that fails is added.
        left_out: A few words about the files that are not read, for the summary.
        quiet: Whether to leave out progress and summary.
        as_json: Whether to write a JSON line per photo.

    Raises:
        DeconvnetError: The run was stopped before all photos were done.
    """
    from deconvnet_cli.batch.manifest import read_entries
    from deconvnet_cli.batch.resume import gone
    from deconvnet_cli.batch.run import remove_unfinished
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.interrupts import stop_signals

    folder = run.spec.folder
    warn_without_lock(run, quiet)
    remove_unfinished(jobs, run.spec)
    entries = read_entries(folder)
    removed = list(gone(entries.values(), jobs, folder, run.shard))
    for entry in removed:
        run.manifest.add(entry)
    if removed and not quiet:
        first = f"{removed[0].image}{' and others' if removed[1:] else ''}"
        console.say(f"{folder}: failed before and was removed, so no longer counts: {first}")
    todo = choose(jobs, entries)
    failures += [f"{entry.error} (before; --retry-failed)" for entry in todo.failed]
    if as_json:
        for entry in todo.done:
            console.json_line({**line_of(entry, folder), "status": "skipped"})
        for entry in todo.failed:
            console.json_line(line_of(entry, folder))
    made, left = 0, len(todo.jobs)
    try:
        with console.progress(quiet) as progress, stop_signals() as stopped:
            task = progress.add_task("batch", total=len(jobs), completed=len(jobs) - left)

            def on_done(entry: Entry) -> None:
                nonlocal made, left
                left -= 1
                if entry.error is None:
                    made += 1
                else:
                    failures.append(entry.error)
                failed = len(todo.jobs) - left - made
                progress.update(task, advance=1, failed=failed)
                if as_json:
                    console.json_line(line_of(entry, folder))

            run.do((job for job, _ in todo.jobs), on_done, lambda: bool(stopped))
    finally:
        if not quiet:
            rest = (f", {left} left" if left else "") + (f", {left_out}" if left_out else "")
            console.say(f"{folder}: {made} made, {len(todo.done)} there already{rest}")
    if left:
        raise DeconvnetError(f"{folder}: stopped, {left} left; the same command goes on with them")


def keep_watching(
    run: Run,
    find: Callable[..., list[Job]],
    sources: tuple[str, ...],
    choose: Callable[..., Todo],
    failures: list[str],
    left_out: Counter[str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Segment photos as they arrive, until Ctrl-C; report failures and add them to ``failures``.

    ``left_out`` is what ``find`` counts; each kind of files that is not read is reported once.
    """
    from deconvnet_cli.batch.find import summary
    from deconvnet_cli.batch.manifest import read_entries
    from deconvnet_cli.batch.photo import relative_name
    from deconvnet_cli.batch.plan import collisions
    from deconvnet_cli.batch.run import remove_unfinished
    from deconvnet_cli.batch.watch import arriving
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.interrupts import stop_signals

    folder = run.spec.folder
    warn_without_lock(run, quiet)
    refused: set[str] = set()
    reported: set[str] = set()
    entries = read_entries(folder)
    seen: dict[str, Any] = {"jobs": None, "clashes": []}  # of the last look

    def find_apart(
        sources: tuple[str, ...],
        output: Path,
        refuse: Callable[[UsageError], None],
        *rest: Any,
        **more: Any,
    ) -> list[Job]:
        """Find the photos, and refuse those that would write a file of another one."""
        jobs = find(sources, output, refuse, *rest, **more)
        if jobs != seen["jobs"]:
            # Photos that are done come first, so that later ones do not replace their files.
            order = sorted(jobs, key=lambda job: relative_name(job.target, folder) not in entries)
            seen.update(jobs=jobs, clashes=list(collisions(order, run.spec.extras)))
        clashes = seen["clashes"]
        for _, message in clashes:
            refuse(UsageError(message))
        out = {job.target for job, _ in clashes}
        return [job for job in jobs if job.target not in out] if out else jobs

    def look() -> list[Job]:
        left_out.clear()
        jobs = plan_now(sources, folder, failures, refused, find_apart)
        new = Counter({kind: left_out[kind] for kind in left_out if kind not in reported})
        reported.update(new)
        if new and not quiet:
            console.say(summary(new))
        return jobs

    remove_unfinished(look(), run.spec)
    in_progress: set[Path] = set()
    failed: dict[str, str] = {}  # the errors of this run, by output

    def on_done(entry: Entry) -> None:
        entries[entry.output] = entry
        in_progress.discard(Path(entry.image))
        before = failed.pop(entry.output, None)
        if before in failures:  # the file was replaced: this failure is mended, or told anew
            failures.remove(before)
        if entry.error is not None:
            failed[entry.output] = entry.error
            failures.append(entry.error)
            console.failure(DeconvnetError(entry.error))
        elif not quiet:
            console.say(f"{entry.image} -> {folder / entry.output}")
        if as_json:
            console.json_line(line_of(entry, folder))

    def wanted(arrivals: Iterator[Job | None]) -> Iterator[Job | None]:
        for job in arrivals:
            if job is None or not choose([job], entries).jobs:
                yield None
            else:
                in_progress.add(job.photo)
                yield job

    with stop_signals() as stopped:
        if not quiet:
            console.say(f"watching {', '.join(sources)}; Ctrl-C ends it")
        arrivals = arriving(look, lambda: bool(stopped), in_progress)
        run.do(wanted(arrivals), on_done, lambda: bool(stopped))


def plan_now(
    sources: tuple[str, ...],
    output: Path,
    failures: list[str],
    refused: set[str],
    find: Callable[..., list[Job]],
) -> list[Job]:
    """Return the photos that are there now; report those that are refused, each of them once.

    Args:
        refused: The errors of the last look; those that are gone leave ``failures`` too.
        find: Plans the jobs, as :func:`deconvnet_cli.batch.plan.plan` does.
    """
    from deconvnet_cli.reporting import console

    now: list[str] = []

    def on_refusal(error: DeconvnetError) -> None:
        now.append(str(error))
        if str(error) not in failures:
            failures.append(str(error))
            console.failure(error)

    jobs = find(sources, output, on_refusal, on_refusal, missing_ok=True)
    for error in refused.difference(now):  # as one of two photos with one name was removed
        failures.remove(error)
    refused.clear()
    refused.update(now)
    return jobs


def warn_without_lock(run: Run, quiet: bool) -> None:
    """Warn if no lock keeps a second run out of the output folder."""
    from deconvnet_cli.reporting import console

    if not (run.locked or quiet):
        console.say(
            f"{run.spec.folder}: cannot be locked; make sure that no other run writes there"
        )


def line_of(entry: Entry, folder: Path) -> dict[str, Any]:
    """Return the JSON line of a photo: its line of the manifest, with the path of its labels."""
    return {**entry.line(), "output": str(folder / entry.output)}
