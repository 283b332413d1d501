"""The manifest in a remote folder, where nothing can be appended to a file.

Lines are written a part at a time, each a file ``manifest.part-NUMBER.jsonl`` of its own, which
``manifest.read_entries`` reads as it does any other manifest. At the end of a run
its parts become ``manifest.jsonl``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from deconvnet_cli.batch.manifest import Entry, encoded
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.remote import RemotePath

LINES = 1000  # of a part
SECONDS = 10.0  # that a line waits at most while others come


class RemoteManifest:
    """A manifest that is open to be written to.

    What a killed run had not written yet it does again: at most ``LINES`` lines, or those of the
    last ``SECONDS``.

    Args:
        clock: seconds.

    Raises:
        OutputError: it cannot be written to.
    """

    def __init__(self, path: RemotePath, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.clock = clock
        self.lines: list[bytes] = []
        self.since = clock()

    def add(self, entry: Entry) -> None:
        """Add a line, and write those that wait if they have become many or old."""
        self.lines.append(encoded(entry))
        if len(self.lines) >= LINES or self.clock() - self.since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait as a part."""
        if self.lines:
            # Nineteen digits until the year 2286: in order of time, and of no other run.
            part = self.path.with_name(f"{self.path.stem}.part-{time.time_ns()}.jsonl")
            write_whole(part, b"".join(self.lines))
        self.lines = []
        self.since = self.clock()

    def close(self) -> None:
        """Write what waits, and make one file of all parts, those of killed runs too."""
        self.flush()
        begin = f"{self.path.stem}.part-"
        files = sorted(remote.listed(RemotePath(self.path.parent)))
        parts = [path for path in files if path.name.startswith(begin)]
        if not parts:
            return
        before = [self.path] if remote.found(self.path) else []
        whole = b"".join(remote.read(path) for path in (*before, *parts))
        write_whole(self.path, whole)
        for part in parts:
            remote.remove(part)
