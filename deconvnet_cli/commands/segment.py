"""``deconvnet segment``: write the label PNG of each photo."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.clip_plan import plan_clips
from deconvnet_cli.commands.shared.grouped_help import (
    GroupedCommand,
    argument,
    message_option,
    option,
)
from deconvnet_cli.commands.shared.options import (
    LOADING,
    MESSAGE_OPTIONS,
    READING_OPTIONS,
    apply,
    check_backend,
    refuse_given,
    segment_options,
)
from deconvnet_cli.commands.shared.output_options import OUTPUT_OPTIONS, outputs_of
from deconvnet_cli.commands.shared.photo_targets import (
    files_of,
    name_in_files,
    plan_targets,
    scores_beside,
)
from deconvnet_cli.data.video_files import is_clip
from deconvnet_cli.errors import DeconvnetError, UsageError
from deconvnet_cli.outputs.files import CVAT, NONE, Outputs
from deconvnet_cli.outputs.targets import folder_of, into_folder
from deconvnet_cli.segmentation.loading import load_system

if TYPE_CHECKING:
    from PIL.Image import Image

    from deconvnet_cli.segmentation.inference import OnStep
    from deconvnet_cli.segmentation.segment import Segmentation
    from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
    from deconvnet_cli.segmentation.system import System


EVERY_OPTION = option(
    "--every",
    type=click.IntRange(1),
    default=1,
    group="Videos",
    help="Label only every N-th frame of a video; the MP4 of overlays plays as fast as the clip.",
)
COMMON = ("output", "overlay", "cutout", "only", "crf", "system_name", "weights")


@click.command("segment", cls=GroupedCommand, common=COMMON)
@argument("images", nargs=-1, required=True, metavar="IMAGE...")
@option(
    "-o",
    "--output",
    metavar="OUT",
    help="File to write, - for standard output, or a folder.  [default: IMAGE.png beside the "
    "photo]",
)
@message_option(
    "--preview",
    type=click.Choice(["auto", "kitty", "iterm", "sixel", "blocks", "none"]),
    default="auto",
    help="Small picture on a terminal. auto: kitty, iterm or blocks, as the terminal supports.",
)
@apply(*OUTPUT_OPTIONS, *READING_OPTIONS, EVERY_OPTION, segment_options, *MESSAGE_OPTIONS)
def command(
    images: tuple[str, ...],
    output: str | None,
    save_scores: bool,
    page: int | None,
    max_pixels: int,
    preview: str,
    every: int,
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
    **output_values: Any,
) -> None:
    """Write the label PNG of each IMAGE: VOC's 21 classes in VOC's colours, or the classes of
    weights of your own. IMAGE may be - for standard input. Several need a folder: -o DIR/.
    Options that begin with "Also write" write further files beside each label PNG, under its name.
    IMAGE may also be a video, with -o DIR/. Each frame then gets a label PNG, such as
    DIR/NAME_000123.png, and --overlay writes DIR/NAME_overlay.mp4.
    """
    from deconvnet_cli.reporting import console

    check_backend(options)
    outputs = outputs_of(output_values, output)
    clips = [Path(image) for image in images if image not in ("", "-") and is_clip(Path(image))]
    if clips:
        if len(clips) < len(images):
            raise UsageError("photos and videos are labelled in separate calls; give one kind")
        refuse_given(("preview",), "--preview shows photos")
        refuse_given(("page",), "--page is for photos")
        jobs = plan_clips(clips, output, outputs, save_scores, every)
    else:
        refuse_given(("every",), "--every takes frames of a video")
        targets = plan_targets(images, output, outputs, save_scores, as_json)
    with console.stages(quiet) as on_step:
        on_step(LOADING, 0, 0)
        system, settings = load_system(options)

        from deconvnet_cli.outputs.shared_files import write_class_files, write_list_of_masks
        from deconvnet_cli.runtime.devices import bound_memory
        from deconvnet_cli.segmentation.segment import summarise
        from deconvnet_cli.segmentation.system import describe
        from deconvnet_cli.storage.files import make_folder

        bound_memory()
    outputs.check(system.classes)
    if clips:
        from deconvnet_cli.commands.shared.clips import segment_clips

        segment_clips(jobs, system, settings, max_pixels, quiet=quiet, as_json=as_json)
        return
    if into_folder(output):
        for folder in {target.parent for target in targets if target}:
            make_folder(folder)
    shared: list[Path] = []
    for folder in dict.fromkeys(folder_of(target, outputs) for target in targets if target):
        shared += write_class_files(folder, outputs, system.classes)
    about = describe(system, settings) if save_scores else None
    failed = 0
    for number, (image, target) in enumerate(zip(images, targets, strict=True), 1):
        prefix = f"photo {number} of {len(images)}: " if len(images) > 1 else ""
        try:
            with console.stages(quiet, prefix) as on_step:
                photo, seen = label_image(
                    image, target, system, settings, outputs, about, max_pixels, page, on_step
                )
        except DeconvnetError as error:
            failed += 1
            console.failure(error)
            if as_json:
                console.json_line({"image": image, "error": str(error)})
            continue
        labels = None if outputs.format == NONE else str(target or "-")
        line = {"image": image, "output": labels, **summarise(seen, system.classes)}
        files = files_of(target, outputs, save_scores) if target else []
        if further := [str(path) for path in files if path != target]:
            line["beside"] = further
        if as_json:
            console.json_line(line)
        if not quiet:
            wanted = "none" if as_json else preview
            console.segmented(line, system.classes, photo, seen, wanted)
            for names in outputs.absent(seen.labels, system.classes):
                console.say(f"{image}: no {names} found, so what shows it is empty")
    if outputs.format == CVAT:
        shared.append(write_list_of_masks(Path(str(output))))
    for path in () if quiet else shared:
        console.say(f"also: {path}")
    if failed:
        raise SystemExit(1)


def label_image(
    image: str,
    target: Path | None,
    system: System,
    settings: SegmentSettings,
    outputs: Outputs,
    about: dict[str, dict[str, Any]] | None,
    max_pixels: int,
    page: int | None,
    on_step: OnStep,
) -> tuple[Image, Segmentation]:
    """Segment one photo and write its files; return it and the result without small parts.

    Args:
        target: The file of the labels, or None for standard output.
        about: What is stored with the merged scores; None stores no scores.

    Raises:
        ImageError: The photo cannot be read, or has no such page.
        OutputError: A file cannot be written.
    """
    from deconvnet_cli.data.images import read_photo
    from deconvnet_cli.outputs.encoding import label_file, write_outputs
    from deconvnet_cli.reporting import console
    from deconvnet_cli.segmentation.segment import infer, label_photo
    from deconvnet_cli.segmentation.stored_scores import write_scores

    on_step("reading", 0, 0)
    source = sys.stdin.buffer if image == "-" else Path(image)
    photo = read_photo(source, max_pixels=max_pixels, page=page)
    scored = infer(photo, system, settings, on_step=on_step)
    result = label_photo(scored, photo.size, system.ensemble, settings.crf, on_step)
    seen = replace(result, labels=outputs.shown(result.labels))
    on_step("writing", 0, 0)
    if target is None:
        kept = seen if outputs.clean_labels else result
        console.standard_output(label_file(kept.labels, outputs.format, system.classes))
        return photo, seen
    if about is not None:
        write_scores(scores_beside(target), scored, Path(image), photo.size, about, page=page)
    write_outputs(
        photo,
        result.labels,
        target,
        outputs,
        system.classes,
        probabilities=result.probabilities,
        name=name_in_files(image),
        source=None if image == "-" else Path(image),
        shown=seen.labels,
    )
    return photo, seen
