"""The nets by name, with their settings and what they take in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from deconvnet_cli.choices import NET_NAMES
from deconvnet_cli.errors import WeightsError


@dataclass(frozen=True)
class InputConvention:
    """How pixels become the net's input: ``(value - mean) * scale``.

    Attributes:
        channels: "RGB" or "BGR", the order of the input's channels.
        mean: subtracted from values 0..255, one per channel, in that order.
        scale: multiplied in afterwards.
        size: side of the square crops it is trained on and, if it takes boxes, shown, pixels.
        whole: longer side, pixels, at which the whole photo is looked at, in its own shape and
            together with its mirror image. 0: it is a square crop like any other, as in the
            paper; or, for a net without boxes (an FCN), it is looked at in its own size.
        cell: a side of an input that is not square is a multiple of this, pixels.
    """

    channels: str
    mean: tuple[float, float, float]
    scale: float
    size: int = 224
    whole: int = 0
    cell: int = 16

    def whole_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, multiples of ``cell``, at which a photo of this size is looked at."""
        scale = self.whole / max(width, height)
        across, down = (
            max(1, round(side * scale / self.cell)) * self.cell for side in (width, height)
        )
        return across, down

    def prepare(self, crops: Tensor) -> Tensor:
        """uint8 N x 3 x S x S RGB crops as the float32 input of the net."""
        if self.channels == "BGR":
            crops = crops.flip(1)
        mean = torch.tensor(self.mean, device=crops.device).view(1, 3, 1, 1)
        return (crops.float() - mean) * self.scale


# DeepLabv3-MobileNetV2's own, whose encoder this net starts from. It knows things at the size they
# have in photos of about 640 pixels.
MOBILENET_INPUT = InputConvention("RGB", (128.0, 128.0, 128.0), 1 / 128, size=320, whole=640)
# Caffe's VGG-16, as in the original system.
VGG_INPUT = InputConvention("BGR", (104.00698793, 116.66876762, 122.67891434), 1.0)

FCN_MOBILENET_INPUT = replace(MOBILENET_INPUT, cell=32)
# FCN-8s is trained on photos as they are; crops of this size are what our training cuts from them.
FCN_INPUT = replace(VGG_INPUT, size=320, cell=1)

MOST_CHANNELS = 65_536  # 16 times the paper's widest layer
MOST_WIDTH = 16  # times the paper's channels
MOST_LAYERS = 16  # of one stage of a decoder


def _parts(name: str) -> tuple[type[Any], type[nn.Module], InputConvention]:
    if name == "deconvnet-mobilenet":
        from deconvnet_cli.nets.mobilenet import DeconvNetMobile, MobileNetSettings

        return MobileNetSettings, DeconvNetMobile, MOBILENET_INPUT
    if name == "deconvnet-vgg16":
        from deconvnet_cli.nets.deconvnet import DeconvNet, DeconvNetSettings

        return DeconvNetSettings, DeconvNet, VGG_INPUT
    if name == "fcn8s-mobilenet":
        from deconvnet_cli.nets.fcn8s_mobilenet import FCN8sMobile, FCN8sMobileSettings

        return FCN8sMobileSettings, FCN8sMobile, FCN_MOBILENET_INPUT
    if name == "fcn8s":
        from deconvnet_cli.nets.fcn8s import FCN8s, FCN8sSettings

        return FCN8sSettings, FCN8s, FCN_INPUT
    raise WeightsError(f"no net is called {name!r}; there are: {', '.join(NET_NAMES)}")


def build_net(name: str, settings: dict[str, Any] | None = None) -> nn.Module:
    """A net with fresh weights (on the current default device; use ``meta`` to load into it).

    Args:
        name: one of ``choices.NET_NAMES``.
        settings: fields of the net's settings that are not the default's.

    Raises:
        WeightsError: unknown name, a setting that this net does not have, or a value of another
            kind or out of bounds.
    """
    settings_class, net_class, _ = _parts(name)
    given = settings or {}
    known = {field.name: field.default for field in fields(settings_class)}
    unknown = set(given) - set(known)
    if unknown:
        raise WeightsError(f"{name} has no setting called {', '.join(sorted(unknown))}")
    try:
        checked = {key: _like(value, known[key]) for key, value in given.items()}
        return net_class(settings_class(**checked))
    except ValueError as error:
        raise WeightsError(f"{name}: settings that no net has ({error})") from error


def _like(value: Any, default: Any) -> Any:
    """A value of a setting as the kind its default has; lists become tuples.

    It is bounded, so that what a file says cannot ask for a net that no machine can hold.

    Raises:
        ValueError: another kind, or out of bounds.
    """
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= MOST_LAYERS:
            raise ValueError(f"{value!r:.50}; 1 to {MOST_LAYERS} numbers of channels")
        return tuple(_like(item, default[0]) for item in value)
    kinds = {str: str, int: int, float: int | float}[type(default)]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{value!r:.50} is no {type(default).__name__}")
    most = MOST_WIDTH if isinstance(default, float) else MOST_CHANNELS
    if isinstance(value, int | float) and not 0 < value <= most:
        raise ValueError(f"{value}; above 0, at most {most}")
    return value


def default_input(name: str) -> InputConvention:
    """What the net of this name takes in unless its weights say otherwise."""
    return _parts(name)[2]


def net_settings(net: nn.Module) -> dict[str, Any]:
    """The settings a net was built with, as plain values."""
    settings: dict[str, Any] = asdict(net.settings)  # type: ignore[call-overload]
    return settings
