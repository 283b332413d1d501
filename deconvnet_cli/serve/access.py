"""Who may ask: the host that is meant, the page that asks, the token that is shown."""

from __future__ import annotations

import hmac
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deconvnet_cli.serve.errors import Refusal, error_response
from deconvnet_cli.serve.settings import ServeSettings

LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))
# The page itself tells nothing, and who watches a server has to see whether it lives.
OPEN = frozenset(("/", "/page.css", "/page.js", "/icon.svg", "/about", "/healthz", "/readyz"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that refuses strangers, and gives each answer its security headers."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            check_request(scope["path"], Headers(scope=scope), self.settings)
        except Refusal as refusal:
            answer = error_response(refusal.status, refusal.message, refusal.headers)
            await answer(scope, receive, send_safely)
        else:
            await self.app(scope, receive, send_safely)


def check_request(path: str, headers: Headers, settings: ServeSettings) -> None:
    """See whether a request is from one who may ask.

    Raises:
        Refusal: 403, for another host than this, or by the page of another; 401, without the token.
    """
    host = headers.get("host", "").lower()
    if settings.loopback and name_of(host) not in known_names(settings):
        # The name of a stranger's page that was made to lead here (DNS rebinding).
        raise Refusal(403, "this server is not known by that host name; see --allow-host")
    origin = headers.get("origin")
    if origin is not None and origin.lower().partition("://")[2] != host:
        raise Refusal(403, "pages of other origins may not use this server")
    if settings.token is not None and path not in OPEN:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), settings.token.encode())
        if scheme.lower() != "bearer" or not right:
            message = "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`"
            raise Refusal(401, message, {"WWW-Authenticate": "Bearer"})


def known_names(settings: ServeSettings) -> frozenset[str]:
    """Host names of a server on loopback, IPv6 addresses in brackets."""
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    return LOOPBACK.union((own.lower(), *(name.lower() for name in settings.names)))


def name_of(host: str) -> str:
    """The header Host without its port; nothing if it is malformed."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", host)
    return found[1] if found else ""
