"""What ``deconvnet doctor`` finds, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deconvnet_cli.errors import DeconvnetError


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        name: of what was looked at.
        state: "ok"; "note" if all works, but something could be better; "PROBLEM" if something
            that is needed does not work.
        text: what there is, on one line.
        remedy: what to do about it, on one line; empty if nothing is to be done.
    """

    name: str
    state: str
    text: str
    remedy: str = ""


Check = Callable[[], Iterator[Finding]]


def findings(name: str, check: Check) -> list[Finding]:
    """What one check finds; a package that cannot be imported is a finding too."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except (DeconvnetError, ImportError, OSError) as error:
        # Errors of this package end with what to do.
        remedy = "" if isinstance(error, DeconvnetError) else "install deconvnet again"
        found.append(Finding(name, "PROBLEM", " ".join(str(error).split()), remedy))
    return found
