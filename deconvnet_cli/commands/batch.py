"""``deconvnet batch``: label PNGs of folders, globs and lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.options import JSON, QUIET, SEGMENTING, WORKERS, apply, prepare
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
@apply(WORKERS, *SEGMENTING, QUIET, JSON)
def command(
    sources: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    save_scores: bool,
    workers: int | None,
    listed: Path | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Segment every photo of each SOURCE: a folder (with its tree), a glob, or @list.txt.

    Label PNGs that are there already are skipped, so a batch that was stopped goes on when it is
    started again. A photo that fails is named and the others go on; the exit code is then 1.
    OUTPUT/manifest.jsonl gets a line for each photo. With --voc-submission the label PNGs go to
    OUTPUT/results/VOC2012/Segmentation/comp6_LIST_cls/ and are checked at the end.
    """
    from deconvnet_cli.batch import Job, plan, run

    if output is None:
        if len(sources) > 1 or not Path(sources[0]).is_dir():
            raise UsageError("give the output folder: -o DIR")
        folder = Path(sources[0]).resolve()
        output = folder.with_name(f"{folder.name}-labels")
    if listed is not None:
        from deconvnet_cli.submission import plan_submission

        jobs = plan_submission(plan(sources, output), listed, output)
    else:
        jobs = plan(sources, output)

    def scores_of(job: Job) -> Path:
        # The server takes label PNGs and nothing else.
        return job.scores if listed is None else output / "scores" / job.scores.name

    def done(job: Job) -> bool:
        return job.target.exists() and (scores_of(job).exists() or not save_scores)

    todo = [job for job in jobs if overwrite or not done(job)]

    from deconvnet_cli import report
    from deconvnet_cli.devices import at_a_time, one_core_a_photo
    from deconvnet_cli.files import make_folder, write_whole
    from deconvnet_cli.images import label_png, read_photo
    from deconvnet_cli.score_store import write_scores
    from deconvnet_cli.segmenter import label_photo, score_photo
    from deconvnet_cli.systems import describe

    nets, settings = prepare(**options)
    one_core_a_photo()
    about = describe(nets, settings) if save_scores else {}
    make_folder(output)
    try:
        # Unbuffered: each line is there, or failed, when the next photo starts.
        manifest = open(output / "manifest.jsonl", "ab", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror})") from error

    def record(line: dict[str, Any]) -> None:
        progress.update(task, advance=1)
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

        def make(job: Job) -> dict[str, Any]:
            photo = read_photo(job.photo)
            scored = score_photo(photo, nets, settings)
            result = label_photo(scored, photo.width, photo.height, nets.ensemble, settings.crf)
            if save_scores:
                make_folder(scores_of(job).parent)
                write_scores(scores_of(job), scored, job.photo, photo.size, about)
            write_whole(job.target, label_png(result.labels))
            return report.image_line(str(job.photo), job.target, result, nets.classes)

        run(todo, make, record, failed, at_a_time(workers))
    if not quiet:
        report.batch_summary(output, len(todo) - len(failures), len(jobs) - len(todo))
    if failures:
        report.batch_failures(failures)
        raise SystemExit(1)
    if listed is not None:
        from deconvnet_cli.submission import check_submission

        folder = check_submission(jobs)
        if not quiet:
            report.note(f"{folder}: complete; pack {output / 'results'} and submit it")
