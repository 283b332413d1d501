"""The names of the classes: VOC's, or those of a data set of one's own (``classes.txt``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.files import read_whole

FILE = "classes.txt"  # at the root of a tree; a name a line, the background first
BACKGROUND = "background"
IGNORED = "__ignore__"  # what LabelMe calls pixels of no class, in its lists of labels too
MOST_CLASSES = 255  # labels are bytes, and 255 is ignored
MAX_BYTES = 1 << 16
LONGEST_NAME = 100  # characters: legends have a place for each
SHOWN = 8  # names of classes in an error message


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names in a file, a line each; the first is label 0.

    ``background`` is put first if the file does not name it.

    Raises:
        DatasetError: The file cannot be read, or names no class, too many, or one twice.
    """
    try:
        lines = read_whole(path, MAX_BYTES).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a readable list of classes ({why(error)})") from error
    return with_background([name for line in lines if (name := line.strip())], str(path))


def with_background(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Return the names with the background first, however it was written.

    Raises:
        DatasetError: There is no name but the background's, too many, one twice, or one that
            cannot be printed.
    """
    others = [name for name in names if not is_background(name) and name != IGNORED]
    ways = {name for name in names if is_background(name)}
    if len(ways) > 1:
        raise DatasetError(f"{source}: {listed(sorted(ways))} all mean label 0; leave one of them")
    twice = sorted({name for name in others if others.count(name) > 1})
    if twice:
        raise DatasetError(f"{source}: the class {twice[0]!r} is named twice")
    odd = [name for name in others if not is_name(name)]
    if odd:
        raise DatasetError(
            f"{source}: {odd[0]!r:.120} is no name; 1 to {LONGEST_NAME} printable characters"
        )
    if not others:
        raise DatasetError(f"{source}: no class beside the background; annotate or name one")
    if len(others) >= MOST_CLASSES:
        raise DatasetError(
            f"{source}: {len(others)} classes beside the background; at most {MOST_CLASSES - 1}"
        )
    return (BACKGROUND, *others)


def is_background(name: str) -> bool:
    """Return whether a name means label 0: LabelMe writes ``_background_``, others ``Background``.

    Taken as a class, it would give the names of all labels after it to their neighbours.
    """
    return name.strip("_ ").lower() == BACKGROUND


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a class in tables, legends and files."""
    return text.isprintable() and text == text.strip() and 1 <= len(text) <= LONGEST_NAME


def quoted(name: str) -> str:
    """Return the name of a class as lists of them have it: in quotes if it has commas."""
    return f'"{name}"' if "," in name else name


def listed(classes: Iterable[str]) -> str:
    """Return the names of classes, separated by commas, as options take them."""
    return ", ".join(map(quoted, classes))


def twins(classes: Iterable[str]) -> list[str]:
    """Return the names of classes that differ in upper and lower case alone, together."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(name.lower(), []).append(name)
    return [listed(names) for names in alike.values() if len(names) > 1]


def in_short(classes: Sequence[str]) -> str:
    """Return classes for an error message: their number, and the first of their names."""
    more = ", ..." if len(classes) > SHOWN else ""
    return f"{len(classes)} classes ({listed(classes[:SHOWN])}{more})"


def first_difference(first: Sequence[str], second: Sequence[str]) -> str:
    """Return the first label at which two lists of classes differ, for an error message."""
    for label in range(max(len(first), len(second))):
        names = [
            repr(classes[label]) if label < len(classes) else "no class"
            for classes in (first, second)
        ]
        if names[0] != names[1]:
            return f"label {label} is {names[0]} in one and {names[1]} in the other"
    return "they are equal"
