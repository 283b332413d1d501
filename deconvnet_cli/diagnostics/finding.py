"""The findings of ``deconvnet doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deconvnet_cli.errors import DeconvnetError


@dataclass(frozen=True)
class Finding:
    """A finding of a check.

    Attributes:
        name: The name of the part that was checked.
        state: "ok"; "note" if it works but could be better; "PROBLEM" if something that is needed
            does not work.
        text: The observation, on one line.
        remedy: The remedy, on one line; empty if nothing needs to be done.
    """

    name: str
    state: str
    text: str
    remedy: str = ""


Check = Callable[[], Iterator[Finding]]


def findings(name: str, check: Check) -> list[Finding]:
    """Run a check and return its findings; an error becomes a finding named ``name``."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:  # broken packages raise anything, and the other checks go on
        # The messages of our own errors end with the remedy.
        remedy = "" if isinstance(error, DeconvnetError) else "install deconvnet again"
        found.append(Finding(name, "PROBLEM", " ".join(str(error).split()), remedy))
    return found
