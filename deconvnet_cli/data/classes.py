"""The names of the classes: VOC's, or those of a data set of one's own (``classes.txt``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.storage.files import read_whole

FILE = "classes.txt"  # at the root of a tree; a name a line, the background first
BACKGROUND = "background"
MOST_CLASSES = 255  # labels are bytes, and 255 is ignored
MAX_BYTES = 1 << 16


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names in a file, a line each; the first is label 0.

    ``background`` is put first if the file does not name it.

    Raises:
        DatasetError: The file cannot be read, or names no class, too many, or one twice.
    """
    try:
        lines = read_whole(path, MAX_BYTES).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a readable list of classes ({error})") from error
    return with_background([name for line in lines if (name := line.strip())], str(path))


def with_background(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Return the names with the background first.

    Raises:
        DatasetError: There is no name but the background's, too many, or one twice.
    """
    others = [name for name in names if name != BACKGROUND]
    twice = sorted({name for name in others if others.count(name) > 1})
    if twice:
        raise DatasetError(f"{source}: the class {twice[0]!r} is named twice")
    if not 1 <= len(others) < MOST_CLASSES:
        raise DatasetError(
            f"{source}: {len(others)} classes beside the background; 1 to {MOST_CLASSES - 1}"
        )
    return (BACKGROUND, *others)


def tree_classes(root: Path) -> tuple[str, ...]:
    """Return the classes of a tree: those of its ``classes.txt``, or VOC's without one.

    Raises:
        DatasetError: See :func:`read_classes`.
    """
    path = root / FILE
    return read_classes(path) if path.is_file() else CLASSES
