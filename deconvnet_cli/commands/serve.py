"""``deconvnet serve``: photos in and labels out by HTTP, with a page to try it on."""

from __future__ import annotations

from typing import Any

import click

from deconvnet_cli.commands.shared.options import QUIET, SEGMENTING, WORKERS, apply
from deconvnet_cli.segmentation.loading import crf_settings, load_system


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="0 takes any free one.",
)
@click.option(
    "--token",
    envvar="DECONVNET_TOKEN",
    show_envvar=True,
    help="What clients have to show, as `Authorization: Bearer TOKEN`; needed on all addresses "
    "but loopback. Better in the variable: other users see the options of a command.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A host name under which a server on loopback is reached as well, through a proxy.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(1),
    default=20_000_000,
    show_default=True,
    help="Of a request's body.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=50_000_000,
    show_default=True,
    help="Of a photo, width x height.",
)
@click.option(
    "--rate",
    type=click.IntRange(0),
    default=120,
    show_default=True,
    help="Photos a minute from one address; 0 sets no limit.",
)
@click.option(
    "--queue",
    type=click.IntRange(0),
    default=16,
    show_default=True,
    help="Photos that may wait beyond those that are worked on.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds that a request may take, its body's arrival and the wait included.",
)
@apply(WORKERS, *SEGMENTING, QUIET)
def command(
    host: str,
    port: int,
    token: str | None,
    names: tuple[str, ...],
    max_bytes: int,
    max_pixels: int,
    rate: int,
    queue: int,
    timeout: float,
    workers: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Serve a page to drop photos on, and /segment for programs, until Ctrl-C.

    On loopback (the default) this machine alone reaches it; any other --host needs a token.
    docs/serve.md tells more.
    """
    from deconvnet_cli.serve import require_packages

    require_packages()

    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import at_a_time, one_core_a_photo
    from deconvnet_cli.serve.app import build_app
    from deconvnet_cli.serve.server import address_of, listen, run
    from deconvnet_cli.serve.settings import ServeSettings, check

    settings = ServeSettings(
        host=host,
        token=token,
        names=names,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        rate=rate,
        workers=at_a_time(workers),
        queue=queue,
        timeout=timeout,
        refinement=crf_settings(options["crf_backend"]),
    )
    check(settings)
    system, segmenting = load_system(**options)
    one_core_a_photo()
    with listen(host, port) as sock:
        if not quiet:
            console.say(f"{address_of(sock)} (Ctrl-C ends it)")
        run(build_app(system, segmenting, settings), settings, sock, quiet=quiet)
