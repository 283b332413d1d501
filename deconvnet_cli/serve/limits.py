"""How much is done at a time, and for whom: a queue of bounded length, and token buckets."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from deconvnet_cli.serve.errors import GONE, Refusal, busy

T = TypeVar("T")
MOST_CLIENTS = 10_000  # whose buckets are kept
IPV6_NETWORK = 64  # bits that one client has to itself as a rule; it may choose the rest


class WorkQueue:
    """Photos in worker threads, some of them at a time, some more waiting, and no more.

    A request takes a place before its body is read, so that what is held in memory is bounded
    too. All methods are called in the event loop; only the work itself runs in threads, which is
    enough as torch, OpenCV and Pillow release Python's lock while they compute.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._places = workers + waiting
        self._held = 0
        self._work: set[Future[Any]] = set()
        self._abandoned = 0
        self._seconds = 1.0  # that the last photo took
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="photo")

    @property
    def running(self) -> int:
        """Photos being worked on."""
        return sum(future.running() for future in self._work)

    @property
    def waiting(self) -> int:
        """Places that are taken by others."""
        return max(0, self._held + self._abandoned - self.running)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Refusal: 429, all are taken.
        """
        if self._held + self._abandoned >= self._places:
            raise busy("the server is busy; come back in a moment", self._seconds)
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    async def run(
        self, work: Callable[[], T], timeout: float, disconnected: Callable[[], Awaitable[None]]
    ) -> T:
        """The result of the work, done in a thread; to be called while a place is held.

        Work that has not begun when its time is up is never begun. What has begun cannot be
        stopped: it keeps a place until it ends.

        Args:
            timeout: seconds.
            disconnected: returns once the client has gone.

        Raises:
            Refusal: 504, it takes longer; 499, the client has gone. And all that ``work`` raises.
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
                raise Refusal(GONE, "the client has gone")
            raise Refusal(504, "not done in time; the server may be busy, or the photo large")
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
        """Wait for the work that has begun; what has not is never begun."""
        self.pool.shutdown(cancel_futures=True)


class TokenBuckets:
    """Some requests a minute for each client: all at once if it likes, then as they come back."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when; oldest first

    def take(self, address: str) -> None:
        """Take a token out of the bucket of a client.

        Raises:
            Refusal: 429, it is empty.
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


def network_of(address: str) -> str:
    """Who a client is taken for: its address, of IPv6 the network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((int(parsed), IPV6_NETWORK), strict=False))
