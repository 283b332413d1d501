"""``deconvnet serve``: nothing is taken, held or done without bounds, and all is counted."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from helpers import needs_serve  # noqa: F401
from helpers.serving import (
    FIRST,
    PATIENCE,
    SECOND,
    THIRD,
    encoded,
    error_of,
    raw,
    rest_of,
    samples,
    until,
)
from PIL import Image

from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.serve import app as module
from deconvnet_cli.serve import limits
from deconvnet_cli.serve.errors import Refusal
from deconvnet_cli.serve.limits import TokenBuckets, is_local, network_of


@pytest.fixture
def gate(monkeypatch):
    """Photos are segmented once it is opened; ``begun`` lists those that were begun."""

    class Gate(threading.Event):
        begun: list[tuple[int, int]] = []  # noqa: RUF012

    gate = Gate()
    gate.begun = []

    def held(photo, system, settings):
        if photo.size != (160, 120):  # the one that warms up
            gate.begun.append(photo.size)
            assert gate.wait(PATIENCE)
        return segment(photo, system, settings)

    monkeypatch.setattr(module, "segment", held)
    yield gate
    gate.set()


def test_the_queue_is_bounded(serve, gate):
    client = serve(workers=1, queue=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/segment", content=FIRST)
        until(lambda: len(gate.begun) == 1)
        second = pool.submit(client.post, "/segment", content=SECOND)
        until(lambda: samples(client)["queue_depth",] == 1)
        assert samples(client)["in_flight",] == 1
        third = client.post("/segment", content=THIRD)  # at once: nothing has been done so far
        assert "busy" in error_of(third, 429)
        assert int(third.headers["retry-after"]) >= 1
        gate.set()
        assert (first.result().status_code, second.result().status_code) == (200, 200)
    assert client.post("/segment", content=THIRD).status_code == 200
    known = samples(client)
    assert (known["queue_depth",], known["in_flight",]) == (0, 0)


def test_a_body_on_its_way_holds_a_place(serve):
    client = serve(workers=1, queue=0)
    with raw(client, len(FIRST)) as sock:
        sock.sendall(FIRST[:10])
        until(lambda: samples(client)["queue_depth",] == 1)
        error_of(client.post("/segment", content=SECOND), 429)
        sock.sendall(FIRST[10:])
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
    assert client.post("/segment", content=SECOND).status_code == 200


@pytest.mark.parametrize("local", [True, False])
def test_slow_bodies_of_one_client_leave_places_to_others(serve, monkeypatch, local):
    """Of four places, two may wait for one client, but for four from this machine."""
    monkeypatch.setattr(limits, "is_local", lambda address: local)
    client = serve(workers=1, queue=3)
    with raw(client, len(FIRST)) as one, raw(client, len(FIRST)) as two:
        until(lambda: samples(client)["queue_depth",] == 2)
        third = client.post("/segment", content=SECOND)
        if local:
            assert third.status_code == 200
        else:
            assert "2 photos from this address are on their way" in error_of(third, 429)
        one.sendall(FIRST)
        assert one.recv(100).startswith(b"HTTP/1.1 200")
        assert client.post("/segment", content=SECOND).status_code == 200
        two.sendall(FIRST)
        assert two.recv(100).startswith(b"HTTP/1.1 200")


def test_who_is_on_this_machine():
    local = {"127.0.0.1": True, "::1": True, "": True, "192.0.2.7": False, "2001:db8::1": False}
    assert {address: is_local(address) for address in local} == local


def test_what_takes_too_long_keeps_its_place_until_it_ends(serve, gate):
    client = serve(workers=1, queue=0, timeout=0.3)
    error_of(client.post("/segment", content=FIRST), 504)
    assert gate.begun == [(60, 40)] and samples(client)["in_flight",] == 1
    error_of(client.post("/segment", content=SECOND), 429)
    gate.set()
    until(lambda: samples(client)["in_flight",] == 0)
    # Its place is free; a busy machine may be slower than the limit.
    assert client.post("/segment", content=SECOND).status_code != 429


def test_what_waits_too_long_is_never_begun(serve, gate):
    client = serve(workers=1, queue=1, timeout=0.3)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/segment", content=FIRST)
        until(lambda: len(gate.begun) == 1)
        second = client.post("/segment", content=encoded(Image.new("RGB", (30, 30))))
        error_of(second, 504)
        error_of(first.result(), 504)
    assert samples(client)["queue_depth",] == 0
    gate.set()
    until(lambda: samples(client)["in_flight",] == 0)
    assert gate.begun == [(60, 40)]


def test_who_has_gone_is_not_worked_for(serve, gate):
    client = serve(workers=1, queue=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/segment", content=FIRST)
        until(lambda: len(gate.begun) == 1)
        photo = encoded(Image.new("RGB", (30, 30)))
        with raw(client, len(photo)) as sock:
            sock.sendall(photo)
            until(lambda: samples(client)["queue_depth",] == 1)
        until(lambda: samples(client)["queue_depth",] == 0)
        gate.set()
        assert first.result().status_code == 200
    assert gate.begun == [(60, 40)]
    assert samples(client)["requests_total", "/segment", "499"] == 1


def test_a_slow_body(serve):
    client = serve(timeout=0.3)
    with raw(client, 1000) as sock:
        sock.sendall(b"x" * 10)
        answer = rest_of(sock)
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive within 0.3 s" in answer
    assert samples(client)["queue_depth",] == 0


@pytest.mark.parametrize("head", [b"", b"POST /segment HTTP/1.1\r\nHost: local"])
def test_a_slow_head(serve, head):
    client = serve(timeout=0.3)
    with socket.create_connection((client.base_url.host, client.base_url.port)) as sock:
        sock.settimeout(PATIENCE)
        sock.sendall(head)
        with suppress(ConnectionResetError):
            assert sock.recv(100) == b""


def test_the_rate_of_a_client(serve):
    client = serve(rate=2)
    for _ in range(2):
        assert client.post("/segment", content=FIRST).status_code == 200
    third = client.post("/segment", content=FIRST, headers={"X-Forwarded-For": "192.0.2.7"})
    error_of(third, 429)
    assert 25 <= int(third.headers["retry-after"]) <= 30
    assert client.get("/healthz").status_code == 200


def test_token_buckets(monkeypatch):
    now = [100.0]
    buckets = TokenBuckets(6, clock=lambda: now[0])  # one in ten seconds

    def take(client):
        try:
            return buckets.take(client)
        except Refusal as refusal:
            return refusal.status_code, int(refusal.headers["Retry-After"])

    assert [take("a") for _ in range(6)] == [None] * 6
    assert take("a") == (429, 10) and take("b") is None
    now[0] += 7.5
    assert take("a") == (429, 3)  # who asks in vain pays nothing
    now[0] += 2.5
    assert take("a") is None and take("a") == (429, 10)
    now[0] += 1000  # no more than a full bucket comes back
    assert [take("a") for _ in range(7)] == [*[None] * 6, (429, 10)]
    monkeypatch.setattr(limits, "MOST_CLIENTS", 3)
    for number in range(100):
        take(f"c{number}")
    assert len(buckets._buckets) <= 4
    for client in (*"aaaaaaa", "b", "c", "a", "d"):  # who has asked lately is not forgotten
        take(client)
    assert take("a") == (429, 10) and take("b") is None


def test_a_client_of_ipv6_is_its_network():
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("192.0.2.1") == "192.0.2.1"


def test_metrics_count(serve):
    client = serve(max_bytes=50_000)
    for _ in range(3):
        client.post("/segment?crf=1", content=FIRST)
    client.post("/segment", content=b"no")
    client.post("/segment", content=bytes(50_001))
    for path in ("/a", "/b"):
        client.get(path)
    known = samples(client)
    assert known["requests_total", "/segment", "200"] == 3
    assert known["requests_total", "/segment", "400"] == 1
    assert known["requests_total", "/segment", "413"] == 1
    assert known["requests_total", "other", "404"] == 2
    assert known["segment_seconds_count",] == known["segment_seconds_bucket", "+Inf"] == 3
    for stage in ("proposals", "net", "labels", "crf"):
        assert known["stage_seconds_count", stage] == 3
    stages = sum(value for key, value in known.items() if key[0] == "stage_seconds_sum")
    assert 0 < stages <= known["segment_seconds_sum",]
    assert samples(client)["requests_total", "/metrics", "200"] == 1
