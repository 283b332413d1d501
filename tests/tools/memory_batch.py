"""The memory that a batch takes as it goes on, photo after photo.

    PYTHONPATH=tests python tests/tools/memory_batch.py --photos 2000 --every 100 -- --net fcn8s

Small photos (or those of ``--folder``) are labelled in one run, with what follows ``--`` as its
options. Each time so many photos are done, one JSON line says how much memory all processes of the
run have, MB: their proportional share (PSS) of what several hold, and for each worker what is its
own (USS) and the most that it ever held (peak RSS). Linux only. Not a test of pytest's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from helpers.small_batch import below, lines, small_photos, start, workers_of


def memory(pid: int) -> dict[str, int]:
    """kB of a process by kind, as Linux counts them; nothing if it has ended."""
    try:
        text = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return {}
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) for row in rows}


def own(pid: int) -> int:
    """MB that a process alone has."""
    kinds = memory(pid)
    return round((kinds.get("Private_Clean", 0) + kinds.get("Private_Dirty", 0)) / 1e3)


def peak(pid: int) -> int:
    """MB that a process has held at most, those that it shares included; 0 if it has ended."""
    try:
        text = (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return 0
    rows = dict(line.split(":", 1) for line in text.splitlines())
    return round(int(rows["VmHWM"].split()[0]) / 1e3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("options", nargs="*", help="of deconvnet batch, after --")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, output = given.folder or Path(place) / "photos", Path(place) / "labels"
        if given.folder is None:
            small_photos(source, given.photos)
        began = time.monotonic()
        run = start(source, "-o", output, "--quiet", *given.options, log=Path(place) / "log")
        told = 0
        while run.poll() is None:
            time.sleep(0.05)
            done = len(lines(output))
            if done < told + given.every:
                continue
            told = done
            pids = [run.pid, *(pid for pid, _ in below(run.pid))]
            found = {
                "photos": done,
                "seconds": round(time.monotonic() - began, 1),
                "pss_mb": round(sum(memory(pid).get("Pss", 0) for pid in pids) / 1e3),
                "workers_own_mb": [own(pid) for pid in workers_of(run.pid)],
                "workers_peak_mb": [peak(pid) for pid in workers_of(run.pid)],
            }
            print(json.dumps(found), flush=True)
        print((Path(place) / "log").read_text(), end="", file=sys.stderr)
        return run.returncode


if __name__ == "__main__":
    sys.exit(main())
