"""What files of counts say of themselves: whether they are shards of one list, counted alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.counts import Counts

# These may differ from one machine to the next.
OF_THE_MACHINE = ("list", "merged", "file", "folder", "precision", "batch_size")
SHARDS = re.compile(r"(?:all|\d{1,6}/\d{1,6}(?:, \d{1,6}/\d{1,6})*)")
MOST_NAMED = 10  # missing shards


class Counted(NamedTuple):
    """The images of one list that files of counts hold together.

    Attributes:
        split: The name of the list.
        images: Their number.
        shards: Their shards, "all" or I/N each.
    """

    split: str
    images: int
    shards: tuple[str, ...]

    @property
    def missing(self) -> list[int]:
        """The numbers of the shards that no file holds."""
        if self.shards == ("all",):
            return []
        present = {int(shard.partition("/")[0]) for shard in self.shards}
        total = int(self.shards[0].partition("/")[2])
        return [number for number in range(1, total + 1) if number not in present]

    def plain(self) -> dict[str, Any]:
        """Return the values as a file of counts has them."""
        shard = ", ".join(self.shards) if self.missing else "all"
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
    holders: dict[str, dict[str, Path]] = {}
    images: dict[str, int] = {}
    for path, counts in parts.items():
        for found in lists_in(counts.about):
            shards = holders.setdefault(found.split, {})
            for shard in found.shards:
                first = next(iter(shards), shard)
                if shard in shards or shard.partition("/")[2] != first.partition("/")[2]:
                    other = shard if shard in shards else first
                    raise DatasetError(
                        f"{path}: has shard {shard} of {found.split}, and {shards[other]} has "
                        f"{other}; images would count twice, so merge each of I/N once, with one N"
                    )
                shards[shard] = path
            images[found.split] = images.get(found.split, 0) + found.images
    return [Counted(split, images[split], tuple(shards)) for split, shards in holders.items()]


def lists_in(about: Mapping[str, Any]) -> list[Counted]:
    """Return the lists that a file of counts is of; none if it does not say."""
    given = about.get("list")
    found = []
    for entry in given if isinstance(given, list) else [given]:
        values = entry if isinstance(entry, dict) else {}
        split, images, shard = (values.get(name) for name in ("split", "images", "shard"))
        if isinstance(split, str) and isinstance(images, int) and SHARDS.fullmatch(str(shard)):
            shards = (plain_shard(one) for one in str(shard).split(", "))
            found.append(Counted(split, images, tuple(shards)))
    return found


def plain_shard(text: str) -> str:
    """Return a shard without leading zeros, so that 01/3 is 1/3."""
    return text if text == "all" else "/".join(str(int(part)) for part in text.split("/"))


def missing_line(counted: Counted) -> str:
    """Return a line that names the missing shards of a list."""
    total = counted.shards[0].partition("/")[2]
    named = [f"{number}/{total}" for number in counted.missing[:MOST_NAMED]]
    more = len(counted.missing) - len(named)
    rest = f" and {more} more" if more else ""
    shards = ", ".join(named)
    return f"{counted.split}: only a part of the list; shards that are missing: {shards}{rest}"
