"""Average, validation, best weights and patience of a run, and what it leaves to look at."""

from __future__ import annotations

import copy
import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.lively_nets import Noise, Small
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.data.voc import VocTree, palette
from deconvnet_cli.errors import DependencyError
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.nets.deconvnet_vgg16 import LAYERS, TRUNK
from deconvnet_cli.nets.registry import build_net, net_settings, net_spec
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentOptions
from deconvnet_cli.training.batchnorm import batchnorms, recompute_statistics
from deconvnet_cli.training.follow import event_log, validate
from deconvnet_cli.training.loop import Hooks, train
from deconvnet_cli.training.optimiser import average_of, begin_training, decay_at, update_average
from deconvnet_cli.training.pictures import GAP, TILE, samples_png
from deconvnet_cli.training.run_folder import TrainedNets, prepare_run, read_log
from deconvnet_cli.training.settings import TrainSettings, default_settings
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import load, store

CPU = torch.device("cpu")
SETTINGS = TrainSettings(crops=40, batch=4, precision="fp32", lr=1e-2, warmup=2, val_every=2)


def run_in(run: Path, settings: TrainSettings, hooks: Hooks = Hooks()) -> TrainedNets:
    torch.manual_seed(0)
    prepare_run(run, settings)
    convention = net_spec(settings.net).input
    return train(Small(), Noise(), convention, run, settings, device=CPU, hooks=hooks)


def test_the_average_is_the_sum_by_hand():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = average_of(net)
    expected = net[0].weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            net[0].weight.add_(step)
        net[1].num_batches_tracked += 1
        update_average(average, net, decay_at(step, 0.5))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    torch.testing.assert_close(average[0].weight, expected)
    assert average[1].num_batches_tracked == 5 and not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_a_stopped_run_ends_at_the_same_average_and_the_same_best(tmp_path):
    settings = replace(SETTINGS, ema=0.9)
    straight = run_in(tmp_path / "straight", settings)
    steps: list[int] = []
    hooks = Hooks(on_step=lambda step, loss: steps.append(step), stop=lambda: len(steps) == 5)
    stopped = run_in(tmp_path / "stopped", settings, hooks)
    assert stopped.progress is None
    resumed = run_in(tmp_path / "stopped", settings)
    for one, other in zip(straight.each().values(), resumed.each().values(), strict=True):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
    last, average = straight.net.state_dict(), straight.each()["average"].state_dict()
    assert not torch.equal(last["0.weight"], average["0.weight"])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_best_is_kept_and_the_run_ends_once_patience_does(tmp_path, ema):
    scores = iter((0.1, 0.1, 0.4, 0.3, 0.3, 0.3, 0.2, 0.2, 0.4, 0.4, 0.9, 0.9))
    if not ema:
        scores = iter(list(scores)[::2])
    kept: list[tuple[int, float, Tensor]] = []
    hooks = Hooks(
        validate=lambda net: next(scores),
        on_best=lambda net, step, score: kept.append(
            (step, score, copy.deepcopy(net.state_dict()["0.weight"]))
        ),
    )
    settings = replace(SETTINGS, crops=400, ema=ema, patience=2)
    nets = run_in(tmp_path, settings, hooks)
    assert [(step, score) for step, score, _ in kept] == [(2, 0.1), (4, 0.4)]
    # Steps 2 and 4 were better, 6 and 8 were not; then the last weights are validated again.
    assert nets.progress is not None
    assert (nets.progress.step, nets.progress.best_step, nets.progress.misses) == (8, 4, 3)
    scored = [line for line in read_log(tmp_path) if "val_mean_iou" in line]
    assert [line["step"] for line in scored] == [2, 4, 6, 8, 8]
    trained = [line for line in read_log(tmp_path) if "loss" in line]
    assert [line["step"] for line in trained] == [2, 4, 6, 8]  # although log_every is 50
    assert all(("val_mean_iou_average" in line) == bool(ema) for line in scored)
    again = run_in(tmp_path, settings, hooks)  # a complete run does not validate again
    assert torch.equal(again.net[0].weight, nets.net[0].weight)


def test_nets_are_finished_before_the_last_validation(tmp_path):
    calls: list[str] = []
    hooks = Hooks(
        validate=lambda net: calls.append("validate") or 0.5,
        finish=lambda net: calls.append("finish"),
        show=lambda net, step: calls.append(f"show {step}"),
    )
    run_in(tmp_path, replace(SETTINGS, crops=16, ema=0.9), hooks)
    assert calls == [
        "show 0", "validate", "validate", "show 2",
        "finish", "finish", "validate", "validate", "show 4",
    ]  # fmt: skip


