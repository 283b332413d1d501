"""The start of a run: fresh weights, a published encoder, or weights of this tool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from deconvnet_cli.data.classes import in_short
from deconvnet_cli.errors import DependencyError, UsageError, WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import TRUNK, DeconvNet, DeconvNetSettings
from deconvnet_cli.nets.fcn8s import FCN8s
from deconvnet_cli.nets.mobilenet_v2 import MobileNetEncoder
from deconvnet_cli.nets.registry import build_net, net_settings, net_spec
from deconvnet_cli.training.batchnorm import insert_batchnorm, start_from_folded
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.weights.files import check_values, load, read_card, read_tensors
from deconvnet_cli.weights.shipped import locate

TORCHVISION = "torchvision"


def check_start(
    settings: TrainSettings, init: str | None, weights: str | None, *, begun: bool = False
) -> None:
    """Raise UsageError if the ways to start do not fit the settings.

    Args:
        init: A published encoder to start from, or None.
        weights: Weights of this tool to start from, by name or file, or None.
        begun: Whether the run goes on. Its ``net_settings`` stay then, as those of a run of an
            earlier version may differ from those of the weights, without effect.

    Raises:
        UsageError: Both ways are given, a frozen encoder has no weights, or the weights are of
            another net or of other ``net_settings``.
        WeightsError: The weights are not found, or their card is wrong.
    """
    if settings.frozen and init is None and weights is None:
        raise UsageError(
            "the encoder is frozen, so it needs weights: --from deconvnet-mobilenet (the shipped "
            "ones), --init FILE, or --no-frozen to train it from scratch"
        )
    if init is not None and weights is not None:
        raise UsageError("--init and --from are two ways to start; give one of them")
    if weights is None:
        return
    card = read_card(locate(weights))
    if card.net != settings.net:
        raise UsageError(f"{weights}: weights of {card.net}, not of {settings.net}")
    if begun:
        return
    with torch.device("meta"):
        before = json.loads(json.dumps(net_settings(build_net(card.net, card.settings))))
    for name, value in json.loads(settings.net_settings).items():
        if name != "classes" and before[name] != value:
            raise UsageError(
                f"net_settings: {name} = {json.dumps(value)}, but {weights} has "
                f"{json.dumps(before[name])}, and --from keeps its net; leave it out"
            )


def net_at_start(
    settings: TrainSettings,
    init: str | None,
    weights: str | None,
    batches: Callable[[], list[Tensor]],
    *,
    begun: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> nn.Module:
    """Return the net as it is before the first step.

    If it starts from a net of other classes, the layers that depend on them start anew; their
    names are in its attribute ``layers_anew`` (see :func:`is_pretrained`).

    Args:
        init: A published encoder (safetensors): a folded MobileNetV2 with DeepLabv3 head, or for
            nets on VGG-16 its trunk or the word "torchvision".
        weights: Weights of this tool to start from instead, by name or file.
        batches: Returns inputs for BatchNorm statistics, if ``init`` has none.
        begun: Whether the run has a checkpoint, which will replace these values.
        tell: Called with a line that says which layers start anew.

    Raises:
        WeightsError: A file cannot be used.
        DependencyError: torchvision cannot download its weights.
    """
    loaded = None if weights is None else load(weights)
    torch.manual_seed(settings.seed)
    if loaded is not None and loaded.card.classes == settings.class_names:
        return loaded.net
    given = json.loads(settings.net_settings) if loaded is None else loaded.card.settings
    net = build_net(settings.net, given | {"classes": len(settings.class_names)})
    anew = class_layers(settings.net, given) if loaded is not None or settings.classes else ()
    net.layers_anew = anew  # type: ignore[assignment]
    if begun:
        return net
    initialise = net_spec(settings.net).initialise
    if initialise is not None:
        initialise(net, settings.seed)
    kept_from = weights
    if loaded is not None:
        others = tuple(f"{layer}." for layer in anew)
        state = loaded.net.state_dict().items()
        kept = {name: value for name, value in state if not name.startswith(others)}
        net.load_state_dict(net.state_dict() | kept)
    elif init is not None and isinstance(net, DeconvNet | FCN8s):
        trunk = from_torchvision(net) if init == TORCHVISION else read_trunk(Path(init))
        load_trunk(net, trunk)
        if isinstance(net, DeconvNet):
            insert_batchnorm(net, batches())
    elif init is not None:
        encoder = cast(MobileNetEncoder, net)
        start_from_folded(encoder, Path(init), batches(), logits=not settings.classes)
        kept_from = init
    if anew and kept_from is not None:
        tell(
            f"{', '.join(anew)} start anew for {in_short(settings.class_names)}; the rest is kept "
            f"from {kept_from}"
        )
    return net


def class_layers(name: str, settings: dict[str, Any]) -> tuple[str, ...]:
    """Return the layers of a net whose shape depends on the number of classes, in order."""
    with torch.device("meta"):
        first, second = (
            build_net(name, settings | {"classes": number}).state_dict() for number in (2, 3)
        )
    differing = [key for key, value in first.items() if value.shape != second[key].shape]
    return tuple(dict.fromkeys(key.rpartition(".")[0] for key in differing))


def is_pretrained(net: nn.Module, name: str, settings: TrainSettings) -> bool:
    """Return whether a layer or parameter of this name is of the net's published parts.

    Layers that start anew are not; so they are never frozen, and learn at the full rate.
    """
    path = f"{name}."
    anew = tuple(f"{layer}." for layer in getattr(net, "layers_anew", ()))
    return path.startswith(net_spec(settings.net).pretrained) and not path.startswith(anew)


def read_trunk(path: Path) -> dict[str, Tensor]:
    """Read the 13 convolutions of a VGG-16, named as in DeconvNet, from a safetensors file.

    Raises:
        WeightsError: The file cannot be read, or a tensor is missing.
    """
    tensors = read_tensors(path)
    names = [f"{layer.name}.{kind}" for layer in TRUNK for kind in ("weight", "bias")]
    for name in names:
        if name not in tensors:
            raise WeightsError(f"{path}: has no tensor {name}; is it a VGG-16 trunk?")
        check_values(name, tensors[name], path)
    return {name: tensors[name] for name in names}


def from_torchvision(net: DeconvNet | FCN8s) -> dict[str, Tensor]:
    """Return the trunk from torchvision's ImageNet weights, which it downloads once.

    torchvision's net takes RGB from 0 to 1 divided by standard deviations, DeconvNet BGR from 0
    to 255, so the first layer is flipped and scaled. fc6 and fc7 become convolutions; a DeconvNet
    gets them if it has VGG-16's 4096 channels there.

    Raises:
        DependencyError: The weights cannot be downloaded.
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
    both = isinstance(net, FCN8s) or net.settings.fc == DeconvNetSettings.fc
    if both:
        named += [("fc6", published.classifier[0]), ("fc7", published.classifier[3])]
    tensors = {}
    for name, layer in named:
        tensors[f"{name}.weight"] = layer.weight.detach()
        tensors[f"{name}.bias"] = cast(Tensor, layer.bias).detach()
    if both:
        tensors["fc6.weight"] = tensors["fc6.weight"].reshape(-1, 512, 7, 7)
        tensors["fc7.weight"] = tensors["fc7.weight"][:, :, None, None]
    deviations = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1) * 255
    tensors["conv1_1.weight"] = (tensors["conv1_1.weight"] / deviations).flip(1)
    return tensors


@torch.no_grad()
def load_trunk(net: DeconvNet | FCN8s, trunk: dict[str, Tensor]) -> None:
    """Copy the layers of a VGG-16 into the net.

    Raises:
        WeightsError: A layer has another shape, because the net has another width.
    """
    parameters = dict(net.named_parameters())
    for name, tensor in trunk.items():
        if tensor.shape != parameters[name].shape:
            raise WeightsError(
                f"the trunk's {name} is {tuple(tensor.shape)}, "
                f"the net's is {tuple(parameters[name].shape)}"
            )
        parameters[name].copy_(tensor)
