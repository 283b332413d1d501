"""What files of counts say of themselves: whether they are shards of one list, counted alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.counts import Counts
from deconvnet_cli.runtime.shards import shard_text

# These may differ from one machine to the next.
OF_THE_MACHINE = ("list", "merged", "file", "folder", "precision", "batch_size")
SHARDS = re.compile(r"(?:all|\d{1,6}/\d{1,6}(?:, \d{1,6}/\d{1,6})*)")
MOST_NAMED = 10  # missing shards


class Counted(NamedTuple):
    """The photos of one list that files of counts hold together.

    Attributes:
        split: The name of the list.
        images: Their number.
        shards: Their shards, (I, N) each; (1, 1) is the whole list.
    """

    split: str
    images: int
    shards: tuple[tuple[int, int], ...]

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The shards that no file holds."""
        total = self.shards[0][1]
        every = ((number, total) for number in range(1, total + 1))
        present = set(self.shards)
        return [shard for shard in every if shard not in present]

    def plain(self) -> dict[str, Any]:
        """Return the values as a file of counts has them."""
        shard = ", ".join(map(shard_text, self.shards)) if self.missing else "all"
        return {"split": self.split, "images": self.images, "shard": shard}


def require_alike(parts: Mapping[Path, Counts]) -> None:
    """Raise DatasetError if two files were made with other nets or settings."""
    before: dict[str, tuple[Any, Path]] = {}
    for path, counts in parts.items():
        for name, value in settings_of(counts.about):
            other, first = before.setdefault(name, (value, path))
            if other != value:
                raise DatasetError(
                    f"{path}: {name} is {in_short(value)}, but {in_short(other)} in {first}; "
                    "evaluate all shards in the same way"
                )


def settings_of(about: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what does not depend on the machine, by names such as "settings.proposals"."""
    for part, values in about.items():
        if part not in OF_THE_MACHINE and isinstance(values, dict):
            for name, value in values.items():
                if name not in OF_THE_MACHINE:
                    yield f"{part}.{name}", value


def in_short(value: Any) -> str:
    """Return a value in at most 20 characters."""
    text = str(value)
    return text if len(text) <= 20 else f"{text[:17]}..."


def lists_of(parts: Mapping[Path, Counts]) -> list[Counted]:
    """Return each list with the shards of it that the files hold together.

    Raises:
        DatasetError: Two files hold the same shard of a list, or shards of different numbers.
    """
    holders: dict[str, dict[tuple[int, int], Path]] = {}
    images: Counter[str] = Counter()
    for path, counts in parts.items():
        for found in lists_in(counts.about):
            shards = holders.setdefault(found.split, {})
            for shard in found.shards:
                first = next(iter(shards), shard)
                if shard in shards or shard[1] != first[1]:
                    other = shard if shard in shards else first
                    raise DatasetError(
                        f"{path}: has shard {shard_text(shard)} of {found.split}, and "
                        f"{shards[other]} has {shard_text(other)}; photos would count twice, so "
                        "merge each of I/N once, with one N"
                    )
                shards[shard] = path
            images[found.split] += found.images
    return [Counted(split, images[split], tuple(shards)) for split, shards in holders.items()]


def lists_in(about: Mapping[str, Any]) -> list[Counted]:
    """Return the lists that a file of counts is of; none if it does not say."""
    given = about.get("list")
    found = []
    for entry in given if isinstance(given, list) else [given]:
        values = entry if isinstance(entry, dict) else {}
        split, images, shard = (values.get(name) for name in ("split", "images", "shard"))
        if isinstance(split, str) and isinstance(images, int) and SHARDS.fullmatch(str(shard)):
            found.append(Counted(split, images, tuple(map(numbers_of, str(shard).split(", ")))))
    return found


def numbers_of(text: str) -> tuple[int, int]:
    """Return a shard, I/N or "all", as (I, N)."""
    number, _, total = text.partition("/")
    return (1, 1) if text == "all" else (int(number), int(total))


def missing_line(counted: Counted) -> str:
    """Return a line that names the missing shards of a list."""
    missing = counted.missing
    named = ", ".join(map(shard_text, missing[:MOST_NAMED]))
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return f"{counted.split}: only a part of the list; shards that are missing: {named}{more}"
