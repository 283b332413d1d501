"""``evaluate``: every source of label maps, files of counts, pages, and how it fails."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.photos import pixels
from PIL import Image
from rich.console import Console

from deconvnet_cli.commands.shared import evaluation_tables
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.evaluation.metrics import Metrics
from deconvnet_cli.evaluation.paper_table import maps_of
from deconvnet_cli.evaluation.scoreboard import TABLE
from deconvnet_cli.reporting import console
from deconvnet_cli.segmentation import segment
from deconvnet_cli.segmentation.segment import Inferred
from deconvnet_cli.segmentation.stored_scores import read_scores, write_scores
from deconvnet_cli.weights import files as weights

NAMES = ("p0", "p1", "p2", "p3")
QUIET_JSON = ("--json", "--quiet")


@pytest.fixture
def evaluate(deconvnet, voc):
    """Calls the command on the small tree."""
    return lambda *options: deconvnet("evaluate", "--voc-root", voc, *options)


def line_of(result) -> dict:
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return json.loads(line)


@pytest.fixture
def folder(kept, tmp_path) -> Path:
    """The label PNGs of a run, to be spoilt."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.png").write_bytes((kept / f"{name}.png").read_bytes())
    return folder


# A net, and label PNGs.


def test_a_row_as_json(evaluate, both, kept):
    line = line_of(evaluate("--net", "edeconvnet", *both, *QUIET_JSON))
    assert (line["row"], line["images"], line["reported"]) == ("EDeconvNet", 4, 71.5)
    assert set(line["iou"]) == set(line["boundary_iou"]) == set(CLASSES)
    known = [iou for iou in line["iou"].values() if iou is not None]
    assert line["averaged"] == len(known) < 21
    assert line["mean_iou"] == pytest.approx(np.mean(known), abs=1e-12)
    low, high = line["interval"]
    assert 0 <= low < high <= 1
    # The label PNGs that `batch` wrote are what it scored.
    alone = line_of(evaluate("--predictions", kept, *QUIET_JSON))
    assert (alone.pop("row"), alone.pop("reported")) == ("predictions", None)
    assert alone == {name: value for name, value in line.items() if name in alone}


def test_mean_iou_is_that_of_plain_numpy(evaluate, voc, kept):
    line = line_of(evaluate("--predictions", kept, *QUIET_JSON))
    shared, either = np.zeros(21), np.zeros(21)
    right = counted = 0
    for name in NAMES:
        truth = pixels(voc / "SegmentationClass" / f"{name}.png")
        found = pixels(kept / f"{name}.png")
        truth, found = truth[truth != 255], found[truth != 255]
        right, counted = right + (truth == found).sum(), counted + truth.size
        for label in range(21):
            shared[label] += ((truth == label) & (found == label)).sum()
            either[label] += ((truth == label) | (found == label)).sum()
    ious = [shared[label] / either[label] if either[label] else None for label in range(21)]
    assert list(line["iou"].values()) == pytest.approx(ious, abs=1e-12)
    mean = np.mean([iou for iou in ious if iou is not None])
    assert 0 < mean < 0.2
    assert abs(line["mean_iou"] - mean) < 1e-12
    assert abs(line["pixel_accuracy"] - right / counted) < 1e-12


