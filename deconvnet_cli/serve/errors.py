"""A request that is not answered with labels: a status and one line."""

from __future__ import annotations

from fastapi.responses import JSONResponse

GONE = 499  # nobody is there to be answered; only metrics and the log see it


class Refusal(Exception):
    """Why a request is refused.

    Attributes:
        status: of HTTP.
        message: one line that a client may read: no paths of this machine.
        headers: that go with it.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def busy(message: str, seconds: float) -> Refusal:
    """One to come back after some seconds."""
    return Refusal(429, message, {"Retry-After": str(max(1, round(seconds + 0.499)))})


def error_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """``{"error": message}`` on one line."""
    return JSONResponse({"error": " ".join(message.split())}, status, headers)
