"""What the registry says of each net, against the nets themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.registry import NETS, build_net, name_of_net, net_spec
from deconvnet_cli.training.optimiser import begin_training, parameter_groups
from deconvnet_cli.training.settings import default_settings

# By hand: 13 convolutions of VGG-16 with weight and bias, and DeconvNet's BatchNorm of each.
PRETRAINED = {"deconvnet-vgg16": 13 * 4, "fcn8s": 13 * 2}
SMALL = {"deconvnet-vgg16": {"width": 1 / 32, "fc": 8}, "fcn8s": {"width": 1 / 32, "fc": 8}}


def small_net(name: str) -> nn.Module:
    return build_net(name, SMALL.get(name))


@pytest.mark.parametrize("name", NETS)
def test_a_frozen_encoder_has_all_of_its_parameters_frozen(name):
    net = small_net(name)
    begin_training(net, replace(default_settings(name), frozen=True))
    frozen = {key for key, value in net.named_parameters() if not value.requires_grad}
    assert frozen and len(frozen) < len(list(net.parameters()))
    if name in PRETRAINED:
        assert len(frozen) == PRETRAINED[name]
        assert all(key.startswith(("conv", "bn")) and "fc" not in key for key in frozen)
    for key, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training != (f"{key}.weight" in frozen)


@pytest.mark.parametrize("name", NETS)
def test_pretrained_weights_learn_at_their_own_rate(name):
    net = small_net(name)
    settings = replace(default_settings(name), frozen=False, pretrained_lr=0.25, optimiser="adamw")
    rates = {
        id(parameter): group["lr"]
        for group in parameter_groups(net, settings)
        for parameter in group["params"]
    }
    slow = {key for key, value in net.named_parameters() if rates[id(value)] < settings.lr}
    assert slow == {
        key for key, _ in net.named_parameters() if key.startswith(net_spec(name).pretrained)
    }


@pytest.mark.parametrize("name", NETS)
def test_the_smallest_input_gives_logits_of_its_size(name):
    spec, net = net_spec(name), small_net(name).eval()
    side = max(spec.least_size, 2 * spec.stride, 32)
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, side, side)).shape == (1, 21, side, side)
    assert name_of_net(net) == name


@pytest.mark.parametrize("name", NETS)
def test_the_decoder_ends_in_the_logits(name):
    spec, net = net_spec(name), small_net(name)
    if spec.decoder is None:
        assert not spec.takes_boxes
        return
    stages = spec.decoder(net)
    assert net.get_submodule(stages[-1].module).out_channels == 21
    assert all(net.get_submodule(stage.module) for stage in stages)
    assert sum(stage.entering for stage in stages) == sum(
        stage.name.startswith("unpool") for stage in stages
    )


def test_a_setting_that_is_true_or_false_takes_nothing_else():
    build_net("deconvnet-mobilenet", {"bypass": False})
    for wrong in (0, 1, "false", None):
        with pytest.raises(WeightsError, match="bool"):
            build_net("deconvnet-mobilenet", {"bypass": wrong})
    with pytest.raises(WeightsError, match="int"):
        build_net("deconvnet-mobilenet", {"head": True})
