"""The rows of the table: each is what a run of its own gives, all from one run of the nets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.photos import pixels
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.paper_table import label_rows, maps_of, row_of
from deconvnet_cli.evaluation.scoreboard import TABLE
from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNet
from deconvnet_cli.nets.fcn8s import FCN8s
from deconvnet_cli.segmentation import segment
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred
from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import choose_system

WITHOUT_CRF = tuple(row for row in TABLE if not row.crf)


@pytest.mark.parametrize("how", [(), ("--rule", "mean-probability", "--ensemble", "product")])
def test_rows_are_what_segment_gives(deconvnet, voc, both, tmp_path, how):
    source = voc / "JPEGImages" / "p1.jpg"
    _, weights, _, count, _, fcn_weights, *_ = both
    system = choose_system(
        SegmentOptions("edeconvnet", str(weights), str(fcn_weights), how[3] if how else None)
    ).ready(torch.device("cpu"), "fp32")
    settings = SegmentSettings(proposals=count, merge=how[1] if how else None)
    photo = read_photo(source)
    scored = segment.infer(photo, system, settings)
    rows = label_rows(scored, TABLE, photo.size, system.ensemble)
    assert list(rows) == [row.name for row in TABLE]
    for row in TABLE:
        out = tmp_path / f"{row.name}.png"
        crf = "--crf" if row.crf else "--no-crf"
        own = {"deconvnet": how[:2], "fcn8s": (), "edeconvnet": how}[row.system]
        needed = both if row.system != "fcn8s" else both[4:]
        result = deconvnet("segment", source, "-o", out, "--net", row.system, crf, *needed, *own)
        assert result.exit_code == 0, result.output
        assert np.array_equal(pixels(out), rows[row.name]), row.name
    assert len({labels.tobytes() for labels in rows.values()}) == len(TABLE)


def test_evaluate_gives_each_row_its_own_figures_and_runs_the_nets_once(
    deconvnet, voc, both, monkeypatch
):
    calls = {"DeconvNet": 0, "FCN8s": 0, "photos": 0}
    for net in (DeconvNet, FCN8s):

        def counted(self, x, forward=net.forward, name=net.__name__):
            calls[name] += 1
            return forward(self, x)

        monkeypatch.setattr(net, "forward", counted)
    infer = segment.infer

    def scored(*arguments):
        calls["photos"] += 1
        return infer(*arguments)

    monkeypatch.setattr(segment, "infer", scored)
    options = ("--table", *both, "--json", "--quiet", "--batch-size", 4)
    result = deconvnet("evaluate", "--voc-root", voc, *options)
    assert result.exit_code == 0, result.output
    # Four crops are one batch.
    assert calls == {"DeconvNet": 4, "FCN8s": 4, "photos": 4}
    lines = json.loads(result.stdout)["rows"]
    assert [line["row"] for line in lines] == [row.name for row in TABLE]
    assert len({line["pixel_accuracy"] for line in lines}) == len(TABLE)
    for row, line in zip(TABLE, lines, strict=True):
        crf = "--crf" if row.crf else "--no-crf"
        options = ("--net", row.system, crf, "--json", "--quiet")
        needed = both if row.system != "fcn8s" else both[4:]
        alone = deconvnet("evaluate", "--voc-root", voc, *needed, *options)
        assert json.loads(alone.stdout) == line


@pytest.fixture
def scored() -> Inferred:
    torch.manual_seed(0)
    maps = ScoreMaps(torch.randn(21, 20, 30), torch.randn(21, 20, 30), raw=True)
    return Inferred(Image.new("RGB", (30, 20)), maps, 3, {})


def test_labels_are_of_the_size_asked_for(scored):
    rows = label_rows(scored, WITHOUT_CRF, (61, 43), Ensemble())
    assert list(rows) == ["FCN-8s", "DeconvNet", "EDeconvNet"]
    assert {labels.shape for labels in rows.values()} == {(43, 61)}
    assert {labels.dtype for labels in rows.values()} == {np.dtype(np.uint8)}


def test_each_row_uses_its_maps_and_no_others(scored):
    maps = scored.maps
    rows = label_rows(scored, WITHOUT_CRF, (30, 20), Ensemble("mean", 0.25))
    assert np.array_equal(rows["FCN-8s"], maps.fcn.argmax(0))
    assert np.array_equal(rows["DeconvNet"], maps.deconvnet.argmax(0))
    mean = 0.75 * maps.deconvnet.softmax(0).numpy() + 0.25 * maps.fcn.softmax(0).numpy()
    assert (rows["EDeconvNet"] == mean.argmax(0)).mean() > 0.999


@pytest.mark.parametrize("system", ["deconvnet", "fcn8s"])
def test_a_row_whose_net_was_not_run(scored, system):
    alone = maps_of(scored.maps, system, "")
    assert alone.system == system
    wanted = [row for row in TABLE if row.system != system]
    for row in wanted:
        with pytest.raises(DatasetError, match=f"^some/a.npz: has scores of {system} alone; .*"):
            maps_of(alone, row.system, "some/a.npz")
    assert maps_of(scored.maps, "edeconvnet", "").system == "edeconvnet"


def test_names_of_the_rows():
    for row in TABLE:
        assert row_of(row.system, crf=row.crf) == row
    extra = row_of("fcn8s", crf=True)
    assert (extra.name, extra.system, extra.crf, extra.reported) == (
        "FCN-8s + CRF", "fcn8s", True, None,
    )  # fmt: skip
    # The paper's table 1, VOC 2012 test.
    assert [row.reported for row in TABLE] == [62.2, 69.6, 70.5, 71.5, 72.5]
