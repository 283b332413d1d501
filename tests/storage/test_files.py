"""Files: how large they may be, who may read them, and what is cleared away."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deconvnet_cli.errors import DiskFullError, OutputError
from deconvnet_cli.storage.files import (
    part_file,
    read_stream,
    read_whole,
    remove_parts,
    write_whole,
    writing,
)


@pytest.fixture
def private() -> Iterator[None]:
    """The umask of somebody who lets their group read, and nobody else."""
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="no modes of this kind")
@pytest.mark.usefixtures("private")
def test_files_have_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    """And not that of temporary files, which only their owner may read."""
    whole, part = tmp_path / "whole.txt", tmp_path / "part.txt"
    write_whole(whole, b"text")
    with part_file(part) as written:
        written.write_bytes(b"text")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (whole, part)] == [0o640, 0o640]


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch) -> None:
    """Else a crash of the machine could leave an empty file in the place of a whole one."""
    done: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, r=real: done.append(n) or r(*a))
    write_whole(tmp_path / "a.txt", b"text")
    assert done == ["fsync", "replace"] and (tmp_path / "a.txt").read_bytes() == b"text"


@pytest.mark.parametrize(
    "number, expected",
    [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EIO, OutputError)],
)
def test_a_used_up_quota_is_a_full_disk(number: int, expected: type[OutputError]) -> None:
    with pytest.raises(OutputError) as raised, writing(Path("a.png")):
        raise OSError(number, "")
    assert type(raised.value) is expected


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_is_closed_to_somebody_has_a_remedy(number: int) -> None:
    words = r"^labels/a\.png: cannot be written \(.*\); write to another folder$"
    with pytest.raises(OutputError, match=words), writing(Path("labels/a.png")):
        raise OSError(number, os.strerror(number))


def test_files_and_streams_up_to_the_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"12345")
    assert read_whole(path, 5) == read_stream(io.BytesIO(b"12345"), 5) == b"12345"
    for read in (lambda: read_whole(path, 4), lambda: read_stream(io.BytesIO(b"12345"), 4)):
        with pytest.raises(OSError, match="over 0 MB") as raised:
            read()
        assert raised.value.errno == errno.EFBIG


def test_files_that_only_begin_like_parts_are_kept(tmp_path: Path) -> None:
    others = [
        *(".a.txt.my.notes", ".a.txt.abcdefgh.part.mp4", ".b.txt.abcdefgh.part", "a.txt.x.part"),
        *(".a.txt.partition", ".a.txt.part"),
    ]
    for name in (*others, ".a.txt.abcdefgh.part", ".a.txt.abcdefgh.part.txt"):
        (tmp_path / name).write_bytes(b"")
    remove_parts([tmp_path / "a.txt"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize("suffix", [None, ".part"])
@pytest.mark.parametrize("name", ["clip.part.mp4", "名" * 80 + ".png", "x" * 250 + ".png"])
def test_a_part_is_removed_after_its_run_was_killed(tmp_path, name, suffix) -> None:
    """Names up to the 255 bytes that a file system takes."""
    target = tmp_path / name
    with part_file(target, suffix) as part:
        part.write_bytes(b"unfinished")
        remove_parts([target])
        assert not part.exists()
    assert not list(tmp_path.iterdir())


def test_a_part_of_a_long_name_has_whole_characters(tmp_path: Path) -> None:
    """macOS refuses a name that ends within one."""
    target = tmp_path / f"a{'é' * 110}.txt"  # the 200th byte is the first half of an é
    with part_file(target) as part:
        assert len(part.name.encode()) <= 255  # which fails for half a character
        part.write_bytes(b"text")
    assert target.read_bytes() == b"text"
