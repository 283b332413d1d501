"""Prepared nets compute what the plain ones do."""

import pytest
import torch
from helpers.lively_nets import SETTINGS, lively
from torch import nn

from deconvnet_cli.nets import fusion
from deconvnet_cli.nets.fusion import (
    FusedConvolution,
    PlanarConvolution,
    PointDeconvolution,
    as_convolution,
    fuse,
    fused,
)

needs_fused = pytest.mark.skipif(not fusion.has_fused_kernels(), reason="no such kernels here")


@pytest.mark.parametrize(
    "kernels", [pytest.param(True, marks=needs_fused), False], ids=["fused", "one by one"]
)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_scores_with_nothing_left_to_fold(name, kernels, monkeypatch):
    monkeypatch.setattr(fusion, "has_fused_kernels", lambda: kernels)
    net = lively(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    ready = fused(net)
    # Of values that nearly tie in a pool, rounding may choose another one: not so of this input.
    torch.manual_seed(1)
    x = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = net.double()(x.double())
        scale = expected.abs().max().item()
        torch.testing.assert_close(ready(x).double(), expected, atol=1e-4 * scale, rtol=0)
    left = [module for module in ready.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not left
    strided = {m.stride for m in ready.modules() if isinstance(m, nn.ConvTranspose2d)}
    assert (1, 1) not in strided
    if kernels:
        rows = [module for module in ready.modules() if isinstance(module, nn.Sequential)]
        assert not any(isinstance(child, nn.ReLU | nn.ReLU6) for row in rows for child in row)
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    assert all(torch.equal(net.float().state_dict()[key], value) for key, value in before.items())


@needs_fused
@pytest.mark.parametrize("change", ["takes other arguments", "computes something else"])
def test_an_operator_that_a_later_torch_changes_is_not_used(change, monkeypatch):
    def changed(x, *arguments):
        if change == "takes other arguments":
            raise RuntimeError("_convolution_pointwise() is missing value for argument 'mask'")
        return x

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", changed)
    fusion.has_fused_kernels.cache_clear()
    try:
        assert not fusion.has_fused_kernels()
    finally:
        fusion.has_fused_kernels.cache_clear()


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (7, 0), (1, 0), ((3, 5), (0, 2))])
def test_a_deconvolution_of_stride_1_is_a_convolution(kernel, padding):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, kernel, padding=padding)
    x = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(as_convolution(layer)(x), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2)])
def test_a_deconvolution_of_a_pixel_is_a_product_and_of_more_pixels_right_too(height, width):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, (7, 5))
    x = torch.randn(2, 4, height, width)
    torch.testing.assert_close(PointDeconvolution(layer)(x), layer(x), atol=1e-5, rtol=1e-5)


@needs_fused
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6()])
def test_a_convolution_that_activates_itself(activation):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8).requires_grad_(False)
    separate = nn.Sequential(layer, nn.Identity(), activation, nn.Conv2d(8, 4, 1))
    x = torch.randn(2, 8, 9, 7) * 20
    expected = separate(x)
    assert layer(x).max() > 6 and layer(x).min() < 0
    fuse(separate)
    assert isinstance(separate[0], FusedConvolution)
    assert isinstance(separate[2], nn.Identity)
    assert type(separate[3]) is nn.Conv2d, "no activation follows it"
    torch.testing.assert_close(separate(x), expected, atol=1e-5, rtol=1e-5)


@needs_fused
def test_elsewhere_than_on_a_cpu_the_activation_comes_after_the_convolution():
    layer = FusedConvolution(nn.Conv2d(3, 5, 3), nn.ReLU6()).to("meta")
    seen = []
    layer.activation.register_forward_hook(lambda *_: seen.append(True))
    assert layer(torch.empty(1, 3, 8, 8, device="meta")).shape == (1, 5, 6, 6)
    assert seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_logits_in_planes_are_those_of_the_convolution(bias, layout):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(5, 7, 1, bias=bias)
    x = torch.randn(3, 5, 6, 4).contiguous(memory_format=layout)
    with torch.inference_mode():
        found = PlanarConvolution(layer)(x)
        torch.testing.assert_close(found, layer(x))
    assert not bias or found.is_contiguous()
