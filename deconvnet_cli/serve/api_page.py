"""The requests of this server: what /openapi.json says of photos, and the page /docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from fastapi import Response

from deconvnet_cli.serve.access import OPEN
from deconvnet_cli.serve.responses import SegmentQuery
from deconvnet_cli.serve.uploads import FORM

# What /openapi.json says of a photo and its answers.
FILE = {"schema": {"type": "string", "format": "binary"}}
FORM_OF_FILE = {
    "schema": {
        "type": "object",
        "properties": {"file": FILE["schema"], **SegmentQuery.model_json_schema()["properties"]},
        "required": ["file"],
    }
}
ERRORS = {
    400: "Not an image, or a damaged one.",
    401: "The token is missing or wrong.",
    403: "The host name is another, or the page is of another origin.",
    408: "The photo did not arrive in time.",
    413: "Too many bytes or pixels.",
    415: "A body that cannot be a photo, or a compressed one.",
    422: "A wrong form or option.",
    429: "The queue is full, or too many requests came from this address; see Retry-After.",
    500: "An error in the server; its log says why.",
    504: "Not done in time.",
}
ERROR = {
    "schema": {
        "type": "object",
        "properties": {"error": {"type": "string", "description": "What is wrong, in one line."}},
        "required": ["error"],
    }
}
SEGMENT: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"image/*": FILE, "application/octet-stream": FILE, FORM: FORM_OF_FILE},
        }
    },
    "response_class": Response,
    "responses": {
        200: {
            "description": "The labels.",
            "content": {"image/png": FILE, "application/json": {"schema": {"type": "object"}}},
        },
        **{
            status: {"description": why, "content": {"application/json": ERROR}}
            for status, why in ERRORS.items()
        },
    },
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: requests</title>
<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="page.css">
</head>
<body>
<main class="requests">
<h1>{title}: requests</h1>
<p>As a file: <a href="openapi.json">openapi.json</a>. The page: <a href="./">photos</a>.</p>
{requests}</main>
</body>
</html>
"""


def require_token(schema: dict[str, Any]) -> None:
    """Say in an OpenAPI document which requests need the token of the server."""
    scheme = {"type": "http", "scheme": "bearer", "description": "The token of the server."}
    schema.setdefault("components", {})["securitySchemes"] = {"token": scheme}
    for path, methods in schema["paths"].items():
        if path not in OPEN:
            for about in methods.values():
                about["security"] = [{"token": []}]
                about["responses"].setdefault(
                    "401", {"description": ERRORS[401], "content": {"application/json": ERROR}}
                )


def api_page(schema: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI document, with one section a request."""
    requests = (
        request_section(f"{method.upper()} {path}", about)
        for path, methods in schema["paths"].items()
        for method, about in methods.items()
    )
    return PAGE.format(title=escape(schema["info"]["title"]), requests="".join(requests))


def request_section(heading: str, about: Mapping[str, Any]) -> str:
    """Return the section of one request: its summary, options, bodies and answers."""
    options = (
        (each["name"], allowed(each["schema"]), each.get("description", ""))
        for each in about.get("parameters", ())
    )
    bodies = ((kind, "", "") for kind in about.get("requestBody", {}).get("content", ()))
    answers = (
        (status, ", ".join(each.get("content", ())), each.get("description", ""))
        for status, each in about["responses"].items()
    )
    parts = (("option", options), ("body", bodies), ("answer", answers))
    return (
        f"<section><h2><code>{escape(heading)}</code></h2>"
        f"<p>{escape(about.get('description') or about.get('summary', ''))}</p>"
        f"{''.join(table(name, rows) for name, rows in parts)}</section>\n"
    )


def table(name: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """Return a table of names, values and meanings, or nothing without rows."""
    lines = [
        f'<tr><th scope="row"><code>{escape(first)}</code></th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    ]
    return (
        f"<table><caption>{name}</caption><tbody>{''.join(lines)}</tbody></table>" if lines else ""
    )


def allowed(schema: Mapping[str, Any]) -> str:
    """Return the values that a schema allows, in short."""
    kinds = [each for each in schema.get("anyOf", (schema,)) if each.get("type") != "null"]
    return ", ".join(", ".join(each.get("enum", (each.get("type", ""),))) for each in kinds)
