"""Training: it learns, it goes on where it stopped, its schedule and groups are as stated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.nets import build_net, default_input
from deconvnet_cli.samples import CropDataset, SampleSettings, find_objects
from deconvnet_cli.training import (
    TrainSettings,
    learning_rate,
    load_checkpoint,
    loss_of,
    parameter_groups,
    prepare_run,
    train,
)
from deconvnet_cli.voc import IGNORE, VocTree

SETTINGS = TrainSettings(crops=32, batch=4, lr=3e-3, warmup=2, bf16=False, log_every=2)
CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path: Path, data: Path) -> CropDataset:
    """Crops of a real photo, whose mask was made by hand: a cat."""
    for folder in ("JPEGImages", "SegmentationClass"):
        (tmp_path / "voc" / folder).mkdir(parents=True)
    tree = VocTree(tmp_path / "voc")
    with Image.open(data / "chelsea.jpg") as photo:
        photo.save(tree.image("cat"))
        mask = np.zeros((photo.height, photo.width), np.uint8)
    mask[:, 90:380] = 8
    Image.fromarray(mask).save(tree.mask("cat"))
    how = SampleSettings(size=32, whole=1.0, colour=0)
    return CropDataset(tree, find_objects(tree, ["cat"]), 400, 0, how)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return build_net("deconvnet-mobilenet")


def run_in(run: Path, settings: TrainSettings, dataset: CropDataset) -> nn.Module:
    prepare_run(run, settings)
    net = small_net()
    train(net, dataset, default_input(settings.net), run, settings, device=CPU)
    return net


def test_the_loss_falls_by_half(tmp_path: Path, dataset: CropDataset):
    run_in(tmp_path / "run", replace(SETTINGS, crops=80), dataset)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 21, 2))
    assert lines[-1]["loss"] < lines[0]["loss"] / 2


def test_a_stopped_run_ends_at_the_same_weights(tmp_path: Path, dataset: CropDataset):
    straight = run_in(tmp_path / "straight", SETTINGS, dataset)

    class Stopped(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 5:
            raise Stopped

    settings = replace(SETTINGS, save_every=2)
    prepare_run(tmp_path / "stopped", settings)
    convention = default_input(settings.net)
    with pytest.raises(Stopped):
        train(
            small_net(),
            dataset,
            convention,
            tmp_path / "stopped",
            settings,
            device=CPU,
            on_step=stop,
        )
    resumed = run_in(tmp_path / "stopped", settings, dataset)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_run_of_other_settings_is_not_gone_on_with(tmp_path: Path):
    prepare_run(tmp_path, SETTINGS)
    prepare_run(tmp_path, SETTINGS)
    with pytest.raises(UsageError, match="other settings; give another --out"):
        prepare_run(tmp_path, replace(SETTINGS, lr=1.0))


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: not a checkpoint of this net"):
        load_checkpoint(tmp_path, small_net(), None)


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    settings = TrainSettings(crops=1600, batch=16, warmup=20)
    rates = [learning_rate(step, settings) for step in range(settings.steps)]
    assert rates[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert rates[60] == pytest.approx(0.5)  # half of the cosine's way
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 0.001


def test_every_parameter_is_in_one_group():
    net = small_net()
    groups = parameter_groups(net, SETTINGS)
    seen = [parameter for group in groups for parameter in group["params"]]
    assert len(seen) == len(set(seen)) == len(list(net.parameters()))
    for group in groups:
        for parameter in group["params"]:
            assert (group["weight_decay"] > 0) == (parameter.ndim > 1)


def test_nothing_but_rim_gives_no_loss_and_no_nan():
    net = small_net().eval()
    inputs = torch.zeros(2, 3, 32, 32)
    labels = torch.full((2, 32, 32), IGNORE)
    loss = loss_of(net, inputs, labels, SETTINGS)
    assert loss.item() == 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
