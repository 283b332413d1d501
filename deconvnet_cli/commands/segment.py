"""``deconvnet segment``: label PNG of each photo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.options import (
    JSON,
    MAX_PIXELS,
    QUIET,
    SEGMENTING,
    apply,
    prepare,
    refuse_overwriting,
)
from deconvnet_cli.errors import DeconvnetError, UsageError


@click.command("segment")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    help="PNG to write, - for standard output, or a folder. Default: IMAGE.png beside the photo.",
)
@click.option(
    "--preview",
    type=click.Choice(["auto", "kitty", "iterm", "sixel", "blocks", "none"]),
    default="auto",
    show_default=True,
    help="Small picture on a terminal; auto: kitty, iterm or blocks, by what the terminal can.",
)
@apply(MAX_PIXELS, *SEGMENTING, QUIET, JSON)
def command(
    images: tuple[str, ...],
    output: str | None,
    max_pixels: int,
    preview: str,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the label PNG of each IMAGE: VOC's 21 classes in VOC's colours.

    IMAGE may be - for standard input. Several images need a folder: -o DIR/.
    """
    targets = [target_of(image, output, several=len(images) > 1) for image in images]
    if output == "-" and as_json:
        raise UsageError("--json and -o - both want standard output; use one of them")
    if len(set(targets)) < len(targets):
        raise UsageError("two images would be written to the same file; use `deconvnet batch`")
    for target in targets:
        if target is not None:
            # Of any photo: labels of a.jpg must not take the place of a.png, to be done next.
            for image in images:
                if image != "-":
                    refuse_overwriting(Path(image), target)
        if target is not None and target.is_dir():
            raise UsageError(f"{target}: is a folder; give the name of a file")
        if target is not None and not into_folder(output) and not target.parent.is_dir():
            raise UsageError(f"{target.parent}: no such folder; make it, or give another output")

    from deconvnet_cli import report
    from deconvnet_cli.devices import keep_freed_memory
    from deconvnet_cli.files import make_folder, write_whole
    from deconvnet_cli.images import label_png, read_photo
    from deconvnet_cli.segmenter import segment

    keep_freed_memory()
    nets, settings = prepare(**options)
    if output is not None and into_folder(output):
        make_folder(Path(output))
    failed = 0
    for image, target in zip(images, targets, strict=True):
        try:
            source = sys.stdin.buffer if image == "-" else Path(image)
            photo = read_photo(source, max_pixels=max_pixels)
            result = segment(photo, nets, settings)
            png = label_png(result.labels)
            if target is None:
                report.standard_output(png)
            else:
                write_whole(target, png)
        except DeconvnetError as error:
            failed += 1
            report.failure(error)
            continue
        line = report.image_line(image, target, result, nets.classes)
        if as_json:
            report.json_line(line)
        if not quiet:
            wanted = "none" if as_json else preview
            report.segmented(line, nets.classes, photo, result, wanted)
    if failed:
        raise SystemExit(1)


def target_of(image: str, output: str | None, *, several: bool) -> Path | None:
    """Where the label PNG of an image goes; None is standard output.

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
        return beside(Path(image))
    if into_folder(output):
        return Path(output) / f"{stem}.png"
    if several:
        raise UsageError(f"{output}: several images need a folder; write -o {output}/")
    return Path(output)


def into_folder(output: str | None) -> bool:
    """Whether -o means a folder: it ends with a slash, or is a folder already."""
    return output is not None and (output.endswith("/") or Path(output).is_dir())


def beside(photo: Path) -> Path:
    """``photo.png`` beside ``photo.jpg``; ``photo-labels.png`` if the photo is a PNG itself."""
    target = photo.with_suffix(".png")
    if target.name.lower() == photo.name.lower():
        return photo.with_name(f"{photo.stem}-labels.png")
    return target
