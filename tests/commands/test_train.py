"""``deconvnet train`` as a person uses it: run folders, stages, wrong data, Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import warm_python
from PIL import Image

from deconvnet_cli.choices import DEFAULT
from deconvnet_cli.training.run_folder import read_log
from deconvnet_cli.weights.files import load

SIZE = 225, 150  # width, height
NARROW = '{"head": 16, "bridge": [16, 64], "decode4": [16, 32], "decode3": [24], "decode2": [32]}'
QUICK = (
    "--batch-size", "2", "--crops", "8", "--size", "64", "--quiet", "--device", "cpu",
    "--no-frozen",
    "--set", "precision = 'fp32'", "--set", "log_every = 1", "--set", "statistics = 2",
    "--set", f"net_settings = '{NARROW}'",
)  # fmt: skip


@pytest.fixture
def voc(tmp_path: Path, data: Path) -> Path:
    """A small cat photo, with a mask made by hand, as the lists train and val."""
    root = tmp_path / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    with Image.open(data / "chelsea.jpg") as photo:
        photo.resize(SIZE).save(root / "JPEGImages/cat.jpg")
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[:, 45:190] = 8
    Image.fromarray(mask).save(root / "SegmentationClass/cat.png")
    for name in ("train", "val"):
        (root / f"ImageSets/Segmentation/{name}.txt").write_text("cat\n")
    return root


def test_a_batch_that_processes_cannot_share_is_refused_before_the_photos_are_read(
    deconvnet, voc: Path, tmp_path: Path, monkeypatch
):
    for name, value in (("is_initialized", True), ("get_world_size", 3), ("get_rank", 0)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    (voc / "SegmentationClass/cat.png").write_bytes(b"damaged")
    result = deconvnet("train", "--voc-root", voc, "--out", tmp_path / "run", *QUICK)
    assert result.exit_code == 2 and "3 processes cannot share a batch of 2" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_that_an_earlier_version_began_goes_on(deconvnet, voc: Path, tmp_path: Path):
    """It let settings be without effect; the same command still continues it."""
    run = tmp_path / "run"
    command = ("train", "--voc-root", voc, "--out", run, *QUICK)
    assert deconvnet(*command).exit_code == 0
    settings = run / "settings.toml"
    settings.write_text(settings.read_text().replace("lr_step = 0", "lr_step = 5"))
    again = deconvnet(*command, "--set", "lr_step = 5")
    assert again.exit_code == 0, again.output
    new = deconvnet(*command[:4], tmp_path / "new", *QUICK, "--set", "lr_step = 5")
    assert new.exit_code == 2 and "lr_step has no effect" in new.stderr


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_run_leaves_weights_that_segment(deconvnet, voc: Path, tmp_path: Path, data, stage: int):
    run = tmp_path / "run"
    arguments = ("train", "--voc-root", voc, "--out", run, "--stage", stage, *QUICK)
    validation = ("--val-list", "val", "--set", "val_every = 2", "--set", "val_boxes = 2")
    result = deconvnet(*arguments, *validation)
    assert result.exit_code == 0, result.output
    assert "--val-split val: --split has 1 photo of it" in result.stderr
    lines = read_log(run)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    scored = [line["val_mean_iou"] for line in lines if "val_mean_iou" in line]
    assert len(scored) == 2 and all(0 <= value <= 1 for value in scored)
    assert f"stage = {stage}\n" in (run / "settings.toml").read_text()
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any(run.glob("proposals/*.npz")) == (stage == 2)
    assert (run / "samples.png").read_bytes().startswith(b"\x89PNG")
    weights = run / "weights.safetensors"
    card = load(str(weights)).card
    assert card.input.size == 64
    assert card.scores == {"val-during-training": max(scored)}  # the best is the one to use
    assert (run / "last.safetensors").is_file() and not (run / "best.safetensors").exists()
    out = tmp_path / "labels.png"
    made = deconvnet(
        "segment", data / "chelsea.jpg", "-o", out, "--weights", weights, "--proposals", 2
    )
    assert made.exit_code == 0 and out.is_file()
    before = weights.read_bytes()
    again = deconvnet(*arguments, *validation)
    assert again.exit_code == 0 and weights.read_bytes() == before
    other = deconvnet(*arguments, "--lr", "0.5")
    assert other.exit_code == 2 and "give another --out" in other.stderr


def test_the_shipped_weights_are_a_start_and_their_encoder_stays(deconvnet, voc, tmp_path: Path):
    run = tmp_path / "run"
    result = deconvnet(
        "train", "--voc-root", voc, "--out", run, "--from", DEFAULT, "--size", "64",
        "--batch-size", "2", "--crops", "4", "--quiet", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    card = load(str(run / "weights.safetensors")).card
    assert card.provenance.startswith(f"trained by deconvnet train from {DEFAULT}, SHA-256 ")
    assert card.licence.endswith(f"of the start ({load(DEFAULT).card.licence})")
    before, after = (
        load(str(name)).net.state_dict() for name in (DEFAULT, run / "weights.safetensors")
    )
    moved = {name.split(".")[0] for name, value in before.items() if (value != after[name]).any()}
    assert moved and moved <= {"bridge", "decode4", "decode3", "decode2", "decode1", "score"}


@pytest.mark.parametrize(("more", "message"), [
    (("--set", "speed = 3"), "no setting is called speed"),
    (("--set", "lr 3"), "not readable as TOML"),
    (("--init", "a.safetensors", "--from", "b.safetensors"), "give one of them"),
    (("--frozen",), "the encoder is frozen, so it needs weights"),
])  # fmt: skip
def test_wrong_options(deconvnet, voc: Path, tmp_path: Path, more: tuple[str, ...], message: str):
    result = deconvnet("train", "--voc-root", voc, "--out", tmp_path / "run", *QUICK, *more)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.slow
def test_interrupted_it_saves_and_the_same_command_goes_on(deconvnet, voc: Path, tmp_path: Path):
    run = tmp_path / "run"
    arguments = (
        "train", "--voc-root", voc, "--out", run, *QUICK,
        "--crops", "80", "--set", "save_every = 100000",
    )  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(tmp_path / "said", "wb") as said:
        process = warm_python.start(
            ["-m", "deconvnet_cli", *arguments], env=environment, stderr=said
        )
    deadline = time.monotonic() + 60
    while len(read_log(run)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert f"{run}: stopped; the same command goes on" in (tmp_path / "said").read_text()
    done = len(read_log(run))
    assert 3 <= done < 40
    assert (run / "checkpoint.pt").is_file()  # long before its turn: the signal made it
    result = deconvnet(*arguments)
    assert result.exit_code == 0, result.output
    assert [line["step"] for line in read_log(run)] == list(range(1, 41))
