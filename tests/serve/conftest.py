"""The nets and the plain server that the tests of ``deconvnet serve`` share.

The fixtures import the helpers, so that tests skip where the server's packages are missing.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.chromium import Browser
    from httpx import Client

    from deconvnet_cli.segmentation.system import System


@pytest.fixture(scope="session")
def system(lively_weights: Path) -> System:
    """Load nets that rarely say background, so that photos get many labels."""
    from helpers.serving import ready_nets

    return ready_nets(lively_weights, background=3)


@pytest.fixture(scope="session")
def server(system: System) -> Iterator[Client]:
    """Start the plain server, for tests that need no settings of their own."""
    from helpers.serving import servers

    with servers(system) as start:
        yield start()


@pytest.fixture
def address(server: Client) -> str:
    """Return the address of the plain server."""
    return str(server.base_url)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start a browser for the tests of a module."""
    from helpers.chromium import chromium

    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Return what the server logs, by a handler like that of ``server.run``."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.root.addHandler(handler)
    yield text
    logging.root.removeHandler(handler)


@pytest.fixture
def serve(system: System) -> Iterator[Callable[..., Client]]:
    """Return a function that starts a server with settings of the test's own."""
    from helpers.serving import servers

    with servers(system) as start:
        yield start