def test_label_pngs_are_scored_without_torch(voc, kept, tmp_path):
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['torchvision'] = sys.modules['safetensors'] = None\n"
        "from deconvnet_cli.cli import main\nmain()"
    )
    page, counts = tmp_path / "page.html", tmp_path / "counts.json"
    options = ("--predictions", kept, "--report", page, "-o", counts, *QUIET_JSON)
    command = [sys.executable, "-c", code, "evaluate", "--voc-root", voc, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 4
    assert done.stderr == "" and page.stat().st_size > 10_000 and counts.exists()


def test_all_label_pngs_that_cannot_be_scored_are_named(evaluate, folder):
    (folder / "p0.png").unlink()
    with Image.open(folder / "p1.png") as image:
        image.resize((30, 30)).save(folder / "p1.png")
    with Image.open(folder / "p2.png") as image:
        coloured = image.convert("RGB")
    coloured.save(folder / "p2.png")
    (folder / "p3.png").write_bytes(label_png(np.full((44, 52), 77, np.uint8)))
    result = evaluate("--predictions", folder)
    assert result.exit_code == 1 and result.stdout == ""
    lines = result.stderr.splitlines()
    said = {
        "p0.png": "missing",
        "p1.png": "30x30 pixels, but its photo has 40x56",
        "p2.png": "mode RGB",
        "p3.png": "label 77",
    }
    for name, words in said.items():
        (line,) = (line for line in lines if f"{folder / name}: " in line)
        assert line.startswith("deconvnet: ") and words in line
    assert len(lines) == 5
    assert "4 of 4 label PNGs cannot be scored" in lines[-1] and "--allow-missing" in lines[-1]
    # What is missing may be left out, what is wrong not.
    result = evaluate("--predictions", folder, "--allow-missing")
    assert result.exit_code == 1 and "3 of 4 label PNGs" in result.stderr.splitlines()[-1]


def test_missing_label_pngs_are_left_out_if_told_so(evaluate, folder, kept):
    for name in ("p0", "p1"):
        (folder / f"{name}.png").unlink()
    refused = evaluate("--predictions", folder)
    assert refused.exit_code == 1 and "2 of 4" in refused.stderr.splitlines()[-1]
    result = evaluate("--predictions", folder, "--allow-missing", "--json")
    assert "2 of 4 photos are missing and left out" in result.stderr
    rest = evaluate("--split", "second", "--predictions", kept, *QUIET_JSON)
    assert line_of(result) == line_of(rest)
    (folder / "p2.png").unlink()
    (folder / "p3.png").unlink()
    for allowed in ((), ("--allow-missing",)):
        result = evaluate("--predictions", folder, *allowed)
        one_error_line(result, 1, str(folder), "no label PNG for this list", "such as p0.png")


def test_one_missing_label_png_is_one_line(evaluate, folder):
    (folder / "p2.png").unlink()
    result = evaluate("--predictions", folder)
    one_error_line(result, 1, "p2.png: missing", "--allow-missing")


def test_the_first_few_images(evaluate, kept):
    first = line_of(evaluate("--predictions", kept, "--limit", 2, *QUIET_JSON))
    assert first["images"] == 2
    listed = line_of(evaluate("--predictions", kept, "--split", "first", *QUIET_JSON))
    assert first == listed
    more = line_of(evaluate("--predictions", kept, "--limit", 99, *QUIET_JSON))
    assert more["images"] == 4


# The table.


def test_the_table_as_json_and_csv(evaluate, kept, monkeypatch):
    monkeypatch.setattr(weights, "load", lambda *_: pytest.fail("a net was loaded"))
    line = line_of(evaluate("--scores", kept, "--table", *QUIET_JSON))
    result = evaluate("--scores", kept, "--table", "--csv", "--quiet")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["row"] for row in rows] == [row.name for row in TABLE]
    assert [row["reported"] for row in rows] == ["62.2", "69.6", "70.5", "71.5", "72.5"]
    for row, fields in zip(rows, line["rows"], strict=True):
        assert row["row"] == fields["row"]
        for name in ("images", "mean_iou", "pixel_accuracy", "mean_boundary_iou", "averaged"):
            assert float(row[name]) == fields[name]
        assert [float(row["interval_low"]), float(row["interval_high"])] == fields["interval"]
        for name in CLASSES:
            value = fields["iou"][name]
            assert row[f"iou_{name}"] == ("" if value is None else str(value))
    ious = {fields["row"]: fields["mean_iou"] for fields in line["rows"]}
    assert len(line["comparisons"]) == 5
    for found in line["comparisons"]:
        assert found["difference"] == ious[found["first"]] - ious[found["second"]]
        assert found["interval"][0] <= found["interval"][1]


@pytest.mark.parametrize("source", ["nets", "scores"])
def test_a_table_without_pydensecrf_fails_before_the_first_photo(
    evaluate, both, kept, monkeypatch, source
):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setattr(segment, "infer", lambda *_: pytest.fail("a photo was scored"))
    options = both if source == "nets" else ("--scores", kept)
    one_error_line(evaluate("--table", "--crf-backend", "pydensecrf", *options), 1, "pip install")
    if source == "scores":
        one_error_line(evaluate("--crf", "--crf-backend", "pydensecrf", *options), 1, "pip install")


