"""What is handed out: source distribution and wheel, built, looked into and run elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.paths import ROOT
from PIL import Image

from deconvnet_cli import __version__
from deconvnet_cli.cli import COMMANDS

MOST_BYTES = 75_000_000
FOLDERS = ("deconvnet_cli", "weights", "tests", "docs", "docker")
pytest.importorskip("build")
pytest.importorskip("pip")


@dataclass(frozen=True)
class Built:
    """Both distributions, and the names in them without the version's folder."""

    source: Path
    wheel: Path
    source_names: set[str]
    wheel_names: set[str]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    """Built from a copy: nothing is left in the checkout, and nothing that lies there gets in."""
    copy = tmp_path_factory.mktemp("build") / "copy"
    copy.mkdir()
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, copy)
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "deprecated" not in (done.stdout + done.stderr).lower()
    (source,) = (copy / "dist").glob("*.tar.gz")
    (wheel,) = (copy / "dist").glob("*.whl")
    with tarfile.open(source) as archive:
        source_names = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        wheel_names = set(archive.namelist())
    return Built(source, wheel, source_names, wheel_names)


def registry() -> dict[str, dict[str, str]]:
    entries: dict[str, dict[str, str]] = json.loads((ROOT / "weights/registry.json").read_text())
    return entries


def test_sizes_and_names(built):
    assert built.wheel.name == f"deconvnet-{__version__}-py3-none-any.whl"
    assert built.source.name == f"deconvnet-{__version__}.tar.gz"
    for file in (built.wheel, built.source):
        assert sum(e["file"].endswith(".safetensors") for e in registry().values()) >= 2
        assert 5_000_000 < file.stat().st_size < MOST_BYTES


def test_every_package_of_the_tree_is_listed():
    """A list has to be kept by hand: a search would not find the renamed ``weights/``."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^packages = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert listed is not None
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "deconvnet_cli").rglob("__init__.py")
    }
    names = re.findall(r'"([\w.]+)"', listed[1])
    assert names == sorted(found | {"deconvnet_weights"})


def test_the_source_has_all_that_is_needed_to_test_it(built):
    tracked = {
        str(file.relative_to(ROOT))
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    top = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "NOTICE.md")
    documents = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md")
    missing = (tracked | {*top, *documents}) - built.source_names
    assert not missing
    assert "tests/data/chelsea.jpg" in tracked


def test_the_wheel_has_every_module_and_no_test(built):
    modules = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "deconvnet_cli").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert not modules - built.wheel_names
    tops = {name.split("/")[0] for name in built.wheel_names}
    info = f"deconvnet-{__version__}"
    assert tops == {"deconvnet_cli", "deconvnet_weights", f"{info}.dist-info", f"{info}.data"}
    assert f"{info}.data/data/share/man/man1/deconvnet.1" in built.wheel_names
    licences = f"{info}.dist-info/licenses"
    for name in ("LICENSE", "NOTICE.md", "weights/LICENSE-Apache-2.0"):
        assert f"{licences}/{name}" in built.wheel_names


def test_the_weights_in_it_are_the_published_ones(built):
    entries = registry()
    with zipfile.ZipFile(built.wheel) as archive:
        assert json.loads(archive.read("deconvnet_weights/registry.json")) == entries
        for name, entry in entries.items():
            data = archive.read(f"deconvnet_weights/{entry['file']}")
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]
            assert f"deconvnet_weights/{name}.md" in built.wheel_names  # its card


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The wheel in a folder of its own, without what it needs."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    options = ["--disable-pip-version-check", "--no-compile", "--target", str(folder)]
    subprocess.run([*pip, *options, str(built.wheel)], check=True, capture_output=True)
    return folder


def run_installed(folder: Path, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python there. Without ``site`` no .pth file leads back into the checkout."""
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    paths = os.pathsep.join([str(folder), *packages])
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=where,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_it_runs_elsewhere(installed, tmp_path, data):
    """Its own script, in a folder far from the checkout, with the weights that came with it."""
    shutil.copy(data / "chelsea.jpg", tmp_path / "cat.jpg")
    script = str(installed / "bin" / "deconvnet")
    done = run_installed(
        installed, tmp_path, script, "segment", "cat.jpg", "--proposals", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"]["cat"] > 0.5
    with Image.open(tmp_path / "cat.png") as labels:
        assert (labels.mode, labels.size) == ("P", (451, 300))


def test_nothing_comes_from_the_checkout(installed, tmp_path):
    code = (
        "import importlib, deconvnet_weights\n"
        "from deconvnet_cli.cli import cli\n"
        f"for name in {list(COMMANDS)!r}: cli.get_command(None, name)\n"
        "import sys\n"
        "for name, module in sorted(sys.modules.items()):\n"
        "    if name.startswith('deconvnet'): print(module.__file__)"
    )
    done = run_installed(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    files = [Path(line) for line in done.stdout.splitlines()]
    assert len(files) > len(COMMANDS)
    assert all(file.is_relative_to(installed) for file in files)
    listed = run_installed(installed, tmp_path, "-m", "deconvnet_cli", "--version")
    assert listed.stdout == f"deconvnet, version {__version__}\n"
