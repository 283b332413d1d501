"""``bench --save`` and ``--against``: earlier figures beside new ones, and what was otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from helpers.command_line import one_error_line

from deconvnet_cli.diagnostics import throughput
from deconvnet_cli.diagnostics.kept_figures import (
    Figures,
    by_key,
    compared,
    differences,
    keep,
    read_figures,
    settings_of,
)
from deconvnet_cli.segmentation.settings import SegmentOptions


@pytest.fixture
def speeds(monkeypatch):
    """Let a trial be as fast as the test says, in photos a second: plain, 1 worker."""
    found = [2.0, 5.0]

    def measure(work, workers):
        for name, speed in zip(throughput.trials(workers), found, strict=True):
            yield {
                "trial": name, "side": work.side, "photos_per_s": speed, "ms": {"net": 100.0},
                "peak_mb": 500, "speedup": round(speed / found[0], 2),
            }  # fmt: skip

    monkeypatch.setattr(throughput, "measure", measure)
    return found


@pytest.fixture
def bench(deconvnet, data, tiny_weights):
    def run(*options: object, photo: str = "chelsea.jpg"):
        more = ("--weights", tiny_weights, "--workers", 1, "--side", 60)
        return deconvnet("bench", "photos", data / photo, *more, *options)

    return run


def test_earlier_figures_and_their_ratio(bench, speeds, tmp_path):
    kept = tmp_path / "before.json"
    assert bench("--save", kept).exit_code == 0
    speeds[:] = 1.0, 7.5
    result = bench("--against", kept)
    assert (result.exit_code, result.stderr.strip()) == (0, "")
    heading, plain, worker = (line.split() for line in result.stdout.splitlines())
    assert heading[:4] == ["side", "photos/s", "before", "ratio"]
    assert plain[:5] == ["60", "plain", "1.00", "2.00", "0.50"]
    assert worker[:6] == ["60", "1", "worker", "7.50", "5.00", "1.50"]


def test_what_is_kept(bench, speeds, tmp_path):
    kept = tmp_path / "before.json"
    result = bench("--save", kept, "--json", "--quiet", "--proposals", 3)
    found = json.loads(kept.read_text())
    assert found["lines"] == [json.loads(line) for line in result.stdout.splitlines()]
    assert (found["part"], found["format"]) == ("photos", "deconvnet bench 1")
    assert set(found["machine"]) == {"CPU", "cores", "GPU"}
    assert {"torch", "deconvnet", "python"} <= set(found["versions"])
    assert found["settings"]["proposals"] == 3 and found["settings"]["count"] == 8
    assert not any(str(tmp_path) in str(value) for value in found["settings"].values())


def test_one_line_says_what_was_otherwise(bench, speeds, tmp_path):
    kept = tmp_path / "before.json"
    assert bench("--save", kept, "--proposals", 3).exit_code == 0
    values = json.loads(kept.read_text())
    values["versions"]["torch"], values["machine"]["CPU"] = "1.0", "Z80"
    kept.write_text(json.dumps(values))
    result = bench("--against", kept, "--count", 2, photo="astronaut.jpg")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{kept}: measured otherwise: CPU Z80 (now ")
    assert "torch 1.0 (now " in line and "proposals 3 (now unset)" in line
    assert "count 8 (now 2)" in line and line.endswith("other photos, count 8 (now 2)")
    assert result.exit_code == 0


def test_no_difference_is_no_line(tiny_weights, lively_weights, data):
    options = SegmentOptions(weights=str(tiny_weights))
    now = Figures("photos", settings_of(options, [data / "chelsea.jpg"]))
    assert differences(now, replace(now, time="before", lines=[{}])) == ""
    other = settings_of(replace(options, weights=str(lively_weights)), [data / "chelsea.jpg"])
    assert differences(replace(now, settings=other), now) == "other weights"


def test_comparisons_that_mean_nothing_are_refused(bench, speeds, deconvnet, voc, tmp_path):
    kept = tmp_path / "before.json"
    assert bench("--save", kept).exit_code == 0
    result = bench("--against", kept, "--side", 90)  # and 60
    rows = [line.split()[:5] for line in result.stdout.splitlines()]
    assert rows[1] == ["60", "plain", "2.00", "2.00", "1.00"]
    assert rows[3][:4] == ["90", "plain", "2.00", "1.00"]  # the speed-up follows
    values = json.loads(kept.read_text())
    for line in values["lines"]:
        line["side"] = 777
    kept.write_text(json.dumps(values))
    one_error_line(bench("--against", kept), 2, "has figures of 777 plain; 777 1 worker alone")
    result = deconvnet("bench", "proposals", "--voc-root", voc, "--against", kept)
    one_error_line(result, 2, "has figures of `bench photos`; give those of proposals")
    one_error_line(bench("--against", kept, "--quiet"), 2, "--against adds to the table")
    one_error_line(bench("--quiet"), 2, "--quiet leaves out the table", "--json or --save")
    one_error_line(bench("--save", tmp_path / "none" / "a.json"), 2, "no such folder")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "[[" * 5000, '{"format": "deconvnet bench 1", "part": "photos"}', "\0"],
)
def test_files_that_are_no_figures(bench, speeds, tmp_path, content):
    kept = tmp_path / "before.json"
    kept.write_text(content)
    one_error_line(bench("--against", kept), 2, "before.json: no figures of `bench`; give a file")


def test_damaged_lines(bench, speeds, tmp_path):
    kept = tmp_path / "before.json"
    for line in ({}, {"side": 60, "trial": "plain", "photos_per_s": "fast"}, 7):
        keep(kept, Figures("photos", {}), [line])  # type: ignore[list-item]
        one_error_line(bench("--against", kept), 2, "no figures of `bench`")


def test_proposals(deconvnet, voc, tmp_path):
    kept = tmp_path / "boxes.json"
    command = ("bench", "proposals", "--voc-root", voc)
    assert deconvnet(*command, "--save", kept).exit_code == 0
    figures = by_key(read_figures(kept, "proposals"))
    assert len(figures) == 10 and figures["ms", "50"] > 0 and figures["ms", "2000"] > 0
    result = deconvnet(*command, "--against", kept)
    assert result.exit_code == 0 and result.stderr.strip() == ""
    heading, *rows, last = result.stdout.splitlines()
    assert " ".join(heading.split()) == "boxes IoU 0.5 before ratio IoU 0.7 before ratio"
    for row in rows:
        count, *cells = row.split()
        assert cells[0] == f"{figures['0.5', count]:.3f}" and float(cells[1]) == float(cells[0])
    assert last.count(" before, ratio ") == 2


def test_cells():
    assert compared(3.0, 2.0) == ("2.00", "1.50")
    assert compared(0.5, 0.25, 3) == ("0.250", "2.00")
    assert compared(66.0, 72.4, 0) == ("72", "0.91")
    assert compared(1.0, None) == ("", "")
    assert compared(1.0, 0.0, 3) == ("0.000", "")