def test_tables_for_people_fit_80_columns(evaluate, kept, monkeypatch):
    text = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=text, width=80, highlight=False))
    result = evaluate("--scores", kept, "--table", "--json")
    lines = [line.strip() for line in text.getvalue().splitlines()]
    fields = {line["row"]: line for line in line_of(result)["rows"]}
    assert "…" not in text.getvalue()
    assert max(len(line) for line in text.getvalue().splitlines() if " - " not in line) <= 80
    (head,) = (line for line in lines if line.startswith("class "))
    heads = ["class", "photos", "FCN-8s", "DeconvNet", "+ CRF", "EDeconvNet", "+ CRF"]
    assert re.split("  +", head) == heads
    assert [*fields] == [*heads[2:4], "DeconvNet + CRF", heads[5], "EDeconvNet + CRF"]
    for name in fields:
        (row,) = (line for line in lines if line.startswith(f"{name}  "))
        assert f"{fields[name]['mean_iou']:.4f}" in row
        assert f"{fields[name]['mean_boundary_iou']:.4f}" in row
        assert row.endswith(f"{fields[name]['reported']}")
    for name in CLASSES:
        (row,) = (line for line in lines if line.split()[:1] == [name])
        values = [line["iou"][name] for line in fields.values()]
        expected = ["absent" if value is None else f"{value:.3f}" for value in values]
        (photos,) = {line["photos"][name] for line in fields.values()}
        assert row.split() == [name, str(photos), *expected]
    asked = [line for line in lines if line.endswith("% of the paired resamples")]
    # A line each for mean IoU and Boundary IoU: a line break inside one would be escaped.
    assert len(asked) == 10 and not any("\\n" in line for line in lines)
    assert sum(line.startswith("DeconvNet - FCN-8s: ") for line in asked) == 2
    assert any("not ours" in line for line in lines)
    averaged = [sum(value is not None for value in row["iou"].values()) for row in fields.values()]
    span = f"{min(averaged)} to {max(averaged)}" if len(set(averaged)) > 1 else str(averaged[0])
    assert any(f"; means over {span} of 21 classes" in line for line in lines)


def test_a_row_that_the_paper_does_not_have(evaluate, kept):
    result = evaluate("--scores", kept, "--net", "fcn8s", "--crf", "--json")
    line = line_of(result)
    assert (line["row"], line["reported"]) == ("FCN-8s + CRF", None)
    assert "not ours" not in result.stderr and "paper" not in result.stderr
    csv_lines = evaluate("--scores", kept, "--net", "fcn8s", "--crf", "--csv", "--quiet")
    (row,) = csv.DictReader(io.StringIO(csv_lines.stdout))
    assert (row["row"], row["reported"]) == ("FCN-8s + CRF", "")


def test_what_is_absent_is_said_in_every_way(monkeypatch):
    """Nothing but one class, and a name that looks like markup."""
    text = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=text, width=80, highlight=False))
    none = (None,) * 20
    found = SimpleNamespace(
        images=1,
        metrics=Metrics(1.0, (1.0, *none), 1.0, 1, 1.0, 1.0),
        boundary_iou=(0.5, *none),
        mean_boundary_iou=0.5,
        interval=(1.0, 1.0),
        boundary_interval=None,
        photos=None,
    )
    printed: list[bytes] = []
    monkeypatch.setattr(console, "standard_output", printed.append)
    rows = {"[/red]": found, "[b]": found}
    evaluation_tables.results(rows, [], classes=CLASSES, quiet=False, as_json=True, as_csv=True)
    line, table = (data.decode() for data in printed)
    assert json.loads(line)["rows"][0]["iou"]["tvmonitor"] is None
    assert "NaN" not in line
    first, _ = csv.DictReader(io.StringIO(table))
    assert (first["iou_background"], first["iou_tvmonitor"], first["reported"]) == ("1.0", "", "")
    assert "[/red]" in text.getvalue() and text.getvalue().count("absent") > 20


# Stored scores.


