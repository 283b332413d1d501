"""The manifest in a remote folder, where files cannot be appended to.

Lines are written in parts, each to its own file ``manifest.part-NUMBER.jsonl``, which
``manifest.read_entries`` reads like any other manifest. At the end of a run the parts are merged
into ``manifest.jsonl``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from deconvnet_cli.batch.manifest import Entry, encoded
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.remote import RemotePath

LINES = 1000  # most lines of a part
SECONDS = 10.0  # the longest a line waits, as long as others follow


class RemoteManifest:
    """A remote manifest that is open for writing.

    After a killed run, the photos of the lines not yet written are done again: at most
    ``LINES`` lines, or those of the last ``SECONDS``.

    Args:
        clock: Returns the time in seconds.

    Raises:
        OutputError: The manifest cannot be written.
    """

    def __init__(self, path: RemotePath, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.clock = clock
        self.lines: list[bytes] = []
        self.since = clock()

    def add(self, entry: Entry) -> None:
        """Add a line, and write the waiting lines if they have become many or old."""
        self.lines.append(encoded(entry))
        if len(self.lines) >= LINES or self.clock() - self.since >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the waiting lines as a part."""
        if self.lines:
            # Nineteen digits until the year 2286: names sort by time, and no two runs share one.
            part = self.path.with_name(f"{self.path.stem}.part-{time.time_ns()}.jsonl")
            write_whole(part, b"".join(self.lines))
        self.lines = []
        self.since = self.clock()

    def close(self) -> None:
        """Write the waiting lines, then merge all parts, even those of killed runs."""
        self.flush()
        prefix = f"{self.path.stem}.part-"
        files = sorted(remote.listed(RemotePath(self.path.parent)))
        parts = [path for path in files if path.name.startswith(prefix)]
        if not parts:
            return
        before = [self.path] if remote.found(self.path) else []
        whole = b"".join(remote.read(path) for path in (*before, *parts))
        write_whole(self.path, whole)
        for part in parts:
            remote.remove(part)
