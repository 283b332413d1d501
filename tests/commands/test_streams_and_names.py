"""Closed streams, a working folder that is gone, false names, and hints for wrong commands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deconvnet_cli.outputs.class_filter import chosen_labels


def shell(line: str, folder) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHON": sys.executable}
    line = line.replace("deconvnet", '"$PYTHON" -m deconvnet_cli')
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
def test_closed_streams_and_no_folder(tmp_path):
    done = shell("deconvnet weights list >&-", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("deconvnet: standard output: is closed")
    assert len(done.stderr.splitlines()) == 1
    done = shell("deconvnet weights list 2>&-", tmp_path)
    assert done.returncode == 0 and "deconvnet-mobilenet" in done.stdout
    done = shell("mkdir gone && cd gone && rmdir ../gone && deconvnet weights list", tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "the working folder is gone" in done.stderr and "cd to another" in done.stderr


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".tif", ".webp", ".heic", ".json"])
def test_labels_under_a_false_name(deconvnet, data, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    result = deconvnet("segment", data / "chelsea.jpg", "-o", out)
    assert result.exit_code == 2 and "written as PNG" in result.stderr and not out.exists()
    if suffix != ".json":
        result = deconvnet("proposals", data / "chelsea.jpg", "-o", out)
        assert result.exit_code == 2 and "written as PNG" in result.stderr and not out.exists()


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
