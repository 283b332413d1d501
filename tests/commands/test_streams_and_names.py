"""Closed streams, a working folder that is gone, false names, and hints for wrong commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import one_error_line

from deconvnet_cli.cli import cli
from deconvnet_cli.commands.shared.clip_plan import frame_folder
from deconvnet_cli.commands.shared.photo_targets import target_of
from deconvnet_cli.errors import OutputError
from deconvnet_cli.outputs.class_filter import chosen_labels
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.runtime.streams import output_to
from deconvnet_cli.storage.files import write_whole


def shell(line: str, folder) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHON": sys.executable}
    line = line.replace("deconvnet", '"$PYTHON" -m deconvnet_cli')
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
def test_closed_streams_and_no_folder(tmp_path):
    done = shell("deconvnet completion bash >&-", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("deconvnet: standard output: is closed")
    assert len(done.stderr.splitlines()) == 1
    done = shell("deconvnet completion bash 2>&-", tmp_path)
    assert done.returncode == 0 and "_DECONVNET_COMPLETE" in done.stdout
    done = shell("mkdir gone && cd gone && rmdir ../gone && deconvnet completion bash", tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "the working folder is gone" in done.stderr and "cd to another" in done.stderr


# Commands whose results click writes, rich, and this package.
CALLS = ("--help", "--version", "crf --help", "weights list", "weights show WEIGHTS")
CALLS += ("weights verify WEIGHTS", "completion bash", "doctor", "doctor --json")
UNWRITABLE = {"/dev/full": "cannot be written (No space left on device)", os.devnull: "is closed"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("device", UNWRITABLE)
@pytest.mark.parametrize("call", CALLS)
def test_a_result_that_cannot_be_written_is_one_error(
    monkeypatch, capsys, tiny_weights, call, device
):
    full = os.open(device, os.O_WRONLY if device == "/dev/full" else os.O_RDONLY)
    monkeypatch.setattr("sys.stdout", output_to(full, None))
    with pytest.raises(SystemExit) as ended:
        cli(call.replace("WEIGHTS", str(tiny_weights)).split(), prog_name="deconvnet")
    print("what is left is lost without a word", flush=True)
    os.close(full)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"deconvnet: standard output: {UNWRITABLE[device]}")


FALSE = (".jpg", ".JPG", ".heic", ".json", ".eps", ".html", ".ico", ".jxl", ".webp", ".pdf")


@pytest.mark.parametrize("suffix", FALSE)
def test_a_picture_under_a_false_name(deconvnet, data, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    for words in (
        ("segment", data / "chelsea.jpg", "-o"),
        ("segment", "-", "-o"),
        ("segment", data / "chelsea.jpg", "--overlay", "--format", "none", "-o"),
        ("proposals", data / "chelsea.jpg", "-o"),
        ("dataset", "check", tmp_path, "--sheet"),
    ):
        result = deconvnet(*words, out)
        assert not out.exists()
        one_error_line(result, 2, f"out{suffix}: the ", "written as PNG; give", "ends in .png")
    result = deconvnet("segment", tmp_path / "clip.mp4", "-o", out)
    one_error_line(result, 2, f"a video needs a folder: -o {out}/")


def test_names_that_labels_may_have(tmp_path):
    (tmp_path / "my.labels").mkdir()
    for output, file_format, wanted in (
        ("a", "png", "a"),
        ("tmp.Xa1b", "png", "tmp.Xa1b"),
        (".a", "png", ".a"),
        ("a.b.PNG", "png", "a.b.PNG"),
        ("a.npy", "npy", "a.npy"),
        ("/dev/stdout", "png", "/dev/stdout"),
        (".", "png", "photo.png"),
        ("new.folder/", "npy", "new.folder/photo.npy"),
        (f"{tmp_path}/my.labels", "png", f"{tmp_path}/my.labels/photo.png"),
    ):
        assert target_of("photo.jpg", output, Outputs(format=file_format), several=False) == Path(
            wanted
        )


def test_a_folder_may_end_with_the_separator_of_windows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert target_of("a.jpg", "out\\", Outputs(), several=False) == Path("out\\")  # a POSIX name
    monkeypatch.setattr("os.sep", "\\")
    for several in (False, True):
        assert target_of("a.jpg", "out\\", Outputs(), several=several) == Path("out\\", "a.png")
    assert frame_folder("new.folder\\") == Path("new.folder\\")


def test_standard_input_by_the_name_of_its_device(deconvnet):
    for name in ("-", "/dev/stdin", "/dev/fd/63"):
        one_error_line(deconvnet("segment", name), 2, "standard input needs -o FILE")
    assert deconvnet("segment", "-", "-o", "-", "--json").exit_code == 2  # both on one stream
    shared = target_of("/dev/shm/a.jpg", None, Outputs(), several=False)  # a folder in memory
    assert shared == Path("/dev/shm/a.png")


def test_a_name_that_is_too_long(deconvnet, data, tmp_path):
    """Where the name is looked up, and where it is read or written."""
    result = deconvnet("segment", data / "chelsea.jpg", "-o", tmp_path / f"{'x' * 300}.png")
    one_error_line(result, 1, "too long; shorten the name")
    result = deconvnet("evaluate", "--compare", "x" * 300, "other.json")
    one_error_line(result, 1, "cannot be read", "too long; shorten the name")
    with pytest.raises(OutputError, match=r"cannot be written .*; shorten the name"):
        write_whole(tmp_path / ("x" * 300), b"")


def test_classes_in_any_case():
    classes = ("background", "cat", "dog", "Dog")
    assert chosen_labels(["CAT", "dog"], classes) == (1, 2)
    assert chosen_labels(["Dog"], classes) == (3,)
    assert chosen_labels("DOG", classes) == (2,)


def test_hints_for_wrong_commands(deconvnet, data, tmp_path):
    for name, words in {
        str(data / "chelsea.jpg"): "deconvnet segment",
        "photo.jpg": "deconvnet segment photo.jpg",
        str(tmp_path): "deconvnet batch",
        "segmnt": "Did you mean segment?",
        "Train": "Did you mean train?",
        "zzz": "--help",
    }.items():
        result = deconvnet(name)
        assert result.exit_code == 2 and words in result.stderr


def test_a_file_whose_name_begins_with_a_dash(deconvnet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-a.jpg", "--new"):
        Path(name).write_bytes(b"x")
        for command in (("segment", name, "b.jpg"), ("weights", "show", name)):
            one_error_line(deconvnet(*command), 2, f"{name}: ", f"write ./{name}")
    Path("-o").write_bytes(b"x")  # is no fault of --bogus
    assert "--bogus" in deconvnet("segment", "a.jpg", "-o", "b.png", "--bogus").stderr
    result = deconvnet("segment", "-b.jpg")  # there is no such file
    assert result.exit_code == 2 and "No such option" in result.stderr
