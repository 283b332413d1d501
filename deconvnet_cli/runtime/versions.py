"""The versions of the packages that compute, and the machine on which they do."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from deconvnet_cli import __version__
from deconvnet_cli.runtime.cores import cores

PACKAGES = ("torch", "opencv-contrib-python", "numpy", "Pillow")
CPUINFO = Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the packages that compute."""
    found = {"deconvnet": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # installed by other means, such as conda
            continue
    return found


def machine() -> dict[str, str]:
    """Return the names of the CPU and of the GPU ("none" without), and the number of cores."""
    line = None
    if CPUINFO.exists():
        line = re.search(r"^model name\s*:\s*(.*)$", CPUINFO.read_text(), re.MULTILINE)
    cpu = line[1] if line else platform.processor() or platform.machine()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"CPU": cpu, "cores": str(cores()), "GPU": gpu}
