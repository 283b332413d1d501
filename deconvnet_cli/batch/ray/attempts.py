"""An actor that knows how often photos were begun; it imports nothing that is slow to load."""

from __future__ import annotations

from collections import Counter

Key = tuple[str, int]  # the name of a state, and the number of a photo


class AttemptCounter:
    """An actor that counts, for each photo and stage, the attempts that never ended."""

    def __init__(self) -> None:
        self.started: Counter[Key] = Counter()

    def start(self, key: Key) -> int:
        """Count the start of an attempt; return how many earlier attempts never ended."""
        self.started[key] += 1
        return self.started[key] - 1

    def end(self, key: Key) -> None:
        """Record that the attempt has ended."""
        self.started.pop(key, None)
