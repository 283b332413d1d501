"""Scores, counts, settings and lists that were made to do harm; and names that are."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
import warnings
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import warm_python
from helpers.fuzz_targets import tallies
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deconvnet_cli.batch.plan import plan
from deconvnet_cli.data.voc import open_tree
from deconvnet_cli.errors import DatasetError, DeconvnetError, UsageError, printable
from deconvnet_cli.evaluation.counts import MAX_ROWS, read_tallies
from deconvnet_cli.segmentation.stored_scores import read_scores
from deconvnet_cli.storage.npz import array_of, read_npz
from deconvnet_cli.training.proposal_files import read_boxes
from deconvnet_cli.training.run_folder import read_log
from deconvnet_cli.training.settings import changed, default_settings
from deconvnet_cli.training.settings_checks import check_together
from deconvnet_cli.training.settings_toml import read_settings
from deconvnet_cli.training.soft_labels import read_soft

ODD_NAMES = [b"a\nb.jpg", b"bad\xff.jpg", b"\x1b[31mred.jpg", "\u202egpj.exe".encode(), b"a\rb.jpg"]


def refused(read: Callable[[], object], kind: type[DeconvnetError] = DatasetError) -> str:
    """The one line with which something is refused; no memory to speak of is taken for it."""
    tracemalloc.start()
    try:
        with pytest.raises(kind) as caught:
            read()
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert str(caught.value).isprintable()
    return str(caught.value)


# Arrays.


def npy(shape: str, data: bytes, dtype: str = "|u1", fortran: str = "False") -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


def archive(path: Path, members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


ARRAYS = {
    "more values than bytes": npy("(1099511627776,)", bytes(3)),
    "fewer values than bytes": npy("(2,)", bytes(3)),
    "a product over 2**64": npy("(4294967296, 4294967297, 4)", bytes(16)),
    "a product over 2**63": npy("(10000000000, 10000000000, 10000000000)", bytes(16)),
    "a negative side": npy("(-1, -3)", bytes(3)), "objects": npy("(1,)", bytes(8), "|O"),
    "a dtype that is none": npy("(3,)", bytes(3), "X"),
    "a dtype of nothing": npy("(3,)", b"", "|V0"), "no shape": npy("'x'", bytes(3)),
    "a header that ends early": npy("(3,)", bytes(3))[:20],
    "a header that is code": npy("(__import__('os').getpid(),)", bytes(3)),
    "a header in brackets": npy("(" * 300, bytes(3)), "no array": b"hello", "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_that_is_none(tmp_path: Path, case: str) -> None:
    members = ("probabilities", "fcn", "search", "names", "stamps", "counts", "boxes")
    path = archive(tmp_path / "odd.npz", {f"{name}.npy": ARRAYS[case] for name in members})
    assert "odd.npz" in refused(lambda: read_scores(path))
    assert "odd.npz" in refused(lambda: read_soft(path))
    assert "odd.npz" in refused(lambda: read_boxes(path, ""))


def open_tree_of(folder: Path) -> Any:
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return open_tree(folder)


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    made = {
        "rows": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array("some text"),
        "empty": np.empty((0, 3), np.uint8),
        "big-endian": np.arange(3, dtype=">i4"),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "whole.npz", **made)
        read = read_npz(tmp_path / "whole.npz", 1 << 20)
        with np.load(tmp_path / "whole.npz") as expected:
            assert set(read) == set(expected.files)
            for name, array in read.items():
                np.testing.assert_array_equal(array, expected[name])
                assert array.dtype == expected[name].dtype


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_lies_about_its_size(tmp_path: Path, packing: int) -> None:
    """Its table says 100 bytes; 40 MB come out of it."""
    path = archive(tmp_path / "bomb.npz", {"fcn.npy": bytes(40_000_000)}, packing)
    size = (40_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (100).to_bytes(4, "little")))
    assert "bomb.npz" in refused(lambda: read_scores(path))
    assert "bomb.npz" in refused(lambda: read_soft(path))


def test_an_archive_that_says_its_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open("a.npy", "w") as file,
    ):
        for _ in range(300):
            file.write(bytes(1_000_000))
    assert "over 268 MB unpacked" in refused(lambda: read_scores(path))
    assert "over 67 MB unpacked" in refused(lambda: read_soft(path))


def test_odd_text_in_a_header_is_refused_without_a_warning_of_pythons() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="no header"):
            array_of(npy(r"'\.'", b""))
    assert not warned


# Counts.


@pytest.fixture
def counts(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of counts with changes in its first row."""
    content = json.loads(tallies(tmp_path)[0])

    def write(rows: int | None = None, **change: Any) -> Path:
        made = json.loads(json.dumps(content))
        made["rows"]["FCN-8s"] |= change
        if rows is not None:
            made["rows"] = {f"row {n}": made["rows"]["FCN-8s"] for n in range(rows)}
        path = tmp_path / "counts.json"
        path.write_text(json.dumps(made))
        return path

    return write


def test_more_rows_than_any_table_has(counts: Callable[..., Path]) -> None:
    """Each unpacks to megabytes: twenty thousand of them would be 100 GB."""
    assert len(read_tallies(counts(MAX_ROWS)).rows) == MAX_ROWS
    assert "21 rows" in refused(lambda: read_tallies(counts(MAX_ROWS + 1)))


def test_counts_that_unpack_to_more_than_they_are(counts: Callable[..., Path]) -> None:
    bomb = b64encode(zlib.compress(bytes(60_000_000), 1)).decode()
    path = counts(bootstrap={"shape": [3, 3, 21], "data": bomb})
    assert "are not 1512 bytes" in refused(lambda: read_tallies(path))


