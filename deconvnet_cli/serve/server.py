"""Run the application in a process: its socket, its connections and its shutdown."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import warnings

import uvicorn
from fastapi import FastAPI
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

from deconvnet_cli.errors import UsageError
from deconvnet_cli.serve.settings import ServeSettings

GRACE = 5  # seconds beyond the time-out of a request for its answer to reach the client
BACKLOG = 128  # connections that wait to be accepted


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free port.

    Raises:
        UsageError: This machine has no such address, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a host name"
        why = str(why).partition(" (while ")[0]  # Python adds the address, which stands there
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there ({why}); choose another"
        ) from error


def address_of(sock: socket.socket) -> str:
    """Return the URL of the page on a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(app: FastAPI, settings: ServeSettings, *, quiet: bool) -> uvicorn.Server:
    """Return a uvicorn server for the application."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=timed_connection(settings.timeout),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning" if quiet else "info",
        access_log=not quiet,
        server_header=False,
        # With them, a client could claim any address and escape its rate limit.
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(settings.timeout) + GRACE,
    )
    return uvicorn.Server(config)


def run(app: FastAPI, settings: ServeSettings, sock: socket.socket, *, quiet: bool) -> None:
    """Serve until Ctrl-C or SIGTERM; requests that have begun are still answered."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    # Our own limit replaces Pillow's size warning. Filters hold for all threads of a process.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    server = make_server(app, settings, quiet=quiet)
    # uvicorn raises the signal again after its shutdown, when there is nothing left to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[sock])


def timed_connection(timeout: float) -> type[H11Protocol]:
    """Return uvicorn's connection class, with a time-out for the head of a request.

    uvicorn itself waits for ever, so silent clients would use up all sockets.
    """

    class TimedConnection(H11Protocol):
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.unwatch()

        def watch(self) -> None:
            """Start the clock while a head is awaited, and stop it when the head is there."""
            if self.cycle is not None and not self.cycle.response_complete:
                self.unwatch()
            elif self.timer is None:
                self.timer = self.loop.call_later(timeout, self.transport.abort)

        def unwatch(self) -> None:
            """Stop the clock."""
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    return TimedConnection
