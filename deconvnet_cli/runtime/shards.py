"""Shards: each of N runs takes every N-th photo, and together they take all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

from deconvnet_cli.errors import UsageError

Item = TypeVar("Item")


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """``I/N`` as (I, N), I from 1; ``auto`` takes them from the job that this process is in.

    ``auto`` knows SLURM's arrays (SLURM_ARRAY_TASK_ID, _MIN, _COUNT; tasks numbered without gaps)
    and RANK with WORLD_SIZE, as torchrun and many schedulers set them.

    Raises:
        UsageError: neither of them, or I is not one of 1 to N.
    """
    if text == "auto":
        return shard_here(environment)
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal()):
        raise UsageError(f"--shard {text}: give I/N, such as 2/8, or auto")
    if not 1 <= int(number) <= int(count):
        raise UsageError(f"--shard {text}: shards are 1/{count} to {count}/{count}")
    return int(number), int(count)


def shard_here(environment: Mapping[str, str]) -> tuple[int, int]:
    """The shard that the environment says this process is.

    Raises:
        UsageError: it says none, or something impossible.
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
    """Shard I of N of ``items``, or all of them."""
    return list(items) if shard is None else list(items[shard[0] - 1 :: shard[1]])
