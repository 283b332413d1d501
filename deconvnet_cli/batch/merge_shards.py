"""Merge the shards of a batch: check that all are there, and copy their files and entries."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deconvnet_cli.batch.manifest import DONE, NAME, Entry, entries_in, without_gone
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.files import make_folder, write_whole
from deconvnet_cli.storage.hashing import bytes_sha256

SHARD = re.compile(r"manifest\.(\d+)-of-(\d+)\.jsonl")


def check_shards(folders: Sequence[Path]) -> int:
    """Return how many shards in the folders are to be merged; 0 if there are none.

    Shards whose lines are all in the folder's merged manifest do not count: an earlier merge was
    killed before it had removed their manifests.

    Raises:
        DatasetError: A shard is missing, or there are shards of different N.
    """
    where = ", ".join(map(str, folders))
    found: dict[int, set[int]] = {}
    fresh: set[int] = set()
    for folder in folders:
        merged = latest_entries(folder / NAME)
        for path in sorted(folder.glob("manifest.*.jsonl")):
            if match := SHARD.fullmatch(path.name):
                found.setdefault(int(match[2]), set()).add(int(match[1]))
                if not merged or any(
                    output not in merged or merged[output].time < entry.time
                    for output, entry in latest_entries(path).items()
                ):
                    fresh.add(int(match[2]))
    if len(fresh) > 1:
        counts = ", ".join(map(str, sorted(fresh)))
        raise DatasetError(f"{where}: shards of different N ({counts}); merge one N at a time")
    for count in fresh:
        missing = sorted(set(range(1, count + 1)) - found[count])
        if missing:
            raise DatasetError(
                f"{where}: shard {missing[0]}/{count} is missing "
                f"({len(missing)} of {count} are); run it, or give its folder as well"
            )
    return sum(len(found[count]) for count in fresh)


def latest_entries(path: Path) -> dict[str, Entry]:
    """Return the last entry of each output in one manifest; empty if the file is missing."""
    found = entries_in(path) if path.exists() else ()
    return without_gone({entry.output: entry for entry in found})


def otherwise(entries: Iterable[Entry]) -> list[Entry]:
    """Return the photos that were segmented by other weights or settings than most were."""
    done = [entry for entry in entries if entry.status == DONE]
    usual = Counter(map(way_of, done)).most_common(1)
    return [entry for entry in done if way_of(entry) != usual[0][0]]


def way_of(entry: Entry) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return by what settings and weights a photo was segmented."""
    return entry.settings, tuple(sorted(entry.weights.items()))


def require_one_photo_each(manifests: Mapping[Path, Mapping[str, Entry]]) -> None:
    """Raise DatasetError if two folders have labels of different photos under one name."""
    known: dict[str, tuple[Entry, Path]] = {}
    for folder, entries in manifests.items():
        for entry in entries.values():
            if entry.status != DONE:
                continue
            other, where = known.setdefault(entry.output, (entry, folder))
            if entry.image != other.image and entry.sha256 != other.sha256:
                raise DatasetError(
                    f"{folder / entry.output}: the labels of {entry.image}, and {where} has those "
                    f"of another photo, {other.image}, under this name; merge the shards of one "
                    "batch"
                )


def fetch(
    folder: Path, found: Mapping[str, Entry], output: Path, entries: dict[str, Entry]
) -> None:
    """Copy the files that the entries ``found`` in a folder name; add these to those of ``output``.

    Raises:
        DatasetError: A file is missing or has changed.
        OutputError: A file cannot be written.
    """
    for entry in found.values():
        other = entries.get(entry.output)
        if other is not None and other.time > entry.time:
            continue
        for name, sha256 in entry.files().items():
            if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
                raise DatasetError(f"{folder}: its manifest names {name!r}, which leads out of it")
            try:
                data = (folder / name).read_bytes()
            except OSError as error:
                raise DatasetError(f"{folder / name}: cannot be read ({why(error)})") from error
            if bytes_sha256(data) != sha256:
                raise DatasetError(
                    f"{folder / name}: changed since it was written; run its shard again"
                )
            make_folder((output / name).parent)
            write_whole(output / name, data)
        entries[entry.output] = entry
