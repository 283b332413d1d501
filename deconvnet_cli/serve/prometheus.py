"""The metrics of a server, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deconvnet_cli.serve.limits import WorkQueue

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0)


class Metrics:
    """The metrics of one server; several servers in a process do not share them."""

    def __init__(self, queue: WorkQueue) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "deconvnet_requests",
            "Requests by path and status; 499: the client left before it was answered.",
            ("path", "status"),
            registry=self.registry,
        )
        self.latency = Histogram(
            "deconvnet_segment_seconds",
            "Seconds from the head of a request to its answer, of photos that were segmented.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = Summary(
            "deconvnet_stage_seconds",
            "Seconds that photos spent in each stage.",
            ("stage",),
            registry=self.registry,
        )
        waiting = Gauge("deconvnet_queue_depth", "Photos that wait.", registry=self.registry)
        waiting.set_function(lambda: queue.waiting)
        running = Gauge("deconvnet_in_flight", "Photos being segmented.", registry=self.registry)
        running.set_function(lambda: queue.running)
        ProcessCollector(registry=self.registry)

    def photo(self, ms: Mapping[str, float]) -> None:
        """Count a segmented photo, with its milliseconds by stage."""
        for stage, value in ms.items():
            self.stages.labels(stage).observe(value / 1000)

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class Counting:
    """An ASGI middleware that counts requests by path and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it by the status of its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # Unknown paths count as one, or strangers could create time series without end.
        path = scope["path"] if scope["path"] in self.paths else "other"
        status = 500  # of an error that is raised through here

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        finally:
            self.metrics.requests.labels(path, str(status)).inc()