def test_stored_scores_are_the_run_up_to_half_precision(evaluate, both, kept):
    for system in ("deconvnet", "fcn8s", "edeconvnet"):
        needed = both if system != "fcn8s" else both[4:]
        options = ("--net", system, *QUIET_JSON)
        one, other = (line_of(evaluate(*options, *more)) for more in (needed, ("--scores", kept)))
        assert one["row"] == other["row"]
        assert one["pixel_accuracy"] == pytest.approx(other["pixel_accuracy"], abs=0.005)
        assert one["mean_iou"] == pytest.approx(other["mean_iou"], abs=0.005)


def rewritten(kept: Path, folder: Path, system: str | None = None, **settings) -> Path:
    """The stored scores again, of one net or with other settings."""
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        found = read_scores(kept / f"{name}.npz")
        maps = found.maps if system is None else maps_of(found.maps, system, "")
        about = {**found.settings, **settings}
        if settings.get("ensemble", ...) is None:
            del about["ensemble"]
        scored = Inferred(read_photo(found.photo), maps, found.proposals, {})
        write_scores(folder / f"{name}.npz", scored, found.photo, found.size, about)
    return folder


def test_the_ensemble_of_stored_scores(evaluate, kept, tmp_path):
    def mean_iou(folder: Path, *options: object) -> float:
        return line_of(evaluate("--scores", folder, *options, *QUIET_JSON))["mean_iou"]

    other = {"rule": "product", "share": 0.9}
    product = rewritten(kept, tmp_path / "product", ensemble=other)
    without = rewritten(kept, tmp_path / "without", ensemble=None)
    assert mean_iou(product) == mean_iou(kept, "--ensemble", "product")
    assert mean_iou(product, "--ensemble", "mean") == mean_iou(kept, "--share", 0.9)
    assert mean_iou(without) == mean_iou(kept) != mean_iou(product)
    assert mean_iou(kept, "--share", 0) == mean_iou(kept, "--net", "deconvnet")
    assert mean_iou(kept, "--share", 1) == mean_iou(kept, "--net", "fcn8s")


def test_stored_scores_of_one_net(evaluate, kept, tmp_path):
    folder = rewritten(kept, tmp_path / "one", "deconvnet")
    own = line_of(evaluate("--scores", folder, *QUIET_JSON))
    assert own == line_of(evaluate("--scores", kept, "--net", "deconvnet", *QUIET_JSON))
    result = evaluate("--scores", folder, "--net", "edeconvnet")
    one_error_line(result, 1, "p0.npz", "scores of deconvnet alone", "--net edeconvnet")
    result = evaluate("--scores", folder, "--table")
    one_error_line(result, 1, "p0.npz", "scores of deconvnet alone", "--net edeconvnet")


def test_stored_scores_of_several_systems(evaluate, kept, tmp_path):
    """No row may be counted over some of the images."""
    folder = rewritten(kept, tmp_path / "mixed", "fcn8s")
    (folder / "p2.npz").write_bytes((kept / "p2.npz").read_bytes())
    one_error_line(evaluate("--scores", folder), 1, "p2", "EDeconvNet", "FCN-8s", "--net")
    chosen = line_of(evaluate("--scores", folder, "--net", "fcn8s", *QUIET_JSON))
    assert chosen["images"] == 4


@pytest.mark.parametrize("option", ["--scores", "--predictions"])
def test_files_in_subfolders_are_those_in_the_folder(evaluate, kept, tmp_path, option):
    """`batch @list.txt` writes them there for photos in folders."""
    shutil.copytree(kept, tmp_path / "nested/some/photos")
    plain, nested = (line_of(evaluate(option, at, *QUIET_JSON)) for at in (kept, tmp_path))
    assert plain == nested


def test_stored_scores_that_are_missing_are_known_at_once(evaluate, kept, tmp_path, monkeypatch):
    folder = rewritten(kept, tmp_path / "few")
    (folder / "p1.npz").unlink()
    (folder / "p3.npz").unlink()
    monkeypatch.setattr(
        "deconvnet_cli.segmentation.stored_scores.read_scores", lambda *_: pytest.fail("read")
    )
    one_error_line(evaluate("--scores", folder), 1, "p1.npz", "2 of 4", "--save-scores")


