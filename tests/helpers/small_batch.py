"""Batches of small photos in processes of their own, for tests that kill them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from deconvnet_cli.batch.spec import BatchInfo, BatchSpec, Fingerprint
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.segmentation.settings import SegmentSettings
from helpers import warm_python
from helpers.paths import ROOT
from helpers.warm_python import WarmProcess

PATIENCE = 120.0  # seconds for anything to happen on a busy machine


def small_photos(folder: Path, count: int, seed: int = 1) -> list[Path]:
    """Crops of two photos, 64 to 96 pixels a side, as JPEG files."""
    choice = random.Random(seed)
    sources = []
    for name in ("astronaut.jpg", "chelsea.jpg"):
        with Image.open(ROOT / "tests" / "data" / name) as photo:
            sources.append(photo.convert("RGB"))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        source = sources[number % 2]
        width, height = choice.randint(64, 96), choice.randint(64, 96)
        left = choice.randint(0, source.width - width)
        top = choice.randint(0, source.height - height)
        paths.append(folder / f"{number:04d}.jpg")
        source.crop((left, top, left + width, top + height)).save(paths[-1], quality=92)
    return paths


def unloaded(spec: BatchSpec) -> BatchInfo:
    """What is known of a batch whose system is not loaded, as no photo is segmented."""
    fingerprint = Fingerprint({}, "", {})
    return BatchInfo(spec, fingerprint, SegmentSettings(), (), Ensemble(), None, {})


Process = subprocess.Popen[bytes] | WarmProcess


def start(
    *arguments: object, log: Path, program: Sequence[str] = ("-m", "deconvnet_cli")
) -> subprocess.Popen[bytes]:
    """``deconvnet batch`` in a process group of its own; standard error goes to ``log``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *program, "batch", *map(str, arguments)]
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        )


def run(*arguments: object, log: Path) -> int:
    """The same to its end; its exit code."""
    return start(*arguments, log=log).wait(PATIENCE)


def start_warm(
    *arguments: object, log: Path, program: Sequence[str] = ("-m", "deconvnet_cli")
) -> WarmProcess:
    """As ``start``, without the seconds of imports."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "wb") as file:
        return warm_python.start([*program, "batch", *arguments], env=environment, stderr=file)


def run_warm(*arguments: object, log: Path) -> int:
    """As ``run``, without the seconds of imports."""
    return start_warm(*arguments, log=log).wait(PATIENCE)


def lines(folder: Path) -> list[dict[str, Any]]:
    """The manifest of an output folder, without a last line that is torn."""
    path = folder / "manifest.jsonl"
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [json.loads(line) for line in whole.splitlines()]


def info(folder: Path) -> list[dict[str, Any]]:
    """The manifest, sorted, without what differs from run to run."""
    kept = ({k: v for k, v in line.items() if k not in ("ms", "time")} for line in lines(folder))
    return sorted(kept, key=lambda line: line["output"])


def outputs(folder: Path) -> dict[str, bytes]:
    """The bytes of all label PNGs in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def parts(folder: Path) -> list[Path]:
    """Files that were begun and never whole."""
    return list(folder.rglob(".*.part"))


def wait_for(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What ``condition`` says, once it is true; fails when it never is."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)
    return found


def below(pid: int) -> list[tuple[int, str]]:
    """The processes that a process has begun, and those that they have: id and command line."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            todo.append(child)
            found.append((child, command_of(child)))
    return found


def command_of(pid: int) -> str:
    """The command line of a process; nothing if it has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def workers_of(pid: int) -> list[int]:
    """The worker processes of a batch: what its fork server has begun."""
    servers = [child for child, command in below(pid) if "forkserver" in command]
    return [child for server in servers[:1] for child, _ in below(server)]


def kill(process: Process, number: int, *, group: bool) -> None:
    """Send a signal to a batch alone, or to all its processes."""
    (os.killpg if group else os.kill)(process.pid, number)
    if number == signal.SIGKILL:
        process.wait()
