"""Run ``deconvnet batch`` on its photos, and report the progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deconvnet_cli.batch.find import summary
from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import Entry, read_entries
from deconvnet_cli.batch.plan import apart
from deconvnet_cli.batch.resume import Todo, gone
from deconvnet_cli.batch.run import Run, remove_unfinished
from deconvnet_cli.batch.spec import BatchSpec
from deconvnet_cli.batch.voc_submission import plan_submission
from deconvnet_cli.batch.watch import arriving
from deconvnet_cli.data.notes import note
from deconvnet_cli.errors import DeconvnetError, ImageError
from deconvnet_cli.reporting import console
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.runtime.interrupts import stop_signals
from deconvnet_cli.runtime.shards import shard_by_name


@dataclass
class Report:
    """What a batch tells of its photos.

    Attributes:
        folder: The output folder.
        quiet: Whether progress and summary are left out.
        as_json: Whether to write a JSON line per photo.
        refused: Why photos or folders were refused, for the end of the batch.
        failures: Why photos failed, by output, for the end of the batch.
        left_out: How many files of each kind are not read.
        notes: The first photo of each note and the number of others.
        made: How many photos were segmented.
    """

    folder: Path
    quiet: bool
    as_json: bool
    refused: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: dict[str, tuple[str, int]] = field(default_factory=dict)
    made: int = 0

    def wrong(self) -> list[str]:
        """Return why photos and folders were refused or failed."""
        return [*self.refused, *self.failures.values()]

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self.quiet:
            console.say(text)

    def summary(self, text: str) -> None:
        """Print the counts of the batch, and what is left out."""
        left_out = summary(self.left_out)
        self.say(f"{self.folder}: {text}{', ' if left_out else ''}{left_out}")

    def add(self, entry: Entry, *, notes_at_once: bool = False) -> None:
        """Print the line of a photo, and keep its notes and its error, if any, until the end.

        With ``notes_at_once``, notes that are new are printed too.
        """
        for said in entry.notes:
            for name in (entry.image, Path(entry.image).name):
                said = said.removeprefix(f"{name}: ")
            if notes_at_once and said not in self.notes:
                note(f"{entry.image}: {said}")
            first, others = self.notes.get(said, (entry.image, -1))
            self.notes[said] = first, others + 1
        self.failures.pop(entry.output, None)  # the file was replaced: it is mended, or told anew
        if entry.error is None:
            self.made += 1
        else:
            self.failures[entry.output] = entry.error
        self.line(entry.line())

    def tell_notes(self) -> None:
        """Print each note once, with the number of photos that it is about."""
        for said, (first, others) in self.notes.items():
            more = f" ({counted(others, 'other photo')} too)" if others else ""
            note(f"{first}: {said}{more}")

    def line(self, values: Mapping[str, Any]) -> None:
        """Print a line for programs, with the whole path of the output."""
        if self.as_json:
            console.json_line({**values, "output": str(self.folder / values["output"])})


def jobs_of(
    find: Callable[..., list[Job]],
    spec: BatchSpec,
    listed: Path | None,
    shard: tuple[int, int] | None,
    report: Report,
) -> list[Job]:
    """Return the jobs of all photos, a list or a shard; report folders that cannot be read."""
    try:
        jobs = find(unreadable=lambda error: report.refused.append(str(error)))
    except ImageError as error:  # no photo, perhaps because a folder cannot be read
        raise ImageError("; ".join([str(error), *report.refused])) from error
    if listed is not None:
        jobs = plan_submission(jobs, listed, spec.folder)
    return shard_by_name(apart(jobs, spec.files), lambda job: spec.name_of(job.target), shard)


def print_plan(todo: Todo, spec: BatchSpec, report: Report) -> None:
    """Print what a run would do: one line per photo, with the reason."""
    for job, reason in todo.jobs:
        line = {"image": str(job.photo), "output": spec.name_of(job.target), "status": "to do"}
        report.line({**line, "reason": reason})
        if not report.quiet:
            console.result(f"{job.photo} -> {job.target}: {reason}", to_stderr=report.as_json)
    report.summary(
        f"{len(todo.jobs)} to do, {len(todo.done)} done, "
        f"{len(todo.failed)} failed before (--retry-failed)"
    )


def do_all(run: Run, jobs: list[Job], choose: Callable[..., Todo], report: Report) -> None:
    """Segment those of all photos that ``choose`` says are not done, by the manifest's entries.

    Raises:
        DeconvnetError: The run was stopped before all photos were done.
    """
    folder = run.info.spec.folder
    remove_unfinished(jobs, run.info.spec)
    entries = read_entries(folder)
    note_gone(run, entries, jobs, report)
    todo = choose(jobs, entries)
    for entry in todo.done:
        report.line({**entry.line(), "status": "skipped"})
    for entry in todo.failed:
        report.failures[entry.output] = f"{entry.error} (before; --retry-failed)"
        report.line(entry.line())
    left = len(todo.jobs)
    try:
        with console.progress(report.quiet) as progress, stop_signals() as stopped:
            task = progress.add_task("batch", total=len(jobs), completed=len(jobs) - left)

            def on_done(entry: Entry) -> None:
                nonlocal left
                left -= 1
                report.add(entry)
                failed = len(todo.jobs) - left - report.made
                progress.update(task, advance=1, failed=failed)

            run.do((job for job, _ in todo.jobs), on_done, stopped)
    finally:
        report.tell_notes()
        rest = f", {left} left" if left else ""
        report.summary(f"{report.made} made, {len(todo.done)} there already{rest}")
    if left:
        raise DeconvnetError(f"{folder}: stopped, {left} left; the same command goes on with them")


def keep_watching(
    run: Run,
    find: Callable[..., list[Job]],
    sources: tuple[str, ...],
    choose: Callable[..., Todo],
    report: Report,
) -> None:
    """Segment photos as they arrive, until Ctrl-C; report each failure when it happens.

    At the end the report has the failures that were not mended.
    """
    folder = run.info.spec.folder
    entries = read_entries(folder)
    reported: set[str] = set()

    def look() -> list[Job]:
        report.left_out.clear()
        jobs = jobs_now(find, run.info.spec, entries, report)
        new = Counter({kind: n for kind, n in report.left_out.items() if kind not in reported})
        reported.update(new)
        if new:
            report.say(summary(new))
        for entry in note_gone(run, entries, jobs, report):
            del entries[entry.output]
            report.failures.pop(entry.output, None)
        return jobs

    in_progress: set[Path] = set()
    there = 0
    remove_unfinished(look(), run.info.spec)

    def on_done(entry: Entry) -> None:
        report.add(entry, notes_at_once=True)
        entries[entry.output] = entry
        in_progress.discard(Path(entry.image))
        if entry.error is not None:
            console.failure(DeconvnetError(entry.error))
        else:
            report.say(f"{entry.image} -> {folder / entry.output}")

    def wanted(arrivals: Iterator[Job | None]) -> Iterator[Job | None]:
        nonlocal there
        for job in arrivals:
            if job is None:
                yield None
                continue
            todo = choose([job], entries)
            there += len(todo.done)
            if todo.jobs:
                in_progress.add(job.photo)
            yield job if todo.jobs else None

    try:
        with stop_signals() as stopped:
            report.say(f"watching {', '.join(sources)}; Ctrl-C ends it")
            arrivals = arriving(look, stopped, in_progress)
            run.do(wanted(arrivals), on_done, stopped)
    finally:
        report.summary(f"{report.made} made, {there} there already")


def jobs_now(
    find: Callable[..., list[Job]], spec: BatchSpec, entries: Mapping[str, Entry], report: Report
) -> list[Job]:
    """Return the jobs of the photos that are there now; report those that are refused once.

    Photos that were begun before come first, so that later ones do not take their files. The
    report gets the errors of this look in place of those of the last one.
    """
    before, report.refused = report.refused, []

    def on_refusal(error: DeconvnetError) -> None:
        if str(error) not in report.refused:
            report.refused.append(str(error))
            if str(error) not in before:
                console.failure(error)

    def is_new(job: Job) -> bool:
        entry = entries.get(spec.name_of(job.target))
        return entry is None or entry.image != str(job.photo)

    found = find(refused=on_refusal, unreadable=on_refusal, missing_ok=True)
    return apart(sorted(found, key=is_new), spec.files, on_refusal)


def note_gone(
    run: Run, entries: Mapping[str, Entry], jobs: list[Job], report: Report
) -> list[Entry]:
    """Write and return a line for each photo that failed and was removed since."""
    removed = list(gone(entries.values(), jobs, run.info.spec, run.shard))
    for entry in removed:
        run.manifest.add(entry)
        report.line(entry.line())
    if removed:
        first = f"{removed[0].image}{' and others' if removed[1:] else ''}"
        report.say(
            f"{run.info.spec.folder}: failed before and was removed, so no longer counts: {first}"
        )
    return removed
