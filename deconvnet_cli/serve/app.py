"""The application: what is answered to which request."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from time import perf_counter
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from PIL import Image
from starlette.exceptions import HTTPException

from deconvnet_cli.data.voc import palette
from deconvnet_cli.errors import ImageError
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System
from deconvnet_cli.serve.access import OPEN, Guard
from deconvnet_cli.serve.errors import Refusal, error_response
from deconvnet_cli.serve.limits import TokenBuckets, WorkQueue
from deconvnet_cli.serve.prometheus import Counting, Metrics
from deconvnet_cli.serve.responses import Output, SegmentQuery, content, wanted
from deconvnet_cli.serve.settings import ServeSettings
from deconvnet_cli.serve.uploads import check_head, content_type, photo_in, read_body

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PATHS = OPEN.union(("/segment", "/metrics"))
log = logging.getLogger("deconvnet.serve")


@dataclass(frozen=True)
class Answer:
    """What is sent back of one photo, and milliseconds by stage."""

    body: bytes
    media_type: str
    ms: dict[str, float]


def build_app(system: System, settings: SegmentSettings, serving: ServeSettings) -> FastAPI:
    """The application around nets that are loaded.

    It owns the threads that photos are worked on in, and waits for them when it is shut down.
    """
    queue = WorkQueue(serving.workers, serving.queue)
    buckets = TokenBuckets(serving.rate)
    metrics = Metrics(queue)
    # The first photo of a process takes longer: it is none of a client's.
    warm = queue.pool.submit(warm_up, system, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, settings=serving)
    app.add_middleware(Counting, metrics=metrics, paths=PATHS)
    answer_errors(app)
    serve_page(app)

    @app.post("/segment")
    async def segment_photo(request: Request, query: Annotated[SegmentQuery, Query()]) -> Response:
        start = perf_counter()
        kind = content_type(request)
        work = partial(
            answer,
            system=system,
            settings=for_request(settings, query, serving),
            kind=kind,
            max_pixels=serving.max_pixels,
            output=wanted(query, request.headers.get("accept", "")),
            embed=query.embed,
        )
        check_head(request, serving.max_bytes)
        with queue.place():
            buckets.take(request.client.host if request.client else "")
            body = await read_body(request, serving.max_bytes, serving.timeout)
            left = serving.timeout - (perf_counter() - start)
            done = await queue.run(partial(work, body), left, partial(disconnected, request))
        metrics.photo(done.ms)
        metrics.latency.observe(perf_counter() - start)
        timing = ", ".join(f"{stage};dur={ms}" for stage, ms in done.ms.items())
        return Response(done.body, 200, {"Server-Timing": timing}, done.media_type)

    @app.get("/about")
    async def about() -> dict[str, Any]:
        colours = (f"#{bytes(colour).hex()}" for colour in palette())
        return {
            "classes": [
                {"label": label, "name": name, "colour": colour}
                for label, (name, colour) in enumerate(zip(system.classes, colours, strict=False))
            ],
            "system": system.name,
            "crf": settings.crf is not None,
            "max_bytes": serving.max_bytes,
            "max_pixels": serving.max_pixels,
        }

    @app.get("/healthz")
    async def alive() -> dict[str, bool]:
        return {"alive": True}

    @app.get("/readyz")
    async def ready() -> JSONResponse:
        able = warm.done() and not warm.cancelled() and warm.exception() is None
        return JSONResponse({"ready": able}, 200 if able else 503)

    @app.get("/metrics")
    async def prometheus() -> Response:
        # In full: Starlette would make another parameter of the character set.
        kind = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return Response(metrics.text(), headers=kind)

    return app


def for_request(
    settings: SegmentSettings, query: SegmentQuery, serving: ServeSettings
) -> SegmentSettings:
    """The settings of the server, with or without the CRF as the request wants it."""
    if query.crf is None:
        return settings
    return replace(settings, crf=serving.refinement if query.crf else None)


def answer(
    body: bytes,
    *,
    system: System,
    settings: SegmentSettings,
    kind: str,
    max_pixels: int,
    output: Output,
    embed: bool,
) -> Answer:
    """All the work of one request, in a worker thread.

    Raises:
        Refusal: see ``photo_in``; 500, it could not be segmented, and the log says why.
        ImageError: as ``photo_in``.
    """
    try:
        photo = photo_in(body, kind, max_pixels)
        result = segment(photo, system, settings)
        made, media_type = content(output, photo, result, system.classes, embed=embed)
    except (Refusal, ImageError):
        raise
    except Exception:
        log.exception("a photo could not be segmented")
        raise Refusal(500, "the photo could not be segmented; the server's log says why") from None
    return Answer(made, media_type, result.ms)


def warm_up(system: System, settings: SegmentSettings) -> None:
    """Segment a photo of noise, and show so that the nets work."""
    try:
        segment(Image.effect_noise((160, 120), 64).convert("RGB"), system, settings)
    except Exception:
        log.exception("the nets do not work; the server will never be ready")
        raise


async def disconnected(request: Request) -> None:
    """Return once the client has gone; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def serve_page(app: FastAPI) -> None:
    """Add the page and its parts, which are read once."""
    folder = resources.files("deconvnet_cli.serve") / "web"

    def part(text: str, media_type: str) -> Callable[[], Response]:
        return lambda: Response(text, headers={"Cache-Control": "no-cache"}, media_type=media_type)

    for path, (name, media_type) in PAGE.items():
        text = (folder / name).read_text(encoding="utf-8")
        app.add_api_route(path, part(text, media_type), response_class=Response)


def answer_errors(app: FastAPI) -> None:
    """Make each error a JSON object with one line that names no path of this machine."""

    async def refused(request: Request, error: Exception) -> Response:
        if isinstance(error, Refusal):
            return error_response(error.status, error.message, error.headers)
        if isinstance(error, ImageError):
            return error_response(400, str(error))
        if isinstance(error, HTTPException):
            headers = dict(error.headers) if error.headers else None
            return error_response(error.status_code, str(error.detail), headers)
        if isinstance(error, RequestValidationError):
            found = (f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
            return error_response(422, "; ".join(found))
        return error_response(500, "something went wrong; the server's log says what")

    for kind in (Refusal, ImageError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refused)
