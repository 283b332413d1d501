"""The process around the application: its socket, its connections, its end."""

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

GRACE = 5  # seconds beyond a request's own time-out until an answer must be with its client
BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes any free one.

    Raises:
        UsageError: no such address here, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no host name"
        raise UsageError(
            f"--host {host} --port {port}: cannot be listened on ({why}); take another"
        ) from error


def address_of(sock: socket.socket) -> str:
    """The address of the page on a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def make_server(app: FastAPI, settings: ServeSettings, *, quiet: bool = False) -> uvicorn.Server:
    """uvicorn around the application."""
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
        # Else a client could say which address it has, and never meet its limit.
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(settings.timeout) + GRACE,
    )
    return uvicorn.Server(config)


def run(app: FastAPI, settings: ServeSettings, sock: socket.socket, *, quiet: bool) -> None:
    """Serve until Ctrl-C or SIGTERM; what was begun by then is finished and answered."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    # Pillow's size warning: the limit is ours. For the process, as filters are not by thread.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    server = make_server(app, settings, quiet=quiet)
    # uvicorn raises the signal once more when all is done; the end it asked for has come.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[sock])


def timed_connection(timeout: float) -> type[H11Protocol]:
    """uvicorn's connection, closed if the head of a request does not arrive in time.

    uvicorn itself waits for ever, so that clients which say nothing would use up all sockets.
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
            """Start the clock while a head is awaited, and stop it when one is there."""
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
