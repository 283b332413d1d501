"""BatchNorm for encoders that were published without it, or with it folded away.

BatchNorm with fresh statistics would change what a published encoder computes. It is given the
statistics of real crops instead, and a scale and shift that undo them.

A MobileNetV2 whose BatchNorm is folded into weights and biases trains badly once max pools
replace its strides, because every activation changes its scale. So BatchNorm is restored in two
steps. First it gets the statistics of the strided net, and a scale and shift that leave the net's
function unchanged. Then the pools replace the strides and the statistics are recomputed, so that
each layer sees inputs of the mean and variance that it was trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
from deconvnet_cli.nets.deconvnet_vgg16 import TRUNK, DeconvNet
from deconvnet_cli.nets.mobilenet_v2 import PUBLISHED_PARTS, MobileNetEncoder, convolution_pairs
from deconvnet_cli.weights.files import check_values, read_tensors


def load_folded(net: MobileNetEncoder, path: Path, *, logits: bool = True) -> None:
    """Load folded weights and biases; each BatchNorm then only adds its bias.

    ``logits`` says whether the head's logits, which are of VOC's classes, are loaded too.

    Raises:
        WeightsError: The file cannot be read, or a tensor is missing or has another shape.
    """
    tensors = read_tensors(path)

    def take(name: str, like: Tensor) -> Tensor:
        if name not in tensors:
            raise WeightsError(f"{path}: has no tensor {name}; is it a folded MobileNetV2?")
        if tensors[name].shape != like.shape:
            raise WeightsError(
                f"{path}: {name} is {tuple(tensors[name].shape)}, the net's is {tuple(like.shape)}"
            )
        check_values(name, tensors[name], path)
        return tensors[name].float()

    with torch.no_grad():
        for name, (convolution, norm) in convolution_pairs(net).items():
            convolution.weight.copy_(take(f"{name}.weight", convolution.weight))
            set_statistics(norm, torch.zeros(1), torch.ones(1) - norm.eps)
            norm.weight.fill_(1)
            norm.bias.copy_(take(f"{name}.bias", norm.bias))
        if logits:
            for name, parameter in net.head.logits.named_parameters(prefix="head.logits"):
                parameter.copy_(take(name, parameter))


def set_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Set the running mean and variance to C values each, or to one for all channels."""
    cast(Tensor, norm.running_mean).copy_(mean)
    cast(Tensor, norm.running_var).copy_(variance)


@torch.no_grad()
def restore_batchnorm(
    norms: Sequence[nn.BatchNorm2d],
    run: Callable[[Tensor], object],
    batches: Iterable[Tensor],
) -> None:
    """Give each BatchNorm the statistics of its inputs without changing the net's function.

    Args:
        norms: BatchNorms in eval mode that only add their bias so far (mean 0, variance 1).
        run: Runs all of them on a batch.
        batches: Inputs, float N x 3 x H x W.
    """
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms}

    def add_inputs(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].double()
        total = sums[norm]
        total[0] += values.numel() / values.shape[1]
        total[1] += values.sum((0, 2, 3))
        total[2] += values.square().sum((0, 2, 3))

    hooks = [norm.register_forward_pre_hook(add_inputs) for norm in norms]
    for batch in batches:
        run(batch)
    for hook in hooks:
        hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        # ((x - mean) / sd) * sd + (bias + mean) equals x + bias, so the function is unchanged.
        norm.bias.add_(mean.float())
        norm.weight.copy_((variance + norm.eps).sqrt())
        set_statistics(norm, mean, variance)


@torch.no_grad()
def insert_batchnorm(net: DeconvNet, batches: Iterable[Tensor]) -> None:
    """Keep what the trunk of a VGG-16 computes, though a BatchNorm follows each convolution.

    A linear probe on the features of object crops is right for 73 % of them with the function
    kept, and for 60 % with fresh BatchNorm.

    Args:
        net: A net into whose trunk published convolutions were loaded.
        batches: Inputs, float N x 3 x H x W.
    """
    norms = [cast(nn.BatchNorm2d, getattr(net, layer.norm)) for layer in TRUNK]
    for norm in norms:
        set_statistics(norm, torch.zeros(1), torch.ones(1) - norm.eps)
        norm.weight.fill_(1)
        norm.bias.fill_(0)
    net.eval()
    restore_batchnorm(norms, net.encode, batches)


def batchnorms(net: nn.Module) -> dict[str, _BatchNorm]:
    """Return the BatchNorms of a net by name, those that several GPUs share included."""
    return {name: norm for name, norm in net.named_modules() if isinstance(norm, _BatchNorm)}


@torch.no_grad()
def recompute_statistics(
    net: nn.Module, batches: Iterable[Tensor], kept: Callable[[str], bool] = lambda name: False
) -> None:
    """Recompute BatchNorm statistics as the plain mean over batches of float N x 3 x H x W.

    The original system does this after training, over 500 batches.

    Args:
        net: The net, which is left in eval mode.
        batches: Inputs, float N x 3 x H x W.
        kept: Whether the BatchNorm of this name keeps its statistics.
    """
    net.eval()
    norms = [norm for name, norm in batchnorms(net).items() if not kept(name)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # This makes torch take a cumulative average.
        norm.train()
    for batch in batches:
        net(batch)
    net.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def start_from_folded(
    net: MobileNetEncoder, path: Path, batches: list[Tensor], *, logits: bool = True
) -> None:
    """Initialise encoder and head of ``net`` from a folded MobileNetV2 with DeepLabv3 head.

    The other layers keep their random values, but the logits that they add start at 0. At first
    the net thus predicts what the published net does, as far as pools keep what strides kept.

    Args:
        batches: Inputs for the BatchNorm statistics, float N x 3 x H x W.
        logits: Whether the head's logits, which are of VOC's classes, are loaded too.

    Raises:
        WeightsError: See :func:`load_folded`.
    """
    strided = net.published()
    load_folded(strided, path, logits=logits)
    strided.eval()
    norms = [norm for _, norm in convolution_pairs(strided).values()]
    restore_batchnorm(norms, lambda batch: strided.head(strided.encode(batch)[0]), batches)
    restored = {
        name: value
        for name, value in strided.state_dict().items()
        if name.startswith(PUBLISHED_PARTS)
    }
    net.load_state_dict(net.state_dict() | restored)
    with torch.no_grad():
        for layer in net.added_logits():
            for parameter in layer.parameters():
                parameter.zero_()
    if isinstance(net, DeconvNetMobile) and net.settings.pool == "max":
        recompute_statistics(net, batches)
