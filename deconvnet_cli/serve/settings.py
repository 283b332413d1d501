"""What a server is told when it starts, and whether that is safe."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from deconvnet_cli.data.decoding import MAX_PIXELS
from deconvnet_cli.errors import UsageError
from deconvnet_cli.segmentation.settings import CrfSettings

LEAST_TOKEN = 16  # characters: more than can be guessed over a network


@dataclass(frozen=True)
class ServeSettings:
    """How photos are served.

    Attributes:
        host: address or name to listen on.
        token: what clients have to show; None asks for nothing, on loopback alone.
        names: host names under which a server on loopback is reached as well, as by a proxy.
        max_bytes: of a request's body.
        max_pixels: width x height of a photo.
        rate: photos a minute from one address; 0 sets no limit.
        workers: photos worked on at a time.
        queue: photos that wait beyond these.
        timeout: seconds that a request may take, its body's arrival and the wait included.
        refinement: the dense CRF, for those who ask for it.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: tuple[str, ...] = ()
    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    rate: int = 120
    workers: int = 1
    queue: int = 16
    timeout: float = 60.0
    refinement: CrfSettings = CrfSettings()

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def check(settings: ServeSettings) -> None:
    """See that the settings are safe.

    Raises:
        UsageError: others reach the server and no token is set; the token is weak or cannot stand
            in a header; or photos are allowed that are too large to be read.
    """
    token = settings.token
    if token is None and not settings.loopback:
        raise UsageError(
            f"--host {settings.host}: others reach it, so give a token: "
            "--token or the variable DECONVNET_TOKEN"
        )
    if token is None and settings.names:
        raise UsageError(
            "--allow-host: others reach the server by that name, so give a token: "
            "--token or the variable DECONVNET_TOKEN"
        )
    if token is not None and len(token) < LEAST_TOKEN:
        raise UsageError(f"the token is short; take {LEAST_TOKEN} characters or more")
    if token is not None and not all("!" <= character <= "~" for character in token):
        raise UsageError("the token has spaces or letters beyond ASCII, which no header can hold")
    if settings.max_pixels > MAX_PIXELS:
        raise UsageError(f"--max-pixels {settings.max_pixels}: at most {MAX_PIXELS} can be read")
