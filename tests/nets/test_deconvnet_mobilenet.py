"""The default net: shapes, its start from folded weights, and that training it works."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile, MobileNetSettings
from deconvnet_cli.nets.fusion import fused
from deconvnet_cli.nets.inputs import MOBILENET_INPUT, VGG_INPUT
from deconvnet_cli.nets.mobilenet_v2 import convolution_pairs
from deconvnet_cli.training.batchnorm import (
    load_folded,
    restore_batchnorm,
    start_from_folded,
)

SMALL = MobileNetSettings(head=8, bridge=(8, 64), decode4=(8, 32), decode3=(24,), decode2=(32,))


def test_parameters_and_shapes():
    net = DeconvNetMobile()
    assert sum(parameter.numel() for parameter in net.parameters()) == 2_700_730
    seen = {}
    for name in ("stem", "blocks.1", "blocks.3", "blocks.6", "blocks.13", "blocks.16", "bridge"):
        module = net.get_submodule(name)
        module.register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])})
        )
    for name in ("decode4", "decode3", "decode2", "decode1"):
        net.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])})
        )
    with torch.inference_mode():
        scores, coarse = net.eval().forward_with_coarse(torch.zeros(1, 3, 224, 224))
    assert scores.shape == coarse.shape == (1, 21, 224, 224)
    assert seen == {
        "stem": (32, 224, 224), "blocks.1": (24, 112, 112), "blocks.3": (32, 56, 56),
        "blocks.6": (64, 28, 28), "blocks.13": (160, 14, 14), "blocks.16": (320, 14, 14),
        "bridge": (64, 14, 14), "decode4": (32, 28, 28), "decode3": (24, 56, 56),
        "decode2": (32, 112, 112), "decode1": (16, 224, 224),
    }  # fmt: skip


def folded_file(path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = DeconvNetMobile(SMALL)
    tensors = {}
    for name, (convolution, norm) in convolution_pairs(net).items():
        tensors[f"{name}.weight"] = convolution.weight.detach().clone()
        tensors[f"{name}.bias"] = torch.randn(norm.num_features) * 0.3
    tensors["head.logits.weight"] = net.head.logits.weight.detach().clone()
    tensors["head.logits.bias"] = torch.zeros(21)
    save_file(tensors, path)
    return tensors


def test_without_the_bypass_the_decoder_stands_alone():
    torch.manual_seed(0)
    net = DeconvNetMobile(SMALL).eval()
    alone = DeconvNetMobile(replace(SMALL, bypass=False)).eval()
    alone.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        logits, coarse = net.forward_with_coarse(x)
        decoded, same_coarse = alone.forward_with_coarse(x)
        torch.testing.assert_close(coarse, same_coarse)
        torch.testing.assert_close(decoded, logits - coarse, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone(x), decoded)


@pytest.mark.parametrize("pool", ["stride", "max"])
@pytest.mark.parametrize("pools", [4, 5])
@pytest.mark.parametrize("fuse", [False, True], ids=["plain", "fused"])
def test_coarse_logits_alone_are_those_of_the_whole_net(pool, pools, fuse):
    torch.manual_seed(0)
    settings = MobileNetSettings(pool=pool, pools=pools, bridge=(32, 64), decode5=(32, 64))
    net: torch.nn.Module = DeconvNetMobile(settings).eval()
    if fuse:
        net = fused(net)
    x = torch.randn(1, 3, 96, 160)
    with torch.inference_mode():
        expected = net.forward_with_coarse(x)[1]
        found = net.enlarge(net.coarse_logits(x), (96, 160))
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_restored_batchnorm_keeps_the_function(tmp_path):
    tensors = folded_file(tmp_path / "folded.safetensors")
    net = DeconvNetMobile(SMALL, strided=True)
    load_folded(net, tmp_path / "folded.safetensors")
    x = torch.randn(2, 3, 64, 64)
    net.eval()
    with torch.no_grad():
        # The first layer by hand: convolution, bias, ReLU6, no BatchNorm.
        weight, bias = tensors["stem.weight"], tensors["stem.bias"]
        expected = F.conv2d(x, weight, bias, stride=2, padding=1).clamp(0, 6)
        torch.testing.assert_close(net.stem(x), expected, atol=1e-5, rtol=1e-5)
        before = net.head(net.encode(x)[0])[1]
        norms = [norm for _, norm in convolution_pairs(net).values()]
        batches = [torch.randn(4, 3, 64, 64) for _ in range(2)]
        restore_batchnorm(norms, lambda batch: net.head(net.encode(batch)[0]), batches)
        after = net.head(net.encode(x)[0])[1]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    assert net.stem[1].running_var.std() > 0  # statistics are there now


def test_a_net_that_keeps_the_strides_values_starts_as_the_published_one(tmp_path):
    folded_file(tmp_path / "folded.safetensors")
    published = DeconvNetMobile(SMALL, strided=True)
    load_folded(published, tmp_path / "folded.safetensors")
    net = DeconvNetMobile(SMALL)
    start_from_folded(net, tmp_path / "folded.safetensors", [torch.randn(4, 3, 64, 64)])
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        coarse = published.eval().head(published.encode(x)[0])[1]
        scores = net.eval()(x)
    # Cell i of the coarse scores stands at pixel 16 i; in between it is linear.
    torch.testing.assert_close(scores[:, :, ::16, ::16], coarse, atol=1e-4, rtol=1e-3)
    middle = (coarse[:, :, 1, 2] + coarse[:, :, 1, 3]) / 2
    torch.testing.assert_close(scores[:, :, 16, 40], middle, atol=1e-4, rtol=1e-3)


def test_what_the_encoder_keeps_of_a_window_is_a_setting():
    x = torch.arange(16.0).view(1, 1, 4, 4).flip(3)
    kept = {}
    for pool in ("max", "stride"):
        switches: list[torch.Tensor] = []
        net = DeconvNetMobile(replace(SMALL, pool=pool))
        kept[pool] = net._halve(x, switches).flatten().tolist()
        assert switches[0].flatten().tolist() == [4, 6, 12, 14]  # the maxima, either way
    assert kept == {"max": [7, 5, 15, 13], "stride": [3, 1, 11, 9]}
    with pytest.raises(WeightsError, match="unknown pool 'mean'"):
        DeconvNetMobile(replace(SMALL, pool="mean"))


def test_a_file_of_another_net_is_refused(tmp_path):
    save_file({"stem.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"x\.safetensors.*stem\.weight"):
        load_folded(DeconvNetMobile(SMALL), tmp_path / "x.safetensors")


def test_input_conventions():
    crops = torch.tensor([255, 128, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert MOBILENET_INPUT.prepare(crops).flatten().tolist() == [127 / 128, 0, -1]
    expected = [0 - 104.00698793, 128 - 116.66876762, 255 - 122.67891434]
    assert VGG_INPUT.prepare(crops).flatten().tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_predicted_scores_are_the_trained_ones_as_planes(layout):
    net = DeconvNetMobile(MobileNetSettings(head=8)).eval().to(memory_format=layout)
    x = torch.randn(2, 3, 32, 48).contiguous(memory_format=layout)
    with torch.inference_mode():
        scores = net(x)
        torch.testing.assert_close(scores, net.forward_with_coarse(x)[0])
    assert scores.is_contiguous()
