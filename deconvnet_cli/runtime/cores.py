"""The cores that this process may use: its affinity allows some, and a container's quota fewer."""

from __future__ import annotations

import math
import os
import sys
from functools import cache
from pathlib import Path

# The files of a container's quota and period, in control groups of version 2 and of version 1.
GROUPS = Path("/sys/fs/cgroup")
QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return min(allowed, quota() or allowed)


def quota() -> int | None:
    """Return the number of cores whose time this container may use; None without a limit."""
    for names in QUOTAS:
        try:
            text = " ".join((GROUPS / name).read_text(encoding="ascii") for name in names)
            most, period = map(int, text.split())
        except (OSError, ValueError):  # no container, another version, or "max"
            continue
        if most > 0 < period:  # -1 is no limit
            return math.ceil(most / period)
    return None


def limit_threads() -> None:
    """Let torch start no more threads than a container's quota, unless OMP_NUM_THREADS is set.

    By default it starts one for each core of the host, and they wait for one another's time.
    """
    if quota() is None or "OMP_NUM_THREADS" in os.environ:
        return
    torch = sys.modules.get("torch")
    if torch is None:
        os.environ["OMP_NUM_THREADS"] = str(cores())  # torch reads it when it is imported
    elif torch.get_num_threads() > cores():
        torch.set_num_threads(cores())


@cache
def allow_forks() -> None:
    """Let torch use one thread in processes that are forked from this one from now on.

    The threads that OpenMP has started are not in them, and it would wait for these without end.
    The workers of torch's DataLoader have one thread for this reason too.
    """
    if hasattr(os, "register_at_fork"):
        import torch

        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
