"""The answers of the application to errors."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deconvnet_cli.errors import ImageError
from deconvnet_cli.serve.errors import Refusal, error_response
from deconvnet_cli.serve.responses import in_one_line


def answer_errors(app: FastAPI) -> None:
    """Answer each error with a JSON object of one line that names no path of this machine."""

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, Refusal):
            return error_response(error.status, error.message, error.headers)
        if isinstance(error, ImageError):
            return error_response(400, str(error))
        if isinstance(error, HTTPException):
            return error_of_routing(error)
        if isinstance(error, RequestValidationError):
            return error_response(422, in_one_line(error.errors()))
        return error_response(500, "something went wrong; the server's log says what")

    for kind in (Refusal, ImageError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refused)


def error_of_routing(error: HTTPException) -> Response:
    """Return the answer to a request for an address or with a method that there is not."""
    headers = dict(error.headers or {})
    message = str(error.detail)
    if error.status_code == 404:
        message = "there is nothing at this address; the page docs lists all requests"
    elif error.status_code == 405:
        message = f"this address takes only {headers.get('Allow', 'other methods')}"
    return error_response(error.status_code, message, headers)
