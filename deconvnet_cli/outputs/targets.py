"""The file that the labels of a photo go to, by the name of a file or folder that is given."""

from __future__ import annotations

import os
from mimetypes import MimeTypes
from pathlib import Path

from deconvnet_cli.data.suffixes import HEIF_SUFFIXES, SUFFIXES
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import CVAT, FORMATS, MASKS, NONE, Outputs

KNOWN_SUFFIXES = (
    frozenset(MimeTypes(filenames=()).types_map[True])
    | SUFFIXES
    | HEIF_SUFFIXES
    | {".geojson", ".jxl", ".npy", ".npz", ".exr", ".psd", ".yaml", ".toml", ".safetensors"}
)


def into_folder(output: str | None) -> bool:
    """Return whether an output is a folder: its name says so, or the folder exists."""
    return output is not None and (named_as_folder(output) or Path(output).is_dir())


def named_as_folder(output: str) -> bool:
    """Return whether an output ends with a slash, on Windows also with a backslash."""
    return output.endswith(("/", os.sep))


def format_of(output: str | None, given: str | None) -> str:
    """Return the format of the labels: the given one, or else that of the output's name.

    Raises:
        UsageError: The name says another format than the given one.
    """
    suffix = Path(output or "").suffix.lower().removeprefix(".")
    if suffix in FORMATS and not into_folder(output):
        if given in FORMATS and suffix != given:
            raise UsageError(f"{output}: its name says {suffix}, but --format {given} is given")
        return given or suffix
    return given or FORMATS[0]


def labels_target(output: str, stem: str, outputs: Outputs) -> Path:
    """Return the file for the labels of the photo ``stem``, in a folder or under a name.

    Raises:
        UsageError: The name is that of another format, or CVAT's folders would go into a file.
    """
    if outputs.format == CVAT:
        refuse_file_of_cvat(output)
        return Path(output) / MASKS / f"{stem}.png"
    if into_folder(output):
        return Path(output) / f"{stem}{outputs.label_suffix}"
    file_format = outputs.label_suffix.removeprefix(".")
    require_suffix(Path(output), file_format, "the labels are", ", or a folder: -o DIR/")
    return Path(output)


def require_suffix(path: Path, file_format: str, what: str, remedy: str = "") -> None:
    """Raise UsageError if a name says another format than that in which ``what`` are written.

    Other suffixes than those of known formats are taken, as of ``tmp.Xa1b``.
    """
    suffix = path.suffix.lower()
    if suffix in KNOWN_SUFFIXES and suffix != f".{file_format}":
        raise UsageError(
            f"{path}: {what} written as {file_format.upper()}; "
            f"give a name that ends in .{file_format}{remedy}"
        )


def refuse_file_of_cvat(output: str | None) -> None:
    """Raise UsageError if the output is no folder, which CVAT's masks need."""
    if output == "-" or not into_folder(output):
        raise UsageError("--format cvat writes several files; give a folder: -o DIR/")


def refuse_nothing(outputs: Outputs, *, further: bool = False) -> None:
    """Raise UsageError if no file would be written; ``further`` says that others are."""
    if outputs.format == NONE and not (outputs.suffixes or further):
        raise UsageError("--format none writes files beside the labels alone; add --cutout or such")


def folder_of(target: Path, outputs: Outputs) -> Path:
    """Return the folder of the files that the labels at ``target`` share with others."""
    return target.parent.parent if outputs.format == CVAT else target.parent
