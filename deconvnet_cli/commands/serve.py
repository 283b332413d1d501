"""``deconvnet serve``: an HTTP server that labels photos, with a page to try it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, option
from deconvnet_cli.commands.shared.option_types import FiniteRange
from deconvnet_cli.commands.shared.options import (
    QUIET_OPTION,
    WORKERS_OPTION,
    apply,
    segment_options,
)
from deconvnet_cli.segmentation.loading import crf_settings, load_system
from deconvnet_cli.serve.settings import ServeSettings

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentOptions

access_option = partial(option, group="Access")
PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
limit_option = partial(option, group="Limits")


@click.command("serve", cls=GroupedCommand)
@option("--host", default=ServeSettings.host, help="Address to listen on.")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    help="Port to listen on. 0: any free port.",
)
@access_option(
    "--token",
    envvar="DECONVNET_TOKEN",
    show_envvar=True,
    help="Secret that clients must send as `Authorization: Bearer TOKEN`. It is needed on every "
    "address but loopback. Prefer the variable, as other users can see the options of a command.",
)
@access_option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="Further host name of a server on loopback, for example behind a proxy; repeatable.",
)
@access_option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Other site whose pages may use this server, such as https://example.org; repeatable.",
)
@limit_option(
    "--max-bytes",
    type=click.IntRange(1),
    default=ServeSettings.max_bytes,
    help="Largest request body, in bytes.",
)
@limit_option(
    "--max-pixels",
    type=click.IntRange(1),
    default=ServeSettings.max_pixels,
    help="Largest width times height of a photo.",
)
@limit_option(
    "--rate",
    type=click.IntRange(0),
    default=ServeSettings.rate,
    help="Photos per minute from one address. 0: no limit.",
)
@limit_option(
    "--queue",
    type=click.IntRange(0),
    default=ServeSettings.queue,
    help="Number of photos that may wait, besides those in progress.",
)
@limit_option(
    "--timeout",
    type=FiniteRange(0, 1e6, min_open=True),
    default=ServeSettings.timeout,
    help="Seconds that a request may take, upload and waiting included.",
)
@apply(segment_options, WORKERS_OPTION, QUIET_OPTION)
def command(
    port: int, workers: int | None, quiet: bool, options: SegmentOptions, **limits: Any
) -> None:
    """Serve a page on which to drop photos, and /segment for programs, until Ctrl-C. On loopback
    (the default) only this machine can connect; any other --host needs a token. See docs/serve.md
    for more.
    """
    from deconvnet_cli.runtime.packages import require_packages

    require_packages("the server", "serve", *PACKAGES)

    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import at_a_time, one_core_a_photo
    from deconvnet_cli.serve.app import build_app
    from deconvnet_cli.serve.server import address_of, listen, run
    from deconvnet_cli.serve.settings import check

    settings = ServeSettings(
        workers=at_a_time(workers), refinement=crf_settings(options.crf_backend), **limits
    )
    check(settings)
    system, segmenting = load_system(options)
    one_core_a_photo()
    with listen(settings.host, port) as sock:
        if not quiet:
            console.say(f"{address_of(sock)} (stop with Ctrl-C)")
        run(build_app(system, segmenting, settings), settings, sock, quiet=quiet)
