"""Training: it learns, it goes on where it stopped, its schedule and groups are as stated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.lively_nets import Small
from PIL import Image
from torch import nn

from deconvnet_cli.data.objects import find_objects
from deconvnet_cli.data.voc import IGNORE, VocTree
from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.registry import build_net, net_spec
from deconvnet_cli.training import loop
from deconvnet_cli.training.loop import Hooks, train
from deconvnet_cli.training.losses import Objective
from deconvnet_cli.training.optimiser import build_optimiser, learning_rate, parameter_groups
from deconvnet_cli.training.photo_store import PhotoFiles
from deconvnet_cli.training.run_folder import TrainedNets, load_checkpoint, prepare_run, read_log
from deconvnet_cli.training.samples import CropDataset
from deconvnet_cli.training.settings import TrainSettings, default_settings

SETTINGS = TrainSettings(crops=32, batch=4, lr=3e-3, warmup=2, precision="fp32", log_every=2)
CPU = torch.device("cpu")
NARROW = {"head": 16, "bridge": [16, 64], "decode4": [16, 32], "decode3": [24], "decode2": [32]}


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
    how = TrainSettings(size=32, whole=1.0, colour=0)
    return CropDataset(PhotoFiles(tree), find_objects(tree, ["cat"]), 400, 0, how)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return build_net("deconvnet-mobilenet", NARROW)


def run_in(
    run: Path,
    settings: TrainSettings,
    dataset: CropDataset,
    hooks: Hooks = Hooks(),
    make: Callable[[], nn.Module] = Small,
) -> nn.Module:
    prepare_run(run, settings)
    torch.manual_seed(0)
    net = make()
    convention = net_spec(settings.net).input
    train(net, dataset, convention, run, settings, device=CPU, hooks=hooks)
    return net


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_loss_falls_by_half(tmp_path: Path, dataset: CropDataset):
    run_in(tmp_path / "run", replace(SETTINGS, crops=160), dataset, make=small_net)
    lines = read_log(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(2, 41, 2))
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert all(0 <= line["waited"] <= 1 for line in lines)
    assert set(lines[0]) == {"step", "loss", "lr", "crops_per_s", "waited"}


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_killed_run_ends_at_the_same_weights(tmp_path, dataset, optimiser):
    settings = replace(SETTINGS, save_every=2, log_every=3, optimiser=optimiser, accumulate=2)
    straight = run_in(tmp_path / "straight", settings, dataset)

    def kill(step: int, loss: float) -> None:
        if step == 3:  # between two checkpoints, and after a line of the log
            raise Killed

    with pytest.raises(Killed):
        run_in(tmp_path / "killed", settings, dataset, Hooks(on_step=kill))
    with open(tmp_path / "killed/log.jsonl", "a") as log:
        log.write('{"step": 3, "lo')  # as a kill leaves a line
    resumed = run_in(tmp_path / "killed", settings, dataset)
    assert same_weights(straight, resumed)
    here, there = (read_log(tmp_path / name) for name in ("straight", "killed"))
    assert [(line["step"], line["loss"]) for line in here] == [
        (line["step"], line["loss"]) for line in there
    ]


def test_a_run_that_is_asked_to_stop_saves_and_goes_on(tmp_path: Path, dataset: CropDataset):
    straight = run_in(tmp_path / "straight", SETTINGS, dataset)
    steps: list[int] = []
    hooks = Hooks(on_step=lambda step, loss: steps.append(step), stop=lambda: len(steps) == 3)
    run_in(tmp_path / "stopped", SETTINGS, dataset, hooks)
    assert steps == [1, 2, 3]
    resumed = run_in(tmp_path / "stopped", SETTINGS, dataset, hooks)
    assert steps == list(range(1, 9))
    assert same_weights(straight, resumed)


def test_accumulated_gradients_are_the_mean_of_their_parts(dataset: CropDataset, tmp_path: Path):
    """SGD without momentum: one step of two parts moves by the mean of what each would."""
    settings = TrainSettings(
        optimiser="sgd", momentum=0.0, clip=0.0, weight_decay=0.0, warmup=0, lr=1e-2,
        crops=8, batch=4, accumulate=2, precision="fp32", schedule="step", lr_step=9,
    )  # fmt: skip
    convention = net_spec(settings.net).input
    torch.manual_seed(0)
    net = nn.Conv2d(3, 21, 3, padding=1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    objective = Objective(net, settings)
    gradients = []
    for first in (0, 4):
        crops, labels = (
            torch.stack(part) for part in zip(*(dataset[first + i] for i in range(4)), strict=True)
        )
        net.zero_grad()
        objective(convention.prepare(crops), labels).backward()
        gradients.append({name: value.grad.clone() for name, value in net.named_parameters()})
    prepare_run(tmp_path, settings)
    train(net, dataset, convention, tmp_path, settings, device=CPU)
    for name, rate in (("weight", 1e-2), ("bias", 2e-2)):  # biases learn at twice the rate
        expected = before[name] - rate * (gradients[0][name] + gradients[1][name]) / 2
        torch.testing.assert_close(net.get_parameter(name).detach(), expected)


def test_validation_goes_to_the_log_and_leaves_the_run_as_it_is(tmp_path, dataset):
    straight = run_in(tmp_path / "straight", SETTINGS, dataset)
    settings = replace(SETTINGS, val_every=4)
    hooks = Hooks(validate=lambda net: float(net.training))
    scored = run_in(tmp_path / "scored", settings, dataset, hooks)
    assert same_weights(straight, scored)
    lines = [line for line in read_log(tmp_path / "scored") if "val_mean_iou" in line]
    assert [line["step"] for line in lines] == [4, 8]


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: not a checkpoint of this net"):
        load_checkpoint(tmp_path, TrainedNets(small_net()))


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    settings = TrainSettings(crops=1600, batch=16, warmup=20)
    rates = [learning_rate(step, settings) for step in range(settings.steps)]
    assert rates[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert rates[60] == pytest.approx(0.5)  # half of the cosine's way
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 0.001


def test_the_papers_schedule_falls_by_steps():
    settings = default_settings("deconvnet-vgg16", 1)
    assert settings.steps == 20_000
    rates = [settings.lr * learning_rate(step, settings) for step in (0, 8_999, 9_000, 18_000)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.0001])
    assert default_settings("deconvnet-vgg16", 2).steps == 40_000
    optimiser = build_optimiser(build_net("deconvnet-vgg16", {"width": 0.02, "fc": 4}), settings)
    assert isinstance(optimiser, torch.optim.SGD)
    assert {(g["lr"], g["weight_decay"], g["momentum"]) for g in optimiser.param_groups} == {
        (0.01, 5e-4, 0.9),
        (0.02, 0.0, 0.9),
    }


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
    loss = Objective(net, SETTINGS)(inputs, labels)
    assert loss.item() == 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_crops_a_second_are_those_since_the_clock_began(monkeypatch: pytest.MonkeyPatch):
    settings = replace(SETTINGS, batch=3, accumulate=2, log_every=4)
    monkeypatch.setattr(loop.time, "monotonic", lambda: 102.0)
    # A validation or a fresh start lay between, so that one step of four was taken since.
    line = loop.log_line(8, 0.5, 1.0, loop.Clock(since=100.0, waited=0.5, steps=1), settings)
    assert (line["crops_per_s"], line["waited"], line["loss"]) == (3.0, 0.25, 0.5)


def test_the_last_step_is_logged_with_the_mean_loss_since_the_line_before(tmp_path, dataset):
    run_in(tmp_path / "each", replace(SETTINGS, log_every=1), dataset)
    each = [line["loss"] for line in read_log(tmp_path / "each")]
    assert len(each) == 8
    for log_every, first in ((50, 0), (3, 6)):
        run = tmp_path / str(log_every)
        run_in(run, replace(SETTINGS, log_every=log_every), dataset)
        last = read_log(run)[-1]
        assert last["step"] == 8
        assert last["loss"] == pytest.approx(np.mean(each[first:]), abs=1e-4)


def test_the_clock_counts_the_steps_since_a_validation(tmp_path: Path, dataset, monkeypatch):
    settings = replace(SETTINGS, log_every=2, val_every=3, crops=8 * SETTINGS.batch)
    seen = []
    wrapped = loop.log_line
    monkeypatch.setattr(
        loop, "log_line", lambda *given: seen.append(given[3].steps) or wrapped(*given)
    )
    run_in(tmp_path, settings, dataset, hooks=Hooks(validate=lambda net: 0.5))
    assert seen == [2, 1, 1, 2, 2]  # validations after steps 3 and 6, which have a line too
