"""Servers in threads of this process, for tests."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from httpx import Client, Response
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.outputs.specks import without_specks
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.segmentation.segment import Segmentation, segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.serve.app import build_app
from deconvnet_cli.serve.server import listen, make_server
from deconvnet_cli.serve.settings import ServeSettings
from deconvnet_cli.weights.files import load
from helpers import needs_serve  # noqa: F401
from helpers.photos import pieces

PATIENCE = 30.0  # seconds; nothing here takes more than a few
SETTINGS = SegmentSettings(proposals=3)


def encoded(photo: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file of a photo."""
    buffer = io.BytesIO()
    photo.save(buffer, kind, **options)
    return buffer.getvalue()


FIRST, SECOND, THIRD, FOURTH = (encoded(part) for part in pieces((60, 40))[:4])


def ready_nets(path: Path, *, background: int = 0) -> System:
    """Nets as the command has them; one of their labels takes the place of background's."""
    one_core_a_photo()
    weights = load(str(path))
    for name in ("weight", "bias"):
        by_class = weights.net.get_parameter(f"seg_score_voc.{name}").data
        by_class[[0, background]] = by_class[[background, 0]]
    return alone(weights).ready(torch.device("cpu"), "fp32")


def expected(system: System, data: bytes, settings: SegmentSettings = SETTINGS) -> Segmentation:
    """What ``deconvnet segment`` makes of a photo."""
    return segment(read_photo(data), system, settings)


def shown(system: System, data: bytes, min_area: float = 0.001) -> Segmentation:
    """What it shows of a photo beside the labels: no specks."""
    result = expected(system, data)
    return replace(result, labels=without_specks(result.labels, min_area))


@contextmanager
def servers(
    system: System, segmenting: SegmentSettings = SETTINGS
) -> Iterator[Callable[..., Client]]:
    """Starts servers with settings of their own, and ends them."""
    with ExitStack() as stack:

        def start(*, ready: bool = True, **given: Any) -> Client:
            settings = replace(ServeSettings(rate=0, workers=2), **given)
            return stack.enter_context(serving(system, segmenting, settings, ready))

        yield start


@contextmanager
def serving(
    system: System, segmenting: SegmentSettings, settings: ServeSettings, ready: bool
) -> Iterator[Client]:
    """A client of a server on a free port of loopback."""
    app = build_app(system, segmenting, settings)
    sock = listen("127.0.0.1", 0)
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = make_server(app, settings, quiet=True)
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    try:
        with Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
            if ready:
                until(lambda: client.get("/readyz").status_code == 200)
            yield client
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def raw(client: Client, length: int) -> socket.socket:
    """A connection on which the head of a request was sent, and nothing of its body."""
    host, port = client.base_url.host, client.base_url.port
    assert port is not None
    sock = socket.create_connection((host, port))
    sock.settimeout(PATIENCE)
    lines = ("POST /segment HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {length}", "", "")
    sock.sendall("\r\n".join(lines).encode())
    return sock


def rest_of(sock: socket.socket) -> bytes:
    """All that comes until the other side closes the connection."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def error_of(response: Response, status: int) -> str:
    """The one line of an answer that is an error with this status, and nothing else."""
    assert response.status_code == status, response.text
    (key, line), *rest = response.json().items()
    assert key == "error" and not rest and line and "\n" not in line
    return str(line)


def samples(client: Client, **options: Any) -> dict[tuple[str, ...], float]:
    """All values of /metrics by name and values of labels."""
    response = client.get("/metrics", **options)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name.removeprefix("deconvnet_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