def test_stored_scores_of_another_photo_of_this_name(evaluate, kept, tmp_path):
    """Also where that other photo is still there, as it was."""
    folder = rewritten(kept, tmp_path / "other")
    photo = tmp_path / "p0.jpg"
    Image.new("RGB", (60, 40), "red").save(photo)
    found = read_scores(kept / "p0.npz")
    scored = Inferred(read_photo(photo), found.maps, 4, {})
    write_scores(folder / "p0.npz", scored, photo, (60, 40), {})
    one_error_line(evaluate("--scores", folder), 1, "p0.jpg: not the photo of these stored scores")


def test_a_tree_that_was_moved(deconvnet, voc, kept, tmp_path):
    """Scores know the photo by its content, not by where it was."""
    moved = shutil.copytree(voc, tmp_path / "VOC2012")
    result = deconvnet("evaluate", "--voc-root", moved, "--scores", kept, *QUIET_JSON)
    assert line_of(result)["images"] == 4


# Files of counts.


@pytest.mark.parametrize("how", [("--json",), ("--csv",)])
def test_halves_add_up_to_the_whole(evaluate, deconvnet, kept, tmp_path, how):
    given = ("--scores", kept, "--table", "--quiet")
    for split in ("first", "second", "val"):
        done = evaluate("--split", split, *given, "-o", tmp_path / split)
        assert done.exit_code == 0 and done.stdout == ""
    whole = evaluate(*given, *how).stdout
    for order in (("first", "second"), ("second", "first")):
        files = [tmp_path / name for name in order]
        total = tmp_path / "total"
        merged = deconvnet("evaluate", "--merge", *files, *how, "--quiet", "-o", total)
        assert merged.exit_code == 0, merged.output
        assert merged.stdout == whole
        rows = [json.loads((tmp_path / name).read_text())["rows"] for name in ("total", "val")]
        assert rows[0] == rows[1]
        about = json.loads(total.read_text())["about"]
        assert about["merged"] == list(map(str, files))
        assert [(one["split"], one["shard"]) for one in about["list"]] == [
            (name, "all") for name in order
        ]
    again = deconvnet("evaluate", "--merge", tmp_path / "total", *how, "--quiet")
    assert again.stdout == whole


def test_compare(evaluate, deconvnet, voc, kept, tmp_path):
    files = {}
    truth = voc / "SegmentationClass"
    for name, folder in {"ours": kept, "truth": truth}.items():
        files[name] = tmp_path / f"{name}.json"
        done = evaluate("--predictions", folder, "-o", files[name], *QUIET_JSON)
        files[f"{name} mean"] = line_of(done)["mean_iou"]

    def compare(*names: str) -> dict:
        return line_of(deconvnet("evaluate", "--compare", *map(files.get, names), *QUIET_JSON))

    itself = compare("ours", "ours")
    assert (itself["difference"], itself["interval"], itself["better"]) == (0, [0, 0], 0)
    better, worse = compare("truth", "ours"), compare("ours", "truth")
    assert better["first"] == "truth.json (predictions)"
    assert better["difference"] == files["truth mean"] - files["ours mean"] > 0
    for first, second in ((better, worse), (better["boundary_iou"], worse["boundary_iou"])):
        assert first["difference"] > 0 and (first["better"], second["better"]) == (1, 0)
        assert second["difference"] == -first["difference"]
    said = deconvnet("evaluate", "--compare", files["ours"], files["ours"])
    first, second = said.stdout.splitlines()
    assert "both are equal in mean IoU" in first and said.stderr == ""
    assert "both are equal in Boundary IoU" in second


def test_runs_over_other_images_are_not_compared_nor_added(evaluate, deconvnet, kept, tmp_path):
    files = [tmp_path / "a", tmp_path / "b", tmp_path / "copy"]
    evaluate("--predictions", kept, "-o", files[0])
    evaluate("--predictions", kept, "--limit", 3, "-o", files[1])
    files[2].write_bytes(files[0].read_bytes())
    result = deconvnet("evaluate", "--compare", *files[:2])
    one_error_line(result, 1, "not evaluated on the same photos")
    result = deconvnet("evaluate", "--merge", files[0], files[2])
    one_error_line(result, 1, "copy: the same photos as in", "count twice")
    content = json.loads(files[1].read_text())
    content["rows"]["more"] = content["rows"]["predictions"]
    files[1].write_text(json.dumps(content))
    result = deconvnet("evaluate", "--merge", *files[:2])
    one_error_line(result, 1, "b: has the rows predictions, more")


