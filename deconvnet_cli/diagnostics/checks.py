"""What ``deconvnet doctor`` looks at: packages, OpenCV, weights, the processor, memory, folders.

Each check yields findings; ``checkup_gpu.py`` has the one of GPUs. Heavy packages are imported
inside the checks: one that is missing or broken is a finding, and not the end.
"""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import deconvnet_cli
from deconvnet_cli import __version__
from deconvnet_cli.diagnostics.finding import Check, Finding, findings
from deconvnet_cli.diagnostics.gpu import gpu
from deconvnet_cli.errors import DeconvnetError

PACKAGE = "deconvnet"
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
# What a container may have: control groups of version 2, then 1.
MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# Measured at 1024 pixels, the greatest size that is worked on: 1.6 GB for the first photo (1.9 GB
# with both nets and the CRF), 1.1 GB for each further one at the same time.
ENOUGH_MEMORY = 2e9


def checkup() -> list[Finding]:
    """All findings, in a fixed order."""
    checks: tuple[tuple[str, Check], ...] = (
        ("deconvnet", tool),
        ("packages", packages),
        ("OpenCV wheels", opencv_wheels),
        ("OpenCV", opencv),
        ("CPU", cpu),
        ("GPU", gpu),
        ("memory", memory),
        ("weights", weights),
        ("pydensecrf (optional)", pydensecrf),
        ("extras", extras),
        ("folders", folders),
    )
    return [finding for name, check in checks for finding in findings(name, check)]


def tool() -> Iterator[Finding]:
    """Versions of this tool and of Python, and where they are."""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding(
        "deconvnet", "ok", f"{__version__} in {Path(deconvnet_cli.__file__).parent}; {system}"
    )


