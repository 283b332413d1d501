"""The web application: its routes and its page."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib import resources
from time import perf_counter
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from PIL import Image
from starlette.datastructures import Headers

from deconvnet_cli import __version__
from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.errors import ImageError
from deconvnet_cli.outputs.palettes import bright_colours
from deconvnet_cli.reporting.html import stylesheet
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System
from deconvnet_cli.serve.access import OPEN, PAGE, Guard
from deconvnet_cli.serve.api_page import SEGMENT, api_page, require_token
from deconvnet_cli.serve.error_answers import answer_errors
from deconvnet_cli.serve.errors import Refusal
from deconvnet_cli.serve.limits import TokenBuckets, WorkQueue
from deconvnet_cli.serve.prometheus import Counting, Metrics
from deconvnet_cli.serve.responses import (
    SegmentQuery,
    choose_output,
    outputs_for,
    refuse_twice,
    render,
    with_fields,
)
from deconvnet_cli.serve.settings import ServeSettings
from deconvnet_cli.serve.uploads import check_headers, photo_from_file, read_body, read_upload

PATHS = OPEN.union(("/segment", "/metrics"))
log = logging.getLogger("deconvnet.serve")


def build_app(system: System, settings: SegmentSettings, serving: ServeSettings) -> FastAPI:
    """Return the application that serves a loaded system.

    It owns the threads that segment photos, and waits for them at shutdown.
    """
    queue = WorkQueue(serving.workers, serving.queue)
    buckets = TokenBuckets(serving.rate)
    metrics = Metrics(queue)
    # The first photo of a process takes longer, so it should not be a client's.
    warm = queue.pool.submit(warm_up, system, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()

    app = FastAPI(
        title="deconvnet",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # curl would write the empty answer as if it were labels
    )
    app.add_middleware(Guard, settings=serving)
    app.add_middleware(Counting, metrics=metrics, paths=PATHS)
    answer_errors(app)
    serve_page(app)

    @app.post("/segment", **SEGMENT)
    async def segment_photo(request: Request, query: Annotated[SegmentQuery, Query()]) -> Response:
        """Label a photo: the body, or the one file of a form, whose other fields are options."""
        start = perf_counter()
        refuse_twice(name for name, _ in request.query_params.multi_items())
        check_headers(request, serving.max_bytes)
        address = request.client.host if request.client else ""
        with queue.place():
            with queue.arriving(address):
                buckets.take(address)
                body = await read_body(request, serving.max_bytes, serving.timeout)
            left = serving.timeout - (perf_counter() - start)
            gone = partial(disconnected, request)
            work = partial(answer_photo, body, query, request.headers, system, settings, serving)
            answer, media_type, ms = await queue.run(work, left, gone)
        metrics.photo(ms)
        metrics.latency.observe(perf_counter() - start)
        timing = ", ".join(f"{stage};dur={value}" for stage, value in ms.items())
        return Response(answer, 200, {"Server-Timing": timing}, media_type)

    @app.get("/about")
    async def about() -> dict[str, Any]:
        """Return the limits, and the names of the labels, with their colours in PNG and overlay."""
        in_png, in_overlay = palette_for(system.classes), bright_colours(system.classes)
        return {
            "classes": [
                {
                    "label": label,
                    "name": name,
                    "colour": f"#{bytes(in_png[label]).hex()}",
                    "overlay": f"#{bytes(in_overlay[label]).hex()}",
                }
                for label, name in enumerate(system.classes)
            ],
            "system": system.name,
            "crf": settings.crf is not None,
            "max_bytes": serving.max_bytes,
            "max_pixels": serving.max_pixels,
        }

    @app.get("/healthz")
    async def alive() -> dict[str, bool]:
        """Return whether the server is alive."""
        return {"alive": True}

    @app.get("/readyz", responses={503: {"description": "Not yet."}})
    async def ready() -> JSONResponse:
        """Return whether the server has segmented a first photo; 503 until then."""
        works = warm.done() and not warm.cancelled() and warm.exception() is None
        return JSONResponse({"ready": works}, 200 if works else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Return metrics for Prometheus."""
        # As a header, because Starlette may add a second charset to a media type.
        kind = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return Response(metrics.text(), headers=kind)

    schema = app.openapi()
    if serving.token is not None:
        require_token(schema)
        app.openapi = lambda: schema  # type: ignore[method-assign]  # FastAPI's way to change it
    document = api_page(schema)

    @app.get("/docs", include_in_schema=False)
    async def requests_page() -> Response:
        return Response(document, media_type="text/html")

    return app


def answer_photo(
    body: bytes,
    query: SegmentQuery,
    headers: Headers,
    system: System,
    settings: SegmentSettings,
    serving: ServeSettings,
) -> tuple[bytes, str, dict[str, float]]:
    """Do all the work of one request, in a worker thread.

    Returns:
        The body of the answer, its media type, and the milliseconds by stage.

    Raises:
        Refusal: See ``read_upload``, ``with_fields``, ``outputs_for`` and ``photo_from_file``; 500
            if segmentation fails, and the log says why.
        ImageError: See ``photo_from_file``.
    """
    try:
        data, fields = read_upload(body, headers.get("content-type", ""))
        options = with_fields(query, fields)
        output = choose_output(options, headers.get("accept", ""))
        outputs = outputs_for(options, output, system.classes)
        notes: list[str] = []
        photo = photo_from_file(data, serving.max_pixels, notes.append)
        if options.crf is not None:
            settings = replace(settings, crf=serving.refinement if options.crf else None)
        result = segment(photo, system, settings)
        answer, media_type = render(
            output, outputs, photo, result, system.classes, embed=options.embed, notes=notes
        )
    except (Refusal, ImageError):
        raise
    except Exception:
        log.exception("a photo could not be segmented")
        raise Refusal(500, "the photo could not be segmented; the server's log says why") from None
    return answer, media_type, result.ms


def warm_up(system: System, settings: SegmentSettings) -> None:
    """Segment a photo of noise, to show that the nets work."""
    try:
        segment(Image.effect_noise((160, 120), 64).convert("RGB"), system, settings)
    except Exception:
        log.exception("the nets do not work; the server will never be ready")
        raise


async def disconnected(request: Request) -> None:
    """Return once the client has left; call it after the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def serve_page(app: FastAPI) -> None:
    """Add the page and its files, which are read once."""
    folder = resources.files("deconvnet_cli.serve") / "web"

    def part(text: str, media_type: str) -> Callable[[], Response]:
        return lambda: Response(text, headers={"Cache-Control": "no-cache"}, media_type=media_type)

    for path, (name, media_type) in PAGE.items():
        text = (folder / name).read_text(encoding="utf-8")
        if name == "page.css":
            text = stylesheet("base.css") + text
        app.add_api_route(
            path, part(text, media_type), response_class=Response, include_in_schema=False
        )
