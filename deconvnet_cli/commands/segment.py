"""``deconvnet segment``: label PNG of each photo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.shared.options import (
    JSON,
    MAX_PIXELS,
    QUIET,
    SEGMENTING,
    apply,
    refuse_overwriting,
)
from deconvnet_cli.commands.shared.output_options import OUTPUTS, SAVE_SCORES, outputs_of
from deconvnet_cli.errors import DeconvnetError, UsageError
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.loading import load_system


@click.command("segment")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="File to write, - for standard output, or a folder. Default: IMAGE.png beside the photo.",
)
@click.option(
    "--preview",
    type=click.Choice(["auto", "kitty", "iterm", "sixel", "blocks", "none"]),
    default="auto",
    show_default=True,
    help="Small picture on a terminal; auto: kitty, iterm or blocks, by what the terminal can.",
)
@apply(*OUTPUTS, SAVE_SCORES, MAX_PIXELS, *SEGMENTING, QUIET, JSON)
def command(
    images: tuple[str, ...],
    output: str | None,
    save_scores: bool,
    max_pixels: int,
    preview: str,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the label PNG of each IMAGE: VOC's 21 classes in VOC's colours.

    IMAGE may be - for standard input. Several images need a folder: -o DIR/. --overlay, --cutout,
    --polygons and --save-scores write further files beside each label PNG, under its name.
    """
    outputs = outputs_of(options, None if into_folder(output) else output)
    several = len(images) > 1
    targets = [target_of(image, output, outputs.format, several=several) for image in images]
    if output == "-" and as_json:
        raise UsageError("--json and -o - both want standard output; use one of them")
    if output == "-" and (outputs.suffixes or save_scores):
        raise UsageError("-o - takes labels alone; give -o FILE for what is written beside them")
    if save_scores and "-" in images:
        raise UsageError("--save-scores keeps where the photo is; give its file, not -")
    check_files(images, [files_of(target, outputs, save_scores) for target in targets if target])
    if output != "-" and not into_folder(output):
        for target in targets:
            if target is not None and not target.parent.is_dir():
                raise UsageError(
                    f"{target.parent}: no such folder; make it, or give another output"
                )

    from deconvnet_cli.data.images import read_photo
    from deconvnet_cli.outputs.files import label_file, write_outputs
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import keep_freed_memory
    from deconvnet_cli.segmentation.segment import infer, label_photo
    from deconvnet_cli.segmentation.stored_scores import write_scores
    from deconvnet_cli.segmentation.system import describe
    from deconvnet_cli.storage.files import make_folder

    keep_freed_memory()
    system, settings = load_system(**options)
    outputs.check(system.classes)
    about = describe(system, settings) if save_scores else {}
    if output is not None and into_folder(output):
        make_folder(Path(output))
    failed = 0
    for image, target in zip(images, targets, strict=True):
        try:
            source = sys.stdin.buffer if image == "-" else Path(image)
            photo = read_photo(source, max_pixels=max_pixels)
            scored = infer(photo, system, settings)
            result = label_photo(scored, photo.width, photo.height, system.ensemble, settings.crf)
            if target is None:
                console.standard_output(label_file(result.labels, outputs.format))
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
                )
        except DeconvnetError as error:
            failed += 1
            console.failure(error)
            continue
        line = console.image_line(image, target, result, system.classes)
        if target is not None and (beside_it := files_of(target, outputs, save_scores)[1:]):
            line["beside"] = [str(path) for path in beside_it]
        if as_json:
            console.json_line(line)
        if not quiet:
            wanted = "none" if as_json else preview
            console.segmented(line, system.classes, photo, result, wanted)
    if failed:
        raise SystemExit(1)


def files_of(target: Path, outputs: Outputs, save_scores: bool) -> list[Path]:
    """All files of a photo whose labels go to ``target``: these first."""
    return [target, *outputs.beside(target), *([scores_beside(target)] if save_scores else [])]


def scores_beside(target: Path) -> Path:
    """Where scores are kept, beside the labels."""
    return target.with_suffix(".npz")


def check_files(images: tuple[str, ...], files: list[list[Path]]) -> None:
    """Raise UsageError if the files of the images would take the place of each other or of one."""
    paths = [path for of_image in files for path in of_image]
    if len(set(paths)) < len(paths):
        raise UsageError("two images would be written to the same file; use `deconvnet batch`")
    for path in paths:
        # Of any photo: labels of a.jpg must not take the place of a.png, to be done next.
        for image in images:
            if image != "-":
                refuse_overwriting(Path(image), path)
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; give the name of a file")


def target_of(image: str, output: str | None, file_format: str, *, several: bool) -> Path | None:
    """Where the labels of an image go; None is standard output.

    Raises:
        UsageError: standard input without -o, several images without a folder, or no name at all.
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
    return Path(output)


def into_folder(output: str | None) -> bool:
    """Whether -o means a folder: it ends with a slash, or is a folder already."""
    return output is not None and (output.endswith("/") or Path(output).is_dir())


def beside(photo: Path, file_format: str) -> Path:
    """``photo.png`` beside ``photo.jpg``; ``photo-labels.png`` if the photo is a PNG itself."""
    target = photo.with_suffix(f".{file_format}")
    if target.name.lower() == photo.name.lower():
        return photo.with_name(f"{photo.stem}-labels.{file_format}")
    return target
