"""What labels a photo: DeconvNet, FCN-8s, or both as EDeconvNet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from deconvnet_cli.errors import UsageError
from deconvnet_cli.maps import Ensemble
from deconvnet_cli.nets import FCN_NAMES
from deconvnet_cli.weights import DEFAULT, Weights, load, sha256

if TYPE_CHECKING:
    from deconvnet_cli.segmenter import SegmentSettings

SYSTEMS = ("deconvnet", "fcn8s", "edeconvnet")


@dataclass(frozen=True)
class Nets:
    """What labels a photo: DeconvNet, FCN-8s, or both (EDeconvNet). One at least is there.

    Attributes:
        deconvnet: weights of a net that is shown boxes of the photo.
        fcn: weights of one that is shown the whole photo.
        ensemble: how the two are put together, if both are there.
    """

    deconvnet: Weights | None
    fcn: Weights | None = None
    ensemble: Ensemble = Ensemble()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        weights = self.deconvnet or self.fcn
        if weights is None:
            raise ValueError("no net at all")
        return weights.card.classes

    @property
    def system(self) -> str:
        """One of ``SYSTEMS``."""
        if self.deconvnet is None:
            return "fcn8s"
        return "deconvnet" if self.fcn is None else "edeconvnet"

    def to(self, device: torch.device) -> Nets:
        """The same, moved to a device."""
        for weights in (self.deconvnet, self.fcn):
            if weights is not None:
                weights.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self


def alone(weights: Weights) -> Nets:
    """One net without another, by what its card says it is."""
    if weights.card.net in FCN_NAMES:
        return Nets(None, weights)
    return Nets(weights)


def choose_nets(
    system: str | None,
    weights: str,
    fcn_weights: str,
    rule: str | None = None,
    share: float | None = None,
) -> Nets:
    """The nets of a system, loaded.

    Args:
        system: one of ``SYSTEMS``; None takes the one net that ``weights`` are of.
        weights: of DeconvNet, by name or file; with no system, of either.
        fcn_weights: of FCN-8s.
        rule, share: of the ensemble. By default they are what the weights of FCN-8s say for these
            of DeconvNet, and else the paper's.

    Raises:
        UsageError: weights of the one kind where the other is meant.
        WeightsError: see :func:`deconvnet_cli.weights.load`.
    """
    if system == "fcn8s":
        return Nets(None, load_kind(weights if weights != DEFAULT else fcn_weights, fcn=True))
    if system is None:
        return alone(load(weights))
    deconvnet = load_kind(weights, fcn=False)
    if system == "deconvnet":
        return Nets(deconvnet)
    fcn = load_kind(fcn_weights, fcn=True)
    known = fcn.card.ensemble if fcn.card.ensemble.get("with") == weights else {}
    ensemble = Ensemble(
        rule=rule or known.get("rule", Ensemble.rule),
        share=known.get("share", Ensemble.share) if share is None else share,
    )
    return Nets(deconvnet, fcn, ensemble)


def load_kind(name_or_path: str, *, fcn: bool) -> Weights:
    """Weights of an FCN, or of a net that takes boxes.

    Raises:
        UsageError: they are of the other kind.
    """
    weights = load(name_or_path)
    if (weights.card.net in FCN_NAMES) != fcn:
        wanted = "--fcn-weights wants FCN-8s" if fcn else "--weights wants a DeconvNet here"
        raise UsageError(f"{name_or_path}: weights of {weights.card.net}; {wanted}")
    return weights


def describe(nets: Nets, settings: SegmentSettings) -> dict[str, dict[str, Any]]:
    """Nets and settings as plain values, for people and for files."""
    parts = {"DeconvNet": nets.deconvnet, "FCN-8s": nets.fcn}
    about = {
        name: {"file": weights.path.name, "sha256": sha256(weights.path), **asdict(weights.card)}
        for name, weights in parts.items()
        if weights is not None
    }
    if nets.deconvnet is not None and nets.fcn is not None:
        about["ensemble"] = asdict(nets.ensemble)
    return {**about, "settings": asdict(settings)}
