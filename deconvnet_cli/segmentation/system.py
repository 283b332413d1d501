"""The system that labels photos: DeconvNet, FCN-8s, or both as EDeconvNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from deconvnet_cli.choices import DEFAULT, ENSEMBLES, FCN_DEFAULT
from deconvnet_cli.data.classes import in_short
from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.nets.fusion import fused
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.runtime.devices import DTYPES
from deconvnet_cli.segmentation.merge import CONTEXT_MAX
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.segmentation.settings import ProposalSettings, SegmentOptions, SegmentSettings
from deconvnet_cli.weights.card import plain_values
from deconvnet_cli.weights.files import Weights, load
from deconvnet_cli.weights.shipped import weights_sha256


@dataclass(frozen=True)
class System:
    """The nets that label a photo: DeconvNet, FCN-8s, or both (EDeconvNet).

    Attributes:
        deconvnet: The weights of a net that is shown boxes of the photo, or None.
        fcn: The weights of a net that is shown the whole photo; None only if ``deconvnet`` is not.
        ensemble: How the maps of both nets become one.
    """

    deconvnet: Weights | None
    fcn: Weights | None = None
    ensemble: Ensemble = Ensemble()

    @property
    def nets(self) -> list[Weights]:
        """The weights of the one net or of both, DeconvNet first."""
        return [weights for weights in (self.deconvnet, self.fcn) if weights is not None]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels, in order."""
        return self.nets[0].card.classes

    def __str__(self) -> str:
        """Return the weights, the device and the precision, in short."""
        names = " + ".join(weights.path.stem for weights in self.nets)
        first = self.nets[0]
        precision = str(next(first.net.parameters()).dtype).removeprefix("torch.")
        return f"{names} on {first.device}, {precision}"

    @property
    def name(self) -> str:
        """The name of the system, one of ``choices.SYSTEMS``."""
        if self.deconvnet is None:
            return "fcn8s"
        return "deconvnet" if self.fcn is None else "edeconvnet"

    def ready(self, device: torch.device, precision: str) -> System:
        """Return the system prepared to predict (``nets/fusion.py``) on a device."""
        return replace(
            self,
            deconvnet=ready(self.deconvnet, device, precision),
            fcn=ready(self.fcn, device, precision),
        )

    def plain(self, device: torch.device) -> System:
        """Move the nets to a device, as they were trained, and return the system."""
        for weights in self.nets:
            weights.net.to(device)
        return self


def ready(weights: Weights | None, device: torch.device, precision: str) -> Weights | None:
    """Return one net prepared to predict; None stays None."""
    if weights is None:
        return None
    net = fused(weights.net).to(device, DTYPES[precision])
    return replace(weights, net=net.to(memory_format=torch.channels_last))


def alone(weights: Weights) -> System:
    """Return a system of one net, by the kind of net that its card names."""
    if not net_spec(weights.card.net).takes_boxes:
        return System(None, weights)
    return System(weights)


def choose_system(options: SegmentOptions) -> System:
    """Load the nets of a system.

    For FCN-8s alone, ``weights`` may be its own, unless ``fcn_weights`` are given. An ensemble's
    rule and share that are not given are those that FCN-8s' card has for these weights of
    DeconvNet, or else the paper's.

    Raises:
        UsageError: The weights are of the other kind of net, the two nets have different classes,
            or an option concerns a net that is not run.
        WeightsError: Weights cannot be loaded, see :func:`deconvnet_cli.weights.files.load`.
    """
    system_name, weights, fcn_weights = options.system_name, options.weights, options.fcn_weights
    rule, share = options.ensemble, options.share
    if system_name != "edeconvnet" and (rule is not None or share is not None):
        raise UsageError("--ensemble and --share combine two nets; add --net edeconvnet")
    if rule == "product" and share is not None:
        raise UsageError("--share weighs a mean, and --ensemble product is none; leave one out")
    if system_name == "fcn8s":
        own = weights if weights != DEFAULT and fcn_weights == FCN_DEFAULT else fcn_weights
        return System(None, load_kind(own, fcn=True))
    if system_name is None:
        if fcn_weights != FCN_DEFAULT:
            raise UsageError("--fcn-weights needs --net edeconvnet or --net fcn8s")
        return alone(load(weights))
    deconvnet = load_kind(weights, fcn=False)
    if system_name == "deconvnet":
        return System(deconvnet)
    fcn = load_kind(fcn_weights, fcn=True)
    if fcn.card.classes != deconvnet.card.classes:
        raise UsageError(
            f"{fcn_weights} has {in_short(fcn.card.classes)}, {weights} has "
            f"{in_short(deconvnet.card.classes)}; an ensemble needs two nets of the same classes"
        )
    on_card = fcn.card.ensemble if fcn.card.ensemble.get("with") == weights else {}
    try:
        default = ensemble_of(on_card)
    except ValueError as error:
        raise WeightsError(f"{fcn_weights}: its card's ensemble is wrong ({error})") from error
    return System(deconvnet, fcn, default.unless(rule, share))


def ensemble_of(values: Any) -> Ensemble:
    """Return the ensemble that a file describes, with the paper's value where it gives none.

    Raises:
        ValueError: The rule is unknown, or the share is not a number from 0 to 1.
    """
    if not isinstance(values, Mapping):
        raise ValueError("no names and values")
    rule, share = values.get("rule", Ensemble.rule), values.get("share", Ensemble.share)
    if rule not in ENSEMBLES:
        raise ValueError(f"rule {rule!r}; known: {', '.join(ENSEMBLES)}")
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"share {share!r}; 0 to 1")
    return Ensemble(rule, float(share))


def load_kind(name_or_path: str, *, fcn: bool) -> Weights:
    """Load the weights of an FCN, or of a net that takes boxes.

    Raises:
        UsageError: The weights are of the other kind.
    """
    weights = load(name_or_path)
    if net_spec(weights.card.net).takes_boxes == fcn:
        wanted = "--fcn-weights takes an FCN-8s" if fcn else "--weights takes a DeconvNet here"
        raise UsageError(f"{name_or_path}: weights of {weights.card.net}; {wanted}")
    return weights


def box_settings(weights: Weights, settings: SegmentSettings) -> ProposalSettings:
    """Return the settings of the proposals; the weights give the default number of boxes."""
    return replace(settings.boxes, count=settings.proposals or weights.card.proposals)


def merge_rule(system: System, settings: SegmentSettings) -> str:
    """Return the merge rule; with "max" all maps are logits."""
    rule = settings.merge or system.nets[0].card.merge
    return maximum_of(system.deconvnet) if rule == "max" and system.deconvnet else rule


def maximum_of(weights: Weights) -> str:
    """Return the merge rule that "max" is for a net.

    It is "context-max" for a net that is also shown the whole photo in its own shape: a crop alone
    sees too little to overrule what the whole photo says.
    """
    return CONTEXT_MAX if weights.card.input.whole else "max"


def describe(system: System, settings: SegmentSettings) -> dict[str, dict[str, Any]]:
    """Return nets and settings as plain values, for reports and manifests."""
    parts = {"DeconvNet": system.deconvnet, "FCN-8s": system.fcn}
    about = {
        name: {
            "file": weights.path.name,
            "sha256": weights_sha256(weights.path),
            **plain_values(weights.card),
        }
        for name, weights in parts.items()
        if weights is not None
    }
    if system.deconvnet is not None and system.fcn is not None:
        about["ensemble"] = asdict(system.ensemble)
    precision = {str(next(weights.net.parameters()).dtype) for weights in system.nets}
    return {**about, "settings": {**asdict(settings), "precision": ", ".join(sorted(precision))}}
