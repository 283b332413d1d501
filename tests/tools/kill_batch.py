"""Kill a batch again and again, and see that nothing is lost, damaged or done twice.

    PYTHONPATH=tests python tests/tools/kill_batch.py --kills 50
    PYTHONPATH=tests python tests/tools/kill_batch.py --kills 50 --group

Small photos are labelled once undisturbed. Then they are labelled anew by runs that get SIGKILL at
random moments: the parent process alone, or with ``--group`` all processes at once. A kill comes
while the run starts (one in five) or up to ``--seconds`` after the first photo of this run. The
next run goes on; when all photos are done, a new round begins in another folder. After each kill
every label PNG must be whole and every process must be gone; after each round the label PNGs must
have the bytes of the undisturbed run, no ``.part`` file may be left, and no photo may have been
done again that a line of the manifest had said was done.

The last line says what was counted; the exit code is 1 if anything was wrong. Not a test of
pytest's, which has a few kills of this kind in ``test_faults.py``.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from helpers.small_batch import (
    below,
    kill,
    lines,
    outputs,
    parts,
    run,
    small_photos,
    start,
    wait_for,
)


@dataclass
class Tally:
    """What was seen."""

    kills: int = 0
    rounds: int = 0
    early: int = 0  # kills before the first photo of a run
    left_parts: int = 0  # files begun and never whole, right after kills
    torn: int = 0  # last lines that were cut, right after kills
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--group", action="store_true", help="kill all processes, not the parent")
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--net", default="fcn8s")
    given = parser.parse_args()
    choice = random.Random(given.seed)
    tally = Tally()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        small_photos(folder / "photos", given.photos)
        options = ("--net", given.net, "--workers", given.workers)
        undisturbed = folder / "undisturbed"
        log = folder / "log"
        began = time.monotonic()
        assert run(folder / "photos", "-o", undisturbed, *options, log=log) == 0, log.read_text()
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
        expected = outputs(undisturbed)
        assert len(expected) == given.photos
        while tally.kills < given.kills:
            tally.rounds += 1
            out = folder / f"round{tally.rounds}"
            command = (folder / "photos", "-o", out, *options)
            while tally.kills < given.kills and len(lines(out)) < given.photos:
                kill_one(command, out, log, choice, tally, given)
                check(out, expected, tally, whole=False)
            if run(*command, log=log) != 0:
                tally.wrong.append(f"the last run failed: {log.read_text()}")
            check(out, expected, tally, whole=True)
            print(f"round {tally.rounds}: {tally.kills} kills so far", flush=True)
    print(tally)
    return int(bool(tally.wrong))


def kill_one(
    command: tuple[object, ...],
    out: Path,
    log: Path,
    choice: random.Random,
    tally: Tally,
    given: argparse.Namespace,
) -> None:
    """Start a run and kill it at a random moment, unless it is done before."""
    before = len(lines(out))
    process = start(*command, log=log)
    if choice.random() < 0.2:
        time.sleep(choice.uniform(0, given.seconds))
    else:
        wait_for(lambda: len(lines(out)) > before or process.poll() is not None)
        time.sleep(choice.uniform(0, given.seconds))
    children = [pid for pid, _ in below(process.pid)]
    if process.poll() is not None:
        return  # it had done all
    kill(process, signal.SIGKILL, group=given.group)
    tally.kills += 1
    tally.early += len(lines(out)) == before
    tally.left_parts += len(parts(out))
    manifest = out / "manifest.jsonl"
    tally.torn += manifest.exists() and not manifest.read_bytes().endswith(b"\n")
    deadline = time.monotonic() + 10
    while left := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            tally.wrong.append(f"processes that went on after kill {tally.kills}: {len(left)}")
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    if b"Traceback" in log.read_bytes():
        tally.wrong.append(f"kill {tally.kills}: {log.read_text()}")


def check(out: Path, expected: dict[str, bytes], tally: Tally, *, whole: bool) -> None:
    """Compare what is there with the undisturbed run."""
    found = outputs(out)
    damaged = [name for name, data in found.items() if expected.get(name) != data]
    if damaged:
        tally.wrong.append(f"after kill {tally.kills} damaged: {damaged}")
    if not whole:
        return
    lost = set(expected) - set(found)
    if lost:
        tally.wrong.append(f"lost: {sorted(lost)}")
    if parts(out):
        tally.wrong.append(f"left over: {parts(out)}")
    done = Counter(line["output"] for line in lines(out) if line["status"] == "done")
    if set(done) != set(expected):
        tally.wrong.append("the manifest does not have all")
    again = {name: count for name, count in done.items() if count > 1}
    if again:
        tally.wrong.append(f"done again: {again}")


if __name__ == "__main__":
    sys.exit(main())
