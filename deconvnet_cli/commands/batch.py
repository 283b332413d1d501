"""``deconvnet batch``: label PNGs of folders, globs and lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.options import JSON, QUIET, SEGMENTING, apply, prepare
from deconvnet_cli.errors import DeconvnetError, OutputError, UsageError


@click.command("batch")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the label PNGs. Default for one folder DIR: DIR-labels beside it.",
)
@click.option("--overwrite", is_flag=True, help="Make label PNGs again that are there already.")
@apply(*SEGMENTING, QUIET, JSON)
def command(
    sources: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Segment every photo of each SOURCE: a folder (with its tree), a glob, or @list.txt.

    Label PNGs that are there already are skipped, so a batch that was stopped goes on when it is
    started again. A photo that fails is named and the others go on; the exit code is then 1.
    OUTPUT/manifest.jsonl gets a line for each photo.
    """
    from deconvnet_cli.batch import Job, plan, run

    if output is None:
        if len(sources) > 1 or not Path(sources[0]).is_dir():
            raise UsageError("give the output folder: -o DIR")
        folder = Path(sources[0]).resolve()
        output = folder.with_name(f"{folder.name}-labels")
    jobs = plan(sources, output)
    todo = [job for job in jobs if overwrite or not job.target.exists()]

    from deconvnet_cli import report
    from deconvnet_cli.images import label_png, make_folder, read_photo, write_whole
    from deconvnet_cli.segmenter import segment

    weights, settings = prepare(**options)
    make_folder(output)
    try:
        # Unbuffered: each line is there, or failed, when the next photo starts.
        manifest = open(output / "manifest.jsonl", "ab", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error

    def record(line: dict[str, Any]) -> None:
        try:
            manifest.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise OutputError(f"{manifest.name}: cannot be written ({error.strerror})") from error
        if as_json:
            report.json_line(line)

    def failed(job: Job, error: DeconvnetError) -> None:
        failures.append(str(error))
        record({"image": str(job.photo), "error": str(error)})

    failures: list[str] = []
    with manifest, report.progress(quiet) as progress:
        task = progress.add_task("batch", total=len(jobs), completed=len(jobs) - len(todo))

        def make(job: Job) -> None:
            progress.update(task, advance=1)
            result = segment(read_photo(job.photo), weights, settings)
            png = label_png(result.labels)
            write_whole(job.target, png)
            record(report.image_line(str(job.photo), job.target, result, weights.card.classes))

        run(todo, make, failed)
    if not quiet:
        report.batch_summary(output, len(todo) - len(failures), len(jobs) - len(todo))
    if failures:
        report.batch_failures(failures)
        raise SystemExit(1)
