"""The cores of this process: those of its affinity, and no more than a container's quota."""

from __future__ import annotations

import os

import pytest

from deconvnet_cli.runtime import cores as module


@pytest.mark.parametrize(
    "text, expected, threads",
    [
        ("max 100000\n", 8, None),
        ("150000 100000\n", 2, "2"),  # one and a half
        ("20000 100000\n", 1, "1"),
        ("1600000 100000\n", 8, "8"),  # more than there are
        ("broken", 8, None),
        (None, 8, None),
    ],
)
def test_a_container_uses_the_cores_of_its_quota(monkeypatch, tmp_path, text, expected, threads):
    """Else a container of one core on a host of 64 would start 64 threads and 8 workers."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(module, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    module.limit_threads()
    assert (module.cores(), os.environ.get("OMP_NUM_THREADS")) == (expected, threads)


def test_a_users_number_of_threads_counts(monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000")
    monkeypatch.setattr(module, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    module.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_cores_where_no_affinity_is_known(monkeypatch, tmp_path):
    """As on macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(module, "QUOTA", tmp_path / "none")
    assert module.cores() == 5
