"""What --quiet leaves of the commands whose result is a table."""

from __future__ import annotations

from collections.abc import Collection

from deconvnet_cli.errors import UsageError


def refuse_silence(quiet: bool, given: Collection[object], options: str) -> None:
    """Raise UsageError if --quiet leaves out all that a command would give.

    Args:
        quiet: Whether --quiet is given.
        given: The values of the options that give something besides the table.
        options: Their names, for the error.
    """
    if quiet and not any(given):
        raise UsageError(f"--quiet leaves out the table, and so all results; give {options} too")
