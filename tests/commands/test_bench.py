"""``deconvnet bench``: what it prints is what was measured, and recall is right."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from deconvnet_cli.data.voc import open_tree
from deconvnet_cli.diagnostics import throughput
from deconvnet_cli.diagnostics.throughput import trials
from deconvnet_cli.evaluation import recall as module
from deconvnet_cli.evaluation.recall import recall
from deconvnet_cli.segmentation.proposals import Proposals
from deconvnet_cli.segmentation.settings import ProposalSettings


def test_workers_double_up_to_the_last():
    assert list(trials(1).values()) == [0, 1]
    assert list(trials(2).values()) == [0, 1, 2]
    assert list(trials(6).values()) == [0, 1, 2, 4, 6]
    assert list(trials(2)) == ["plain", "1 worker", "2 workers"]


def test_without_the_module_resource_the_memory_is_unknown(monkeypatch):
    """Windows has none."""
    assert throughput.peak_memory() > 1 << 20
    monkeypatch.setitem(sys.modules, "resource", None)
    assert throughput.peak_memory() == 0


@pytest.mark.slow
def test_a_line_a_trial(deconvnet, data, lively_weights):
    options = ("--weights", lively_weights, "--proposals", 2, "--precision", "fp32")
    result = deconvnet(
        "bench", "photos", data / "chelsea.jpg", *options,
        *("--workers", 2, "--side", 60, "--count", 1, "--json"),  # fewer photos than workers
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["trial"] for line in lines] == ["plain", "1 worker", "2 workers"]
    assert lines[0]["speedup"] == 1
    for line in lines:
        assert line["side"] == 60 and set(line["ms"]) == {"proposals", "net", "labels"}
        rate = line["photos_per_s"] / lines[0]["photos_per_s"]
        assert line["speedup"] == pytest.approx(rate, abs=0.05)
        assert 100 < line["peak_mb"] < 10_000
    assert "photos/s" in result.stderr and "2 workers" in result.stderr


def test_recall_counts_objects_by_their_best_box(voc, monkeypatch):
    """The four masks hold one object each, in columns 10 to 33 and rows 8 to 29."""
    tree = open_tree(voc)
    true = [10, 8, 34, 30]
    half = [10, 8, 34, 19]  # IoU 0.5
    far = [0, 0, 2, 2]
    found = iter(
        (
            (2000, [true]),  # to warm up
            (50, [true]),
            (2000, [far, true]),
            (50, [*[far] * 10, true]),  # the eleventh box
            (2000, [*[far] * 10, true]),
            (50, [half]),
            (2000, [half]),
            (50, [far]),
            (2000, [*[far] * 200, true]),  # the 201st box
        )
    )

    def propose(photo, settings):
        assert settings.enlarge == 1 and settings.min_side == 0
        count, boxes = next(found)
        assert settings.count == count
        return Proposals(np.array(boxes, np.int32), np.ones(len(boxes), np.float32))

    monkeypatch.setattr(module, "propose_for", propose)
    result = recall(tree, ["p0", "p1", "p2", "p3"], ProposalSettings())
    assert (result.photos, result.objects) == (4, 4)
    assert result.shares == {
        (0.5, 10): 0.5, (0.5, 50): 0.75, (0.5, 200): 0.75, (0.5, 2000): 1.0,
        (0.7, 10): 0.25, (0.7, 50): 0.5, (0.7, 200): 0.5, (0.7, 2000): 0.75,
    }  # fmt: skip


def test_a_photo_without_objects_counts_as_a_photo(voc, tmp_path):
    root = tmp_path / "VOC2012"
    shutil.copytree(voc, root)
    with Image.open(root / "JPEGImages" / "p1.jpg") as photo:
        Image.fromarray(np.zeros(photo.size[::-1], np.uint8)).save(
            root / "SegmentationClass" / "p1.png"
        )
    result = recall(open_tree(root), ["p0", "p1"], ProposalSettings())
    assert (result.photos, result.objects) == (2, 1)
