"""Build a system and its settings from plain values, for the commands and for ``Segmenter.load``.

Commands import this module for their help, so heavy packages are imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from deconvnet_cli.choices import BACKENDS, ENSEMBLES, MERGES, PRECISIONS, SYSTEMS
from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from deconvnet_cli.segmentation.settings import (
        CrfSettings,
        ProposalSettings,
        SegmentOptions,
        SegmentSettings,
    )
    from deconvnet_cli.segmentation.system import System


def check(options: SegmentOptions) -> None:
    """Raise UsageError if an option has a value that is not allowed."""
    check_choice("net", options.system_name, SYSTEMS)
    check_choice("ensemble", options.ensemble, ENSEMBLES)
    check_choice("precision", str(options.precision), PRECISIONS)
    check_choice("rule", options.merge_rule, MERGES)
    check_choice("crf_backend", options.crf_backend, BACKENDS)
    check_edges(options.edges)
    if not isinstance(options.crf, bool):
        raise UsageError(f"crf={options.crf!r}: must be True or False")
    if isinstance(options.proposals, str) and options.proposals != "auto":
        raise UsageError(f"proposals={options.proposals!r}: must be a whole number or 'auto'")
    if options.proposals != "auto":
        check_count("proposals", options.proposals)
    check_count("candidates", options.candidates)
    check_count("batch_size", options.batch_size)
    if options.share is not None and not (
        isinstance(options.share, int | float) and 0 <= options.share <= 1
    ):
        raise UsageError(f"share={options.share!r}: must be a number from 0 to 1")


def check_choice(name: str, value: str | None, allowed: Iterable[str]) -> None:
    """Raise UsageError if a value is given that is not allowed."""
    if value is not None and value not in (allowed := tuple(allowed)):
        raise UsageError(f"{name}={value!r}: must be one of {', '.join(allowed)}")


def check_count(name: str, value: object) -> None:
    """Raise UsageError if a value is given that is not a whole number above 0."""
    if value is not None and (
        not isinstance(value, Integral) or isinstance(value, bool) or value < 1
    ):
        raise UsageError(f"{name}={value!r}: must be a whole number above 0")


def check_edges(value: str) -> None:
    """Raise UsageError unless the value is "gradient" or "structured:FILE"."""
    kind, _, file = str(value).partition(":")
    if value != "gradient" and not (kind == "structured" and file):
        raise UsageError(f"edges={value!r}: must be 'gradient' or 'structured:FILE'")


def proposal_settings(candidates: int, edges: str) -> ProposalSettings:
    """Return the settings that say how boxes are found.

    Args:
        candidates: The number of boxes that EdgeBoxes is asked for.
        edges: "gradient" or "structured:FILE".

    Raises:
        DependencyError: OpenCV was built without ximgproc.
        WeightsError: The file is missing or is not a structured-edge forest.
    """
    from deconvnet_cli.runtime.opencv import require_ximgproc
    from deconvnet_cli.segmentation.edges import load_forest
    from deconvnet_cli.segmentation.settings import ProposalSettings

    require_ximgproc()
    _, _, file = edges.partition(":")
    model = Path(file) if file else None
    if model is not None:
        load_forest(model)  # kept for the photos; a wrong file ends the run before the first
    return ProposalSettings(candidates=candidates, structured_model=model)


def crf_settings(backend: str) -> CrfSettings:
    """Return the released script's settings of the CRF, computed by ``backend``.

    Args:
        backend: One of ``choices.BACKENDS``.

    Raises:
        DependencyError: The backend is not installed.
    """
    from deconvnet_cli.segmentation.crf.refine import require
    from deconvnet_cli.segmentation.settings import CrfSettings

    settings = CrfSettings(backend=backend)
    require(settings)
    return settings


def check_boxes(options: SegmentOptions, system: System) -> None:
    """Raise UsageError if an option concerns boxes, and no net of the system takes boxes."""
    if system.deconvnet is not None:
        return
    from deconvnet_cli.segmentation.settings import SegmentOptions

    for name in ("proposals", "candidates", "edges", "merge_rule"):
        if getattr(options, name) != getattr(SegmentOptions, name):
            option = name.removeprefix("merge_")
            raise UsageError(f"FCN-8s sees the whole photo, without boxes; leave out --{option}")


def leaves_out_boxes(
    proposals: int | str | None, system: System, settings: SegmentSettings
) -> bool:
    """Return whether boxes that would hardly change the labels are left out.

    Unless a number of boxes is asked for, they are with the merge rules that keep the whole
    photo's map, because they cost time there and do not make the labels better.

    Args:
        proposals: A number of boxes, "auto", or None for what the weights say.
    """
    from deconvnet_cli.segmentation.system import merge_rule

    if proposals is None:
        return MERGES[merge_rule(system, settings)].whole
    return proposals == "auto"


def default_batch(device: torch.device) -> int:
    """Return the number of crops in a forward pass that suits a device."""
    from deconvnet_cli.segmentation.settings import SegmentSettings

    # On a core, larger batches are no faster (docs/speed.md), need more memory, and come in more
    # sizes, each of which has kernels of its own.
    return 2 if device.type == "cpu" else SegmentSettings.batch_size


def load_system(options: SegmentOptions, plain: bool = False) -> tuple[System, SegmentSettings]:
    """Load the nets on their device, and build the settings.

    All mistakes in the options are found here, before the first photo is read.

    Args:
        plain: Whether to leave the nets as they were trained, in fp32, as a baseline for timing.

    Raises:
        UsageError: A value is not allowed, or two do not fit together.
        WeightsError: The weights cannot be read.
        DeviceError: This machine does not have the device.
        DependencyError: An optional package is missing.
    """
    from deconvnet_cli.runtime.devices import choose_device, choose_precision
    from deconvnet_cli.segmentation.settings import SegmentSettings
    from deconvnet_cli.segmentation.system import choose_system

    check(options)
    crf = crf_settings(options.crf_backend) if options.crf else None
    device = choose_device(options.device)
    settings = SegmentSettings(
        proposals=None if options.proposals in (None, "auto") else int(options.proposals),
        boxes=proposal_settings(options.candidates, options.edges),
        batch_size=options.batch_size or default_batch(device),
        merge=options.merge_rule,
        crf=crf,
    )
    system = choose_system(options)
    check_boxes(options, system)
    settings = replace(
        settings, until_settled=leaves_out_boxes(options.proposals, system, settings)
    )
    if plain:
        return system.plain(device), settings
    return system.ready(device, choose_precision(options.precision, device)), settings
