"""The shards of a batch put together."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.files import make_folder, write_whole
from deconvnet_cli.manifest import Entry, read_entries

SHARD = re.compile(r"manifest\.(\d+)-of-(\d+)\.jsonl")


def check_shards(folders: Iterable[Path]) -> int:
    """How many shards lie in the folders; 0 if none does.

    Raises:
        DatasetError: one is missing, or there are shards of several N.
    """
    paths = [path for folder in folders for path in sorted(folder.glob("manifest.*.jsonl"))]
    found: dict[int, set[int]] = {}
    for path in paths:
        match = SHARD.fullmatch(path.name)
        if match:
            found.setdefault(int(match[2]), set()).add(int(match[1]))
    if len(found) > 1:
        counts = ", ".join(map(str, sorted(found)))
        raise DatasetError(f"{paths[0].parent}: shards of {counts}; merge those of one N")
    for count, numbers in found.items():
        missing = sorted(set(range(1, count + 1)) - numbers)
        if missing:
            raise DatasetError(
                f"{paths[0].parent}: shard {missing[0]}/{count} is missing "
                f"({len(missing)} of {count} are); run it, or give its folder as well"
            )
    return sum(map(len, found.values()))


def fetch(folder: Path, output: Path, entries: dict[str, Entry]) -> None:
    """Copy what the manifests of ``folder`` say is done to ``output``, and add their entries.

    Raises:
        DatasetError: there is no manifest, or a file is not as it was written.
        OutputError: a file cannot be written.
    """
    there = read_entries(folder)
    if not there:
        raise DatasetError(f"{folder}: no manifest there; give output folders of shards")
    for entry in there.values():
        known = entries.get(entry.output)
        if known is not None and known.time > entry.time:
            continue
        for name, sha256 in entry.files().items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise DatasetError(f"{folder}: its manifest names {name}, which leads out of it")
            try:
                data = (folder / name).read_bytes()
            except OSError as error:
                raise DatasetError(f"{folder / name}: cannot be read ({error.strerror})") from error
            if hashlib.sha256(data).hexdigest() != sha256:
                raise DatasetError(f"{folder / name}: not as it was written; run its shard again")
            make_folder((output / name).parent)
            write_whole(output / name, data)
        entries[entry.output] = entry
