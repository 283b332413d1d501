"""The manifest of a batch: a JSON line for each photo that is done or has failed.

``manifest.jsonl`` lies in the output folder. Shard I of N writes ``manifest.I-of-N.jsonl``, so
machines that share a folder never write to the same file. The last line of an output counts. A
photo that failed and was removed then gets a line that it is gone, and counts no more.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from deconvnet_cli.errors import DatasetError, ImageError, OutputError, why
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.files import write_whole, writing
from deconvnet_cli.storage.remote import RemotePath

DONE, FAILED, GONE = "done", "failed", "gone"
NAME = "manifest.jsonl"
MANIFESTS = "manifest*.jsonl"  # matches the manifests of shards too
LONGEST_LINE = 1 << 20  # bytes


@dataclass(frozen=True)
class Entry:
    """The record of one photo.

    Attributes:
        image: The path of the photo, as it was given.
        output: Its label PNG, relative to the output folder, with forward slashes.
        status: "done", "failed", or "gone" for a photo that failed and was removed.
        size, mtime_ns, sha256: Size in bytes, time of change and SHA-256 of the photo's file;
            None if it could not be read.
        output_sha256: SHA-256 of the label PNG.
        extras: SHA-256 of the other files that were written, by path relative to the folder.
        error: Why the photo failed.
        notes: What was noted as the photo was read or drawn.
        classes: Share of the pixels by class.
        confidence: Mean probability of the label over its pixels, by class.
        proposals: Number of boxes that were segmented.
        ms: Milliseconds by stage.
        weights: SHA-256 of the weights by net.
        settings: SHA-256 of all settings that labels depend on.
        versions: Versions of this package and of the packages that compute.
        time: When the photo ended, in seconds since 1970.
    """

    image: str
    output: str
    status: str
    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    output_sha256: str | None = None
    extras: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    notes: Sequence[str] = ()
    classes: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    proposals: int | None = None
    ms: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    time: float = field(default_factory=lambda: round(time.time(), 3))

    def line(self) -> dict[str, Any]:
        """Return the entry as plain values, without the empty ones."""
        empty: tuple[Any, ...] = (None, {}, "", ())
        return {name: value for name, value in asdict(self).items() if value not in empty}

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of each file of the photo, by path relative to the output folder."""
        label = {} if self.output_sha256 is None else {self.output: self.output_sha256}
        return {**label, **self.extras}


FIELDS = {field.name for field in fields(Entry)}


def entry_of(line: bytes) -> Entry | None:
    """Parse a line; return None if it is no entry, as a crash of the machine may leave one."""
    try:
        values = json.loads(line, object_pairs_hook=_object)
        entry = Entry(**{name: value for name, value in values.items() if name in FIELDS})
        usable = all(PurePosixPath(path).name for path in (entry.image, entry.output))
        usable &= all(isinstance(part, dict) for part in (entry.extras, entry.weights))
        usable &= isinstance(entry.status, str) and isinstance(entry.time, int | float)
        return entry if usable else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a line, so that what most lines repeat is in memory once."""
    if all(isinstance(value, str) for _, value in pairs):
        return _once(tuple(pairs))
    return {sys.intern(name): value for name, value in pairs}


@lru_cache(maxsize=64)
def _once(pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return the same object for equal pairs, such as the versions and weights of all lines."""
    return dict(pairs)


def manifest_name(shard: tuple[int, int] | None) -> str:
    """Return the name of the manifest of a whole run, or of shard I of N."""
    return NAME if shard is None else f"manifest.{shard[0]}-of-{shard[1]}.jsonl"


def read_entries(folder: Path) -> dict[str, Entry]:
    """Return the latest entry of each output from all manifests in an output folder.

    Within one manifest the last line counts, whatever its time; among several manifests the
    latest time does. Outputs whose entry then says that the photo is gone are left out.

    Raises:
        DatasetError: A manifest cannot be read.
    """
    entries: dict[str, Entry] = {}
    for path in manifests_in(folder):
        for output, entry in {entry.output: entry for entry in entries_in(path)}.items():
            if output not in entries or entries[output].time <= entry.time:
                entries[output] = entry
    return without_gone(entries)


def without_gone(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the entries of photos that are not gone."""
    return {output: entry for output, entry in entries.items() if entry.status != GONE}


def written_in(folder: Path) -> set[Path]:
    """Return the files that the manifests in an output folder name.

    Raises:
        DatasetError: A manifest cannot be read.
    """
    return {folder / name for entry in read_entries(folder).values() for name in entry.files()}


def manifests_in(folder: Path) -> list[Path]:
    """Return the manifests in a folder, including those of shards and remote parts, sorted."""
    if isinstance(folder, RemotePath):
        return sorted(path for path in remote.listed(folder) if fnmatch(path.name, MANIFESTS))
    return sorted(folder.glob(MANIFESTS))


def entries_in(path: Path) -> Iterable[Entry]:
    """Yield the entries of one manifest, in order; lines torn by a crash are left out.

    Raises:
        DatasetError: The manifest cannot be read.
    """
    if isinstance(path, RemotePath):
        try:
            yield from filter(None, map(entry_of, remote.read(path).splitlines()))
        except (FileNotFoundError, ImageError) as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error
        return
    if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or device may never end
        raise DatasetError(f"{path}: a pipe or device, not a manifest; remove it")
    try:
        with open(path, "rb") as file:
            yield from filter(None, map(entry_of, file))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """Write a manifest of just these entries, sorted by output; whole or not at all."""
    ordered = sorted(entries, key=lambda entry: entry.output)
    write_whole(path, b"".join(encoded(entry) for entry in ordered))


def encoded(entry: Entry) -> bytes:
    """Return the line of an entry. Names that are not UTF-8 survive, as ASCII escapes."""
    return json.dumps(entry.line()).encode() + b"\n"


class Manifest:
    """A manifest that is open for writing. Each entry is in the file when ``add`` returns.

    Raises:
        OutputError: The manifest cannot be written, or has been moved or removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OutputError(f"{path}: a pipe or device, not a manifest; remove it")
        with writing(path), ExitStack() as stack:
            self.file: BinaryIO = stack.enter_context(open(path, "a+b", buffering=0))
            self._mend()
            stack.pop_all()

    def _mend(self) -> None:
        """Complete or cut off a last line that was torn by a crash."""
        end = self.file.seek(0, 2)
        start = self.file.seek(max(0, end - LONGEST_LINE))
        _, before, torn = self.file.read().rpartition(b"\n")
        if torn and (
            entry_of(torn) or (start and not before)
        ):  # whole, or too long for one of our lines
            self.file.write(b"\n")
        else:
            self.file.truncate(end - len(torn))

    def add(self, entry: Entry) -> None:
        """Append a line."""
        with writing(self.path):
            line = encoded(entry)
            written = self.file.write(line)
            if written != len(line):  # the disk took only a part: writing the rest raises why
                self.file.write(line[written:])
            # If the folder was removed or renamed, lines would go where no run looks for them.
            if not os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno())):
                raise FileNotFoundError(errno.ENOENT, "another file has taken its place")

    def close(self) -> None:
        """Close the file."""
        self.file.close()
