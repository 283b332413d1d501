"""``deconvnet doctor``: each fault is made, and named with its remedy on one line."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch

from deconvnet_cli.diagnostics import checks, gpu
from deconvnet_cli.diagnostics.finding import Check, Finding, findings
from deconvnet_cli.errors import ChecksumError
from deconvnet_cli.weights import shipped

SMI = """+-----------------------------------------------------------------------------+
| NVIDIA-SMI {version}      Driver Version: {version}   CUDA Version: {cuda}     |
|-------------------------------+----------------------+----------------------+
"""


def only(check: Check, name: str = "") -> Finding:
    """Return the one finding of a check."""
    (found,) = findings(name, check)
    assert "\n" not in found.text + found.remedy
    return found


def test_all_is_well_here(deconvnet):
    """A note is not a problem: CI and developers have some."""
    result = deconvnet("doctor", "--json")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    states = {line["name"]: line["state"] for line in lines}
    assert {"deconvnet", "OpenCV", "CPU", "GPU", "memory", "weights", "folders"} <= set(states)
    assert set(states.values()) <= {"ok", "note"}
    assert set(lines[0]) == {"name", "state", "text", "remedy"}
    for line in lines:
        assert bool(line["remedy"]) == (line["state"] != "ok"), line


def test_a_problem_is_exit_code_1_and_one_line(deconvnet, monkeypatch):
    monkeypatch.delattr(cv2, "ximgproc")
    result = deconvnet("doctor")
    assert result.exit_code == 1 and result.stderr == ""
    lines = result.stdout.splitlines()
    (problem,) = (line for line in lines if line.startswith("PROBLEM"))
    assert "pip install --force-reinstall opencv-contrib-python" in problem
    as_json = deconvnet("doctor", "--json")
    assert as_json.exit_code == 1 and len(as_json.stdout.splitlines()) == len(lines)


def test_two_opencv_wheels(monkeypatch, tmp_path):
    for name in ("opencv_python", "opencv_contrib_python"):
        (tmp_path / f"{name}-4.11.dist-info").mkdir()
        lines = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 4.11\n"
        (tmp_path / f"{name}-4.11.dist-info" / "METADATA").write_text(lines)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = only(checks.opencv_wheels)
    assert found.state == "PROBLEM"
    assert found.remedy.startswith("pip uninstall opencv-contrib-python opencv-python, then")


def test_opencv_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "deconvnet_cli.runtime.opencv")
    found = only(checks.opencv, "OpenCV")
    assert (found.name, found.state) == ("OpenCV", "PROBLEM")
    assert "pip install" in found.text and "libGL" in found.text


def test_torch_that_cannot_be_loaded(deconvnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    result = deconvnet("doctor")
    assert result.exit_code == 1
    problems = [line for line in result.stdout.splitlines() if line.startswith("PROBLEM")]
    assert {line.split()[1] for line in problems} == {"CPU:", "GPU:"}
    assert "torch" in problems[0] and " -> " in problems[0]


@pytest.mark.parametrize("versions, problem", [
    ({"torch": "2.4.0", "rich": "13"}, None),
    ({"torch": "2.4+cpu", "rich": "14.1.0rc1"}, None),
    ({"torch": "2.3.1", "rich": "13"}, ("torch", 'pip install --upgrade "torch>=2.4"')),
    ({"torch": "10.0"}, ("rich", 'pip install "rich>=13.0"')),
])  # fmt: skip
def test_packages_that_are_missing_or_old(monkeypatch, versions, problem):
    needed = ["torch>=2.4", "rich>=13.0", 'tomli>=2; python_version < "3.11"', "opencv-x>=4"]

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "requires", lambda _: needed)
    monkeypatch.setattr(metadata, "version", version)
    found = checks.findings("", checks.packages)
    bad = [(one.name, one.remedy) for one in found if one.state != "ok"]
    assert bad == ([problem] if problem else [])


def test_run_without_being_installed(monkeypatch):
    def requires(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    found = only(checks.packages)
    assert (found.state, found.remedy) == ("note", "pip install .")
    assert checks.findings("", checks.extras) == []


def test_extras_by_what_the_package_says(monkeypatch):
    needed = [
        "torch>=2.4",
        'ray[data]>=2; extra == "ray"',
        "click>=8; extra == 'serve'",
        'none>=1; extra == "test"',
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: needed)
    monkeypatch.setattr(checks, "installed", {"click": "8.1"}.get)
    missing, there = checks.findings("", checks.extras)
    assert (missing.name, missing.state) == ("ray (optional)", "note")
    assert missing.remedy == 'pip install ".[ray]" in the checkout, or "FILE.whl[ray]"'
    assert (there.name, there.state, there.text) == ("serve (optional)", "ok", "click 8.1")


FLAGS = "processor : 0\nflags\t\t: fpu sse2 {}\nbugs : none\n"


@pytest.mark.parametrize("flags, says, state, words", [
    ("avx avx2 avx512f avx512_bf16", {"avx512_bf16": True}, "ok", "nets run in bf16"),
    ("avx2 amx_bf16", {"amx_bf16": True}, "ok", "nets run in bf16"),
    ("avx avx2", {"avx512_bf16": False}, "ok", "nets run in fp32"),
    ("avx2 avx512f avx512_bf16", {}, "note", "does not report it"),
    ("avx", {}, "note", "without AVX2"),
])  # fmt: skip
def test_the_cpu(monkeypatch, tmp_path, flags, says, state, words):
    info = tmp_path / "cpuinfo"
    info.write_text(FLAGS.format(flags))
    monkeypatch.setattr(checks, "CPUINFO", info)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: says)
    found = only(checks.cpu)
    assert found.state == state and words in found.text
    assert bool(found.remedy) == (state == "note")
    assert ("avx512_bf16" in found.text) == ("avx512_bf16" in flags)


def test_a_cpu_that_says_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    found = only(checks.cpu)
    assert found.state == "ok" and "vector instructions unknown" in found.text


@pytest.mark.parametrize("free, limit, state, words", [
    (8_000_000, None, "ok", "8.2 GB free"),
    (8_000_000, "max\n", "ok", "8.2 GB free"),
    (8_000_000, "1500000000\n", "note", "1.5 GB is this container's limit"),
    (900_000, "4000000000", "note", "0.9 GB free"),
    (None, None, "ok", "does not report"),
])  # fmt: skip
def test_memory(monkeypatch, tmp_path, free, limit, state, words):
    info, most = tmp_path / "meminfo", tmp_path / "memory.max"
    if free is not None:
        info.write_text(f"MemTotal: 99999999 kB\nMemAvailable:    {free} kB\n")
    if limit is not None:
        most.write_text(limit)
    monkeypatch.setattr(checks, "MEMINFO", info)
    monkeypatch.setattr(checks, "MEMORY_LIMITS", (most,))
    found = only(checks.memory)
    assert found.state == state and words in found.text
    assert ("--workers 1" in found.remedy) == (state == "note")


def test_weights_that_are_damaged(monkeypatch):
    def locate(name: str) -> Path:
        raise ChecksumError(f"{name}: SHA-256 is another; install it again")

    monkeypatch.setattr(shipped, "locate", locate)
    found = only(checks.weights, "weights")
    assert (found.name, found.state) == ("weights", "PROBLEM") and "install it again" in found.text


def test_pydensecrf_there_or_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", SimpleNamespace(densecrf=object()))
    assert only(checks.pydensecrf).state == "ok"
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    found = only(checks.pydensecrf)
    assert found.state == "note" and "pip install" in found.remedy


def test_folders_that_cannot_be_written_to(monkeypatch, tmp_path):
    """A file in the place of a folder refuses even root."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(Path, "cwd", lambda: file)
    here, other = checks.findings("", checks.folders)
    assert here.state == "note" and str(file) in here.text and "-o DIR/" in here.remedy
    assert other.state == "ok"
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(file))
    here, other = checks.findings("", checks.folders)
    assert here.state == "ok"
    assert other.state == "note" and "TMPDIR" in other.remedy


