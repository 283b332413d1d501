"""Activations of the decoder: where they are recorded, and which channel is shown."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.lively_nets import lively
from PIL import Image
from torch import nn

from deconvnet_cli.explain.activations import (
    DecoderStage,
    choose_channels,
    correlations,
    decoder_stages,
    recording,
    rerun_box,
)
from deconvnet_cli.nets import fusion
from deconvnet_cli.nets.fusion import fused
from deconvnet_cli.nets.inputs import MOBILENET_INPUT
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import Weights

NETS = ("deconvnet-vgg16", "deconvnet-mobilenet")
# Name, and side as a share of the input's: the tables in the nets' modules.
STAGES = {
    "deconvnet-vgg16": "fc6_deconv 32, unpool5 16, deconv5_3 16, unpool4 8, deconv4_3 8, "
    "unpool3 4, deconv3_3 4, unpool2 2, deconv2_2 2, unpool1 1, deconv1_2 1",
    "deconvnet-mobilenet": "bridge 16, unpool4 8, decode4 8, unpool3 4, decode3 4, unpool2 2, "
    "decode2 2, unpool1 1, decode1 1",
}
SIDES = {"deconvnet-vgg16": 224, "deconvnet-mobilenet": 96}


@torch.inference_mode()
def recorded_in(net: nn.Module, side: int) -> tuple[dict[DecoderStage, torch.Tensor], torch.Tensor]:
    """Run the net on noise; return the recorded activations and the logits."""
    inputs = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    inputs = inputs.to(next(net.parameters()).dtype)
    with recording(net) as recorded:
        logits = net(inputs)
    return recorded, logits[0]


@pytest.mark.parametrize("name", NETS)
def test_each_stage_has_the_size_of_the_net_s_table(name):
    net = fused(lively(name))
    side = SIDES[name]
    recorded, logits = recorded_in(net, side)
    stages = decoder_stages(net)[:-1]
    for stage, row in zip(stages, STAGES[name].split(", "), strict=True):
        expected, part = row.split()
        assert stage.name == expected
        assert recorded[stage].shape[1:] == (side // int(part), side // int(part))
        assert recorded[stage].min() >= 0 and recorded[stage].max() > 0
    own = recorded[decoder_stages(net)[-1]]
    assert own.shape == logits.shape
    assert torch.equal(own, logits) == (name == "deconvnet-vgg16")


@pytest.mark.parametrize("name", NETS)
def test_unpooling_puts_each_value_of_the_stage_before_into_its_window(name):
    recorded, _ = recorded_in(fused(lively(name)), SIDES[name])
    seen = 0
    for before, after in pairwise(recorded):
        if after.entering:
            values, spread = recorded[before], recorded[after]
            assert torch.equal(F.max_pool2d(spread, 2), values)
            assert torch.equal(F.avg_pool2d(spread, 2) * 4, values)  # and nothing else
            seen += 1
    assert seen >= 4


@pytest.mark.parametrize("kernels", [True, False], ids=["fused", "one by one"])
@pytest.mark.parametrize("name", NETS)
def test_preparation_leaves_what_is_listened_to(name, kernels, monkeypatch):
    if kernels and not fusion.has_fused_kernels():
        pytest.skip("no such kernels here")
    monkeypatch.setattr(fusion, "has_fused_kernels", lambda: kernels)
    net = lively(name)
    ready = fused(net)
    if not kernels:  # doubles, in which rounding chooses no other of two nearly equal maxima
        net, ready = net.double(), ready.double()
    plain, _ = recorded_in(net, SIDES[name])
    again, _ = recorded_in(ready, SIDES[name])
    assert list(plain) == list(again)
    for stage, values in plain.items():
        close = (values - again[stage]).abs() <= 1e-3 * values.abs().max()
        assert close.float().mean() > (0.8 if kernels else 0.9999)


def test_a_fifth_pool_is_a_stage_more():
    net = build_net("deconvnet-mobilenet", {"head": 16, "pools": 5}).eval()
    recorded, _ = recorded_in(net, 64)
    names = [stage.name for stage in decoder_stages(net)[:-1]]
    assert names[:3] == ["bridge", "unpool5", "decode5"] and len(names) == 11
    assert recorded[decoder_stages(net)[0]].shape[1:] == (2, 2)


def test_no_hook_is_left():
    net = fused(lively("deconvnet-mobilenet"))
    recorded_in(net, 64)
    with pytest.raises(ZeroDivisionError), recording(net):
        raise ZeroDivisionError
    for module in net.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_other_nets_have_no_such_decoder():
    with pytest.raises(ValueError, match="no decoder"):
        decoder_stages(lively("fcn8s"))


def test_a_whole_photo_is_seen_in_its_own_shape_and_unmirrored():
    net = fused(lively("deconvnet-mobilenet"))
    card = card_for(
        "deconvnet-mobilenet",
        net_settings(net),
        input=MOBILENET_INPUT.__class__("RGB", (128.0,) * 3, 1 / 128, size=64, whole=96),
    )
    photo = Image.linear_gradient("L").resize((90, 60)).convert("RGB")
    photo.paste((200, 40, 40), (5, 5, 30, 40))
    weights = Weights(net, card, Path("none"))
    rerun = rerun_box(photo, (0, 0, 90, 60), weights)
    assert [view.shape for view in rerun.views] == [(21, 64, 96)] * 2
    assert torch.equal(rerun.logits, rerun.views[0])
    start = rerun.stages[decoder_stages(net)[0]]
    assert start.shape[1:] == (4, 6)
    with torch.inference_mode(), recording(net) as recorded:
        pixels = torch.from_numpy(np.array(photo.resize((96, 64), Image.Resampling.BILINEAR)))
        net((pixels.permute(2, 0, 1)[None].float() - 128) / 128)
    torch.testing.assert_close(start, recorded[decoder_stages(net)[0]], rtol=1e-3, atol=1e-4)
    further = replace(card, input=replace(card.input, further=(48, 128), coarse=()))
    several = rerun_box(photo, (0, 0, 90, 60), replace(weights, card=further))
    assert [view.shape[1:] for view in several.views] == [(64, 96), (32, 48), (80, 128)]
    torch.testing.assert_close(several.views[0], rerun.views[1])  # the mirror image
    torch.testing.assert_close(several.logits, rerun.logits)
    torch.testing.assert_close(several.stages, rerun.stages)
    for convention in (card, further):
        crop = rerun_box(photo, (0, 0, 50, 60), replace(weights, card=convention))
        assert [view.shape for view in crop.views] == [(21, 64, 64)]


def test_correlations_against_numpy():
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 1, (6, 5, 7)).astype(np.float32)
    target = rng.normal(0, 1, (5, 7)).astype(np.float32)
    maps[2] = 0.1  # the same everywhere
    found = correlations(maps, target)
    for number, values in enumerate(maps):
        if number != 2:
            expected = np.corrcoef(values.ravel(), target.ravel())[0, 1]
            assert found[number] == pytest.approx(expected, abs=1e-9)
    assert found[2] == 0
    assert (correlations(maps, np.full((5, 7), 0.3, np.float32)) == 0).all()


def test_the_channel_most_like_the_score_is_shown():
    shape = torch.zeros(8, 8)
    shape[2:6, 1:4] = 5
    coarse = F.avg_pool2d(shape[None, None], 2)[0, 0]
    stages = {
        DecoderStage("unpool1", "x", entering=True): torch.stack(
            (shape * 0, 5 - shape, 2 * shape + 1)
        ),
        DecoderStage("bridge", "y"): torch.stack((coarse, torch.rand(4, 4), coarse)),
    }  # fmt: skip
    fine, small = choose_channels(stages, shape - 3)
    assert (fine.channel, fine.channels, fine.stage.name) == (2, 3, "unpool1")
    assert fine.correlation == pytest.approx(1)
    assert small.channel == 0 and small.values.shape == (4, 4)  # of equals the first
    assert np.array_equal(small.values, coarse.numpy())