def test_shards_are_added_up_if_they_are_of_one_list_and_counted_alike(
    evaluate, deconvnet, kept, tmp_path, monkeypatch
):
    def counted(name: str, *more: object) -> Path:
        assert evaluate("-o", tmp_path / name, "--quiet", *more).exit_code == 0
        return tmp_path / name

    def merge(*files: Path, out: str = "total"):
        return deconvnet("evaluate", "--merge", *files, "--csv", "-o", tmp_path / out)

    given = ("--predictions", kept)
    one, two = (counted(f"{n}.json", *given, "--shard", f"{n}/3") for n in (1, 2))
    three = counted("3.json", *given, "--shard", "3/3")
    whole, half = counted("all.json", *given), counted("half.json", *given, "--shard", "2/2")
    parts = merge(one, two, out="parts")
    assert parts.exit_code == 0
    assert "val: only a part of the list; shards that are missing: 3/3" in parts.stderr
    # What was added up can be added to: the shards are remembered.
    total = merge(tmp_path / "parts", three)
    assert total.exit_code == 0 and "missing" not in total.stderr
    assert total.stdout == merge(whole, out="again").stdout
    about = json.loads((tmp_path / "total").read_text())["about"]
    assert about["list"] == [{"split": "val", "images": 4, "shard": "all"}]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    auto = counted("auto.json", *given, "--shard", "auto")
    assert json.loads(auto.read_text())["about"]["list"]["shard"] == "2/3"
    one_error_line(merge(two, auto), 1, "the same photos as in", "twice")
    one_error_line(merge(one, half), 1, "half.json: has shard 2/2 of val", "1.json", "twice")
    one_error_line(merge(one, whole), 1, "all.json: has shard all of val", "twice")
    # Another net or setting.
    content = json.loads(two.read_text())
    for part, name in (("DeconvNet", "sha256"), ("settings", "proposals")):
        for path, value in ((one, "aaa"), (two, "bbb")):
            content = json.loads(path.read_text())
            content["about"].setdefault(part, {})[name] = value
            path.write_text(json.dumps(content))
        one_error_line(merge(one, two), 1, "2.json: ", f"{part}.{name} is bbb, but aaa")
        for path in (one, two):
            content = json.loads(path.read_text())
            del content["about"][part]
            path.write_text(json.dumps(content))


def test_a_shard_without_an_image_is_refused_before_any_work(evaluate, kept, tmp_path):
    given = ("--predictions", kept, "--limit", 2, "-o", tmp_path / "counts.json")
    one_error_line(evaluate(*given, "--shard", "3/3"), 2, "--shard 3/3", "at most 2 shards")
    assert not (tmp_path / "counts.json").exists()


def test_rows_of_the_same_name_are_compared(evaluate, deconvnet, kept, tmp_path):
    table, alone = tmp_path / "table", tmp_path / "alone"
    rows = {row["row"]: row for row in line_of(
        evaluate("--scores", kept, "--table", "-o", table, *QUIET_JSON)
    )["rows"]}  # fmt: skip
    evaluate("--scores", kept, "--net", "deconvnet", "-o", alone, "--quiet")
    found = line_of(deconvnet("evaluate", "--compare", table, alone, *QUIET_JSON))
    assert (found["first"], found["second"]) == ("table (DeconvNet)", "alone (DeconvNet)")
    assert found["difference"] == 0
    every = line_of(deconvnet("evaluate", "--compare", table, table, *QUIET_JSON))["comparisons"]
    assert [one["first"] for one in every] == [f"table ({name})" for name in rows]


# The page.


