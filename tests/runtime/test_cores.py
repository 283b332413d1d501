"""The cores of this process: those of its affinity, and no more than a container's quota."""

import os
import sys
from types import SimpleNamespace

import pytest

from deconvnet_cli.runtime import cores as module

V2, V1, PERIOD = "cpu.max", "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    "files, expected, threads",
    [
        ({V2: "max 100000\n"}, 8, None),
        ({V2: "150000 100000\n"}, 2, "2"),  # one and a half
        ({V2: "20000 100000\n"}, 1, "1"),
        ({V2: "1600000 100000\n"}, 8, "8"),  # more than there are
        ({V2: "broken"}, 8, None),
        ({V1: "150000\n", PERIOD: "100000\n"}, 2, "2"),
        ({V1: "-1\n", PERIOD: "100000\n"}, 8, None),
        ({V1: "150000\n"}, 8, None),
        ({V1: "150000\n", PERIOD: "0\n"}, 8, None),
        ({}, 8, None),
    ],
)
def test_a_container_uses_the_cores_of_its_quota(monkeypatch, tmp_path, files, expected, threads):
    """Else a container of one core on a host of 64 would start 64 threads and 8 workers."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(module, "GROUPS", tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    set_to: list[int] = []
    torch = SimpleNamespace(set_num_threads=set_to.append, get_num_threads=lambda: 4)
    monkeypatch.setitem(sys.modules, "torch", torch)
    module.limit_threads()  # as in a program that has imported torch: its environment stays
    assert set_to == ([int(threads)] if threads in ("1", "2") else [])
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.delitem(sys.modules, "torch")
    module.limit_threads()
    assert (module.cores(), os.environ.get("OMP_NUM_THREADS")) == (expected, threads)


def test_a_users_number_of_threads_counts(monkeypatch, tmp_path):
    (tmp_path / V2).write_text("100000 100000")
    monkeypatch.setattr(module, "GROUPS", tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    module.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_cores_where_no_affinity_is_known(monkeypatch, tmp_path):
    """As on macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(module, "GROUPS", tmp_path)
    assert module.cores() == 5
