"""The settings of a server, and a check that they are safe."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.errors import UsageError
from deconvnet_cli.segmentation.settings import CrfSettings

ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?", re.IGNORECASE)
LEAST_TOKEN = 16  # characters: too many to guess over a network


@dataclass(frozen=True)
class ServeSettings:
    """The settings of a server.

    Attributes:
        host: The address or name to listen on.
        token: The token that clients have to send; None asks for none, on loopback only.
        names: Further host names of a server on loopback, such as that of a proxy.
        origins: Origins of other sites, such as "https://example.org", whose pages may use it.
        max_bytes: The largest allowed body of a request.
        max_pixels: The largest allowed width x height of a photo.
        rate: The most photos a minute from one address; 0 sets no limit.
        workers: How many photos are segmented at a time.
        queue: How many more photos may wait.
        timeout: The most seconds for a request, including the upload and the wait.
        refinement: The settings of the dense CRF, for requests that ask for it.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    rate: int = 120
    workers: int = 1
    queue: int = 16
    timeout: float = 60.0
    refinement: CrfSettings = CrfSettings()

    @property
    def loopback(self) -> bool:
        """Return whether only this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def check(settings: ServeSettings) -> None:
    """Check that the settings are safe.

    Raises:
        UsageError: Others can reach the server but no token is set; the token is too short or
            does not fit in a header; an origin is none; or photos are allowed that are too large
            to read.
    """
    token = settings.token
    if token is None and (settings.names or not settings.loopback):
        why = "--allow-host: others can reach the server by that name"
        if not settings.loopback:
            why = f"--host {settings.host}: other machines can reach it"
        raise UsageError(f"{why}, so give a token: --token or the variable DECONVNET_TOKEN")
    if token is not None and len(token) < LEAST_TOKEN:
        raise UsageError(f"the token is too short; use {LEAST_TOKEN} characters or more")
    if token is not None and not all("!" <= character <= "~" for character in token):
        raise UsageError("the token has spaces or non-ASCII characters, which a header cannot hold")
    for origin in settings.origins:
        if not ORIGIN.fullmatch(origin):
            raise UsageError(
                f"--allow-origin {origin}: give scheme and host as a browser sends them, "
                "such as https://example.org or http://localhost:3000"
            )
    if settings.max_pixels > MAX_PIXELS:
        raise UsageError(f"--max-pixels {settings.max_pixels}: at most {MAX_PIXELS} can be read")
