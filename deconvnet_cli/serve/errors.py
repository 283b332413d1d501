"""Refusals of requests: an HTTP status and one line of text."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

GONE = 499  # the client has left: only metrics and the log see this status


class Refusal(HTTPException):
    """A refusal of a request; its detail is one line that names no path of this machine."""


def busy(message: str, seconds: float) -> Refusal:
    """Return a refusal that asks the client to come back after some seconds."""
    return Refusal(429, message, {"Retry-After": str(max(1, round(seconds + 0.499)))})


def error_response(
    status: int, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return ``{"error": message}``, with the message on one line."""
    return JSONResponse({"error": " ".join(message.split())}, status, headers)
