"""Shards: each of N runs takes a part of the photos, so that together they take all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from deconvnet_cli.errors import UsageError
from deconvnet_cli.storage.hashing import bytes_sha256

Item = TypeVar("Item")


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return ``I/N`` as (I, N), with I from 1; ``auto`` reads them from the environment.

    ``auto`` supports SLURM's arrays (SLURM_ARRAY_TASK_ID, _MIN, _COUNT; tasks numbered without
    gaps) and RANK with WORLD_SIZE, which torchrun and many schedulers set.

    Raises:
        UsageError: The text is neither form, I is not in 1 to N, or the environment has no shard.
    """
    if text == "auto":
        return shard_here(environment)
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise UsageError(f"--shard {text}: give I/N, such as 2/8, or auto")
    if not 1 <= int(number) <= int(count):
        raise UsageError(f"--shard {text}: shards are 1/{count} to {count}/{count}")
    return int(number), int(count)


def shard_text(shard: tuple[int, int] | None) -> str:
    """Return a shard as I/N; one that takes all, or no shard, is "all"."""
    return "all" if shard is None or shard[1] == 1 else f"{shard[0]}/{shard[1]}"


def shard_here(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the shard of this process according to the environment.

    Raises:
        UsageError: The environment names no shard or an impossible one.
    """
    for index, first, count in (
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT"),
        ("RANK", "", "WORLD_SIZE"),
    ):
        if index not in environment or count not in environment:
            continue
        try:
            here = int(environment[index]) - int(environment.get(first, 0))
            total = int(environment[count])
        except ValueError as error:
            raise UsageError(f"--shard auto: {index} or {count} is no number ({error})") from error
        if not 0 <= here < total:
            raise UsageError(
                f"--shard auto: {index}={environment[index]} is none of {total} without gaps; "
                "give --shard I/N"
            )
        return here + 1, total
    raise UsageError(
        "--shard auto: neither SLURM_ARRAY_TASK_ID and _COUNT nor RANK and WORLD_SIZE are set; "
        "give --shard I/N"
    )


def shard_of(items: Sequence[Item], shard: tuple[int, int] | None) -> list[Item]:
    """Return every N-th item from the I-th on, or all items without a shard."""
    return list(items) if shard is None else list(items[shard[0] - 1 :: shard[1]])


def shard_by_name(
    items: Sequence[Item], name: Callable[[Item], str], shard: tuple[int, int] | None
) -> list[Item]:
    """Return the items whose names belong to shard I of N, or all items without a shard.

    An item stays in its shard if others come or go between the runs of the shards.
    """
    if shard is None:
        return list(items)

    def number_of(item: Item) -> int:
        return int(bytes_sha256(os.fsencode(name(item)))[:15], 16) % shard[1] + 1

    return [item for item in items if number_of(item) == shard[0]]