def test_files_of_counts_and_settings_that_never_end(tmp_path: Path) -> None:
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 40)
    odd = [tmp_path / "hole"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        odd.append(tmp_path / "pipe")
    for path in odd:
        assert path.name in refused(lambda path=path: read_tallies(path))
        assert path.name in refused(lambda path=path: read_settings(path), UsageError)
        assert path.name in refused(lambda path=path: read_scores(path))


# Settings and logs of training.


@pytest.mark.parametrize("text", [
    "lr = nan", "clip = inf", "seed = -1", "seed = 9223372036854775808", "net_settings = '['",
    "net_settings = '[]'",
    'net_settings = "' + "[" * 100_000 + '"',
    "lists = [1, [2]]\nnet = 3",
    "a = " + "[" * 100_000,
    "a = " + "{b=" * 5000,
    "lr = 1_000_000\nlr = 2",
    "\x00",
    "crops = 0",
])  # fmt: skip
def test_settings_that_no_run_can_have(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    base = default_settings("deconvnet-vgg16", 1)

    def read() -> None:
        check_together(changed(base, read_settings(path), str(path)), str(path))

    said = refused(read, UsageError)
    assert "settings.toml" in said


@pytest.mark.parametrize(
    "last", [b"\xff\xfe", b"[1]", b'{"loss": 1}', b'{"step": "1"}', b"[" * 9999]
)
def test_a_log_is_read_up_to_a_line_that_is_none(tmp_path: Path, last: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n' + last + b'\n{"step": 3}\n')
    assert read_log(tmp_path) == [{"step": 1}]


# Lists and trees.


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_name_that_climbs_out_of_the_tree(tmp_path: Path, name: str) -> None:
    tree = open_tree_of(tmp_path)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text(f"{name}\n")
    assert "leads out of the tree" in refused(lambda: tree.names("val"))


@pytest.mark.parametrize("line", ["../../x.jpg", "a/../../x.jpg", "/tmp/../x.jpg"])
def test_a_path_that_climbs_out_of_the_output(tmp_path: Path, line: str) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{line}\n")
    said = refused(lambda: plan([f"@{listed}"], tmp_path / "out"), UsageError)
    assert "leads out of" in said


@pytest.mark.parametrize("command", [("evaluate", "--merge"), ("crf", "-o", "out")])
def test_a_link_to_itself_is_an_error_and_no_traceback(deconvnet, tmp_path: Path, command) -> None:
    """Before Python 3.13 ``Path.resolve`` raises RuntimeError for it."""
    (tmp_path / "loop.json").symlink_to("loop.json")
    result = deconvnet(*command, tmp_path / "loop.json")
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit)
    assert "loop.json" in result.stderr and len(result.stderr.splitlines()) == 1


# Names.


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() and len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    shown.encode()  # no half characters are left
    if text.isprintable():
        assert shown == text
    assert str(UsageError(text)) == shown


def test_a_long_message_keeps_both_ends() -> None:
    shown = str(DatasetError("start" + "x" * 1_000_000 + "remedy"))
    assert shown.startswith("start") and shown.endswith("remedy") and len(shown) < 11_000


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_in_lines_for_people_and_programs(deconvnet, tiny_weights, tmp_path, name):
    source = tmp_path / os.fsdecode(name)
    arguments = ("segment", source, "-o", f"{tmp_path}/out/", "--weights", tiny_weights)
    result = deconvnet(*arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.removesuffix("\n").split("\n")
    assert line.isprintable() and line.startswith("deconvnet: ")
    Image.linear_gradient("L").resize((40, 30)).save(source, "JPEG")
    result = deconvnet(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = result.stderr.removesuffix("\n").split("\n")
    assert line.isprintable()
    (line,) = result.stdout_bytes.removesuffix(b"\n").split(b"\n")
    found = json.loads(line.decode("utf-8", "strict"))
    assert os.fsencode(found["image"]) == os.fsencode(source)  # a program finds the file by it
    assert Path(found["output"]).is_file()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_odd_names_on_any_terminal(tmp_path: Path, encoding: str) -> None:
    name = b"caf\xc3\xa9\n\xff\x1b[31m.jpg"
    done = warm_python.run(
        ["-m", "deconvnet_cli", "batch", name, "-o", tmp_path / "out"],
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 1
    text = done.stderr.decode(encoding, "strict").removesuffix("\n")
    assert text.isprintable() and text.startswith("deconvnet: caf")
    assert r"\n\udcff\x1b[31m.jpg" in text


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "x/" * 2100 + "a.jpg", ".", "/"])
def test_names_that_cannot_be_looked_at(deconvnet, tmp_path: Path, name: str) -> None:
    for command in (("segment", name), ("weights", "show", name), ("weights", "import", name)):
        result = deconvnet(*command)
        assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), command
        (line,) = result.stderr.splitlines()
        assert line.startswith("deconvnet: ") and line.isprintable()


def test_a_page_about_a_folder_whose_name_is_not_utf_8(deconvnet, voc, tmp_path):
    folder = tmp_path / os.fsdecode(b"bad\xff")
    folder.mkdir()
    for path in (voc / "SegmentationClass").iterdir():
        with Image.open(path) as mask:
            labels = np.array(mask)
        labels[labels == 255] = 0
        image = io.BytesIO()
        Image.fromarray(labels).save(image, "PNG")
        (folder / path.name).write_bytes(image.getvalue())
    page = tmp_path / "page.html"
    arguments = ("evaluate", "--voc-root", voc, "--predictions", folder, "--report", page)
    result = deconvnet(*arguments, "--quiet")
    assert result.exit_code == 0, result.output
    assert r"bad\udcff" in page.read_text(encoding="utf-8")
