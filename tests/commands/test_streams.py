"""The result of a command is on standard output, and everything else on standard error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.command_line import run_cli

from deconvnet_cli.cli import COMMANDS
from deconvnet_cli.nets.registry import build_net

# Each call, and a word of its result, or None if it writes files and only reports a summary.
CALLS: dict[str, tuple[str, str | None]] = {
    "segment": ("segment PHOTO -o OUT/labels.png RUN", None),
    "batch": ("batch PHOTOS -o OUT/labels --workers 1 RUN", None),
    "explain": ("explain PHOTO -o OUT/page RUN", None),
    "crf": ("crf KEPT -o OUT/refined", None),
    "proposals -o": ("proposals PHOTO -o OUT/boxes.png", None),
    "weights average": ("weights average WEIGHTS WEIGHTS -o OUT/mean.safetensors", "mean."),
    "evaluate": ("evaluate --voc-root VOC --scores KEPT", "Boundary IoU"),
    "evaluate --table": ("evaluate --voc-root VOC --scores KEPT --table", "not ours"),
    "evaluate --csv": ("evaluate --voc-root VOC --scores KEPT --csv --quiet", "mean_iou"),
    "evaluate --merge": ("evaluate --merge COUNTS", "Boundary IoU"),
    "evaluate --compare": ("evaluate --compare COUNTS COUNTS", "equal in mean IoU"),
    "crf --grid": ("crf KEPT --voc-root VOC --grid iterations=1", "no CRF"),
    "proposals": ("proposals PHOTO", '"boxes"'),
    "bench photos": ("bench photos PHOTO RUN --workers 1 --side 60 --count 1", "photos/s"),
    "bench proposals": ("bench proposals --voc-root VOC --limit 1", "1 object in 1 photo"),
    "weights list": ("weights list", "deconvnet-mobilenet"),
    "weights show": ("weights show WEIGHTS", "deconvnet-vgg16"),
    "weights verify": ("weights verify WEIGHTS", "SHA-256"),
    "weights import": ("weights import PTH -o OUT/b.safetensors --net fcn8s-mobilenet", "the file"),
    "doctor": ("doctor", "ximgproc"),
    "completion": ("completion bash", "_DECONVNET_COMPLETE"),
}
# These commands write files or serve photos, and take long; tests of their own look at them.
ELSEWHERE = {"train", "soft-labels", "serve", "dataset", "export"}
AS_JSON = [
    name for name in CALLS
    if name.split()[0] in ("segment", "batch", "explain", "evaluate", "crf", "bench", "doctor")
    and name != "evaluate --csv"
]  # fmt: skip
AS_TABLE = [name for name in AS_JSON if CALLS[name][1] and name != "doctor"]


@pytest.fixture(scope="module")
def counts(tmp_path_factory, voc, kept) -> Path:
    path = tmp_path_factory.mktemp("counts") / "counts.json"
    made = run_cli("evaluate", "--voc-root", voc, "--scores", kept, "-o", path, "--quiet")
    assert made.exit_code == 0, made.output
    return path


@pytest.fixture(scope="module")
def pth(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pth") / "net.pth"
    torch.save(build_net("fcn8s-mobilenet").state_dict(), path)
    return path


@pytest.fixture
def call(deconvnet, tmp_path, voc, kept, counts, pth, lively_weights):
    """Runs one of ``CALLS``, with further options."""
    places = {
        "PHOTOS": voc / "JPEGImages", "PHOTO": voc / "JPEGImages" / "p0.jpg", "VOC": voc,
        "KEPT": kept, "COUNTS": counts, "PTH": pth, "WEIGHTS": lively_weights,
    }  # fmt: skip

    def run(name: str, *more: str, code: int = 0):
        words: list[object] = []
        for word in CALLS[name][0].split():
            if word == "RUN":
                words += ["--weights", lively_weights, "--proposals", 2, "--precision", "fp32"]
            else:
                words.append(places.get(word, word.replace("OUT/", f"{tmp_path}/")))
        result = deconvnet(*words, *more)
        assert result.exit_code == code, result.output
        return result

    return run


def test_every_command_is_looked_at():
    assert {name.split()[0] for name in CALLS} == set(COMMANDS) - ELSEWHERE


@pytest.mark.parametrize("name", CALLS)
def test_where_the_result_lands(call, name):
    result, word = call(name), CALLS[name][1]
    if word is None:
        assert result.stdout == ""
    else:
        assert word in result.stdout and result.stderr == ""


@pytest.mark.parametrize("name", AS_JSON)
def test_json_is_alone_on_standard_output(call, name):
    result, word = call(name, "--json"), CALLS[name][1]
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines and all(isinstance(line, dict) for line in lines)
    assert name not in AS_TABLE or (word is not None and word in result.stderr)


@pytest.mark.parametrize("name", [name for name in AS_JSON if not CALLS[name][1]])
def test_quiet_prints_nothing(call, name):
    result = call(name, "--quiet")
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.parametrize("name", AS_TABLE)
def test_quiet_needs_another_way_to_give_the_result(call, name):
    result = call(name, "--quiet", code=2)
    assert result.stdout == "" and "--json" in result.stderr
    assert call(name, "--quiet", "--json").stderr == ""


@pytest.mark.parametrize("name", ["evaluate --table", "weights list", "weights import"])
def test_piped_tables_are_whole(call, name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    lines = call(name, *(("--verbose",) if name == "weights import" else ())).stdout.splitlines()
    rows = {
        "evaluate --table": ("EDeconvNet + CRF", "0."),
        "weights list": ("deconvnet-mobilenet", "MB"),
        "weights import": (".weight", "x"),
    }
    first, second = rows[name]
    assert any(first in line and second in line for line in lines)