@pytest.mark.parametrize("rule", ["max", "context"])
def test_validation_merges_as_a_prediction_does(voc, lively_weights, tmp_path, rule):
    """The options of `segment` decide what a prediction is: with context, boxes are skipped."""
    given = load(str(lively_weights))
    card = replace(given.card, merge=rule, proposals=6)
    store(tmp_path / "net.safetensors", given.net, card, half=False)
    tree, names = VocTree(voc), ["p0", "p2"]
    for boxes in (0, 4):
        options = SegmentOptions(
            weights=str(tmp_path / "net.safetensors"), proposals=boxes or None, device="cpu",
            precision="fp32",
        )  # fmt: skip
        system, settings = load_system(options, plain=True)
        assert settings.until_settled == (rule == "context" and boxes == 0)
        total = np.zeros((21, 21), np.int64)
        for name in names:
            photo = Image.open(tree.image(name)).convert("RGB")
            labels = segment(photo, system, settings).labels
            total += confusion(np.asarray(Image.open(tree.mask(name))), labels)
        found = validate(given.net, card, tree, names, boxes)
        assert found == pytest.approx(metrics_of(total).mean_iou)


def test_the_sheet_shows_crops_labels_and_predictions():
    net = build_net("fcn8s-mobilenet", {"head": 8, "skip": 8}).eval()
    crops = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    labels = torch.randint(0, 21, (3, 32, 32))
    convention = net_spec("fcn8s-mobilenet").input
    card = card_for("fcn8s-mobilenet", net_settings(net))
    data = samples_png(net, crops, labels, convention, card.classes)
    with Image.open(io.BytesIO(data)) as picture:
        sheet = np.asarray(picture)
    step = TILE + GAP
    assert sheet.shape == (3 * step + GAP, 3 * step + GAP, 3)
    with torch.no_grad():
        found = net(convention.prepare(crops)).argmax(1)
    for number in range(3):
        rows = crops[number].permute(1, 2, 0), palette()[labels[number]], palette()[found[number]]
        for down, row in enumerate(rows):
            top, left = down * step + GAP, number * step + GAP
            tile = sheet[top : top + TILE : TILE // 32, left : left + TILE : TILE // 32]
            np.testing.assert_array_equal(tile, row)


def test_tensorboard_gets_the_lines_of_the_log(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write = event_log(tmp_path)
    write({"step": 7, "loss": 0.5, "val_mean_iou": 0.25})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(7, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("val_mean_iou")] == [(7, 0.25)]
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(DependencyError, match=r'^--tensorboard needs .* "\.\[tensorboard\]"'):
        event_log(tmp_path)


def test_batchnorms_of_several_gpus_keep_and_recompute_statistics_like_others():
    """torch's SyncBatchNorm is no BatchNorm2d."""
    settings = replace(default_settings("deconvnet-vgg16", 1), keep_statistics=True)
    net = build_net(settings.net, {"width": 1 / 64, "fc": 8})
    shared = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)
    begin_training(shared, settings)
    modes = {name: norm.training for name, norm in batchnorms(shared).items()}
    assert modes.keys() == {layer.norm for layer in LAYERS}
    assert {name for name, training in modes.items() if not training} == {
        layer.norm for layer in TRUNK
    }
    recompute_statistics(shared, [torch.randn(2, 3, 224, 224)])
    assert all(norm.running_mean.any() for norm in batchnorms(shared).values())


def test_statistics_of_a_frozen_part_are_kept_and_the_others_are_those_of_the_batches():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)
    )
    before = copy.deepcopy(net[1].state_dict())
    batches = [torch.randn(6, 3, 8, 8) for _ in range(3)]
    recompute_statistics(net, batches, kept=lambda name: name == "1")
    assert all(torch.equal(value, before[name]) for name, value in net[1].state_dict().items())
    with torch.no_grad():
        inputs = net[2](net[1](net[0](torch.cat(batches))))
    torch.testing.assert_close(net[3].running_mean, inputs.mean((0, 2, 3)))
    of_batches = [part.var((0, 2, 3)) for part in inputs.split(6)]
    torch.testing.assert_close(net[3].running_var, torch.stack(of_batches).mean(0))
    assert net[3].momentum == 0.1 and not net.training
