"""Serve labels over HTTP: photos in, labels out. It needs the packages of the extra ``serve``."""

from __future__ import annotations

from importlib import import_module

from deconvnet_cli.errors import DependencyError, install

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def require_packages() -> None:
    """Check that the packages of the extra are installed, before weights are loaded.

    Raises:
        DependencyError: A package is missing, or cannot be loaded.
    """
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise DependencyError(
                f"the server needs the optional package {name}: {install('serve')}"
            ) from error
