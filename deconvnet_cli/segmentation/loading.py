"""Nets and settings from plain values: what the options and ``Segmenter.load`` stand for.

Heavy packages are imported when it is called: commands import this for their help.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import CrfSettings, ProposalSettings, SegmentSettings
    from deconvnet_cli.segmentation.system import System


def proposal_settings(candidates: int, edges: str) -> ProposalSettings:
    """How boxes are found.

    Args:
        candidates: boxes that EdgeBoxes is asked for.
        edges: "gradient" or "structured:FILE".

    Raises:
        DependencyError: OpenCV without ximgproc.
    """
    from deconvnet_cli.runtime.opencv import require_ximgproc
    from deconvnet_cli.segmentation.settings import ProposalSettings

    require_ximgproc()
    _, _, model = edges.partition(":")
    return ProposalSettings(candidates=candidates, structured_model=Path(model) if model else None)


def crf_settings(backend: str) -> CrfSettings:
    """The paper's settings of the CRF, computed by ``backend``, one of ``choices.BACKENDS``.

    Raises:
        DependencyError: it is not installed.
    """
    from deconvnet_cli.segmentation.crf.refine import require
    from deconvnet_cli.segmentation.settings import CrfSettings

    settings = CrfSettings(backend=backend)
    require(settings)
    return settings


def load_system(
    system_name: str | None,
    weights: str,
    fcn_weights: str,
    ensemble: str | None,
    share: float | None,
    device: str,
    precision: str,
    batch_size: int,
    rule: str | None,
    crf: bool,
    crf_backend: str,
    proposals: int | None,
    plain: bool = False,
    **boxes: Any,
) -> tuple[System, SegmentSettings]:
    """Nets on their device, and settings, from the values of the options in ``SEGMENTING``.

    Whatever can be wrong with them is found here, before the first photo.

    Args:
        system_name, weights, fcn_weights, ensemble, share: see ``systems.choose_nets``.
        device, precision: see ``devices``; "auto" takes the best there is.
        batch_size: crops a forward pass.
        rule: of merging, one of ``choices.MERGES``; None leaves it to the weights.
        crf, crf_backend: whether labels are refined, and who computes that.
        proposals: how many boxes; None leaves it to the weights, 0 stops once labels are settled.
        plain: leave the nets as they were trained, in fp32: what others are measured against.
        boxes: see :func:`proposal_settings`.

    Raises:
        UsageError, WeightsError, DeviceError, DependencyError: something does not fit together,
            is missing or cannot be used.
    """
    from deconvnet_cli.runtime.devices import choose_device, choose_precision
    from deconvnet_cli.segmentation.settings import SegmentSettings
    from deconvnet_cli.segmentation.system import choose_system

    refinement = crf_settings(crf_backend) if crf else None
    chosen = choose_device(device)
    settings = SegmentSettings(
        proposals=proposals or None,
        until_settled=proposals == 0,
        boxes=proposal_settings(**boxes),
        batch_size=batch_size,
        merge=rule,
        crf=refinement,
    )
    system = choose_system(system_name, weights, fcn_weights, ensemble, share)
    if plain:
        return system.plain(chosen), settings
    return system.ready(chosen, choose_precision(precision, chosen)), settings
