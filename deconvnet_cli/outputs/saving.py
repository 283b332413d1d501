"""Save a result from Python as ``deconvnet segment`` writes it, with the same checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.outputs.files import CVAT, Outputs
from deconvnet_cli.outputs.shared_files import write_class_files, write_list_of_masks
from deconvnet_cli.outputs.targets import (
    folder_of,
    format_of,
    into_folder,
    labels_target,
    refuse_nothing,
)
from deconvnet_cli.storage.files import check_output_file, make_folder

if TYPE_CHECKING:
    from deconvnet_cli.outputs.result import SegmentationResult


def save_files(result: SegmentationResult, output: str, choice: Mapping[str, Any]) -> list[Path]:
    """Write the labels of a result, and the files beside them and of their folder.

    Args:
        result: The result.
        output: The file for the labels, or a folder.
        choice: Attributes of ``Outputs``.

    Returns:
        The files of the photo, the labels first, and then those of the folder.

    Raises:
        UsageError: The choice does not fit together or to the output; nothing is written.
        OutputError: A file cannot be written.
    """
    if not output:
        raise UsageError("the path to save to is empty; give a file, or a folder: DIR/")
    given = checked(choice)
    outputs = Outputs(**{**given, "format": format_of(output, given.get("format"))})
    outputs.check(result.classes)
    refuse_nothing(outputs)
    target = labels_target(output, stem_for(output, result.name), outputs)
    for path in outputs.files(target):
        check_output_file(path, [] if result.path is None else [result.path])
    if into_folder(output):
        make_folder(target.parent)
    shared = write_class_files(folder_of(target, outputs), outputs, result.classes)
    written = write_outputs(
        result.photo,
        result.labels,
        target,
        outputs,
        result.classes,
        probabilities=lambda: result.probabilities,
        name=result.name,
        source=result.path,
    )
    if outputs.format == CVAT:
        shared.append(write_list_of_masks(folder_of(target, outputs)))
    return [*written, *shared]


def checked(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of ``Outputs`` that a program gives, with its iterators as tuples.

    Raises:
        UsageError: A switch is neither True nor False, but perhaps the name of a file.
    """
    switches = {each.name for each in fields(Outputs) if isinstance(each.default, bool)}
    for name in switches & choice.keys():
        if not isinstance(choice[name], bool):
            raise UsageError(f"{name}={choice[name]!r}: must be True or False")
    return {
        name: tuple(value) if isinstance(value, Iterator) else value
        for name, value in choice.items()
    }


def stem_for(output: str, name: str) -> str:
    """Return the stem of the files in a folder.

    Raises:
        UsageError: The output is a folder, and the photo has no name.
    """
    if into_folder(output) and not name:
        raise UsageError(f"{output}: is a folder, and the photo has no name; give a file")
    return Path(name).stem
