"""What ``deconvnet evaluate`` makes of files of counts: their sum, or a comparison."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path

from deconvnet_cli.errors import UsageError
from deconvnet_cli.evaluation.counts import Counts, merged, read_tallies, same_classes
from deconvnet_cli.evaluation.paired import Paired, paired
from deconvnet_cli.evaluation.shards import lists_in, lists_of, missing_line, require_alike
from deconvnet_cli.reporting import console


def merged_files(files: tuple[Path, ...], quiet: bool) -> Counts:
    """Return the counts of all files, added up; say which shards of a list are missing."""
    if not files:
        raise UsageError("--merge needs files that `evaluate -o FILE` wrote")
    if len({realpath(path) for path in files}) < len(files):
        raise UsageError("--merge: a file is named twice; its photos would count twice")
    parts = {path: read_tallies(path) for path in files}
    classes = same_classes(parts)
    rows = merged({path: counts.rows for path, counts in parts.items()})
    require_alike(parts)
    lists = lists_of(parts)
    # Files that earlier versions merged do not say which shards they hold.
    all_say = all(lists_in(counts.about) for counts in parts.values())
    for counted in lists:
        if counted.missing and all_say and not quiet:
            console.say(missing_line(counted))
    about = {
        **parts[files[0]].about,
        "list": [counted.plain() for counted in lists],
        "merged": [str(path) for path in files],
    }
    return Counts(rows, classes, about)


def compared(files: tuple[Path, ...]) -> list[Paired]:
    """Return the comparisons of two runs, whose counts are in these files.

    Rows of the same name are compared; if there is none, the last rows, which in a table are the
    most complete method.
    """
    if len(files) != 2:
        raise UsageError("--compare needs two files that `evaluate -o FILE` wrote")
    parts = {path: read_tallies(path) for path in files}
    same_classes(parts)
    one, other = (parts[path].rows for path in files)
    pairs = [(name, name) for name in one if name in other] or [(list(one)[-1], list(other)[-1])]
    left, right = (path.name for path in files)
    return [
        paired(f"{left} ({first})", one[first], f"{right} ({second})", other[second])
        for first, second in pairs
    ]
