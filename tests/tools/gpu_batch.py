"""All that is to be measured on a GPU, in one go of a few minutes.

    PYTHONPATH=. python tests/tools/gpu_batch.py VOC2012/JPEGImages --photos 400

It runs the tests of the GPU and ``explain`` there, ``bench gpu``, and then ``batch`` for each net
with one and two processes that own it. A batch is run over a few photos and over all of them; its
rate is that of the photos between, so that start-up does not count. One JSON line a step goes to
standard output: photos a second, the GPU's busy share by the driver and its memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST = 40  # photos of the batch that is taken off: all shapes have been seen after them
QUERY = "--query-gpu=utilization.gpu,memory.used"
DECONVNET = (sys.executable, "-m", "deconvnet_cli")


def run(*command: str) -> float:
    """Run a command with its output on standard error, and return how many seconds it took."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=ROOT, env=environment)
    return time.perf_counter() - start


@contextmanager
def watched(found: dict[str, list[int]]) -> Iterator[None]:
    """Ask the driver again and again how busy the GPU is, and how much of its memory is used."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            try:
                said = subprocess.run(
                    ("nvidia-smi", QUERY, "--format=csv,noheader,nounits"),
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
            except (OSError, subprocess.CalledProcessError):
                return
            busy, used = said.stdout.splitlines()[0].split(",")
            found["busy"].append(int(busy))
            found["mb"].append(int(used))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def batch_rate(photos: Sequence[Path], options: Sequence[str]) -> dict[str, object]:
    """Return the photos a second of ``batch`` beyond the first, and what the driver said of it."""
    seconds = []
    found: dict[str, list[int]] = {"busy": [], "mb": []}
    for count in (FIRST, len(photos)):
        with tempfile.TemporaryDirectory() as folder:
            names = Path(folder) / "photos.txt"
            names.write_text("".join(f"{photo}\n" for photo in photos[:count]))
            found = {"busy": [], "mb": []}
            with watched(found):
                batch = ("batch", f"@{names}", "-o", str(Path(folder) / "out"), "--quiet")
                seconds.append(run(*DECONVNET, *batch, *options))
    middle = found["busy"][len(found["busy"]) // 4 : -2]  # without start-up and end
    return {
        "photos": len(photos),
        "seconds": [round(value, 1) for value in seconds],
        "photos_per_s": round((len(photos) - FIRST) / (seconds[1] - seconds[0]), 2),
        "busy_percent": statistics.median(middle) if middle else None,
        "memory_mb": max(found["mb"], default=None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="a folder of photos")
    parser.add_argument("--photos", type=int, default=400, dest="count")
    parser.add_argument("--device", default="cuda", help="cpu tries the script itself")
    parser.add_argument("--weights", nargs="*", default=["deconvnet-mobilenet", "deconvnet-vgg16"])
    parser.add_argument("--nets", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--workers", default=None)
    given = parser.parse_args()
    photos = sorted(given.photos.resolve().glob("*.jpg"))[: given.count]
    on_gpu = given.device != "cpu"
    device = ("--device", given.device)
    if on_gpu:
        seconds = run(sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/test_cuda.py")
        print(json.dumps({"step": "tests", "seconds": round(seconds, 1)}), flush=True)
        with tempfile.TemporaryDirectory() as folder:
            page = ("-o", str(Path(folder) / "explain"))
            seconds = run(*DECONVNET, "explain", str(photos[0]), *page, *device)
            print(json.dumps({"step": "explain", "seconds": round(seconds, 1)}), flush=True)
        run(*DECONVNET, "bench", "gpu", str(photos[0]), "--side", "500")
    for weights in given.weights:
        for nets in given.nets if on_gpu else (None,):
            options = ["--weights", weights, *device]
            options += [] if nets is None else ["--nets-per-gpu", str(nets)]
            options += [] if given.workers is None else ["--workers", given.workers]
            step = {"step": "batch", "weights": weights, "nets": nets}
            print(json.dumps({**step, **batch_rate(photos, options)}), flush=True)


if __name__ == "__main__":
    main()
