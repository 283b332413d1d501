"""Optional packages, which the extras of this package install."""

from __future__ import annotations

from importlib import import_module

from deconvnet_cli.errors import DependencyError, install


def require_packages(what: str, extra: str, *names: str) -> None:
    """Import the packages that ``what`` needs, before it begins its work.

    Raises:
        DependencyError: A package is missing, or cannot be loaded.
    """
    for name in names:
        try:
            import_module(name)
        except ImportError as error:
            raise DependencyError(
                f"{what} needs the optional package {name}: {install(extra)}"
            ) from error
