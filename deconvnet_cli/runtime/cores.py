"""The cores that this process may use: its affinity allows some, and a container's quota fewer."""

from __future__ import annotations

import math
import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, in control groups of version 2


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return min(allowed, quota() or allowed)


def quota() -> int | None:
    """Return the number of cores whose time this container may use; None without a limit."""
    try:
        most, period = QUOTA.read_text(encoding="ascii").split()
        return math.ceil(int(most) / int(period))
    except (OSError, ValueError):  # no container, or "max"
        return None


def limit_threads() -> None:
    """Let torch start no more threads than a container's quota; call this before it is imported.

    By default it starts one for each core of the host, and they wait for one another's time.
    """
    if quota() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))
