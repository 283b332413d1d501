"""The answers of the application to errors."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deconvnet_cli.errors import ImageError
from deconvnet_cli.serve.errors import error_response
from deconvnet_cli.serve.responses import in_one_line


def answer_errors(app: FastAPI) -> None:
    """Answer each error with a JSON object of one line that names no path of this machine."""

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, ImageError):
            return error_response(400, str(error))
        if isinstance(error, HTTPException):
            return http_error_response(error)
        if isinstance(error, RequestValidationError):
            return error_response(422, in_one_line(error.errors()))
        return error_response(500, "something went wrong; the server's log says what")

    for kind in (ImageError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refused)


def http_error_response(error: HTTPException) -> Response:
    """Return the answer to a refusal, or to an address or method that there is not."""
    message = error.detail
    if error.status_code == 404:
        message = "there is nothing at this address; the page docs lists all requests"
    elif error.status_code == 405:
        message = f"this address takes only {(error.headers or {}).get('Allow', 'other methods')}"
    return error_response(error.status_code, message, error.headers)
