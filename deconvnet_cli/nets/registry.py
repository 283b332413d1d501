"""The registry of nets: one entry holds everything that is known about a net.

To add a net, write its module and add one entry here, and its name to ``choices.NET_NAMES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import nn

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets import deconvnet_mobilenet, deconvnet_vgg16, fcn8s, mobilenet_v2
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile, MobileNetSettings
from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNet, DeconvNetSettings
from deconvnet_cli.nets.fcn8s import FCN8s
from deconvnet_cli.nets.fcn8s_mobilenet import FCN8sMobile, FCN8sMobileSettings
from deconvnet_cli.nets.inputs import (
    FCN_INPUT,
    FCN_MOBILENET_INPUT,
    MOBILENET_INPUT,
    VGG_INPUT,
    InputConvention,
)
from deconvnet_cli.nets.layers import DecoderStage

MOST_CHANNELS = 65_536  # 16 times the paper's widest layer
MOST_WIDTH = 16  # times the paper's channels
MOST_LAYERS = 16  # in one stage of a decoder


@dataclass(frozen=True)
class NetSpec:
    """The facts about a net: how it is built, shown photos, initialised and trained.

    Attributes:
        net_class, settings_class: The module, and the frozen dataclass that it is built from.
        input: The input convention, unless the weights have their own.
        takes_boxes: Whether the net is shown boxes of a photo; an FCN is shown the whole photo.
        stride: The sides of an input are multiples of this, pixels.
        least_size: The smallest side of an input, pixels.
        whole_photos: Whether the net takes whole photos that are not square.
        merge: The merge rule for overlapping crops, unless the weights say otherwise.
        proposals: The number of boxes to segment, unless the weights say otherwise.
        pretrained: The prefixes of the parameters that published weights provide.
        initialise: The function that sets every parameter before training; None keeps torch's
            values.
        decoder: The function that returns the stages of the decoder, the last one its logits;
            None if the net has no unpooling.
        training: The settings of a training run that differ from the general defaults.
        stages: Further settings of single training stages, which override those.
        default_stage: The training stage of a run that does not name one.
    """

    net_class: type[nn.Module]
    settings_class: type[Any]
    input: InputConvention
    takes_boxes: bool
    stride: int
    pretrained: tuple[str, ...]
    least_size: int = 1
    whole_photos: bool = True
    merge: str = "max"
    proposals: int = 50
    initialise: Callable[[Any, int], None] | None = None
    decoder: Callable[[Any], tuple[DecoderStage, ...]] | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    default_stage: int = 0


# The best settings so far on a CPU; the results are in the cards of the weights.
_DECODER_ALONE = {"frozen": True, "lr": 2e-3, "crops": 24_000}
# Plain SGD on plain crops, as both papers train: no jitter, no warm-up, no clipping.
_PLAIN_SGD = {
    "optimiser": "sgd",
    "colour": 0.0,
    "pretrained_lr": 1.0,
    "weight_decay": 5e-4,
    "schedule": "step",
    "clip": 0.0,
    "precision": "fp32",
}
NETS: dict[str, NetSpec] = {
    "deconvnet-mobilenet": NetSpec(
        net_class=DeconvNetMobile,
        settings_class=MobileNetSettings,
        input=MOBILENET_INPUT,
        takes_boxes=True,
        stride=16,
        # The whole photo matters most, so the best 20 boxes beside it are enough, or fewer.
        merge="context",
        proposals=21,
        pretrained=mobilenet_v2.PUBLISHED_PARTS,
        decoder=deconvnet_mobilenet.decoder_stages,
        training=_DECODER_ALONE,
    ),
    "deconvnet-vgg16": NetSpec(
        net_class=DeconvNet,
        settings_class=DeconvNetSettings,
        input=VGG_INPUT,
        takes_boxes=True,
        stride=32,
        least_size=224,
        whole_photos=False,
        pretrained=deconvnet_vgg16.PUBLISHED_PARTS,
        initialise=deconvnet_vgg16.initialise,
        decoder=deconvnet_vgg16.decoder_stages,
        # The paper's figures (section 6.1 and the released solver files). Rare classes are
        # repeated until all have equally many crops.
        training={
            **_PLAIN_SGD,
            "balanced": 1.0,
            "batch": 8,
            "accumulate": 8,
            "size": 224,
            "resize": 250,
            "lr": 0.01,
            "warmup": 0,
            "statistics": 500,
            "crops": 64 * 20_000,
            "lr_step": 9_000,
        },
        stages={2: {"crops": 64 * 40_000, "lr_step": 10_000}},
        default_stage=1,
    ),
    "fcn8s-mobilenet": NetSpec(
        net_class=FCN8sMobile,
        settings_class=FCN8sMobileSettings,
        input=FCN_MOBILENET_INPUT,
        takes_boxes=False,
        stride=32,
        merge="mean-probability",
        proposals=0,
        pretrained=mobilenet_v2.PUBLISHED_PARTS,
        training=_DECODER_ALONE,
    ),
    "fcn8s": NetSpec(
        net_class=FCN8s,
        settings_class=DeconvNetSettings,
        input=FCN_INPUT,
        takes_boxes=False,
        stride=1,
        proposals=0,
        pretrained=fcn8s.PUBLISHED_PARTS,
        initialise=fcn8s.initialise,
        # Minibatch, optimiser and rate of "Fully Convolutional Networks" (CVPR 2015, section
        # 4.3). The paper trains on whole photos, this on windows of them, which make batches. The
        # rate is reached in 100 steps, since the loss leaps up at first from a VGG trunk alone.
        training={
            **_PLAIN_SGD,
            "balanced": 0.0,  # "unnecessary" (section 4.3)
            "batch": 5,
            "accumulate": 4,
            "lr": 1e-4,
            "warmup": 100,
            "statistics": 0,
            "crops": 20 * 20_000,
            "lr_step": 20_000,
        },
    ),
}


def net_spec(name: str) -> NetSpec:
    """Return the entry of a net.

    Raises:
        WeightsError: No net has this name.
    """
    if name not in NETS:
        raise WeightsError(f"no net is called {name!r}; there are: {', '.join(NETS)}")
    return NETS[name]


def name_of_net(net: nn.Module) -> str:
    """Return the name of a net that :func:`build_net` built.

    Raises:
        ValueError: The module is not in the registry (a bug of the caller).
    """
    for name, spec in NETS.items():
        if type(net) is spec.net_class:
            return name
    raise ValueError(f"{type(net).__name__} is not in the registry")


def build_net(name: str, settings: dict[str, Any] | None = None) -> nn.Module:
    """Build a net with new weights on the default device (``meta`` if weights are loaded next).

    Args:
        name: One of ``choices.NET_NAMES``.
        settings: The settings of the net that differ from the defaults.

    Raises:
        WeightsError: The name or a setting is unknown, or a value is of the wrong type or out of
            bounds.
    """
    spec = net_spec(name)
    settings_class, net_class = spec.settings_class, spec.net_class
    given = settings or {}
    known = {field.name: field.default for field in fields(settings_class)}
    unknown = set(given) - set(known)
    if unknown:
        raise WeightsError(f"{name} has no setting called {', '.join(sorted(unknown))}")
    try:
        checked = {key: _like(value, known[key]) for key, value in given.items()}
        return net_class(settings_class(**checked))
    except ValueError as error:
        raise WeightsError(f"{name}: impossible settings ({error})") from error


def _like(value: Any, default: Any) -> Any:
    """Return the value of a setting, checked against its default; lists become tuples.

    Bounds keep a file from asking for a net that no machine can hold.

    Raises:
        ValueError: The value has another type or is out of bounds.
    """
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_LAYERS:
            raise ValueError(f"{value!r:.50}; 1 to {MOST_LAYERS} numbers of channels")
        return tuple(_like(item, default[0]) for item in value)
    kinds = {bool: bool, str: str, int: int, float: int | float}[type(default)]
    if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
        raise ValueError(f"{value!r:.50} is no {type(default).__name__}")
    if isinstance(value, bool):
        return value
    most = MOST_WIDTH if isinstance(default, float) else MOST_CHANNELS
    if isinstance(value, int | float) and not 0 < value <= most:
        raise ValueError(f"{value}; above 0, at most {most}")
    return value


def input_stride(name: str, settings: Mapping[str, Any]) -> int:
    """Return the number of which the sides of an input are multiples, pixels.

    Args:
        settings: The settings that it was built with; five pools instead of four halve once more.

    Raises:
        WeightsError: No net has this name.
    """
    return 32 if settings.get("pools") == 5 else net_spec(name).stride


def net_settings(net: nn.Module) -> dict[str, Any]:
    """Return the settings that a net was built with, as plain values."""
    settings: dict[str, Any] = asdict(net.settings)  # type: ignore[call-overload]
    return settings
