"""Layers that the nets share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deconvnet_cli.nets.layers import BatchNorm, DilatedDepthwise


def test_statistics_without_a_momentum_are_the_mean_of_all_batches() -> None:
    norm = BatchNorm(2, momentum=None).train()
    for value in (1.0, 3.0, 8.0):
        norm(torch.full((1, 2, 1, 1), value))
    assert norm.running_mean is not None
    assert norm.running_mean.tolist() == pytest.approx([4, 4])


def outputs_and_gradients(layer: nn.Conv2d, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """Return the output, and the gradients of its input and weights."""
    layer.weight.data.copy_(weight)
    x = x.clone().requires_grad_()
    y: Tensor = layer(x)
    above = torch.arange(y.numel()).reshape(y.shape).sin()
    return y, *torch.autograd.grad(y, (x, layer.weight), above)


@pytest.mark.parametrize("rows, columns", [(6, 8), (5, 8), (6, 3), (1, 1)])
def test_a_dilated_convolution_taken_apart_is_the_convolution(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, rows, columns), torch.randn(3, 1, 3, 3)
    plain = nn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3, bias=False)
    wanted = outputs_and_gradients(plain, x, weight)
    given = outputs_and_gradients(DilatedDepthwise(3), x, weight)
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
