"""Thousands of damaged files for each reader: it refuses them in one line, or reads them.

``DECONVNET_FUZZ_COUNT=5000`` reads as many for every target. An input that goes wrong is kept in
the test's folder and can be read again with ``tests/tools/fuzz_run.py``, whose head says how.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import warm_python
from helpers.paths import TESTS

# How many are read in the time that a test may take; "mobilenet" and "encoder" are large files
# that the readers of "safetensors" read.
COUNTS = {
    **dict.fromkeys(("jpeg", "png", "gif", "tiff", "webp", "bmp", "ppm"), 600),
    **dict.fromkeys(("mask", "prediction", "scores", "soft", "tallies", "toml"), 1200),
    "safetensors": 1000, "caffemodel": 800, "pth": 800, "mobilenet": 25, "encoder": 10,
}  # fmt: skip
MOST_MB = 700  # of memory that one file may take: an image of 100 million pixels is among them
RUN = TESTS / "tools" / "fuzz_run.py"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads Linux's peak of memory"
)


# Each of these runs in a process of its own, so that they may go beside each other; together they
# take about the same time.
RUNS = (
    ("jpeg", "png", "gif", "tiff", "webp", "bmp", "ppm"),
    ("mask", "prediction", "scores", "soft", "tallies", "toml"),
    ("safetensors", "caffemodel", "pth", "mobilenet", "encoder"),
)


def fuzz(targets: tuple[str, ...], kept: Path) -> dict[str, Any]:
    """Return what became of each target, in one process; a crash or a hang leaves the rest out."""
    every = os.environ.get("DECONVNET_FUZZ_COUNT")
    counts = [f"{name}={every or COUNTS[name]}" for name in targets]
    done = warm_python.run(["-c", RUN.read_text(encoding="utf-8"), *counts, "--keep", kept])
    found = {line["target"]: line for line in map(json.loads, done.stdout.splitlines())}
    return found | {"last": f"exit code {done.returncode}, {done.stderr[-2000:].decode()}"}


def test_every_target_is_in_a_run() -> None:
    assert sorted(name for targets in RUNS for name in targets) == sorted(COUNTS)


@pytest.mark.slow
@pytest.mark.parametrize("targets", [
    pytest.param(targets, id=targets[0], marks=pytest.mark.xdist_group(f"fuzz {targets[0]}"))
    for targets in RUNS
])  # fmt: skip
def test_damaged_files(targets: tuple[str, ...], tmp_path: Path) -> None:
    runs = fuzz(targets, tmp_path)
    for target in targets:
        assert target in runs, runs["last"]  # it crashed or hung: the last lines say with what
        found = runs[target]
        assert not found["findings"], json.dumps(found["shown"], indent=1)
        assert found["growth_mb"][0] < MOST_MB, target
        assert found["refused"] > found["inputs"] / 10, target