def fake_smi(folder: Path, says: str, code: int = 0) -> None:
    """Make an ``nvidia-smi`` that prints this."""
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\nexit {code}\n")
    script.chmod(0o755)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Return a function that sets up a machine whose GPU torch does not see."""

    def has(smi: str | None, *, device: bool = True, code: int = 0, cuda: str | None = "12.6"):
        if smi is not None:
            fake_smi(tmp_path, smi, code)
        file = tmp_path / "nvidia0"
        if device:
            file.touch()
        monkeypatch.setattr(gpu, "DEVICE", file)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if smi is not None else "/nowhere")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        return only(gpu.gpu)

    return has


OLD, NEW = SMI.format(version="470.82.01", cuda="11.4"), SMI.format(version="535.104", cuda="12.2")


FAILS = "NVIDIA-SMI has failed"


@pytest.mark.parametrize("smi, given, words", [
    (NEW, {"device": False, "cuda": None}, ("CPU alone", "pytorch.org")),
    (None, {"cuda": None}, ("CPU alone", "pytorch.org")),  # /dev/nvidia0 tells as much
    (OLD, {}, ("470.82.01", "11.4", "12.6", "update the NVIDIA driver")),
    (NEW, {}, ("new enough", "535.104")),  # an older minor version is not to blame
    (None, {}, ("does not answer", "no nvidia-smi", "--gpus all")),
    (FAILS, {"code": 9}, ("does not answer", FAILS, "--gpus all")),
])  # fmt: skip
def test_a_gpu_that_torch_does_not_see(machine, smi, given, words):
    found = machine(smi, **given)
    assert found.state == "note" and found.remedy
    assert [word for word in words if word not in f"{found.text} -> {found.remedy}"] == []


@pytest.mark.parametrize("smi", [None, FAILS])
def test_no_gpu(machine, smi):
    found = machine(smi, device=False, code=9)
    assert (found.state, found.remedy) == ("ok", "")


def test_a_hidden_gpu(machine, monkeypatch):
    machine(NEW)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = only(gpu.gpu)
    assert found.state == "note" and found.remedy == "unset CUDA_VISIBLE_DEVICES"


@pytest.mark.parametrize("capability, state", [((8, 9), "ok"), ((6, 1), "PROBLEM")])
def test_gpus_that_torch_sees(monkeypatch, capability, state):
    card = SimpleNamespace(
        name="NVIDIA X", total_memory=24e9, major=capability[0], minor=capability[1]
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_86", "compute_90"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    found = only(gpu.gpu)
    assert found.state == state and "NVIDIA X, 24 GB" in found.text
    assert ("sm_61" in found.text) == (state == "PROBLEM")


def test_an_nvidia_smi_that_hangs(monkeypatch, tmp_path):
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpu, "PATIENCE", 0.2)
    said = gpu.ask_driver()
    assert isinstance(said, str) and "timed out" in said
