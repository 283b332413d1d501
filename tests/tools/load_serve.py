"""A load test of ``deconvnet serve`` on loopback, to be run by hand:

    PYTHONPATH=tests python tests/tools/load_serve.py


It starts a server with the shipped weights, sends a bounded number of photos from several
clients, which come back after Retry-After when they are told so, and says whether each was
answered once and with the very PNG that ``segment`` makes of it, how long that took, and how much
memory the server had. Exit code 1: something was lost, wrong or failed.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
from helpers.paths import DATA

from deconvnet_cli.choices import DEFAULT
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.runtime.devices import choose_precision, one_core_a_photo
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.serve.server import listen
from deconvnet_cli.weights.files import load

ACROSS, DOWN = 4, 3  # small photos that are cut out of one
MOST_TRIES = 300  # of one request
PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Sent:
    """What became of one request."""

    right: bool  # answered, and with the right bytes
    seconds: float  # of the try that was answered
    total: float  # of all tries, and the time between them
    tries: int


def small_photos(paths: list[Path], side: int) -> list[bytes]:
    """Tiles of photos, each scaled to a longer side of this many pixels, as JPEG files."""
    found = []
    for path in paths:
        photo = read_photo(path)
        width, height = photo.width // ACROSS, photo.height // DOWN
        scale = side / max(width, height)
        for place in range(ACROSS * DOWN):
            left, top = place % ACROSS * width, place // ACROSS * height
            tile = photo.crop((left, top, left + width, top + height))
            buffer = io.BytesIO()
            tile.resize((round(width * scale), round(height * scale))).save(buffer, "JPEG")
            found.append(buffer.getvalue())
    return found


def right_answers(photos: list[bytes]) -> list[bytes]:
    """The label PNG of each, made in this process."""
    one_core_a_photo()
    device = torch.device("cpu")
    system = alone(load(DEFAULT)).ready(device, choose_precision("auto", device))
    settings = SegmentSettings()
    return [label_png(segment(read_photo(photo), system, settings).labels) for photo in photos]


@contextmanager
def server(workers: int, queue: int) -> Iterator[httpx.Client]:
    """A client of a server in a process of its own, which has to end well."""
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    options = {"port": port, "workers": workers, "queue": queue, "rate": 0, "device": "cpu"}
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    process = subprocess.Popen([sys.executable, "-m", "deconvnet_cli", "serve", "--quiet", *given])
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False
        ) as client:
            wait_until_ready(client)
            yield client
        process.send_signal(signal.SIGTERM)
        if process.wait(PATIENCE) != 0:
            raise SystemExit(f"the server ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def wait_until_ready(client: httpx.Client) -> None:
    """Wait until the nets of a server have segmented a photo."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.ConnectError:
            pass  # it is still loading
        time.sleep(0.2)
    raise SystemExit("the server never was ready")


def send(client: httpx.Client, photo: bytes, right: bytes) -> Sent:
    """Send a photo until it is not told to come back."""
    start = time.perf_counter()
    for tries in range(1, MOST_TRIES + 1):
        begun = time.perf_counter()
        response = client.post("/segment", content=photo)
        if response.status_code != 429:
            now = time.perf_counter()
            good = response.status_code == 200 and response.content == right
            return Sent(good, now - begun, now - start, tries)
        time.sleep(int(response.headers["Retry-After"]))
    return Sent(False, 0.0, time.perf_counter() - start, MOST_TRIES)


def metric(client: httpx.Client, name: str) -> float:
    """One value of /metrics; 0 if it is not there."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def load_test(
    photos: list[bytes], right: list[bytes], requests: int, clients: int, workers: int, queue: int
) -> dict[str, object]:
    """Send the requests, and say what came of them."""
    memory: dict[str, int] = {}
    count = itertools.count(1)
    lock = threading.Lock()

    def note(client: httpx.Client, when: str) -> None:
        memory[when] = round(metric(client, "process_resident_memory_bytes") / 1e6)

    with server(workers, queue) as client:

        def one(number: int) -> Sent:
            which = number % len(photos)
            sent = send(client, photos[which], right[which])
            with lock:
                if next(count) == 100:
                    note(client, "after 100")
            return sent

        note(client, "at the start")
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            sent = list(pool.map(one, range(requests)))
        elapsed = time.perf_counter() - start
        note(client, "at the end")
        counted = metric(client, 'deconvnet_requests_total{path="/segment",status="200"}')
        refused = metric(client, 'deconvnet_requests_total{path="/segment",status="429"}')
    return {
        "requests": requests, "right": sum(each.right for each in sent),
        "answered by the server's count": int(counted), "told to come back": int(refused),
        "tries": sum(each.tries for each in sent), "photos a second": round(requests / elapsed, 2),
        "seconds to an answer": percentiles([each.seconds for each in sent]),
        "seconds with all tries": percentiles([each.total for each in sent]), "memory, MB": memory,
    }  # fmt: skip


def percentiles(values: list[float]) -> dict[str, float]:
    """Half of the values, and 99 % of them, are no larger."""
    return {f"p{part}": round(float(np.percentile(values, part)), 2) for part in (50, 99)}


def main() -> int:
    """Run the test with the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = [DATA / "astronaut.jpg", DATA / "chelsea.jpg"]
    parser.add_argument("photos", nargs="*", type=Path, default=default)
    for name, value in (("requests", 300), ("clients", 8), ("workers", 2), ("queue", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--side", type=int, default=160)
    options = vars(parser.parse_args())
    photos = small_photos(options.pop("photos"), options.pop("side"))
    found = load_test(photos, right_answers(photos), **options)
    print(json.dumps({**options, **found}, indent=1))
    good = found["right"] == found["answered by the server's count"] == found["requests"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
