"""The manifest after crashes: what was whole is kept, what was torn is not taken for anything."""

from __future__ import annotations

import json
import os

import pytest

from deconvnet_cli.batch.manifest import (
    DONE,
    FAILED,
    NAME,
    Entry,
    Manifest,
    encoded,
    entries_in,
    entry_of,
    manifest_name,
    read_entries,
    write_entries,
)
from deconvnet_cli.errors import OutputError


def entry(name: str, **fields) -> Entry:
    given = {"status": DONE, "size": 3, "sha256": "s", "output_sha256": "o", "time": 5.0, **fields}
    return Entry(image=f"photos/{name}.jpg", output=f"{name}.png", **given)


def write(folder, *entries: Entry) -> None:
    manifest = Manifest(folder / NAME)
    for one in entries:
        manifest.add(one)
    manifest.close()


def test_lines_are_there_at_once_and_come_back_as_they_were(tmp_path):
    full = entry(
        "a", mtime_ns=10**18 + 1, extras={"a.npz": "n"}, classes={"cat": 0.25}, proposals=0,
        ms={"net": 1.5}, weights={"DeconvNet": "w"}, settings="x", versions={"torch": "2"},
    )  # fmt: skip
    failed = Entry("photos/b.jpg", "b.png", FAILED, error="broken")
    manifest = Manifest(tmp_path / NAME)
    for known in ([full], [full, failed]):
        manifest.add(known[-1])
        assert list(entries_in(tmp_path / NAME)) == known
    manifest.close()
    fields = json.loads((tmp_path / NAME).read_text().splitlines()[1])
    assert set(fields) == {"image", "output", "status", "error", "time"}


def test_a_line_torn_at_any_byte(tmp_path):
    """Cut anywhere, the line is lost or whole; the one before and the next one are there."""
    first, last, after = entry("a"), entry("b", size=4), entry("c")
    path = tmp_path / NAME
    begun, whole = encoded(first), encoded(last)
    for cut in range(len(whole) + 1):
        path.write_bytes(begun + whole[:cut])
        write(tmp_path, after)
        kept = [last] if cut >= len(whole) - 1 else []
        assert list(entries_in(path)) == [first, *kept, after], cut
        assert path.read_bytes() == b"".join(map(encoded, [first, *kept, after])), cut


def test_a_line_of_which_the_disk_takes_half_at_first(tmp_path, monkeypatch):
    manifest = Manifest(tmp_path / NAME)
    write, sizes = manifest.file.write, []

    def half(line: bytes) -> int:
        sizes.append(len(line))
        return write(line if sizes[1:] else line[: len(line) // 2])

    monkeypatch.setattr(manifest.file, "write", half)
    manifest.add(entry("a"))
    manifest.close()
    assert len(sizes) == 2
    assert (tmp_path / NAME).read_bytes() == encoded(entry("a"))


@pytest.mark.parametrize("start", [b"", encoded(entry("a"))], ids=["alone", "after a line"])
@pytest.mark.parametrize("size", [1, 5000, (1 << 20) - 1, 1 << 20, 3 << 20])
def test_a_block_of_zeros_at_the_end(tmp_path, start, size):
    """As ext4 and XFS leave it when the power fails."""
    path = tmp_path / NAME
    path.write_bytes(start + bytes(size))
    write(tmp_path, entry("b"))
    assert [found.output for found in entries_in(path)] == (["a.png"] if start else []) + ["b.png"]


def test_garbage_between_lines_is_passed_over(tmp_path):
    garbage = (
        b"", b"\0" * 100, b"{}", b"[]", b"null", b"7", b'"text"', b"\xff\xfe\x00", b"{",
        b"[" * 9999,
        b'{"image": 1, "output": "x.png", "status": "done"}',
        b'{"image": "x", "status": "done"}',
        b'{"image": "x", "output": "x.png", "status": "done", "extras": []}',
        b'{"image": "x", "output": "x.png", "status": "done", "weights": 3}',
        b'{"image": "x", "output": "x.png", "status": "done", "time": "soon"}',
        b'{"image": "x", "output": ".", "status": "done"}',
        b'{"image": "", "output": "a.png", "status": "done"}',
        encoded(entry("x"))[:-20],
        encoded(entry("x"))[20:].rstrip(),
    )  # fmt: skip
    lines = [encoded(entry("a")), *(line + b"\n" for line in garbage), encoded(entry("b"))]
    (tmp_path / NAME).write_bytes(b"".join(lines))
    assert list(read_entries(tmp_path)) == ["a.png", "b.png"]


def test_a_line_of_a_later_version_is_understood_as_far_as_it_goes():
    line = json.dumps({**entry("a").line(), "mood": "good"}).encode()
    assert entry_of(line) == entry("a")


def test_what_lines_repeat_is_in_memory_once():
    """Or the entries of 30,000 photos would take 100 MB."""
    line = {"image": "x", "output": "a.png", "status": "done", "weights": {"net": "1" * 64}}
    first, second = (entry_of(json.dumps(line | {"ms": {"net": n}}).encode()) for n in (1, 2))
    assert first.weights is second.weights and first.ms != second.ms
    assert next(iter(first.ms)) is next(iter(second.ms))


def test_the_last_line_of_a_manifest_counts_whatever_the_clock_said(tmp_path):
    write(tmp_path, entry("a", size=1, time=9.0), entry("a", size=2, time=4.0))
    assert read_entries(tmp_path)["a.png"].size == 2


@pytest.mark.parametrize("times, size", [((4.0, 9.0), 2), ((9.0, 4.0), 1)])
def test_of_several_manifests_the_latest_line_counts(tmp_path, times, size):
    for number, time in enumerate(times, start=1):
        name = manifest_name((number, 2))
        (tmp_path / name).write_bytes(encoded(entry("a", size=number, time=time)))
    assert read_entries(tmp_path)["a.png"].size == size


def test_names_that_are_not_utf8_survive(tmp_path):
    raw = b"caf\xe9 \xff\n\xf0\x9f\x90\x88.png"
    name = os.fsdecode(raw)
    write(tmp_path, Entry(f"photos/{name}", name, DONE), entry("b"))
    assert all(byte < 128 for byte in (tmp_path / NAME).read_bytes())
    known = read_entries(tmp_path)
    assert list(known) == [name, "b.png"]
    assert os.fsencode(known[name].output) == raw
    assert os.fsencode(known[name].image) == b"photos/" + raw


def test_a_manifest_rewritten_whole(tmp_path):
    entries = [entry("b"), entry("a", extras={"a.npz": "n"}), entry("deep/c")]
    write_entries(tmp_path / NAME, entries)
    assert list(entries_in(tmp_path / NAME)) == sorted(entries, key=lambda one: one.output)


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced"])
def test_a_folder_that_vanishes_is_noticed(tmp_path, how):
    """Lines in a file that nobody will look into again would be lost without a word."""
    folder = tmp_path / "out"
    folder.mkdir()
    manifest = Manifest(folder / NAME)
    manifest.add(entry("a"))
    if how == "removed":
        (folder / NAME).unlink()
        folder.rmdir()
    else:
        folder.rename(tmp_path / "elsewhere")
    if how == "replaced":
        folder.mkdir()
        (folder / NAME).touch()
    with pytest.raises(OutputError, match=r"out/manifest\.jsonl: cannot be written"):
        manifest.add(entry("b"))
    manifest.close()


def test_a_folder_where_the_manifest_should_be(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(OutputError, match=r"manifest\.jsonl: cannot be written"):
        Manifest(tmp_path / NAME)
