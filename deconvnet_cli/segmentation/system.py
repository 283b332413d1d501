"""What labels a photo: DeconvNet, FCN-8s, or both as EDeconvNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from deconvnet_cli.choices import DEFAULT, ENSEMBLES, FCN_DEFAULT
from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.nets.fusion import fused
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.runtime.devices import CPU, DTYPES, merge_device
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.weights.files import Weights, load
from deconvnet_cli.weights.shipped import weights_sha256

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentSettings


@dataclass(frozen=True)
class System:
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
    def merge_device(self) -> torch.device:
        """Where crops are merged and the dense CRF is computed: a GPU that has CUDA, or the CPU."""
        weights = self.deconvnet or self.fcn
        return merge_device(weights.device if weights else CPU)

    @property
    def name(self) -> str:
        """One of ``choices.SYSTEMS``."""
        if self.deconvnet is None:
            return "fcn8s"
        return "deconvnet" if self.fcn is None else "edeconvnet"

    def ready(self, device: torch.device, precision: str) -> System:
        """The same, prepared to predict (``nets/prepare.py``) on a device in a precision."""
        return replace(
            self,
            deconvnet=ready(self.deconvnet, device, precision),
            fcn=ready(self.fcn, device, precision),
        )

    def plain(self, device: torch.device) -> System:
        """The same on a device, as they were trained."""
        for weights in (self.deconvnet, self.fcn):
            if weights is not None:
                weights.net.to(device)
        return self


def ready(weights: Weights | None, device: torch.device, precision: str) -> Weights | None:
    """One net prepared to predict, if there is one."""
    if weights is None:
        return None
    net = fused(weights.net).to(device, DTYPES[precision])
    return replace(weights, net=net.to(memory_format=torch.channels_last))


def alone(weights: Weights) -> System:
    """One net without another, by what its card says it is."""
    if not net_spec(weights.card.net).takes_boxes:
        return System(None, weights)
    return System(weights)


def choose_system(
    system_name: str | None,
    weights: str,
    fcn_weights: str,
    rule: str | None = None,
    share: float | None = None,
) -> System:
    """The nets of a system, loaded.

    Args:
        system_name: one of ``choices.SYSTEMS``; None takes the one net that ``weights`` are of.
        weights: of DeconvNet, by name or file; with no system, of either. For FCN-8s alone they
            may be its own, unless ``fcn_weights`` are given.
        fcn_weights: of FCN-8s.
        rule, share: of the ensemble. By default they are what the weights of FCN-8s say for these
            of DeconvNet, and else the paper's.

    Raises:
        UsageError: weights of the one kind where the other is meant, or of other classes; or
            something is said of a net that is not run.
        WeightsError: see :func:`deconvnet_cli.weights.files.load`.
    """
    if system_name != "edeconvnet" and (rule is not None or share is not None):
        raise UsageError("--ensemble and --share put two nets together: --net edeconvnet")
    if system_name == "fcn8s":
        own = weights if weights != DEFAULT and fcn_weights == FCN_DEFAULT else fcn_weights
        return System(None, load_kind(own, fcn=True))
    if system_name is None:
        if fcn_weights != FCN_DEFAULT:
            raise UsageError("--fcn-weights goes with --net: edeconvnet, or fcn8s")
        return alone(load(weights))
    deconvnet = load_kind(weights, fcn=False)
    if system_name == "deconvnet":
        return System(deconvnet)
    fcn = load_kind(fcn_weights, fcn=True)
    if fcn.card.classes != deconvnet.card.classes:
        raise UsageError(f"{fcn_weights}: its classes are not those of {weights}")
    known = fcn.card.ensemble if fcn.card.ensemble.get("with") == weights else {}
    try:
        usual = ensemble_of(known)
    except ValueError as error:
        raise WeightsError(f"{fcn_weights}: its card's ensemble is wrong ({error})") from error
    return System(deconvnet, fcn, usual.unless(rule, share))


def ensemble_of(known: Any) -> Ensemble:
    """An ensemble from what a file says; what it does not say is the paper's.

    Raises:
        ValueError: there is no such rule, or no such share.
    """
    if not isinstance(known, Mapping):
        raise ValueError("no names and values")
    rule, share = known.get("rule", Ensemble.rule), known.get("share", Ensemble.share)
    if rule not in ENSEMBLES:
        raise ValueError(f"rule {rule!r}; known: {', '.join(ENSEMBLES)}")
    if not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"share {share!r}; 0 to 1")
    return Ensemble(rule, float(share))


def load_kind(name_or_path: str, *, fcn: bool) -> Weights:
    """Weights of an FCN, or of a net that takes boxes.

    Raises:
        UsageError: they are of the other kind.
    """
    weights = load(name_or_path)
    if net_spec(weights.card.net).takes_boxes == fcn:
        wanted = "--fcn-weights wants FCN-8s" if fcn else "--weights wants a DeconvNet here"
        raise UsageError(f"{name_or_path}: weights of {weights.card.net}; {wanted}")
    return weights


def describe(system: System, settings: SegmentSettings) -> dict[str, dict[str, Any]]:
    """Nets and settings as plain values, for people and for files."""
    parts = {"DeconvNet": system.deconvnet, "FCN-8s": system.fcn}
    about = {
        name: {
            "file": weights.path.name,
            "sha256": weights_sha256(weights.path),
            **asdict(weights.card),
        }
        for name, weights in parts.items()
        if weights is not None
    }
    if system.deconvnet is not None and system.fcn is not None:
        about["ensemble"] = asdict(system.ensemble)
    precision = {str(next(part.net.parameters()).dtype) for part in parts.values() if part}
    return {**about, "settings": {**asdict(settings), "precision": ", ".join(sorted(precision))}}
