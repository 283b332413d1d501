"""``deconvnet batch``: label PNGs of folders, globs and lists."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.batch.engines import LOCAL, open_engine
from deconvnet_cli.commands.shared.batch_options import (
    ENGINE_OPTIONS,
    check_engine,
    output_of,
    refuse_source,
)
from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, argument, option
from deconvnet_cli.commands.shared.option_types import EXISTING_FILE, FolderOrUrl
from deconvnet_cli.commands.shared.options import (
    MESSAGE_OPTIONS,
    READING_OPTIONS,
    SHARD_OPTION,
    WORKERS_OPTION,
    apply,
    check_backend,
    refuse_others,
    segment_options,
)
from deconvnet_cli.commands.shared.output_options import OUTPUT_OPTIONS, outputs_of
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import NONE
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.storage.remote import is_url

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentOptions

run_option = partial(option, group="Run")
COMMON = ("output", "dry_run", "overlay", "cutout", "only", "crf", "system_name", "weights")
EPILOG = """Each photo gets a line in OUTPUT/manifest.jsonl when it is done or has failed. If you
start the batch again, it segments only the photos that are not done: those whose line, file,
weights, settings and labels do not all agree. A photo that fails is reported, the others go on, and
the exit code is 1. Ctrl-C finishes the photos in progress; a second Ctrl-C stops at once. With
--voc-submission the label PNGs go to OUTPUT/results/VOC2012/Segmentation/comp6_LIST_cls/ and are
checked at the end."""


@click.command("batch", cls=GroupedCommand, common=COMMON, epilog=EPILOG)
@argument("sources", nargs=-1, metavar="SOURCE...")
@option(
    "-o",
    "--output",
    type=FolderOrUrl(),
    metavar="DIR|URL",
    help="Folder for the label PNGs. By default, for one folder DIR: DIR-labels beside it.",
)
@option("--dry-run", is_flag=True, help="Show what would be done and why, and do nothing.")
@run_option("--overwrite", is_flag=True, help="Segment all photos, even those that are done.")
@run_option(
    "--retry-failed", "retry", is_flag=True, help="Retry photos that failed in earlier runs."
)
@run_option("--watch", is_flag=True, help="Wait for further photos, until Ctrl-C.")
@run_option("--verify", is_flag=True, help="Check every file of an earlier run, and do no more.")
@run_option("--merge", is_flag=True, help="Merge the manifests of all shards, and do no more.")
@run_option(
    "--names",
    type=click.Choice(["stem", "full"]),
    default="stem",
    help="Names of the files. stem: a.png for a.jpg; full: a.jpg.png, so a.tif does not clash.",
)
@run_option(
    "--voc-submission",
    "listed",
    type=EXISTING_FILE,
    metavar="LIST",
    help="Take only the photos named in LIST (ImageSets/Segmentation/test.txt), and write the "
    "folders that the VOC evaluation server expects.",
)
@apply(
    *OUTPUT_OPTIONS,
    *READING_OPTIONS,
    segment_options,
    WORKERS_OPTION,
    SHARD_OPTION,
    *ENGINE_OPTIONS,
    *MESSAGE_OPTIONS,
)
def command(
    sources: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    retry: bool,
    dry_run: bool,
    verify: bool,
    merge: bool,
    watch: bool,
    names: str,
    save_scores: bool,
    listed: Path | None,
    shard: str | None,
    workers: int | None,
    engine: str,
    ray_address: str | None,
    nets_per_gpu: int | None,
    page: int | None,
    max_pixels: int,
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
    **output_values: Any,
) -> None:
    """Segment every photo of each SOURCE and write its label PNG. A SOURCE is a folder with its
    subfolders, a glob, or @list.txt, a file that lists photos. Folders, globs and OUTPUT may be
    URLs such as s3://bucket/photos.
    """
    if verify + merge + dry_run + watch > 1:
        raise UsageError(
            "--verify, --merge, --dry-run and --watch exclude each other; give one of them"
        )
    if verify or merge:
        kept = {"sources", "output", "verify", "merge", "quiet", *(["as_json"] if verify else [])}
        mode = "--verify" if verify else "--merge"
        refuse_others(kept, f"{mode} reads what batches have written")
    if watch and (listed is not None or shard is not None):
        raise UsageError(
            "--watch takes all photos that arrive; leave out --shard and --voc-submission"
        )
    if (watch or merge or listed is not None) and any(map(is_url, (*sources, str(output or "")))):
        raise UsageError("--watch, --merge and --voc-submission need folders, not URLs")
    check_backend(options)
    check_engine(engine, ray_address, workers, watch)
    outputs = outputs_of(output_values)
    if outputs.format != "png" and (watch or listed is not None):
        raise UsageError("--watch and --voc-submission write label PNGs; leave out --format")
    if outputs.format == NONE:
        raise UsageError("--format none is for segment; a batch knows by the labels what is done")
    if verify or merge:
        from deconvnet_cli.commands.shared.batch_manifests import merge_shards, verify_outputs

        if merge:
            return merge_shards(sources, output, quiet)
        return verify_outputs(output_of(sources, output), quiet, as_json)
    if not sources:
        raise UsageError("give photos: a folder, a glob, or @list.txt")
    output = output_of(sources, output)
    refuse_source(sources, output, outputs)

    from deconvnet_cli.runtime.interrupts import sigterm_as_interrupt
    from deconvnet_cli.runtime.worker_process import prepare_workers

    click.get_current_context().with_resource(sigterm_as_interrupt())
    if not dry_run and engine == LOCAL:
        prepare_workers("deconvnet_cli.batch.preload")
    from deconvnet_cli.batch.collection import write_collection
    from deconvnet_cli.batch.manifest import read_entries
    from deconvnet_cli.batch.plan import plan
    from deconvnet_cli.batch.resume import sort_out
    from deconvnet_cli.batch.run import locked_run
    from deconvnet_cli.batch.spec import BatchSpec
    from deconvnet_cli.batch.voc_submission import check_submission, check_voc_classes
    from deconvnet_cli.commands.shared.batch_progress import (
        Report,
        do_all,
        jobs_of,
        keep_watching,
        print_plan,
    )
    from deconvnet_cli.outputs.shared_files import write_class_files
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.shards import parse_shard

    part = None if shard is None else parse_shard(shard)
    report = Report(output, quiet, as_json)
    spec = BatchSpec(partial(load_system, options), output, save_scores, outputs, max_pixels, page)
    full_names = names == "full"
    find = partial(plan, sources, output, report.left_out, full_names=full_names, outputs=outputs)
    jobs = [] if watch else jobs_of(find, spec, listed, part, report)
    opened = open_engine(engine, ray_address, nets_per_gpu, spec, workers, options.device)
    with opened as (info, works):
        if listed is not None:
            check_voc_classes(info.classes)
        choose = partial(sort_out, info=info, overwrite=overwrite, retry=retry)
        try:
            if dry_run:
                print_plan(choose(jobs, read_entries(output)), spec, report)
            else:
                with locked_run(info, works, part) as run:
                    shared = write_class_files(output, outputs, info.classes)
                    if not run.locked:
                        report.say(
                            f"{output}: cannot be locked; make sure that no other run writes there"
                        )
                    if watch:
                        keep_watching(run, find, sources, choose, report)
                    else:
                        do_all(run, jobs, choose, report)
                    if part is None:  # --merge writes them of all shards
                        run.manifest.close()  # a remote one writes its last lines only then
                        shared += write_collection(output, read_entries(output).values())
                for path in shared:
                    report.say(f"also: {path}")
        finally:
            if report.wrong():
                console.batch_failures(report.wrong())
    if report.wrong():
        raise SystemExit(1)
    if listed is not None and part is None and not dry_run:
        folder = check_submission(jobs, page)
        report.say(f"{folder}: complete; pack {output / 'results'} and submit it")
