"""Limits on the load: a bounded work queue, and a token bucket for each client."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from deconvnet_cli.serve.errors import GONE, Refusal, busy

T = TypeVar("T")
MOST_CLIENTS = 10_000  # buckets to keep
IPV6_NETWORK = 64  # bits: usually one client owns the whole network and picks the rest


class WorkQueue:
    """A bounded queue of photos that are segmented in worker threads.

    A request takes a place before its body is read, so the memory for bodies is bounded too. All
    methods are called in the event loop; only the work itself runs in threads. Threads are
    enough, as torch, OpenCV and Pillow release Python's lock while they compute.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._places = workers + waiting
        self._held = 0
        self._arriving: Counter[str] = Counter()  # bodies on their way, by client
        self._work: set[Future[Any]] = set()
        self._abandoned = 0
        self._seconds = 1.0  # the time that the last photo took
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="photo")

    @property
    def running(self) -> int:
        """Return the number of photos being segmented."""
        return sum(future.running() for future in self._work)

    @property
    def waiting(self) -> int:
        """Return the number of places taken by photos that are not being segmented."""
        return max(0, self._held + self._abandoned - self.running)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue.

        Raises:
            Refusal: 429 if all places are taken.
        """
        if self._held + self._abandoned >= self._places:
            raise busy("the server is busy; come back in a moment", self._seconds)
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    @contextmanager
    def arriving(self, address: str) -> Iterator[None]:
        """Count a body that is on its way; the caller must hold a place.

        The bodies of one client on another machine have at most half of the places, so that a slow
        client leaves places to others.

        Raises:
            Refusal: 429 if more of its bodies are on their way.
        """
        client = network_of(address)
        if self._arriving[client] >= max(1, self._places // 2) and not is_local(address):
            raise busy(
                f"{self._arriving[client]} photos from this address are on their way already; "
                "send fewer at a time",
                self._seconds,
            )
        self._arriving[client] += 1
        try:
            yield
        finally:
            self._arriving[client] -= 1
            if not self._arriving[client]:
                del self._arriving[client]

    async def run(
        self, work: Callable[[], T], timeout: float, disconnected: Callable[[], Awaitable[None]]
    ) -> T:
        """Run ``work`` in a thread and return its result; the caller must hold a place.

        Work that has not begun at the time-out never begins. Work that has begun cannot be
        stopped, and keeps its place until it ends. The time-out is in seconds, and
        ``disconnected`` returns once the client has left.

        Raises:
            Refusal: 504 if the work takes longer; 499 if the client has left.
        """

        def timed() -> T:
            start = time.perf_counter()
            try:
                return work()
            finally:
                self._seconds = time.perf_counter() - start

        loop = asyncio.get_running_loop()
        future = self.pool.submit(timed)
        self._work.add(future)
        result = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(disconnected())
        either: set[asyncio.Future[Any]] = {result, gone}
        try:
            await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            if gone.done():
                raise Refusal(GONE, "the client has left")
            raise Refusal(504, "not done in time; the server may be busy, or the photo too large")
        finally:
            gone.cancel()
            if future.cancel() or future.done():
                self._work.discard(future)
            else:
                result.cancel()
                self._abandoned += 1
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ended, future))

    def _ended(self, future: Future[Any]) -> None:
        self._work.discard(future)
        self._abandoned -= 1

    def close(self) -> None:
        """Wait for the work that has begun, and cancel the rest."""
        self.pool.shutdown(cancel_futures=True)


class TokenBuckets:
    """A token bucket for each client: ``rate`` requests at once, refilled over a minute."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens and their time; oldest first

    def take(self, address: str) -> None:
        """Take a token from the bucket of a client.

        Raises:
            Refusal: 429 if the bucket is empty.
        """
        if not self._rate:
            return
        client, now = network_of(address), self._clock()
        tokens, then = self._buckets.pop(client, (float(self._rate), now))
        tokens = min(self._rate, tokens + (now - then) * self._rate / 60)
        left = tokens - 1 if tokens >= 1 else tokens
        self._buckets[client] = (left, now)
        if len(self._buckets) > MOST_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        if tokens < 1:
            seconds = (1 - tokens) * 60 / self._rate
            raise busy(f"more than {self._rate} requests a minute; come back later", seconds)


def is_local(address: str) -> bool:
    """Return whether a client is on this machine, as a proxy for many others may be."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return not address  # a socket of the file system


def network_of(address: str) -> str:
    """Return the key of a client: its IPv4 address, or the network of its IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((int(parsed), IPV6_NETWORK), strict=False))
