"""The files that ``deconvnet segment`` writes for photos, checked before the first is read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import CVAT, NONE, Outputs
from deconvnet_cli.outputs.targets import (
    into_folder,
    labels_target,
    refuse_file_of_cvat,
    refuse_nothing,
)
from deconvnet_cli.storage.files import check_output_file, require_folder
from deconvnet_cli.storage.remote import as_compared

STREAMS = (Path("/dev"), Path("/dev/fd"))  # where standard input and pipes of a shell have names


def plan_targets(
    images: tuple[str, ...], output: str | None, outputs: Outputs, save_scores: bool, as_json: bool
) -> list[Path | None]:
    """Return the file for the labels of each image; None is standard output.

    Raises:
        UsageError: Options do not fit together, or an output would replace another one or a photo.
    """
    several = len(images) > 1
    if outputs.format == CVAT:
        refuse_file_of_cvat(output)
    targets = [target_of(image, output, outputs, several=several) for image in images]
    if output == "-" and as_json:
        raise UsageError("--json and -o - both want standard output; use one of them")
    if output == "-" and (outputs.suffixes or save_scores):
        raise UsageError("-o - writes only labels; give -o FILE to write files beside them")
    if "-" in images and (save_scores or outputs.polygons == "labelme"):
        option = "--save-scores" if save_scores else "--polygons labelme"
        raise UsageError(f"{option} stores where the photo is; give a file, not -")
    refuse_nothing(outputs, further=save_scores)
    check_targets(images, [files_of(target, outputs, save_scores) for target in targets if target])
    if output is None and outputs.format != NONE:
        from deconvnet_cli.data.label_png import has_label_palette, png_head

        there = [path for path in targets if path and path.suffix == ".png" and path.exists()]
        for target in there:
            if not has_label_palette(png_head(target)):
                raise UsageError(
                    f"{target}: is there already, and is no label PNG; give another file with -o"
                )
    # Without -o, a folder that is missing is the photo's, of which its reader says so.
    if output not in (None, "-") and not into_folder(output):
        for target in filter(None, targets):
            require_folder(target)
    return targets


def files_of(target: Path, outputs: Outputs, save_scores: bool) -> list[Path]:
    """Return all files written for a photo whose labels go to ``target``, the labels first."""
    return [*outputs.files(target), *([scores_beside(target)] if save_scores else [])]


def scores_beside(target: Path) -> Path:
    """Return the file of the stored scores, beside the labels."""
    return target.with_suffix(".npz")


def check_targets(images: tuple[str, ...], files: list[list[Path]]) -> None:
    """Raise UsageError if two outputs are the same file, or if one would replace a photo."""
    paths = [path for files_of_image in files for path in files_of_image]
    counts = Counter(map(as_compared, paths))
    twice = next((path for path in paths if counts[as_compared(path)] > 1), None)
    if twice is not None:
        raise UsageError(
            f"{twice}: would be written for two photos; rename one, or segment them one by one"
        )
    # All photos count: the labels of a.jpg must not replace a.png, which may come next.
    photos = [Path(image) for image in images if image != "-"]
    for path in paths:
        check_output_file(path, photos)


def target_of(image: str, output: str | None, outputs: Outputs, *, several: bool) -> Path | None:
    """Return the file for the labels of an image; None is standard output.

    Raises:
        UsageError: The image has no name, standard input is used without -o, several images are to
            go into one file, or the file's suffix is that of another format.
    """
    if not Path(image).name:
        raise UsageError(f"{image}: not the name of a photo")
    if output == "-":
        if several:
            raise UsageError("-o - takes one image; give a folder for several: -o DIR/")
        return None
    stem = Path(name_in_files(image)).stem
    if output is None:
        if image == "-" or Path(image).parent in STREAMS:
            raise UsageError("standard input needs -o FILE, or -o - for standard output")
        return beside(Path(image), outputs.label_suffix.removeprefix("."))
    if several and not into_folder(output):
        raise UsageError(f"{output}: several photos need a folder; write -o {output}/")
    return labels_target(output, stem, outputs)


def name_in_files(image: str) -> str:
    """Return the name of a photo in files about it; standard input is called ``stdin``."""
    return "stdin" if image == "-" else Path(image).name


def beside(photo: Path, file_format: str) -> Path:
    """Return ``photo.png`` for ``photo.jpg``, or ``photo-labels.png`` for ``photo.png``."""
    target = photo.with_suffix(f".{file_format}")
    if target.name.lower() == photo.name.lower():
        return photo.with_name(f"{photo.stem}-labels.{file_format}")
    return target
