"""The nets by name, with their settings and what they take in."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from torch import nn

from deconvnet_cli.choices import NET_NAMES
from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.inputs import (
    FCN_INPUT,
    FCN_MOBILENET_INPUT,
    MOBILENET_INPUT,
    VGG_INPUT,
    InputConvention,
)

MOST_CHANNELS = 65_536  # 16 times the paper's widest layer
MOST_WIDTH = 16  # times the paper's channels
MOST_LAYERS = 16  # of one stage of a decoder


def _parts(name: str) -> tuple[type[Any], type[nn.Module], InputConvention]:
    if name == "deconvnet-mobilenet":
        from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile, MobileNetSettings

        return MobileNetSettings, DeconvNetMobile, MOBILENET_INPUT
    if name == "deconvnet-vgg16":
        from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNet, DeconvNetSettings

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
