"""What a run starts from: fresh weights, a published encoder, or weights of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from deconvnet_cli.errors import DependencyError, UsageError, WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import TRUNK, DeconvNet
from deconvnet_cli.nets.fcn8s import FCN8s
from deconvnet_cli.nets.mobilenet_v2 import MobileNetEncoder
from deconvnet_cli.nets.registry import build_net, net_spec
from deconvnet_cli.training.batchnorm import start_from_folded
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.weights.files import check_values, load, read_tensors

TORCHVISION = "torchvision"


def net_at_start(
    settings: TrainSettings,
    init: str | None,
    weights: str | None,
    batches: Callable[[], list[Tensor]],
    *,
    begun: bool = False,
) -> nn.Module:
    """The net before the first step.

    Args:
        init: a published encoder: for the nets on MobileNetV2 a folded one with DeepLabv3 head,
            for those on VGG-16 a trunk of it (safetensors) or "torchvision".
        weights: weights of ours instead, by name or file.
        batches: gives inputs that statistics of BatchNorm are taken over where ``init`` has none.
        begun: the run has a checkpoint, which will take the place of ``init``.

    Raises:
        UsageError: both ``init`` and ``weights``, or weights of another net.
        WeightsError: a file that cannot be used.
        DependencyError: torchvision cannot get its weights.
    """
    torch.manual_seed(settings.seed)
    if settings.frozen and init is None and weights is None:
        raise UsageError(
            "the encoder is frozen, so it needs weights: --from deconvnet-mobilenet (the shipped "
            "ones), --init FILE, or --no-frozen to train it from scratch"
        )
    if weights is not None:
        if init is not None:
            raise UsageError("--init and --from are two ways to start; give one of them")
        found = load(weights)
        if found.card.net != settings.net:
            raise UsageError(f"{weights}: weights of {found.card.net}, not of {settings.net}")
        return found.net
    net = build_net(settings.net, json.loads(settings.net_settings))
    if begun:
        return net
    initialise = net_spec(settings.net).initialise
    if initialise is not None:
        initialise(net, settings.seed)
    if isinstance(net, DeconvNet | FCN8s):
        if init is not None:
            load_trunk(net, from_torchvision(net) if init == TORCHVISION else trunk_of(Path(init)))
    elif init is not None:
        start_from_folded(cast(MobileNetEncoder, net), Path(init), batches())
    return net


def trunk_of(path: Path) -> dict[str, Tensor]:
    """The 13 convolutions of a VGG-16 by the names of our net, from a safetensors file."""
    tensors = read_tensors(path)
    names = [f"{layer.name}.{kind}" for layer in TRUNK for kind in ("weight", "bias")]
    for name in names:
        if name not in tensors:
            raise WeightsError(f"{path}: has no tensor {name}; is it a VGG-16 trunk?")
        check_values(name, tensors[name], path)
    return {name: tensors[name] for name in names}


def from_torchvision(net: DeconvNet | FCN8s) -> dict[str, Tensor]:
    """The same from torchvision's ImageNet weights, which it downloads once.

    They expect RGB from 0 to 1, divided by their own deviations; ours is BGR from 0 to 255, so
    the first layer is turned round and scaled. FCN-8s also gets fc6 and fc7, made convolutions.
    """
    from torchvision.models import VGG16_Weights, vgg16

    try:
        published = vgg16(weights=VGG16_Weights.IMAGENET1K_V1)
    except OSError as error:
        raise DependencyError(
            f"torchvision cannot download its VGG-16 ({error}); give a trunk: --init FILE"
        ) from error
    layers = [layer for layer in published.features if isinstance(layer, nn.Conv2d)]
    named = list(zip((layer.name for layer in TRUNK), layers, strict=True))
    tensors = {}
    if isinstance(net, FCN8s):
        named += [("fc6", published.classifier[0]), ("fc7", published.classifier[3])]
    for name, layer in named:
        tensors[f"{name}.weight"] = layer.weight.detach()
        tensors[f"{name}.bias"] = cast(Tensor, layer.bias).detach()
    if isinstance(net, FCN8s):
        tensors["fc6.weight"] = tensors["fc6.weight"].reshape(-1, 512, 7, 7)
        tensors["fc7.weight"] = tensors["fc7.weight"][:, :, None, None]
    deviations = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1) * 255
    tensors["conv1_1.weight"] = (tensors["conv1_1.weight"] / deviations).flip(1)
    return tensors


@torch.no_grad()
def load_trunk(net: DeconvNet | FCN8s, trunk: dict[str, Tensor]) -> None:
    """Put layers of a VGG-16 into the net.

    Raises:
        WeightsError: one has another shape: the net has another width.
    """
    parameters = dict(net.named_parameters())
    for name, tensor in trunk.items():
        if tensor.shape != parameters[name].shape:
            raise WeightsError(
                f"the trunk's {name} is {tuple(tensor.shape)}, "
                f"the net's {tuple(parameters[name].shape)}"
            )
        parameters[name].copy_(tensor)