def requirements() -> list[tuple[str, str, str]]:
    """Package, least version and extra ("" for what is always needed) of what this tool needs.

    Without those that only some versions of Python need. Empty if it is not installed.
    """
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    pattern = re.compile(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)(?:; *extra *== *['\"](.*)['\"])?")
    found = (pattern.fullmatch(line) for line in lines)
    return [(one[1], one[2], one[3] or "") for one in found if one]


def installed(package: str) -> str | None:
    """Version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, to compare; 2.4.0 is 2.4."""
    leading = re.match(r"[\d.]*\d", version)
    return tuple(map(int, re.sub(r"(\.0+)+$", "", leading[0]).split("."))) if leading else ()


def packages() -> Iterator[Finding]:
    """Packages that are always needed, but for OpenCV, which has several names."""
    needed = [(name, least) for name, least, extra in requirements() if not extra]
    if not needed:
        yield Finding("packages", "note", "deconvnet is run but not installed", "pip install .")
    versions = []
    for name, least in needed:
        if name.startswith("opencv"):
            continue
        version = installed(name)
        if version is None:
            yield Finding(name, "PROBLEM", "not installed", f'pip install "{name}>={least}"')
        elif numbers(version) < numbers(least):
            remedy = f'pip install --upgrade "{name}>={least}"'
            yield Finding(name, "PROBLEM", f"{version} is older than {least}", remedy)
        else:
            versions.append(f"{name} {version}")
    if versions:
        yield Finding("packages", "ok", ", ".join(versions))


def opencv_wheels() -> Iterator[Finding]:
    """Two of OpenCV's wheels share one folder, and the later one may hide ``ximgproc``."""
    wheels = sorted(set(metadata.packages_distributions().get("cv2", [])))
    if len(wheels) > 1:
        text = f"{len(wheels)} wheels share one folder ({', '.join(wheels)})"
        remedy = f"pip uninstall {' '.join(wheels)}, then pip install opencv-contrib-python"
        yield Finding("OpenCV wheels", "PROBLEM", text, remedy)
    else:
        yield Finding("OpenCV wheels", "ok", ", ".join(wheels) or "not installed as a wheel")


def opencv() -> Iterator[Finding]:
    """Whether OpenCV can be loaded and has EdgeBoxes."""
    from deconvnet_cli.runtime.opencv import cv2, require_ximgproc

    require_ximgproc()
    yield Finding("OpenCV", "ok", f"{cv2.__version__} with ximgproc")


def cpu() -> Iterator[Finding]:
    """Cores, abilities, and whether nets run in bfloat16."""
    import torch

    from deconvnet_cli.runtime.devices import choose_precision, cores

    flags = set()
    if CPUINFO.exists():
        line = re.search(r"^flags\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
        flags = set(line[1].split()) if line else set()
    precision = choose_precision("auto", torch.device("cpu"))
    able = ", ".join(flag for flag in CPU_FLAGS if flag in flags) or "abilities unknown"
    text = f"{cores()} cores; {able}; nets run in {precision}"
    if precision == "bf16":
        yield Finding("CPU", "ok", f"{text}, which this CPU computes in")
    elif flags & {"avx512_bf16", "amx_bf16"}:
        remedy = "pip install --upgrade torch torchvision"
        text += f", though this CPU computes in bfloat16: torch {torch.__version__} does not say so"
        yield Finding("CPU", "note", text, remedy)
    elif flags and "avx2" not in flags:
        remedy = "in a virtual machine pass the host's CPU through (QEMU: -cpu host)"
        yield Finding("CPU", "note", f"{text}; without AVX2 it is slow", remedy)
    else:
        yield Finding("CPU", "ok", f"{text}; it has no bfloat16 of its own, which would be faster")


def memory() -> Iterator[Finding]:
    """Memory that is free, or that a container may have if that is less."""
    sizes = []
    if MEMINFO.exists():
        free = re.search(r"MemAvailable:\s*(\d+) kB", MEMINFO.read_text())
        sizes += [(int(free[1]) * 1024, "free")] if free else []
    for path in MEMORY_LIMITS:
        text = path.read_text().strip() if path.exists() else ""
        sizes += [(int(text), "is this container's limit")] if text.isdigit() else []
    if not sizes:
        yield Finding("memory", "ok", "this system does not say how much is free")
        return
    size, what = min(sizes)
    text = f"{size / 1e9:.1f} GB {what}"
    if size < ENOUGH_MEMORY:
        remedy = "free some, or give `batch` one photo at a time: --workers 1"
        yield Finding("memory", "note", f"{text}; a large photo takes up to 2 GB", remedy)
    else:
        yield Finding("memory", "ok", text)


def weights() -> Iterator[Finding]:
    """Whether the shipped weights are there and what was published."""
    from deconvnet_cli.weights.shipped import locate, registry

    names = ", ".join(f"{name} (SHA-256 right)" for name in registry() if locate(name))
    yield Finding("weights", "ok", names)


def pydensecrf() -> Iterator[Finding]:
    """The other dense CRF; ours needs nothing."""
    from deconvnet_cli.segmentation.crf.pydensecrf import require_pydensecrf

    name = "pydensecrf (optional)"
    try:
        require_pydensecrf()
    except DeconvnetError:
        text = "not there; only --crf-backend pydensecrf needs it, our own CRF does not"
        remedy = 'pip install "deconvnet[crf]" (needs a C++ compiler)'
        yield Finding(name, "note", text, remedy)
    else:
        yield Finding(name, "ok", "is there")


def extras() -> Iterator[Finding]:
    """Packages of what is optional, by the names that pip knows the options by."""
    wanted: dict[str, list[str]] = {}
    for name, _, extra in requirements():
        if extra not in ("", "test", "crf"):  # tests are for developers; the CRF was looked at
            wanted.setdefault(extra, []).append(name)
    for extra, names in wanted.items():
        missing = [name for name in names if installed(name) is None]
        if missing:
            text = f"{', '.join(missing)} not installed"
            yield Finding(f"{extra} (optional)", "note", text, f'pip install "deconvnet[{extra}]"')
        else:
            versions = ", ".join(f"{name} {installed(name)}" for name in names)
            yield Finding(f"{extra} (optional)", "ok", versions)


def folders() -> Iterator[Finding]:
    """Whether files can be written here and in the folder for temporary ones."""
    remedies = {Path(tempfile.gettempdir()): "set TMPDIR to another"}
    for folder, remedy in ({Path.cwd(): "write elsewhere: -o DIR/"} | remedies).items():
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            text = f"{folder}: cannot be written to ({error.strerror})"
            yield Finding("folders", "note", text, remedy)
        else:
            yield Finding("folders", "ok", f"{folder} can be written to")
