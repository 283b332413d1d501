"""The files that ``deconvnet segment`` writes for photos, checked before the first is read."""

from __future__ import annotations

from pathlib import Path

from deconvnet_cli.commands.shared.options import refuse_overwriting
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import CVAT, MASKS, NONE, Outputs


def plan_targets(
    images: tuple[str, ...],
    output: str | None,
    outputs: Outputs,
    save_scores: bool,
    as_json: bool,
) -> list[Path | None]:
    """Return the file for the labels of each image; None is standard output.

    Raises:
        UsageError: Options do not fit together, or an output would replace another one or a photo.
    """
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
    return targets


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
    require_suffix(Path(output), file_format, "the labels are", ", or a folder: -o DIR/")
    return Path(output)


def require_suffix(path: Path, file_format: str, what: str, remedy: str = "") -> None:
    """Raise UsageError if a name says another format than that in which ``what`` are written.

    A name may have no suffix, as a pipe. Any dot in a name begins one: the files beside the labels
    are named without it.
    """
    if path.suffix.lower() not in ("", f".{file_format}"):
        raise UsageError(
            f"{path}: {what} written as {file_format.upper()}; "
            f"give a name that ends in .{file_format}{remedy}"
        )


def into_folder(output: str | None) -> bool:
    """Return whether -o names a folder: it ends with a slash, or the folder exists."""
    return output is not None and (output.endswith("/") or Path(output).is_dir())


def beside(photo: Path, file_format: str) -> Path:
    """Return ``photo.png`` for ``photo.jpg``, or ``photo-labels.png`` for ``photo.png``."""
    target = photo.with_suffix(f".{file_format}")
    if target.name.lower() == photo.name.lower():
        return photo.with_name(f"{photo.stem}-labels.{file_format}")
    return target
