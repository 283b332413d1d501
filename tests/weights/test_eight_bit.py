"""Weights in 8 bits: each value within half a step, and damaged files refused."""

import numpy as np
import pytest
import torch
from helpers.command_line import run_cli
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.eight_bit import compressed, expanded
from deconvnet_cli.weights.files import load, store

WIDE = {"width": 1 / 8, "fc": 64}  # wide enough that kernels have 4096 values or more


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return build_net("deconvnet-vgg16", WIDE).eval()


@pytest.fixture(scope="module")
def packed(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("8bit") / "net.safetensors"
    store(path, net, card_for("deconvnet-vgg16", net_settings(net)), eight_bit=True)
    return path


def test_each_value_is_within_half_a_step_of_its_channel(net, packed):
    loaded = load(str(packed)).net.state_dict()
    steps = 0
    for name, module in net.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or module.weight.numel() < 4096:
            continue
        kernel = module.weight.detach().numpy()
        # The output channels of a deconvolution are on the second axis.
        if isinstance(module, nn.ConvTranspose2d):
            kernel = kernel.swapaxes(0, 1)
        found = loaded[f"{name}.weight"].numpy()
        if isinstance(module, nn.ConvTranspose2d):
            found = found.swapaxes(0, 1)
        step = np.abs(kernel).reshape(len(kernel), -1).max(1) / 127
        error = np.abs(found - kernel).reshape(len(kernel), -1).max(1)
        assert (error <= step * 0.501).all(), name
        assert (error > 0).any()
        steps += 1
    assert steps > 10


def test_everything_else_is_in_half_precision(net, packed):
    stored = load_file(packed)
    assert stored["bn1_1.running_var"].dtype == torch.float16
    assert stored["conv1_1.weight"].dtype == torch.float16  # 216 values
    assert stored["fc6.weight"].dtype == torch.int8
    assert stored["fc6.weight.scale"].shape == (64, 1, 1, 1)
    assert stored["fc6_deconv.weight.scale"].shape == (1, 64, 1, 1)


def test_a_channel_of_zeros_stays_zero():
    layer = nn.Conv2d(64, 64, 1)
    nn.init.zeros_(layer.weight[3])
    stored = compressed(nn.Sequential(layer))
    assert not expanded(stored, None)["0.weight"][3].any()


def test_the_command_halves_the_file_and_keeps_what_the_net_says(net, tmp_path):
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    store(before, net, card_for("deconvnet-vgg16", net_settings(net), scores={"val": 0.5}))
    result = run_cli("weights", "compress", before, "-o", after)
    assert result.exit_code == 0 and str(after) in result.stdout
    assert after.stat().st_size < 0.6 * before.stat().st_size
    loaded = load(str(after))
    assert loaded.card.scores == {} and "8 bits" in loaded.card.provenance
    crop = torch.rand(1, 3, 224, 224) * 100
    with torch.inference_mode():
        expected, found = net(crop), loaded.net(crop)
    assert (found - expected).norm() < 0.1 * (expected - expected.mean()).norm()


@pytest.mark.parametrize(("scale", "message"), [
    (None, "is missing"),
    (torch.ones(64, 64, 1, 1), "holds no scales"),
    (torch.ones(64), "holds no scales"),
    (torch.ones(64, 1, 1, 1).half(), "holds no scales"),
    (torch.full((64, 1, 1, 1), torch.inf), "holds no scales"),
])  # fmt: skip
def test_damaged_scales_are_refused(packed, tmp_path, scale, message):
    tensors = load_file(packed)
    del tensors["fc6.weight.scale"]
    if scale is not None:
        tensors["fc6.weight.scale"] = scale
    with pytest.raises(WeightsError, match=f"net.safetensors: .*{message}"):
        expanded(tensors, tmp_path / "net.safetensors")


def test_scales_without_a_kernel_are_left_over(packed, tmp_path):
    tensors = load_file(packed)
    tensors["fc7.weight"] = tensors["fc7.weight"].float()
    path = tmp_path / "net.safetensors"
    with safe_open(packed, "pt") as file:
        save_file(tensors, path, file.metadata())
    with pytest.raises(WeightsError, match=r"left over|not of this net"):
        load(str(path))
