"""What a run starts from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import TRUNK
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.start import (
    check_start,
    from_torchvision,
    load_trunk,
    net_at_start,
)
from deconvnet_cli.weights.files import load

VGG = TrainSettings(net="deconvnet-vgg16", net_settings='{"width": 0.125, "fc": 8}')


def narrow_trunk() -> dict[str, torch.Tensor]:
    net = build_net("deconvnet-vgg16", {"width": 0.125, "fc": 8})
    names = [f"{layer.name}.{kind}" for layer in TRUNK for kind in ("weight", "bias")]
    return {name: torch.randn_like(net.get_parameter(name)) for name in names}


def test_a_trunk_takes_its_place_and_the_rest_is_gaussian(tmp_path: Path):
    trunk = narrow_trunk()
    save_file(trunk | {"more": torch.zeros(1)}, tmp_path / "trunk.safetensors")
    crops = torch.randn(2, 3, 224, 224)
    net = net_at_start(VGG, str(tmp_path / "trunk.safetensors"), None, lambda: [crops]).eval()
    x = expected = torch.randn(1, 3, 224, 224)
    for layer in TRUNK[:4]:  # by hand, without BatchNorm
        weight, bias = trunk[f"{layer.name}.weight"], trunk[f"{layer.name}.bias"]
        expected = F.conv2d(expected, weight, bias, padding=1).relu()
        if layer.name.endswith("_2"):
            expected = F.max_pool2d(expected, 2)
    for layer in TRUNK[:4]:
        x = net.get_submodule(layer.norm)(net.get_submodule(layer.name)(x)).relu()
        if layer.name.endswith("_2"):
            x = F.max_pool2d(x, 2)
    close = 1e-5 * expected.abs().max().item()  # values of fp32 in the thousands
    torch.testing.assert_close(x, expected, atol=close, rtol=1e-3)
    with torch.no_grad():
        seen = net.get_submodule("conv1_1")(crops)
    torch.testing.assert_close(net.get_buffer("bn1_1.running_mean"), seen.mean((0, 2, 3)))
    for name, value in trunk.items():
        assert torch.equal(net.get_parameter(name), value)
    assert net.get_parameter("deconv5_1.weight").std().item() == pytest.approx(0.01, rel=0.1)
    assert net.get_parameter("debn5_1.bias").unique().tolist() == pytest.approx([0.001])


def test_a_trunk_that_lacks_a_layer_or_is_wider_is_refused(tmp_path: Path):
    trunk = narrow_trunk()
    del trunk["conv3_2.bias"]
    save_file(trunk, tmp_path / "t.safetensors")
    with pytest.raises(WeightsError, match=r"t\.safetensors: has no tensor conv3_2\.bias"):
        net_at_start(VGG, str(tmp_path / "t.safetensors"), None, list)
    wide = {"conv1_1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(WeightsError, match=r"conv1_1\.weight is \(64, 3, 3, 3\)"):
        load_trunk(build_net("deconvnet-vgg16", {"width": 0.125, "fc": 8}), wide)


def test_torchvisions_vgg16_computes_the_same(monkeypatch: pytest.MonkeyPatch):
    """RGB 0..1 less mean over deviation there, BGR 0..255 less mean here; fc6 and fc7 there."""
    import torchvision  # this takes over a second

    torch.manual_seed(0)
    theirs = torchvision.models.vgg16(weights=None)
    monkeypatch.setattr(torchvision.models, "vgg16", lambda weights: theirs)
    trunk = from_torchvision(build_net("deconvnet-vgg16", {"width": 0.125, "fc": 8}))
    assert [len(trunk[f"{layer.name}.weight"]) for layer in TRUNK] == [
        layer.channels for layer in TRUNK
    ]
    pixels = torch.randint(0, 256, (1, 3, 8, 8)).float()
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    deviation = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
    there = theirs.features[0]((pixels / 255 - mean) / deviation)
    shown = (pixels - mean * 255).flip(1)
    here = F.conv2d(shown, trunk["conv1_1.weight"], trunk["conv1_1.bias"], padding=1)
    torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-4)
    for name in ("fcn8s", "deconvnet-vgg16"):
        with torch.device("meta"):
            net = build_net(name)
        tensors = from_torchvision(net)
        assert all(net.get_parameter(name).shape == value.shape for name, value in tensors.items())
        assert {"fc6.weight", "fc6.bias", "fc7.weight", "fc7.bias"} < set(tensors)
    features = torch.randn(1, 512, 7, 7)
    there = theirs.classifier[:4].eval()(features.flatten(1))
    here = F.conv2d(features, tensors["fc6.weight"], tensors["fc6.bias"]).relu()
    here = F.conv2d(here, tensors["fc7.weight"], tensors["fc7.bias"])
    torch.testing.assert_close(here.flatten(1), there, atol=1e-4, rtol=1e-4)


def test_weights_of_another_net_are_no_start(tiny_weights: Path):
    with pytest.raises(UsageError, match="weights of deconvnet-vgg16"):
        check_start(TrainSettings(), None, str(tiny_weights))
    with pytest.raises(UsageError, match="give one of them"):
        check_start(VGG, "x", str(tiny_weights))


def test_weights_keep_their_net(tiny_weights: Path):
    has = net_settings(load(str(tiny_weights)).net)
    same = {"width": has["width"], "fc": has["fc"], "classes": 3}
    check_start(replace(VGG, net_settings=json.dumps(same)), None, str(tiny_weights))
    other = replace(VGG, net_settings=json.dumps(same | {"fc": has["fc"] + 1}))
    with pytest.raises(UsageError, match=f"fc = {has['fc'] + 1}, but .* has {has['fc']}"):
        check_start(other, None, str(tiny_weights))
    check_start(other, None, str(tiny_weights), begun=True)  # an earlier version let it begin


def test_lists_of_channels_are_compared_with_those_of_the_weights():
    has = json.dumps({"bridge": net_settings(load("deconvnet-mobilenet").net)["bridge"]})
    check_start(TrainSettings(net_settings=has), None, "deconvnet-mobilenet")
