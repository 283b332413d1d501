"""Reads thousands of damaged files and says what went wrong.

    PYTHONPATH=tests python tests/tools/fuzz_run.py png=5000 scores=5000

Each input follows from target, seed and number, so number 17 can be read again: ``png=1 --start
17``; ``--keep DIR`` writes the inputs that went wrong. One JSON line a target goes to standard
output, the number of each input to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import logging
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from helpers.fuzz_targets import TARGETS, Target, input_of

from deconvnet_cli.errors import DeconvnetError

LIMIT_S = 10  # a file: none takes a tenth of a second
LIMIT_BYTES = 4 << 30  # of address space beyond what the process has at its start
MOST_SHOWN = 20


def peak_kb() -> int:
    """The most memory this process had since :func:`forget_peak`, kB."""
    text = Path("/proc/self/status").read_text().split()
    return int(text[text.index("VmHWM:") + 1])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES,) * 2)


def end_when_late() -> None:
    """Have an alarm print where this process hangs, also if it hangs in C, and end it.

    To set an alarm takes a microsecond; ``dump_traceback_later`` would begin and end a thread for
    each file, which takes longer than to read it.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.register(signal.SIGALRM, file=os.dup(2), chain=True)


def in_chain(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind) or "can't allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def problem_of(target: Target, path: Path) -> tuple[str, bool]:
    """What went wrong with reading a file ("" if nothing), and whether it was read."""
    written = os.fstat(2).st_size
    read = False
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            target.read(path)
            read = True
        except DeconvnetError as error:
            text = str(error)
            if not text.isprintable():
                return f"message is not one printable line: {text!r}", False
            if path.name not in text:
                return f"message does not name the file: {text}", False
            if target.bounded and in_chain(error, MemoryError):
                return f"asked for more memory than there is: {text}", False
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "deconvnet_cli" in frame.filename][-1:]
            at = f"{Path(ours[0].filename).name}:{ours[0].lineno}" if ours else "a test"
            return (
                f"{type(error).__name__} at {at} ({frames[-1].name}): {str(error)[:200]!r}",
                False,
            )
    if said:
        return f"warning: {said[0].message}", read
    if target.quiet and os.fstat(2).st_size > written:
        return "something was written to standard error", read
    return "", read


@contextlib.contextmanager
def captured_errors(path: Path) -> Iterator[None]:
    """Standard error of C libraries too goes to a file."""
    with open(path, "wb") as file:
        old = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(old, 2)
            os.close(old)


def run(name: str, seed: int, start: int, count: int, keep: Path | None) -> dict[str, object]:
    """Read ``count`` damaged files of one target."""
    target = TARGETS[name]
    findings: list[dict[str, object]] = []
    reads, growths = 0, [(0.0, -1)]
    slowest, peak = (0.0, -1), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seeds = target.seeds(folder)
        path = folder / f"damaged{target.suffix}"
        for data in seeds:  # a seed that cannot be read would make all that follows worthless
            path.write_bytes(data)
            with contextlib.suppress(DeconvnetError) if name == "pth" else contextlib.nullcontext():
                target.read(path)
        began = time.perf_counter()
        for number in range(start, start + count):
            data = input_of(target, seeds, Random(f"{name}/{seed}/{number}"))
            path.unlink(missing_ok=True)  # ext4 writes a file that takes another's place to disk
            path.write_bytes(data)
            forget_peak()
            before, clock = peak_kb(), time.perf_counter()
            print(f"{name} {number}", file=sys.stderr, flush=True)  # the last line of a crash
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
            with captured_errors(folder / "stderr"):
                problem, read = problem_of(target, path)
            signal.setitimer(signal.ITIMER_REAL, 0)
            slowest = max(slowest, (time.perf_counter() - clock, number))
            peak = max(peak, peak_kb())
            growths.append(((peak_kb() - before) / 1e3, number))
            reads += read
            if problem:
                findings.append({"number": number, "problem": problem})
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name}-{seed}-{number}{target.suffix}").write_bytes(data)
        seconds = time.perf_counter() - began
    return {
        "target": name, "inputs": count, "read": reads, "refused": count - reads - len(findings),
        "findings": len(findings), "shown": findings[:MOST_SHOWN], "seconds": round(seconds, 1),
        "slowest": slowest, "growth_mb": max(growths), "peak_mb": round(peak / 1e3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", metavar="TARGET=COUNT", help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    limit_memory()
    end_when_late()
    for text in given.targets:
        name, _, count = text.partition("=")
        found = run(name, given.seed, given.start, int(count), given.keep)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    # Words about photos, such as that one is of one colour, are no fault.
    logging.getLogger("deconvnet").setLevel(logging.ERROR)
    main()
