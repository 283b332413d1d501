"""Mistakes that a run must not make in silence: each is made here, and must be said or undone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers.lively_nets import Noise, lively
from torch import nn

from deconvnet_cli.errors import DivergenceError, UsageError
from deconvnet_cli.nets.registry import build_net, net_spec
from deconvnet_cli.training.loop import Hooks, train
from deconvnet_cli.training.run_folder import (
    TrainedNets,
    check_settings,
    load_checkpoint,
    prepare_run,
    read_log,
    save_checkpoint,
)
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import load, store

CPU = torch.device("cpu")
SETTINGS = TrainSettings(
    crops=32, batch=4, precision="fp32", log_every=3, save_every=2, frozen=False, warmup=2
)


class Diverging(nn.Module):
    """A net that gives logits until its n-th forward pass, and NaN or infinity from then on."""

    def __init__(self, passes: int, value: float) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 21, 1)
        self.passes, self.value = passes, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes -= 1
        logits: torch.Tensor = self.layer(x)
        return logits * self.value if self.passes < 0 else logits


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path, value):
    run = tmp_path / "run"
    prepare_run(run, SETTINGS)
    net = Diverging(4, value)
    arguments = (Noise(), net_spec(SETTINGS.net).input, run, SETTINGS)
    with pytest.raises(DivergenceError, match=r"the loss is (nan|inf) at step 6.* kept.*--lr"):
        train(net, *arguments, device=CPU)
    whole = Diverging(0, value)
    progress = load_checkpoint(run, TrainedNets(whole))
    assert progress.step == 4
    assert all(value.isfinite().all() for value in whole.state_dict().values())
    assert [line["step"] for line in read_log(run)] == [3]


def test_a_run_that_diverges_at_once_has_no_checkpoint(tmp_path):
    prepare_run(tmp_path, SETTINGS)
    arguments = (Noise(), net_spec(SETTINGS.net).input, tmp_path, SETTINGS)
    with pytest.raises(DivergenceError, match=r"at step 2, .*; there is no checkpoint yet\. Give"):
        train(Diverging(0, math.nan), *arguments, device=CPU)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_loss_that_is_told_is_the_mean_since_the_last_line(tmp_path):
    told: dict[int, float | None] = {}
    prepare_run(tmp_path, SETTINGS)
    torch.manual_seed(0)
    net = build_net("fcn8s-mobilenet", {"head": 8, "skip": 8})
    hooks = Hooks(on_step=lambda step, loss: told.update({step: loss}))
    convention = net_spec(SETTINGS.net).input
    train(net, Noise(), convention, tmp_path, SETTINGS, device=CPU, hooks=hooks)
    assert [step for step, loss in told.items() if loss is None] == [1, 5, 7]
    logged = {line["step"]: line["loss"] for line in read_log(tmp_path)}
    assert logged == {step: pytest.approx(told[step], abs=1e-4) for step in (3, 6, 8)}


def test_random_states_come_back(tmp_path):
    net = nn.Conv2d(1, 1, 1)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    progress = load_checkpoint(tmp_path, TrainedNets(net))
    save_checkpoint(tmp_path, TrainedNets(net), optimiser, progress)
    expected = torch.rand(4)
    load_checkpoint(tmp_path, TrainedNets(net), optimiser)
    assert torch.equal(torch.rand(4), expected)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["cuda_random"]) == torch.cuda.device_count()


def test_other_settings_are_known_before_the_preparation(deconvnet, voc, tmp_path):
    run = tmp_path / "run"
    prepare_run(run, SETTINGS)
    check_settings(run, SETTINGS)
    with pytest.raises(UsageError, match=r"other settings \(lr = 1.0 is new\); give another --out"):
        prepare_run(run, replace(SETTINGS, lr=1.0))
    # Masks are not even looked for: this tree has none of these lists.
    result = deconvnet("train", "--voc-root", voc, "--out", run, "--split", "none", "--lr", 0.5)
    assert result.exit_code == 2 and "other settings" in result.stderr


def test_half_precision_keeps_what_it_cannot_hold(tmp_path):
    """BatchNorm variances over 65,504 become infinite in half precision, and the net NaN."""
    net = lively("deconvnet-mobilenet")
    norm = net.get_submodule("blocks.0.depthwise.1")
    norm.running_var.fill_(1e6)
    norm.weight.data.mul_(1e3)
    path = tmp_path / "large.safetensors"
    store(path, net, card_for("deconvnet-mobilenet", {**vars(net.settings)}))
    loaded = load(str(path)).net
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = net.eval()(x), loaded(x)
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, atol=0.02 * float(expected.abs().max()), rtol=0)
