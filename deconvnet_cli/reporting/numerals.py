"""Numbers of things, as people say them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, whose plural ends in s: "1 photo", "2 photos", "2 boxes"."""
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def effort(line: Mapping[str, Any]) -> str:
    """Return what a photo took, as "3 boxes, 1.3 s", from its JSON line."""
    return f"{counted(line['proposals'], 'box')}, {sum(line['ms'].values()) / 1000:.1f} s"
