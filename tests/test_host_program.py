"""A program that uses ``Segmenter``: its settings do not matter, and they stay as they were."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from deconvnet_cli import Segmenter

CHOICE = {"proposals": 4, "precision": "fp32", "crf": True}


@pytest.fixture(scope="module")
def choice(lively_weights, tiny_fcn) -> dict[str, object]:
    return {"weights": lively_weights, "net": "edeconvnet", "fcn_weights": tiny_fcn, **CHOICE}


@pytest.fixture(scope="module")
def segmenter(choice) -> Segmenter:
    return Segmenter.load(**choice)


@pytest.fixture(scope="module")
def expected(segmenter, cat):
    return segmenter.segment(cat)


@pytest.fixture(params=["deterministic", "default type", "autocast"])
def setting(request):
    """Change a setting of torch as a program may, and change it back."""
    if request.param == "deterministic":
        torch.use_deterministic_algorithms(True)
        yield
        torch.use_deterministic_algorithms(False)
    elif request.param == "default type":
        torch.set_default_dtype(torch.bfloat16)
        yield
        torch.set_default_dtype(torch.float32)
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            yield


def test_settings_of_torch_do_not_change_the_result(setting, segmenter, choice, expected, cat):
    for one in (segmenter, Segmenter.load(**choice)):
        found = one.segment(cat)
        assert np.array_equal(found.labels, expected.labels)
        assert np.array_equal(found.probabilities, expected.probabilities)
    assert torch.is_inference_mode_enabled() is False


def test_the_default_device_does_not_matter(cat):
    """Here it is one on which nothing can be computed, as a program's GPU may be full."""
    found = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            found.append(Segmenter.load(proposals=1).segment(cat).probabilities)
    assert np.array_equal(*found)


def test_random_numbers_and_settings_stay_as_they_were(choice, cat):
    def state() -> list[object]:
        return [
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            (torch.get_num_threads(), cv2.getNumThreads()),
            (torch.get_default_dtype(), torch.get_default_device()),
            (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")),
        ]

    before = state()
    Segmenter.load(**choice).segment(cat).overlay()
    assert state() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows forks no processes")
def test_processes_forked_after_loading_segment_too(cat):
    """As in `multiprocessing.Pool`; they used to wait for threads that only the parent has."""
    code = (
        "import multiprocessing, torch\n"
        "torch.set_num_threads(2)\n"
        "from deconvnet_cli import Segmenter\n"
        "one = Segmenter.load(proposals=1)\n"
        "def cat(photo): return one.segment(photo).shares()['cat']\n"
        f"photo = {str(cat)!r}\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool:\n"
        "    assert abs(pool.apply_async(cat, [photo]).get(40) - cat(photo)) < 0.01\n"
        "assert torch.get_num_threads() == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_an_import_leaves_what_opencv_tells_as_it_was():
    """The command line alone makes it silent, as it reports damaged files itself."""
    code = (
        "import os, cv2; before = dict(os.environ), cv2.utils.logging.getLogLevel()\n"
        "from deconvnet_cli import Segmenter\n"
        "assert (dict(os.environ), cv2.utils.logging.getLogLevel()) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import sys; from deconvnet_cli.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "import cv2; assert cv2.utils.logging.getLogLevel() == 0"
    )
    without = {name: value for name, value in os.environ.items() if "OPENCV" not in name}
    subprocess.run([sys.executable, "-c", code], check=True, env=without, capture_output=True)


def test_notes_go_to_the_log_of_a_program_that_has_one(segmenter, capsys):
    black, records = np.zeros((40, 50, 3), np.uint8), []
    handler = logging.Handler()
    handler.emit = records.append
    logging.root.addHandler(handler)
    try:
        segmenter.segment(black)
    finally:
        logging.root.removeHandler(handler)
    (record,) = [each for each in records if each.name == "deconvnet"]
    assert record.getMessage().startswith("array: is nearly one colour")
    assert capsys.readouterr().err == ""
