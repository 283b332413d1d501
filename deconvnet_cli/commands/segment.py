"""``deconvnet segment``: write the label PNG of each photo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.grouped_help import MESSAGES, GroupedCommand, option
from deconvnet_cli.commands.shared.options import (
    JSON_OPTION,
    MAX_PIXELS_OPTION,
    QUIET_OPTION,
    apply,
    refuse_overwriting,
    segment_options,
)
from deconvnet_cli.commands.shared.output_options import (
    OUTPUT_OPTIONS,
    SAVE_SCORES_OPTION,
    outputs_of,
)
from deconvnet_cli.data.suffixes import HEIF_SUFFIXES, SUFFIXES
from deconvnet_cli.errors import DeconvnetError, UsageError
from deconvnet_cli.outputs.files import CVAT, MASKS, NONE, Outputs
from deconvnet_cli.segmentation.loading import load_system

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentOptions

# Suffixes of other formats, in which no labels are written.
FALSE_NAMES = (
    SUFFIXES | HEIF_SUFFIXES | {".npy", ".npz", ".json", ".geojson", ".svg", ".pdf", ".txt"}
)


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
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
    **output_values: Any,
) -> None:
    """Write the label PNG of each IMAGE: VOC's 21 classes in VOC's colours, or the classes of
    weights of your own. IMAGE may be - for standard input. Several images need a folder: -o DIR/.
    With --overlay, --cutout, --mask, --polygons and --save-scores, further files are written beside
    each label PNG, under its name.
    """
    outputs = outputs_of(output_values, None if into_folder(output) else output)
    several = len(images) > 1
    file_format = outputs.label_suffix.removeprefix(".")
    targets = [target_of(image, output, file_format, several=several) for image in images]
    if output == "-" and as_json:
        raise UsageError("--json and -o - both want standard output; use one of them")
    if output == "-" and (outputs.suffixes or save_scores):
        raise UsageError("-o - writes only labels; give -o FILE to write files beside them")
    if save_scores and "-" in images:
        raise UsageError("--save-scores stores where the photo is; give a file, not -")
    if outputs.format == NONE and (output == "-" or not (outputs.suffixes or save_scores)):
        raise UsageError("--format none writes files beside the labels alone; add --cutout or such")
    if outputs.format == CVAT:
        targets = [cvat_target(target, output) for target in targets]
    check_targets(images, [files_of(target, outputs, save_scores) for target in targets if target])
    if output != "-" and not into_folder(output):
        for target in targets:
            if target is not None and not target.parent.is_dir():
                raise UsageError(
                    f"{target.parent}: no such folder; make it, or give another output"
                )

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


def files_of(target: Path, outputs: Outputs, save_scores: bool) -> list[Path]:
    """Return all files written for a photo whose labels go to ``target``, the labels first."""
    return [*outputs.files(target), *([scores_beside(target)] if save_scores else [])]


def folder_of(target: Path, outputs: Outputs) -> Path:
    """Return the folder of the files that the labels at ``target`` share with others."""
    return target.parent.parent if outputs.format == CVAT else target.parent


def cvat_target(target: Path | None, output: str | None) -> Path:
    """Return the path of a mask in CVAT's folders.

    Raises:
        UsageError: -o names no folder.
    """
    if target is None or not into_folder(output):
        raise UsageError("--format cvat writes several files; give a folder: -o DIR/")
    return target.parent / MASKS / target.name


def scores_beside(target: Path) -> Path:
    """Return the file of the stored scores, beside the labels."""
    return target.with_suffix(".npz")


def check_targets(images: tuple[str, ...], files: list[list[Path]]) -> None:
    """Raise UsageError if two outputs are the same file, or if one would replace a photo."""
    paths = [path for files_of_image in files for path in files_of_image]
    if len(set(paths)) < len(paths):
        raise UsageError("two images would be written to the same file; use `deconvnet batch`")
    for path in paths:
        # All photos count: the labels of a.jpg must not replace a.png, which may come next.
        for image in images:
            if image != "-":
                refuse_overwriting(Path(image), path)
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; give the name of a file")


def target_of(image: str, output: str | None, file_format: str, *, several: bool) -> Path | None:
    """Return the file for the labels of an image; None is standard output.

    Raises:
        UsageError: The image has no name, standard input is used without -o, several images are to
            go into one file, or the file's suffix is that of another format.
    """
    if not Path(image).name:
        raise UsageError(f"{image or 'an empty name'}: not the name of a photo")
    if output == "-":
        if several:
            raise UsageError("-o - takes one image; give a folder for several: -o DIR/")
        return None
    stem = "stdin" if image == "-" else Path(image).stem
    if output is None:
        if image == "-":
            raise UsageError("standard input needs -o FILE, or -o - for standard output")
        return beside(Path(image), file_format)
    if into_folder(output):
        return Path(output) / f"{stem}.{file_format}"
    if several:
        raise UsageError(f"{output}: several images need a folder; write -o {output}/")
    suffix = Path(output).suffix.lower()
    if suffix in FALSE_NAMES and suffix != f".{file_format}":
        raise UsageError(
            f"{output}: the labels are written as {file_format.upper()}; "
            f"give a name that ends in .{file_format}, or a folder: -o DIR/"
        )
    return Path(output)


def into_folder(output: str | None) -> bool:
    """Return whether -o names a folder: it ends with a slash, or the folder exists."""
    return output is not None and (output.endswith("/") or Path(output).is_dir())


def beside(photo: Path, file_format: str) -> Path:
    """Return ``photo.png`` for ``photo.jpg``, or ``photo-labels.png`` for ``photo.png``."""
    target = photo.with_suffix(f".{file_format}")
    if target.name.lower() == photo.name.lower():
        return photo.with_name(f"{photo.stem}-labels.{file_format}")
    return target
