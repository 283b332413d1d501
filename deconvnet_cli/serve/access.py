"""Access control: check the host name, origin and token of each request."""

from __future__ import annotations

import hmac
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deconvnet_cli.serve.errors import Refusal, error_response
from deconvnet_cli.serve.settings import ServeSettings

LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))
# The parts of the page by path: the file in web/, and its media type.
PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/contours.js": ("contours.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
# The page itself holds no secrets, and monitoring has to see whether the server is alive.
OPEN = frozenset((*PAGE, "/docs", "/openapi.json", "/about", "/healthz", "/readyz"))
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


# Answers to the question of a browser whether a page of a permitted origin may send a request.
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}


class Guard:
    """An ASGI middleware that refuses strangers and adds security headers to each answer.

    It answers HEAD as GET; the body is then left out by uvicorn, which sees the true method.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        shared = cross_origin_headers(asked, self.settings)
        preflight = scope["method"] == "OPTIONS" and "access-control-request-method" in asked
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (*HEADERS.items(), *shared.items()):
                    headers.setdefault(name, value)
            await send(message)

        try:
            if preflight and shared:  # browsers send no token with it
                check_host(asked, self.settings)
                await Response(None, 204, PREFLIGHT)(scope, receive, send_safely)
                return
            check_request(scope["path"], asked, self.settings)
        except Refusal as refusal:
            answer = error_response(refusal.status_code, refusal.detail, refusal.headers)
            await answer(scope, receive, send_safely)
        else:
            await self.app(scope, receive, send_safely)


def cross_origin_headers(headers: Headers, settings: ServeSettings) -> dict[str, str]:
    """Return the headers that let a page of a permitted origin read the answer; {} for others."""
    origin = headers.get("origin", "")
    if origin.lower() not in (each.lower() for each in settings.origins):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Server-Timing, Retry-After",
        "Vary": "Origin",
    }


def check_host(headers: Headers, settings: ServeSettings) -> str:
    """Return the header Host in lower case.

    Raises:
        Refusal: 403 if the server is on loopback and the name is foreign.
    """
    host = headers.get("host", "").lower()
    if settings.loopback and host_name(host) not in accepted_hosts(settings):
        # A stranger's page may point its own name at this address (DNS rebinding).
        raise Refusal(403, "this server does not answer to that host name; see --allow-host")
    return host


def check_request(path: str, headers: Headers, settings: ServeSettings) -> None:
    """Check that a request comes from a permitted client.

    Raises:
        Refusal: 403 for a foreign host name or a page of another origin; 401 without the token.
    """
    host = check_host(headers, settings)
    origin = headers.get("origin")
    own = origin is None or origin.lower().partition("://")[2] == host
    if not own and not cross_origin_headers(headers, settings):
        raise Refusal(403, "pages of other origins may not use this server; see --allow-origin")
    if settings.token is not None and path not in OPEN:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(shown.strip().encode(), settings.token.encode())
        if scheme.lower() != "bearer" or not right:
            message = "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`"
            raise Refusal(401, message, {"WWW-Authenticate": "Bearer"})


def accepted_hosts(settings: ServeSettings) -> frozenset[str]:
    """Return the host names of a server on loopback, with IPv6 addresses in brackets."""
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    return LOOPBACK.union((own.lower(), *(name.lower() for name in settings.names)))


def host_name(host: str) -> str:
    """Return the header Host without its port; empty if it is malformed."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[\w.-]+)(:\d+)?", host)
    return match[1] if match else ""
