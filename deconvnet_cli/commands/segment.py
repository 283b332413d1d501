"""``deconvnet segment``: write the label PNG of each photo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.clips import plan_clips, segment_clips
from deconvnet_cli.commands.shared.grouped_help import FILES, MESSAGES, GroupedCommand, option
from deconvnet_cli.commands.shared.options import (
    JSON_OPTION,
    MAX_PIXELS_OPTION,
    QUIET_OPTION,
    apply,
    refuse_given,
    segment_options,
)
from deconvnet_cli.commands.shared.output_options import (
    OUTPUT_OPTIONS,
    SAVE_SCORES_OPTION,
    outputs_of,
)
from deconvnet_cli.commands.shared.photo_targets import (
    files_of,
    folder_of,
    into_folder,
    plan_targets,
    scores_beside,
)
from deconvnet_cli.data.video_files import is_clip
from deconvnet_cli.errors import DeconvnetError, UsageError
from deconvnet_cli.outputs.files import CVAT, MASKS, NONE
from deconvnet_cli.segmentation.loading import load_system

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentOptions


@click.command("segment", cls=GroupedCommand, common=("output", "overlay", "weights"))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@option(
    "-o",
    "--output",
    metavar="OUT",
    help="File to write, - for standard output, or a folder.  [default: IMAGE.png beside the "
    "photo]",
)
@option(
    "--preview",
    type=click.Choice(["auto", "kitty", "iterm", "sixel", "blocks", "none"]),
    default="auto",
    show_default=True,
    group=MESSAGES,
    help="Small picture on a terminal. auto: kitty, iterm or blocks, as the terminal supports.",
)
@option(
    "--every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    group=FILES,
    help="Of a video, label only every N-th frame; the MP4 of the overlays then has as many fewer "
    "frames a second.",
)
@apply(
    *OUTPUT_OPTIONS,
    SAVE_SCORES_OPTION,
    MAX_PIXELS_OPTION,
    segment_options,
    QUIET_OPTION,
    JSON_OPTION,
)
def command(
    images: tuple[str, ...],
    output: str | None,
    save_scores: bool,
    max_pixels: int,
    preview: str,
    every: int,
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
    **output_values: Any,
) -> None:
    """Write the label PNG of each IMAGE: VOC's 21 classes in VOC's colours, or the classes of
    weights of your own. IMAGE may be - for standard input. Several images need a folder: -o DIR/.
    With --overlay, --cutout, --mask, --polygons and --save-scores, further files are written beside
    each label PNG, under its name.

    IMAGE may also be a video, with -o DIR/. Each frame then gets a label PNG, such as
    DIR/NAME_000123.png, and --overlay writes DIR/NAME_overlay.mp4.
    """
    outputs = outputs_of(output_values, None if into_folder(output) else output)
    clips = [Path(image) for image in images if image not in ("", "-") and is_clip(Path(image))]
    if clips:
        if len(clips) < len(images):
            raise UsageError("photos and videos are labelled in separate calls; give one kind")
        refuse_given(click.get_current_context(), ("preview",), "--preview shows photos")
        jobs = plan_clips(clips, output, outputs, save_scores, every)
        system, settings = load_system(options)
        outputs.check(system.classes)
        segment_clips(jobs, system, settings, max_pixels, quiet=quiet, as_json=as_json)
        return
    refuse_given(click.get_current_context(), ("every",), "--every takes frames of a video")
    targets = plan_targets(images, output, outputs, save_scores, as_json)

    from dataclasses import replace

    from deconvnet_cli.data.images import read_photo
    from deconvnet_cli.outputs.files import label_file, write_outputs
    from deconvnet_cli.outputs.shared_files import write_class_files, write_cvat_list
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import keep_freed_memory
    from deconvnet_cli.segmentation.segment import infer, label_photo
    from deconvnet_cli.segmentation.stored_scores import write_scores
    from deconvnet_cli.segmentation.system import describe
    from deconvnet_cli.storage.files import make_folder

    keep_freed_memory()
    system, settings = load_system(options)
    outputs.check(system.classes)
    about = describe(system, settings) if save_scores else {}
    if output is not None and into_folder(output):
        make_folder(Path(output))
    shared: list[Path] = []
    for folder in dict.fromkeys(folder_of(target, outputs) for target in targets if target):
        shared += write_class_files(folder, outputs, system.classes)
    if outputs.format == CVAT:
        make_folder(Path(str(output)) / MASKS)
    masks: list[str] = []
    failed = 0
    for image, target in zip(images, targets, strict=True):
        try:
            source = sys.stdin.buffer if image == "-" else Path(image)
            photo = read_photo(source, max_pixels=max_pixels)
            scored = infer(photo, system, settings)
            result = label_photo(scored, photo.width, photo.height, system.ensemble, settings.crf)
            seen = replace(result, labels=outputs.shown(result.labels))
            if target is None:
                kept = seen if outputs.clean_labels else result
                console.standard_output(label_file(kept.labels, outputs.format, system.classes))
            else:
                if save_scores:
                    write_scores(scores_beside(target), scored, Path(image), photo.size, about)
                write_outputs(
                    photo,
                    result.labels,
                    target,
                    outputs,
                    system.classes,
                    probabilities=result.probabilities,
                    name=Path(image).name,
                    source=None if image == "-" else Path(image),
                    shown=seen.labels,
                )
                masks.append(target.stem)
        except DeconvnetError as error:
            failed += 1
            console.failure(error)
            continue
        line = console.image_line(image, target, seen, system.classes)
        if outputs.format == NONE:
            line["output"] = None
        files = [] if target is None else files_of(target, outputs, save_scores)
        if further := [str(path) for path in files if path != target]:
            line["beside"] = further
        if as_json:
            console.json_line(line)
        if not quiet:
            wanted = "none" if as_json else preview
            console.segmented(line, system.classes, photo, seen, wanted)
    if outputs.format == CVAT:
        shared.append(write_cvat_list(Path(str(output)), masks))
    for path in () if quiet else shared:
        console.say(f"also: {path}")
    if failed:
        raise SystemExit(1)
