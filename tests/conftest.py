"""Tiny weights and photos that several tests share, and how tests are spread over processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

# One thread for each process, before torch is imported: pytest-xdist runs one for each core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As the command line does, before OpenCV is imported.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# The many processes that tests begin take compiled modules from the first of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import pytest
import torch
from helpers.command_line import run_cli
from helpers.html import CHROMIUM_FLAGS
from helpers.paths import DATA
from helpers.photos import pieces, shown
from PIL import Image

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.notes import write_once
from deconvnet_cli.nets.fcn8s import FCN8s, initialise
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import store

PHOTOS = {"p0": (60, 40), "p1": (40, 56), "p2": (48, 48), "p3": (52, 44)}  # width, height
MOST_PROCESSES = 8  # each takes about a gigabyte of memory


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return 0, this process alone, for single files: a second one takes longer to begin."""
    files = [argument.partition("::")[0] for argument in config.args]
    if all(file.endswith(".py") for file in files):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, MOST_PROCESSES)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> None:
    """Give each fixture random numbers of its own, whatever has run before."""
    torch.manual_seed(zlib.crc32(fixturedef.argname.encode()))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Give each test random numbers of its own, whatever has run before."""
    torch.manual_seed(zlib.crc32(item.nodeid.partition("@")[0].encode()))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a module together, for they share fixtures, and begin with slow modules.

    A test that has a group of its own may go elsewhere.
    """
    slow: set[str] = set()
    groups: dict[pytest.Item, str] = {}
    for item in items:
        own = item.get_closest_marker("xdist_group")
        groups[item] = own.args[0] if own else item.nodeid.partition("::")[0]
        if own is None:
            item.add_marker(pytest.mark.xdist_group(groups[item]))
        if item.get_closest_marker("slow"):
            slow.add(groups[item])
    items.sort(key=lambda item: groups[item] not in slow)


@pytest.fixture(autouse=True)
def fresh_notes() -> None:
    """Forget which notes were written: each is written once in a process."""
    write_once.cache_clear()


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def cat(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of a cat, 90 x 60, which no test may change."""
    path = tmp_path_factory.mktemp("photo") / "cat.png"
    with Image.open(data / "chelsea.jpg") as photo:
        photo.resize((90, 60)).save(path)
    return path


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow deconvnet-vgg16 with fixed random weights: quick, and says something anywhere."""
    torch.manual_seed(3)
    net = build_net("deconvnet-vgg16", {"width": 1 / 32, "fc": 16})
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    store(path, net, card_for("deconvnet-vgg16", net_settings(net)))
    return path


@pytest.fixture(scope="session")
def tiny_fcn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow fcn8s with fixed random scores, which says several things of a photo."""
    net = build_net("fcn8s", {"width": 1 / 64, "fc": 6}).eval()
    assert isinstance(net, FCN8s)
    initialise(net, 5)
    generator = torch.Generator().manual_seed(5)
    for name in ("score_fr", "score_pool4", "score_pool3"):
        net.get_parameter(f"{name}.weight").data.normal_(0, 0.005, generator=generator)
    with torch.no_grad():  # so that no class stands out everywhere
        net.score_pool3.bias -= net(shown((60, 40))).mean((0, 2, 3))
    path = tmp_path_factory.mktemp("weights") / "tiny-fcn.safetensors"
    store(path, net, card_for("fcn8s", net_settings(net)))
    return path


@pytest.fixture(scope="session")
def lively_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``tiny_weights``, but they say several things of a photo: BatchNorm has seen crops."""
    torch.manual_seed(4)
    net = build_net("deconvnet-vgg16", {"width": 1 / 16, "fc": 16}).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of all that it sees
    with torch.no_grad():
        net(shown((224, 224)))
        weight = net.get_parameter("seg_score_voc.weight")
        weight -= weight.mean(1, keepdim=True)  # so that no class stands out everywhere
        weight *= 30
    path = tmp_path_factory.mktemp("weights") / "lively.safetensors"
    store(path, net, card_for("deconvnet-vgg16", net_settings(net)))
    return path


@pytest.fixture(scope="session")
def quick(lively_weights: Path) -> tuple[object, ...]:
    """Options of a quick run of one net."""
    return ("--weights", lively_weights, "--proposals", 3, "--precision", "fp32")


@pytest.fixture(scope="session")
def both(lively_weights: Path, tiny_fcn: Path) -> tuple[object, ...]:
    """Options of a quick run of both nets; those from the fifth on are for FCN-8s alone too."""
    boxes = ("--weights", lively_weights, "--proposals", 4)
    return (*boxes, "--fcn-weights", tiny_fcn, "--precision", "fp32")


@pytest.fixture(scope="session")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC tree of four small photos that no test may change; lists val, first and second."""
    root = tmp_path_factory.mktemp("devkit") / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    for number, (name, (width, height)) in enumerate(PHOTOS.items()):
        photo = pieces((width, height))[2 * number]
        mask = np.zeros((height, width), np.uint8)
        mask[7:31, 9:35] = 255
        mask[8:30, 10:34] = (3, 12, 3, 10)[number]
        photo.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        (root / "SegmentationClass" / f"{name}.png").write_bytes(label_png(mask))
    for split, names in {"val": "p0 p1 p2 p3", "first": "p0 p1", "second": "p2 p3"}.items():
        listed = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        listed.write_text("\n".join(names.split()) + "\n")
    return root


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, voc: Path, both: tuple[object, ...]) -> Path:
    """Labels and scores of both nets on the photos of ``voc``; no test may change them."""
    out = tmp_path_factory.mktemp("kept") / "out"
    options = ("--net", "edeconvnet", *both, "--save-scores", "--quiet")
    result = run_cli("batch", voc / "JPEGImages", "-o", out, *options)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture
def deconvnet():
    """Calls the command line in this process."""
    return run_cli


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Opens a file in Chromium without a window; what it prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium here")
    profile = tmp_path_factory.mktemp("profile")

    def call(file: Path, *more: str) -> str:
        command = [program, *CHROMIUM_FLAGS, f"--user-data-dir={profile}", *more, file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    return call
