"""``deconvnet doctor``: what is here, what is missing, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable

import click

from deconvnet_cli.errors import DeconvnetError


def _torch() -> str:
    import torch

    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return f"{torch.__version__}, {', '.join(devices) or f'CPU, {torch.get_num_threads()} threads'}"


def _opencv() -> str:
    import cv2

    from deconvnet_cli.proposals import require_ximgproc

    require_ximgproc()
    return f"{cv2.__version__} with ximgproc"


def _one_opencv() -> str:
    from importlib.metadata import packages_distributions

    wheels = sorted(set(packages_distributions().get("cv2", [])))
    if len(wheels) > 1:
        raise DeconvnetError(
            f"{len(wheels)} OpenCV wheels share one folder ({', '.join(wheels)}): "
            "uninstall them all, then `pip install opencv-contrib-python`"
        )
    return ", ".join(wheels) or "not installed as a wheel"


def _weights() -> str:
    from deconvnet_cli.weights import locate, registry

    return ", ".join(f"{name} (SHA-256 right)" for name in registry() if locate(name))


def _crf() -> str:
    from deconvnet_cli.crf_pydensecrf import require_pydensecrf

    require_pydensecrf()
    return "pydensecrf is there"


CHECKS: tuple[tuple[str, Callable[[], str], bool], ...] = (
    ("torch", _torch, True),
    ("OpenCV", _opencv, True),
    ("OpenCV wheels", _one_opencv, True),
    ("weights", _weights, True),
    ("pydensecrf (optional)", _crf, False),
)


@click.command("doctor")
def command() -> None:
    """Check packages, weights and devices; exit code 1 if something needed is missing."""
    broken = False
    for name, check, needed in CHECKS:
        try:
            click.echo(f"ok       {name}: {check()}")
        except (DeconvnetError, ImportError) as error:
            broken |= needed
            click.echo(f"{'MISSING ' if needed else 'missing '} {name}: {error}")
    if broken:
        raise SystemExit(1)
