"""The splits that an export has of its own."""

from __future__ import annotations


def split_name(name: str) -> str:
    """Return the name of a list of a tree for a split's own name, such as ``Validation``."""
    lower = name.lower()
    return "val" if lower in ("valid", "validation") else lower
