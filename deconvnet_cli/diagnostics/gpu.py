"""The check of GPUs: whether nets run on one, and if torch does not see it, why."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli.diagnostics.finding import Finding
from deconvnet_cli.storage.quiet import warnings_ignored

DEVICE = Path("/dev/nvidia0")
BUILDS = "https://pytorch.org/get-started/locally"
PATIENCE = 20.0  # seconds to wait for a driver that may hang


@dataclass(frozen=True)
class Driver:
    """The driver's version and the newest CUDA that it runs, as ``nvidia-smi`` reports them."""

    version: str
    cuda: str


def ask_driver() -> Driver | str:
    """Return what the NVIDIA driver reports, or why it does not answer."""
    if shutil.which("nvidia-smi") is None:
        return "there is no nvidia-smi"
    try:
        done = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    said = re.search(r"Driver Version: *([\d.]+) *CUDA Version: *([\d.]+)", done.stdout)
    if done.returncode == 0 and said:
        return Driver(said[1], said[2])
    return f"nvidia-smi: {' '.join((done.stdout + done.stderr).split())[:120] or 'no answer'}"


def gpu() -> Iterator[Finding]:
    """Report the GPUs that torch sees, or why it does not see one that is present."""
    import torch

    with warnings_ignored():  # torch warns about an old driver, and so does the finding
        available = torch.cuda.is_available()
    if available:
        yield from visible_gpus()
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "ok", "Apple GPU, which --device mps uses")
    else:
        driver = ask_driver()
        if DEVICE.exists() or isinstance(driver, Driver):
            yield invisible_gpu(driver)
        else:
            yield Finding("GPU", "ok", "none; nets run on the CPU")


def visible_gpus() -> Iterator[Finding]:
    """Report each GPU that torch sees."""
    import torch

    built = [int(name[3:]) for name in torch.cuda.get_arch_list() if re.fullmatch(r"sm_\d+", name)]
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        text = f"{device.name}, {device.total_memory / 1e9:.0f} GB"
        if built and 10 * device.major + device.minor < min(built):
            text += f", is too old (sm_{device.major}{device.minor}) for this build of torch"
            remedy = f"use --device cpu, or an older torch: {BUILDS}"
            yield Finding("GPU", "PROBLEM", text, remedy)
        else:
            yield Finding("GPU", "ok", text)


def invisible_gpu(driver: Driver | str) -> Finding:
    """Report why torch does not see the GPU that is present. Nets then run on the CPU."""
    import torch

    if torch.version.cuda is None:
        text = f"there is an NVIDIA GPU, but torch {torch.__version__} is built for the CPU alone"
        remedy = f"pip uninstall torch torchvision, then install builds for CUDA: {BUILDS}"
    elif os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        text = "CUDA_VISIBLE_DEVICES hides the NVIDIA GPU"
        remedy = "unset CUDA_VISIBLE_DEVICES"
    elif isinstance(driver, str):
        text = f"there is an NVIDIA GPU, but its driver does not answer ({driver})"
        remedy = "install or load the NVIDIA driver; in a container: docker run --gpus all"
    elif int(driver.cuda.split(".")[0]) < int(torch.version.cuda.split(".")[0]):
        # A driver runs all minor versions of its major version of CUDA.
        text = (
            f"driver {driver.version} runs CUDA up to {driver.cuda}, "
            f"torch {torch.__version__} is built for {torch.version.cuda}"
        )
        remedy = f"update the NVIDIA driver, or install torch for an older CUDA: {BUILDS}"
    else:
        text = f"torch cannot use the NVIDIA GPU, though driver {driver.version} is new enough"
        remedy = 'python -c "import torch; torch.cuda.init()" shows why'
    return Finding("GPU", "note", text, remedy)