def test_the_page_has_all_rows_and_the_best_and_worst_images(evaluate, kept, tmp_path):
    page = tmp_path / "page.html"
    result = evaluate("--scores", kept, "--table", "--report", page, *QUIET_JSON)
    lines = line_of(result)["rows"]
    text = page.read_text()
    for line in lines:
        assert line["row"] in text and f"{line['reported']:.1f}" in text
        assert f"{100 * line['mean_iou']:.2f}" in text
    assert "4 photos of VOC2012" in text
    for name in NAMES:
        assert f"<b>{name}</b>" in text
    assert text.count("data:image/jpeg;base64,") == 8 == text.count("data:image/png;base64,")
    assert str(kept) in text
    single = tmp_path / "single.html"
    counts = tmp_path / "counts.json"
    told = evaluate("--predictions", kept, "--report", single, "-o", counts, "--json")
    assert told.exit_code == 0
    assert f"{counts}: the counts" in told.stderr and f"{single}: the report" in told.stderr
    assert "predictions" in single.read_text() and "not measured" not in single.read_text()


# What cannot be.


USAGE = {
    "merge and compare": (("--merge", "--compare", "FILE"), "give one of them"),
    "json and csv": (("--json", "--csv", "--voc-root", "VOC"), "give one of them"),
    "files and a run": (("FILE", "--voc-root", "VOC"), "--merge and --compare"),
    "nothing": ((), "--voc-root"),
    "merge nothing": (("--merge",), "--merge needs files"),
    "merge twice": (("--merge", "FILE", "FILE"), "named twice"),
    "merge twice by another way": (("--merge", "FILE", "OUT/../counts.json"), "named twice"),
    "merge onto itself": (("--merge", "FILE", "-o", "FILE"), "one of the files to add up"),
    "merge and a tree": (("--merge", "FILE", "--voc-root", "VOC"), "leave out --voc-root"),
    "merge and a table": (("--merge", "FILE", "--table"), "leave out --table"),
    "merge and a page": (("--merge", "FILE", "--report", "p.html"), "leave out --report"),
    "compare one": (("--compare", "FILE"), "--compare needs two files"),
    "compare three": (("--compare", "FILE", "FILE", "FILE"), "--compare needs two files"),
    "compare as csv": (("--compare", "FILE", "FILE", "--csv"), "leave out -o and --csv"),
    "compare with output": (("--compare", "FILE", "FILE", "-o", "x"), "leave out -o and --csv"),
    "two sources": (
        ("--voc-root", "VOC", "--predictions", "OUT", "--scores", "OUT"),
        "exclude each other",
    ),
    "missing of a net": (("--voc-root", "VOC", "--allow-missing"), "--predictions"),
    "a table of pngs": (("--voc-root", "VOC", "--predictions", "OUT", "--table"), "--scores"),
    "a table of one net": (("--voc-root", "VOC", "--table", "--net", "fcn8s"), "leave out --net"),
    "merge and weights": (("--merge", "FILE", "--weights", "w"), "leave out --weights"),
    "merge and a limit": (("--merge", "FILE", "--limit", "3"), "leave out --limit"),
    "compare and a list": (("--compare", "FILE", "FILE", "--split", "val"), "leave out --split"),
    "weights of scores": (
        ("--voc-root", "VOC", "--scores", "OUT", "--weights", "deconvnet-mobilenet"),
        "leave out --weights",
    ),
    "boxes of scores": (
        ("--voc-root", "VOC", "--scores", "OUT", "--proposals", "5"),
        "leave out --proposals",
    ),
    "a net of pngs": (
        ("--voc-root", "VOC", "--predictions", "OUT", "--net", "fcn8s"),
        "leave out --net",
    ),
    "pngs refined": (("--voc-root", "VOC", "--predictions", "OUT", "--crf"), "leave out --crf"),
    "no folder": (("--voc-root", "VOC", "-o", "none/x.json"), "no such folder"),
    "no folder of a page": (("--voc-root", "VOC", "--report", "none/x.html"), "no such folder"),
    "one file for two": (("--voc-root", "VOC", "-o", "x", "--report", "./x"), "two names"),
}


