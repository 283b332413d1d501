"""Files beside the code: versions that agree, Dockerfiles, links, pictures."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from PIL import Image

from deconvnet_cli import __version__
from deconvnet_cli.weights.files import read_card

DOCKERFILES = ("Dockerfile", "Dockerfile.cuda")
INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ENTRYPOINT", "CMD"}


def instructions(name: str) -> list[tuple[str, str]]:
    """Instruction and the rest of each of them, lines that go on put together."""
    lines = [line for line in (ROOT / "docker" / name).read_text().splitlines() if line]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    whole = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in whole]


def copied(name: str) -> set[str]:
    """What comes from the repository."""
    found = (rest.split() for kind, rest in instructions(name) if kind == "COPY")
    return {word for words in found if not words[0].startswith("--from") for word in words[:-1]}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfile(name):
    parts = instructions(name)
    assert {kind for kind, _ in parts} <= INSTRUCTIONS
    stages: set[str] = set()
    for kind, rest in parts:
        if kind == "FROM":
            image, _, stage = rest.partition(" AS ")
            assert re.fullmatch(r"[\w./-]+:[\w.-]+", image) and not image.endswith(":latest")
            stages.add(stage)
        elif kind == "COPY" and rest.startswith("--from="):
            assert rest.split()[0].removeprefix("--from=") in stages - {""}
        elif kind == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True)
    last = dict(parts)
    assert json.loads(last["ENTRYPOINT"]) == ["deconvnet"]
    assert json.loads(last["CMD"]) == ["--help"]
    assert last["USER"] not in ("root", "0")
    kinds = [kind for kind, _ in parts]
    assert "RUN" not in kinds[kinds.index("USER") :]  # nothing more is installed as that user


@pytest.mark.parametrize("name", DOCKERFILES)
def test_docker_is_given_the_files_that_it_copies(name):
    """Each is there, gets past the ignore file, and is enough to build the wheel."""
    files = copied(name)
    assert {"pyproject.toml", "deconvnet_cli", "weights", "docs"} <= files
    assert all((ROOT / file).exists() for file in files)
    ignored = (ROOT / "docker" / f"{name}.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == files


def test_torch_for_the_cpu_and_for_cuda():
    for name, index in (("Dockerfile", True), ("Dockerfile.cuda", False)):
        (install,) = (rest for kind, rest in instructions(name) if " torch " in f"{rest} ")
        assert ("--index-url https://download.pytorch.org/whl/cpu" in install) == index


def test_versions_agree():
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation and citation[1] == __version__
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == __version__


def test_scores_in_the_weights_are_those_of_the_documents():
    text = "".join(path.read_text() for path in (ROOT / "weights").glob("*.md"))
    text += (ROOT / "docs/nets.md").read_text()
    for path in (ROOT / "weights").glob("*.safetensors"):
        scores = read_card(path).scores
        assert scores
        for name, value in scores.items():
            assert re.search(rf"\b{re.escape(str(value))}0*\b", text), (
                f"{path.name}: {name} {value}"
            )


def test_pages_that_round_the_scores_agree_with_the_weights():
    """The mean IoUs of FCN-8s, DeconvNet and EDeconvNet, the latter two with the CRF too."""
    cards = {path.stem: read_card(path) for path in (ROOT / "weights").glob("*.safetensors")}
    alone, refined = list(cards["deconvnet-mobilenet"].scores.values())[:2]
    fcn, both, both_refined = list(cards["fcn8s-mobilenet"].scores.values())[:3]
    names = ("FCN-8s", "DeconvNet (default)", "DeconvNet + CRF", "EDeconvNet", "EDeconvNet + CRF")
    rounded = [f"{value:.3f}" for value in (fcn, alone, refined, both, both_refined)]
    assert f"| measured | 0.648 | {' | '.join(rounded)} |" in (ROOT / "README.md").read_text()
    nets = (ROOT / "docs" / "nets.md").read_text()
    speed = (ROOT / "docs" / "speed.md").read_text()
    for name, value in zip(names, rounded, strict=True):
        assert f"| {name} | {value} |" in nets
        if "CRF" not in name:
            assert re.search(rf"^\| {re.escape(name)}[^|]*\|.*\| {value} \|", speed, re.MULTILINE)


BESIDE_THE_SITE = sorted((*ROOT.glob("*.md"), *(ROOT / "weights").glob("*.md")))


def anchors(page: Path) -> set[str]:
    """The names by which links reach the headings of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", BESIDE_THE_SITE, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" not in target:
            file, _, heading = target.partition("#")
            other = page.parent / file if file else page
            assert other.exists(), target
            assert not heading or heading in anchors(other), target


def pictures_of(page: Path) -> list[Path]:
    """The files that a page shows; none comes from the network."""
    targets = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text())
    assert not [target for target in targets if "://" in target]
    return [(page.parent / target).resolve() for target in targets]


def test_pictures_are_there_and_are_those_that_the_script_makes():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = {script.FOLDER / name for name in script.NAMES}
    assert set(script.FOLDER.iterdir()) == made
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    shown = {picture for page in pages for picture in pictures_of(page)}
    assert shown == {*made, script.PHOTO}
    assert sum(file.stat().st_size for file in made) < 1_500_000
    for file in made:
        with Image.open(file) as picture:
            picture.load()
            assert picture.width <= 1100  # a page is no wider


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    """MkDocs itself says that links and pictures lead somewhere; no page needs a network."""
    pytest.importorskip("material")
    site = tmp_path / "site"
    # Not --quiet: with it, MkDocs does not count warnings, and --strict has no effect.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))  # and one for what is not there
    loaded = re.compile(r"""<(?:script|link|img|iframe)[^>]*\s(?:src|href)=["']?(https?:)?//""")
    assert not [page for page in pages if loaded.search(page.read_text())]
    styles = "".join(style.read_text() for style in site.rglob("*.css"))
    assert "url(http" not in styles and "url(//" not in styles
    assert not list(site.rglob("*.py"))


def test_messages_that_are_explained_are_those_that_are_said():
    quoted = re.findall(r"\*\*`([^`]+)`\.\*\*", (ROOT / "docs" / "troubleshooting.md").read_text())
    assert len(quoted) >= 2
    code = "".join(file.read_text() for file in (ROOT / "deconvnet_cli").rglob("*.py"))
    assert [message for message in quoted if message not in code] == []
