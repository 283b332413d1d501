"""The checks of ``deconvnet doctor``: packages, OpenCV, weights, the CPU, memory, folders.

Each check yields findings; ``gpu.py`` has the check of GPUs. Heavy packages are imported inside
the checks, so that a missing or broken one is a finding and does not stop the others.
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
from deconvnet_cli.errors import DeconvnetError, install, why

PACKAGE = "deconvnet"
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
# The memory limit of a container, in control groups of version 2 and 1.
MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# The four that PyPI has: each is the same folder ``cv2`` with other parts.
OPENCV_WHEELS = (
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
    "opencv-python",
    "opencv-python-headless",
)
# At 1024 pixels, the largest working size, the first photo takes 1.6 GB (1.9 GB with both nets and
# the CRF), and each further photo at the same time 1.1 GB (measured).
ENOUGH_MEMORY = 2e9


def checkup() -> list[Finding]:
    """Run all checks and return their findings, in a fixed order."""
    checks: tuple[tuple[str, Check], ...] = (
        ("deconvnet", versions),
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


def versions() -> Iterator[Finding]:
    """Report the versions of this tool and of Python, and where the tool is installed."""
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding(
        "deconvnet", "ok", f"{__version__} in {Path(deconvnet_cli.__file__).parent}; {system}"
    )


def requirements() -> list[tuple[str, str, str]]:
    """Return package, least version and extra ("" if always needed) of each requirement.

    Requirements of certain Python versions only are left out. The list is empty if this tool is
    not installed.
    """
    try:
        lines = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []
    pattern = re.compile(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)(?:; *extra *== *['\"](.*)['\"])?")
    found = (pattern.fullmatch(line) for line in lines)
    return [(one[1], one[2], one[3] or "") for one in found if one]


def installed(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, for comparisons; 2.4.0 equals 2.4."""
    leading = re.match(r"[\d.]*\d", version)
    return tuple(map(int, re.sub(r"(\.0+)+$", "", leading[0]).split("."))) if leading else ()


def packages() -> Iterator[Finding]:
    """Check the packages that are always needed, except OpenCV, which has several names."""
    needed = [(name, least) for name, least, extra in requirements() if not extra]
    if not needed:
        yield Finding("packages", "note", "deconvnet is run but not installed", "pip install .")
    right = []
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
            right.append(f"{name} {version}")
    if right:
        yield Finding("packages", "ok", ", ".join(right))


def opencv_wheels() -> Iterator[Finding]:
    """Check for several OpenCV wheels: they share one folder, and one may hide ``ximgproc``."""
    wheels = [name for name in OPENCV_WHEELS if installed(name)]
    if len(wheels) > 1:
        text = f"{len(wheels)} wheels share one folder ({', '.join(wheels)})"
        remedy = f"pip uninstall {' '.join(wheels)}, then pip install opencv-contrib-python"
        yield Finding("OpenCV wheels", "PROBLEM", text, remedy)
    else:
        yield Finding("OpenCV wheels", "ok", ", ".join(wheels) or "not installed as a wheel")


def opencv() -> Iterator[Finding]:
    """Check that OpenCV can be loaded and has EdgeBoxes."""
    from deconvnet_cli.runtime.opencv import cv2, require_ximgproc

    require_ximgproc()
    yield Finding("OpenCV", "ok", f"{cv2.__version__} with ximgproc")


def cpu() -> Iterator[Finding]:
    """Report the CPU's cores and vector instructions, and the precision that nets run in."""
    import torch

    from deconvnet_cli.runtime.cores import cores
    from deconvnet_cli.runtime.devices import choose_precision

    flags = set()
    if CPUINFO.exists():
        line = re.search(r"^flags\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
        flags = set(line[1].split()) if line else set()
    precision = choose_precision("auto", torch.device("cpu"))
    known = ", ".join(flag for flag in CPU_FLAGS if flag in flags)
    text = f"{cores()} cores; {known or 'vector instructions unknown'}; nets run in {precision}"
    if precision == "bf16":
        yield Finding("CPU", "ok", f"{text}, which this CPU supports")
    elif flags & {"avx512_bf16", "amx_bf16"}:
        remedy = "pip install --upgrade torch torchvision"
        text += f", though this CPU has bfloat16: torch {torch.__version__} does not report it"
        yield Finding("CPU", "note", text, remedy)
    elif flags and "avx2" not in flags:
        remedy = "in a virtual machine, pass through the host's CPU (QEMU: -cpu host)"
        yield Finding("CPU", "note", f"{text}; without AVX2 it is slow", remedy)
    else:
        yield Finding("CPU", "ok", f"{text}; it has no bfloat16, which would be faster")


def memory() -> Iterator[Finding]:
    """Check the free memory, or the limit of the container if that is less."""
    sizes = []
    if MEMINFO.exists():
        free = re.search(r"MemAvailable:\s*(\d+) kB", MEMINFO.read_text())
        sizes += [(int(free[1]) * 1024, "free")] if free else []
    for path in MEMORY_LIMITS:
        text = path.read_text().strip() if path.exists() else ""
        sizes += [(int(text), "is this container's limit")] if text.isdigit() else []
    if not sizes:
        yield Finding("memory", "ok", "this system does not report free memory")
        return
    size, meaning = min(sizes)
    text = f"{size / 1e9:.1f} GB {meaning}"
    if size < ENOUGH_MEMORY:
        remedy = "free some, or let `batch` segment one photo at a time: --workers 1"
        yield Finding("memory", "note", f"{text}; a large photo takes up to 2 GB", remedy)
    else:
        yield Finding("memory", "ok", text)


def weights() -> Iterator[Finding]:
    """Check that the shipped weights are present and have their published SHA-256."""
    from deconvnet_cli.weights.shipped import locate, registry

    names = ", ".join(f"{name} (SHA-256 correct)" for name in registry() if locate(name))
    yield Finding("weights", "ok", names)


def pydensecrf() -> Iterator[Finding]:
    """Check for pydensecrf, the optional other CRF."""
    from deconvnet_cli.segmentation.crf.pydensecrf import require_pydensecrf

    name = "pydensecrf (optional)"
    try:
        require_pydensecrf()
    except DeconvnetError:
        text = "not installed; only --crf-backend pydensecrf needs it"
        remedy = f"{install('crf')} (needs a C++ compiler)"
        yield Finding(name, "note", text, remedy)
    else:
        yield Finding(name, "ok", "installed")


def extras() -> Iterator[Finding]:
    """Check the packages of the optional extras."""
    wanted: dict[str, list[str]] = {}
    for name, _, extra in requirements():
        if extra not in ("", "test", "crf"):  # tests are for developers; the CRF has its own check
            wanted.setdefault(extra, []).append(name)
    for extra, names in wanted.items():
        missing = [name for name in names if installed(name) is None]
        if missing:
            text = f"{', '.join(missing)} not installed"
            yield Finding(f"{extra} (optional)", "note", text, install(extra))
        else:
            present = ", ".join(f"{name} {installed(name)}" for name in names)
            yield Finding(f"{extra} (optional)", "ok", present)


def folders() -> Iterator[Finding]:
    """Check that the current folder and the folder of temporary files can be written to."""
    temporary = {Path(tempfile.gettempdir()): "set TMPDIR to another folder"}
    for folder, remedy in ({Path.cwd(): "write elsewhere: -o DIR/"} | temporary).items():
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            text = f"{folder}: cannot be written to ({why(error)})"
            yield Finding("folders", "note", text, remedy)
        else:
            yield Finding("folders", "ok", f"{folder} can be written to")