@pytest.mark.parametrize("kind", USAGE)
def test_wrong_usage_is_known_at_once(deconvnet, evaluate, voc, kept, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "counts.json"
    evaluate("--predictions", kept, "-o", file)
    before = file.read_bytes()
    (tmp_path / "OUT").mkdir()
    options, words = USAGE[kind]
    named = {"FILE": file, "VOC": voc}
    result = deconvnet("evaluate", *(named.get(option, option) for option in options))
    one_error_line(result, 2, words)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["OUT", "counts.json"]


@pytest.mark.parametrize("option", ["--predictions", "--scores"])
def test_a_folder_that_is_not_there(evaluate, tmp_path, option):
    result = evaluate(option, tmp_path / "none")
    assert result.exit_code == 2 and "none" in result.stderr


def tree_of(tmp_path: Path, voc: Path, listed: str, names: dict[str, str]) -> Path:
    """A tree with photos and masks of the small one under other names."""
    root = tmp_path / "other" / "VOC2012"
    for name, source in names.items():
        for kind, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            target = root / kind / f"{name}.{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((voc / kind / f"{source}.{suffix}").read_bytes())
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text(listed)
    return root


def test_odd_lists(deconvnet, voc, kept, tmp_path):
    root = tree_of(tmp_path, voc, "p0\np1\np0\n", {"p0": "p0", "p1": "p1"})
    listed = root / "ImageSets" / "Segmentation" / "val.txt"

    def evaluate(*options: object):
        return deconvnet("evaluate", "--voc-root", root, "--predictions", kept, *options)

    one_error_line(evaluate(), 1, "val", "named twice")
    listed.write_text(" \n\n")
    one_error_line(evaluate(), 1, "val.txt", "empty")
    listed.write_text("p0 gone\n")
    one_error_line(evaluate(), 1, "p0 gone.jpg and ", "p0 gone.png: missing, but named in")
    one_error_line(evaluate("--split", "train"), 1, "train.txt: no such list", "val")


def test_names_with_folders_go_all_the_way(deconvnet, voc, kept, both, tmp_path):
    """Of label PNGs, stored scores and the page: as `batch` keeps a folder's tree."""
    names = {"a/p": "p0", "b/p": "p1", "c.d": "p2"}
    root = tree_of(tmp_path, voc, "\n".join(names), names)
    out = tmp_path / "out"
    options = ("--net", "edeconvnet", *both, "--save-scores")
    made = deconvnet("batch", root / "JPEGImages", "-o", out, *options)
    assert made.exit_code == 0, made.output
    page = tmp_path / "page.html"
    lines = []
    for source in (("--predictions", out), ("--scores", out, "--report", page)):
        result = deconvnet("evaluate", "--voc-root", root, *source, *QUIET_JSON)
        lines.append(line_of(result))
        assert lines[-1]["images"] == 3
    assert lines[0]["pixel_accuracy"] == pytest.approx(lines[1]["pixel_accuracy"], abs=0.005)
    assert "<b>a/p</b>" in page.read_text()
    (out / "b" / "p.png").unlink()
    result = deconvnet("evaluate", "--voc-root", root, "--predictions", out)
    one_error_line(result, 1, str(out / "b" / "p.png"), "missing")


def test_counts_are_written_even_if_the_page_cannot_be(evaluate, kept, tmp_path, monkeypatch):
    from deconvnet_cli.errors import OutputError

    def fails(*_: object) -> str:
        raise OutputError("page.html: cannot be written (No space left on device)")

    monkeypatch.setattr("deconvnet_cli.evaluation.page.page_of", fails)
    counts, page = tmp_path / "counts.json", tmp_path / "page.html"
    result = evaluate("--predictions", kept, "-o", counts, "--report", page, *QUIET_JSON)
    one_error_line(result, 1, "page.html")
    assert json.loads(result.stdout)["images"] == 4 and counts.exists()


def test_a_photo_and_a_mask_of_two_sizes(deconvnet, voc, both, tmp_path):
    root = tree_of(tmp_path, voc, "p0", {"p0": "p0"})
    (root / "SegmentationClass" / "p0.png").write_bytes(label_png(np.zeros((4, 5), np.uint8)))
    result = deconvnet("evaluate", "--voc-root", root, *both[:4], *both[6:])
    one_error_line(result, 1, "p0: truth and prediction differ in size", "5x4", "60x40")
