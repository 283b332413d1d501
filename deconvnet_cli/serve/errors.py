"""Refusals of requests: an HTTP status and one line of text."""

from __future__ import annotations

from fastapi.responses import JSONResponse

GONE = 499  # the client has left: only metrics and the log see this status


class Refusal(Exception):
    """A refusal of a request.

    Attributes:
        status: The HTTP status.
        message: One line for the client; it must name no path of this machine.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def busy(message: str, seconds: float) -> Refusal:
    """Return a refusal that asks the client to come back after some seconds."""
    return Refusal(429, message, {"Retry-After": str(max(1, round(seconds + 0.499)))})


def error_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return ``{"error": message}``, with the message on one line."""
    return JSONResponse({"error": " ".join(message.split())}, status, headers)
