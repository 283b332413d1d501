"""The paper's net: size, names, shapes, and unpooling against a loop written by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNet, DeconvNetSettings, initialise
from deconvnet_cli.nets.layers import BatchNorm, pool_with_switches, unpool

NARROW = DeconvNetSettings(width=1 / 32, fc=16)
# Written out by hand, so that the table in the module is tested and not repeated. Name, channels
# at width 1 (0: fc), side of the output; "pool" and "unpool" with the number of the stage.
WAY = """
conv1_1 64 224, conv1_2 64 224, pool 1,
conv2_1 128 112, conv2_2 128 112, pool 2,
conv3_1 256 56, conv3_2 256 56, conv3_3 256 56, pool 3,
conv4_1 512 28, conv4_2 512 28, conv4_3 512 28, pool 4,
conv5_1 512 14, conv5_2 512 14, conv5_3 512 14, pool 5,
fc6 0 1, fc7 0 1, fc6_deconv 512 7,
unpool 5, deconv5_1 512 14, deconv5_2 512 14, deconv5_3 512 14,
unpool 4, deconv4_1 512 28, deconv4_2 512 28, deconv4_3 256 28,
unpool 3, deconv3_1 256 56, deconv3_2 256 56, deconv3_3 128 56,
unpool 2, deconv2_1 128 112, deconv2_2 64 112,
unpool 1, deconv1_1 64 224, deconv1_2 64 224
"""
STEPS = [step.split() for step in WAY.replace("\n", " ").split(",")]
LAYER_STEPS = [step for step in STEPS if len(step) == 3]


def norm_of(name: str) -> str:
    if name == "fc6_deconv":
        return "fc6_deconv_bn"
    if name.startswith("deconv"):
        return name.replace("deconv", "debn")
    return f"bn{name}" if name.startswith("fc") else name.replace("conv", "bn")


@pytest.fixture(scope="module")
def narrow() -> DeconvNet:
    """A narrow net whose every parameter and statistic differs from its neutral value."""
    torch.manual_seed(3)
    net = DeconvNet(NARROW).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 2.0)
                module.bias.uniform_(-0.3, 0.5)
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.05, 0.5)
    return net


def test_full_size_has_the_papers_parameters_and_operations() -> None:
    with torch.device("meta"):
        net = DeconvNet().eval()
        image = torch.empty(1, 3, 224, 224)
    assert sum(parameter.numel() for parameter in net.parameters()) == 251_805_653
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == 29
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert net(image).shape == (1, 21, 224, 224)
    assert round(counter.get_total_flops() / 1e9, 1) == 65.5


def test_module_names_are_the_released_ones() -> None:
    with torch.device("meta"):
        net = DeconvNet(NARROW)
    names = [name for step in LAYER_STEPS for name in (step[0], norm_of(step[0]))]
    assert [name for name, _ in net.named_children()] == [*names, "seg_score_voc"]
    assert {"bn1_1", "bn5_3", "bnfc6", "bnfc7", "fc6_deconv_bn", "debn5_1", "debn1_2"} < set(names)
    assert all(f"{step[0]}.bias" in net.state_dict() for step in LAYER_STEPS)


def test_shapes_of_all_layers(narrow: DeconvNet) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: shapes.update({name: tuple(output.shape)})
        )
        for name, module in narrow.named_children()
    ]
    with torch.no_grad():
        narrow(torch.zeros(2, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    expected = {"seg_score_voc": (2, 21, 224, 224)}
    for name, channels, side in LAYER_STEPS:
        shape = (2, int(channels) // 32 or 16, int(side), int(side))
        expected[name] = expected[norm_of(name)] = shape
    assert shapes == expected


def test_forward_is_the_way_written_by_hand(narrow: DeconvNet) -> None:
    state = narrow.state_dict()
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)) * 2
    x, switches = image, {}
    for name, *rest in STEPS:
        if name == "pool":
            x, switches[rest[0]] = F.max_pool2d(x, 2, return_indices=True)
        elif name == "unpool":
            x = F.max_unpool2d(x, switches[rest[0]], 2)
        else:
            weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
            padding = 1 if weight.shape[2] == 3 else 0
            conv = F.conv_transpose2d if "deconv" in name else F.conv2d
            x = conv(x, weight, bias, padding=padding)
            scale, shift, mean, variance = (
                state[f"{norm_of(name)}.{part}"].view(1, -1, 1, 1)
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)
    expected = F.conv2d(x, state["seg_score_voc.weight"], state["seg_score_voc.bias"])
    with torch.no_grad():
        scores = narrow(image)
    assert expected.std() > 1e-3 and expected.min() < 0
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-4)


def test_widths() -> None:
    settings = DeconvNetSettings(classes=5, width=0.01, fc=7)
    with torch.device("meta"):
        net = DeconvNet(settings)
    assert tuple(net.conv1_1.weight.shape) == (1, 3, 3, 3)
    assert tuple(net.conv3_1.weight.shape) == (3, 1, 3, 3)
    assert tuple(net.fc6_deconv.weight.shape) == (7, 5, 7, 7)
    assert tuple(net.seg_score_voc.weight.shape) == (5, 1, 1, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_unpooling_is_the_loop_written_by_hand(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0)).relu()
    x[0, 0, :4] = 0  # windows that are all zero, and one whose maximum comes twice
    x[1, 2, :2, :2] = torch.tensor([[1.0, 5.0], [5.0, 0.0]])
    pooled, switches = pool_with_switches(x.contiguous(memory_format=layout))
    values = torch.arange(1.0, pooled.numel() + 1).view(pooled.shape)
    expected = torch.zeros_like(x)
    for n, c, row, column in torch.cartesian_prod(*(torch.arange(s) for s in pooled.shape)):
        best, where = float("-inf"), (0, 0)
        for i in (2 * row, 2 * row + 1):
            for j in (2 * column, 2 * column + 1):
                if x[n, c, i, j] > best:  # not >=: the first maximum wins
                    best, where = x[n, c, i, j], (i, j)
        assert pooled[n, c, row, column] == best
        expected[n, c, where[0], where[1]] = values[n, c, row, column]
    unpooled = unpool(values.contiguous(memory_format=layout), switches)
    assert torch.equal(unpooled, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_first_maximum_wins_in_windows_of_zeros(layout: torch.memory_format) -> None:
    # Many channels and more than one image, so that vectorised kernels are reached.
    x = torch.zeros(2, 67, 8, 8).contiguous(memory_format=layout)
    _, switches = pool_with_switches(x)
    rows, columns = torch.meshgrid(torch.arange(0, 8, 2), torch.arange(0, 8, 2), indexing="ij")
    assert torch.equal(switches, (rows * 8 + columns).expand(2, 67, 4, 4))


def test_initial_values() -> None:
    system = [DeconvNet(DeconvNetSettings(width=1 / 8, fc=64)) for _ in range(3)]
    for net, seed in zip(system, (1, 1, 2), strict=True):
        initialise(net, seed)
    first, again, other = (net.state_dict() for net in system)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["deconv3_1.weight"], other["deconv3_1.weight"])
    for name in ("fc6_deconv", "deconv5_1", "deconv3_1", "fc6", "fc7", "seg_score_voc"):
        assert abs(first[f"{name}.weight"].mean()) < 0.002
        assert first[f"{name}.weight"].std() == pytest.approx(0.01, rel=0.15)
        assert not first[f"{name}.bias"].any()
    for name in ("bn1_1", "fc6_deconv_bn", "debn1_2"):
        assert (first[f"{name}.weight"] == 1).all()
        assert torch.allclose(first[f"{name}.bias"], torch.tensor(0.001))
    assert first["conv5_1.weight"].std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


def test_one_value_a_channel_is_normalised_by_the_running_statistics():
    norm = BatchNorm(2).train()
    theirs = torch.nn.BatchNorm2d(2).train()
    x = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(norm(x), theirs(x))  # more values: as ever
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    value = torch.tensor([3.0, -1.0])
    y = norm(value.view(1, 2, 1, 1)).flatten()
    after = mean + 0.1 * (value - mean)
    spread = 0.9 * variance + 0.1 * (value - mean) ** 2
    torch.testing.assert_close(norm.running_mean, after)
    torch.testing.assert_close(norm.running_var, spread)
    torch.testing.assert_close(y, (value - after) / (spread + norm.eps).sqrt())
