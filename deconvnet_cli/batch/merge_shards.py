"""The shards of a batch put together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from deconvnet_cli.batch.manifest import MANIFESTS, NAME, Entry, entries_in, read_entries
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.storage.files import make_folder, write_whole
from deconvnet_cli.storage.hashing import bytes_sha256

SHARD = re.compile(r"manifest\.(\d+)-of-(\d+)\.jsonl")


def check_shards(folders: Iterable[Path]) -> int:
    """How many shards lie in the folders; 0 if none does.

    Those that a folder's own manifest has all lines of do not count: a merge was killed before
    it had removed the last of them.

    Raises:
        DatasetError: one is missing, or there are shards of several N.
    """
    found: dict[int, set[int]] = {}
    fresh: set[int] = set()
    for folder in folders:
        merged = latest(folder / NAME)
        for path in sorted(folder.glob("manifest.*.jsonl")):
            if match := SHARD.fullmatch(path.name):
                found.setdefault(int(match[2]), set()).add(int(match[1]))
                if not merged or news(latest(path), merged):
                    fresh.add(int(match[2]))
    if len(fresh) > 1:
        counts = ", ".join(map(str, sorted(fresh)))
        raise DatasetError(f"{listed(folders)}: shards of {counts}; merge those of one N")
    for count in fresh:
        missing = sorted(set(range(1, count + 1)) - found[count])
        if missing:
            raise DatasetError(
                f"{listed(folders)}: shard {missing[0]}/{count} is missing "
                f"({len(missing)} of {count} are); run it, or give its folder as well"
            )
    return sum(len(found[count]) for count in fresh)


def latest(path: Path) -> dict[str, Entry]:
    """The last entry of each output in one manifest; none if it is not there."""
    return {entry.output: entry for entry in entries_in(path)} if path.exists() else {}


def news(entries: Mapping[str, Entry], merged: Mapping[str, Entry]) -> bool:
    """Whether there are entries that have not been merged."""
    return any(
        output not in merged or merged[output].time < entry.time
        for output, entry in entries.items()
    )


def listed(folders: Iterable[Path]) -> str:
    """The folders as an error names them."""
    return ", ".join(map(str, folders))


def fetch(folder: Path, output: Path, entries: dict[str, Entry]) -> None:
    """Copy what the manifests of ``folder`` say is done to ``output``, and add their entries.

    Raises:
        DatasetError: there is no manifest, or a file is not as it was written.
        OutputError: a file cannot be written.
    """
    if not any(folder.glob(MANIFESTS)):
        raise DatasetError(f"{folder}: no manifest there; give output folders of shards")
    for entry in read_entries(folder).values():
        known = entries.get(entry.output)
        if known is not None and known.time > entry.time:
            continue
        for name, sha256 in entry.files().items():
            if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
                raise DatasetError(f"{folder}: its manifest names {name!r}, which leads out of it")
            try:
                data = (folder / name).read_bytes()
            except OSError as error:
                raise DatasetError(f"{folder / name}: cannot be read ({error.strerror})") from error
            if bytes_sha256(data) != sha256:
                raise DatasetError(f"{folder / name}: not as it was written; run its shard again")
            make_folder((output / name).parent)
            write_whole(output / name, data)
        entries[entry.output] = entry
