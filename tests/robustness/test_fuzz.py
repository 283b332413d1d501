"""Thousands of damaged files for each reader: it refuses them in one line, or reads them.

``DECONVNET_FUZZ_COUNT=5000`` reads as many for every target. An input that goes wrong is kept in
the test's folder and can be read again with ``tests/tools/fuzz_run.py``, whose head says how.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import TESTS

# How many are read in the time that a test may take; "mobilenet" and "encoder" are large files
# that the readers of "safetensors" read.
COUNTS = {
    **dict.fromkeys(("jpeg", "png", "gif", "tiff", "webp", "bmp", "ppm"), 1000),
    **dict.fromkeys(("mask", "prediction", "scores", "soft", "tallies", "toml"), 2000),
    "safetensors": 2000,
    "caffemodel": 1500,
    "pth": 1500,
    "mobilenet": 50,
    "encoder": 20,
}
MOST_MB = 700  # of memory that one file may take: an image of 100 million pixels is among them
RUN = TESTS / "tools" / "fuzz_run.py"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads Linux's peak of memory"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of each target, in one process; a crash or a hang leaves the rest out."""
    kept = tmp_path_factory.mktemp("fuzz")
    every = os.environ.get("DECONVNET_FUZZ_COUNT")
    counts = [f"{name}={every or count}" for name, count in COUNTS.items()]
    done = subprocess.run(
        [sys.executable, RUN, *counts, "--keep", kept],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    found = {line["target"]: line for line in map(json.loads, done.stdout.splitlines())}
    return found | {"last": f"exit code {done.returncode}, {done.stderr[-2000:]}"}


@pytest.mark.parametrize("target", COUNTS)
def test_damaged_files(runs: dict[str, Any], target: str) -> None:
    assert target in runs, runs["last"]  # it crashed or hung: the last lines say with which input
    found = runs[target]
    assert not found["findings"], json.dumps(found["shown"], indent=1)
    assert found["growth_mb"][0] < MOST_MB
    assert found["refused"] > found["inputs"] / 10
