"""The manifest of a batch: a JSON line for each photo that was done or has failed.

``manifest.jsonl`` lies in the output folder; a shard I of N writes ``manifest.I-of-N.jsonl``, so
that machines that share a folder never write to one file. The last line about an output counts.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

from deconvnet_cli.errors import DatasetError, ImageError, OutputError
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.files import full, write_whole
from deconvnet_cli.storage.remote import RemotePath

DONE, FAILED = "done", "failed"
NAME = "manifest.jsonl"
MANIFESTS = "manifest*.jsonl"  # those of a folder, shards' too
LONGEST = 1 << 20  # bytes; no line is longer


@dataclass(frozen=True)
class Entry:
    """What is known of one photo.

    Attributes:
        image: path of the photo, as it was given.
        output: its label PNG, relative to the output folder, with forward slashes.
        status: "done" or "failed".
        size, mtime_ns, sha256: bytes, time of change and SHA-256 of the photo's file; None if it
            could not be read.
        output_sha256: SHA-256 of the label PNG.
        extras: other files that were made of the photo, relative as ``output``, and their SHA-256.
        error: why it failed.
        classes: share of the pixels by class.
        confidence: mean probability of the label over the pixels it has, by class.
        proposals: boxes that were segmented.
        ms: milliseconds by stage.
        weights: SHA-256 of the weights by net.
        settings: SHA-256 of all settings that labels depend on.
        versions: of this package and of those that it computes with.
        time: when, in seconds since 1970.
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
    classes: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    proposals: int | None = None
    ms: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    time: float = field(default_factory=lambda: round(time.time(), 3))

    def line(self) -> dict[str, Any]:
        """The entry as plain values, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {}, "")}

    def files(self) -> dict[str, str]:
        """All files that were made of the photo, relative to the output folder: their SHA-256."""
        label = {} if self.output_sha256 is None else {self.output: self.output_sha256}
        return {**label, **self.extras}


KNOWN = {known.name for known in fields(Entry)}


def entry_of(line: bytes) -> Entry | None:
    """The entry of a line; None if it is none, as after a crash of the machine."""
    try:
        values = json.loads(line)
        entry = Entry(**{name: value for name, value in values.items() if name in KNOWN})
        usable = all(isinstance(text, str) for text in (entry.image, entry.output, entry.status))
        usable &= all(isinstance(part, dict) for part in (entry.extras, entry.weights))
        usable &= isinstance(entry.time, int | float)
        return entry if usable else None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def manifest_name(shard: tuple[int, int] | None) -> str:
    """Name of the manifest of a run, or of its shard I of N."""
    return NAME if shard is None else f"manifest.{shard[0]}-of-{shard[1]}.jsonl"


def read_entries(folder: Path) -> dict[str, Entry]:
    """What the manifests in an output folder say, by ``output``: the latest of each.

    In one manifest that is the last line, whatever the clock was set to; among several it goes by
    the time.

    Raises:
        DatasetError: a manifest cannot be read.
    """
    entries: dict[str, Entry] = {}
    for path in manifests_in(folder):
        for output, entry in {entry.output: entry for entry in entries_in(path)}.items():
            if output not in entries or entries[output].time <= entry.time:
                entries[output] = entry
    return entries


def manifests_in(folder: Path) -> list[Path]:
    """The manifests in a folder, those of shards and parts of them too, in order."""
    if isinstance(folder, RemotePath):
        return sorted(path for path in remote.listed(folder) if fnmatch(path.name, MANIFESTS))
    return sorted(folder.glob(MANIFESTS))


def entries_in(path: Path) -> Iterable[Entry]:
    """The entries of one manifest, in order; lines that are none are passed over."""
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
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """A manifest of these entries alone, sorted by output; whole or not at all."""
    ordered = sorted(entries, key=lambda entry: entry.output)
    write_whole(path, b"".join(encoded(entry) for entry in ordered))


def encoded(entry: Entry) -> bytes:
    """The line of an entry. Names that are not UTF-8 survive it, as escapes in ASCII."""
    return json.dumps(entry.line()).encode() + b"\n"


class Manifest:
    """A manifest that is open to be written to. Each entry is in the file when ``add`` returns.

    Raises:
        OutputError: it cannot be written to, or is no longer where it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OutputError(f"{path}: a pipe or device, not a manifest; remove it")
        try:
            with ExitStack() as stack:
                self.file: BinaryIO = stack.enter_context(open(path, "a+b", buffering=0))
                self._mend()
                stack.pop_all()
        except OSError as error:
            raise self._failure(error) from error

    def _mend(self) -> None:
        """End or cut off a last line that a crash has torn."""
        end = self.file.seek(0, 2)
        start = self.file.seek(max(0, end - LONGEST))
        _, before, torn = self.file.read().rpartition(b"\n")
        if torn and (entry_of(torn) or (start and not before)):  # whole, or no line of ours
            self.file.write(b"\n")
        else:
            self.file.truncate(end - len(torn))

    def add(self, entry: Entry) -> None:
        """Append a line."""
        try:
            line = encoded(entry)
            written = self.file.write(line)
            if written != len(line):  # the disk took a part: this fails with the reason
                self.file.write(line[written:])
            # If its folder is removed or renamed, lines would go where no run looks for them.
            if not os.path.samestat(os.stat(self.path), os.fstat(self.file.fileno())):
                raise FileNotFoundError(errno.ENOENT, "another file has taken its place")
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        self.file.close()

    def _failure(self, error: OSError) -> OutputError:
        return full(error)(f"{self.path}: cannot be written ({error.strerror})")
