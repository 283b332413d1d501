"""Prepared nets compute what the plain ones do."""

from __future__ import annotations

import pytest
import torch
from lively_nets import SETTINGS, lively
from torch import nn

from deconvnet_cli.nets.prepare import as_convolution, prepared


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_scores_with_nothing_left_to_fold(name):
    net = lively(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    ready = prepared(net)
    x = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = net.double()(x.double())
        scale = expected.abs().max().item()
        torch.testing.assert_close(ready(x).double(), expected, atol=1e-4 * scale, rtol=0)
    left = [module for module in ready.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not left
    strided = {m.stride for m in ready.modules() if isinstance(m, nn.ConvTranspose2d)}
    assert (1, 1) not in strided
    assert not any(parameter.requires_grad for parameter in ready.parameters())
    assert all(torch.equal(net.float().state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (7, 0), (1, 0), ((3, 5), (0, 2))])
def test_a_deconvolution_of_stride_1_is_a_convolution(kernel, padding):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, kernel, padding=padding)
    x = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(as_convolution(layer)(x), layer(x), atol=1e-5, rtol=1e-5)
