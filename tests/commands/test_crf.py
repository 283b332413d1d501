"""``crf``: refined labels from stored scores, sweeps over settings, and how it fails."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import one_error_line
from helpers.photos import pixels
from PIL import Image
from rich.progress import Progress

from deconvnet_cli.commands.crf import stored_files
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import palette
from deconvnet_cli.errors import UsageError
from deconvnet_cli.evaluation.crf_search import combinations, settings_with
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.segmentation.crf.refine import refine
from deconvnet_cli.segmentation.score_maps import ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred
from deconvnet_cli.segmentation.settings import CrfSettings
from deconvnet_cli.segmentation.stored_scores import read_scores, write_scores

NAMES = ("p0", "p1", "p2", "p3")


def store(photo: Path, target: Path, fcn: bool = True) -> Path:
    """Scores of a red photo, made up; the photo as well."""
    photo.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    image = Image.radial_gradient("L").resize((30, 20)).convert("RGB")
    image.save(photo)
    torch.manual_seed(0)
    maps = ScoreMaps(torch.randn(21, 20, 30), torch.randn(21, 20, 30) if fcn else None, raw=True)
    write_scores(target, Inferred(image, maps, 1, {}), photo, (30, 20), {})
    return target


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return store(tmp_path / "photos" / "a.png", tmp_path / "scores" / "a.npz")


# Labels.


@pytest.mark.parametrize("system", ["edeconvnet", "deconvnet", "fcn8s"])
def test_labels_are_those_of_segment(deconvnet, voc, both, kept, tmp_path, system):
    out = tmp_path / "refined"
    result = deconvnet("crf", kept, "-o", out, "--net", system, "--json", "--quiet")
    assert result.exit_code == 0 and result.stderr == ""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["output"]) for line in lines] == [out / f"{name}.png" for name in NAMES]
    assert [Path(line["scores"]) for line in lines] == [kept / f"{name}.npz" for name in NAMES]
    needed = both if system != "fcn8s" else both[4:]
    for name in NAMES[:2]:
        direct = tmp_path / f"{name}.png"
        photo = voc / "JPEGImages" / f"{name}.jpg"
        options = ("-o", direct, "--net", system, "--crf", *needed)
        assert deconvnet("segment", photo, *options).exit_code == 0
        assert (pixels(direct) == pixels(out / f"{name}.png")).mean() >= 0.99
    with Image.open(out / "p0.png") as image:
        assert image.getpalette() == palette().ravel().tolist()
    assert not np.array_equal(pixels(out / "p1.png"), pixels(kept / "p1.png"))


def test_settings_are_those_given(deconvnet, kept, tmp_path):
    path = kept / "p1.npz"
    given = ("--set", "iterations=2", "--set", "bilateral_sd = 5", "--set", "gaussian_weight=0")
    options = ("--ensemble", "mean", "--share", 0.8)
    result = deconvnet("crf", path, "-o", tmp_path, *given, *options)
    assert result.exit_code == 0, result.output
    found = read_scores(path)
    merged = 0.2 * found.maps.deconvnet.softmax(0) + 0.8 * found.maps.fcn.softmax(0)
    settings = CrfSettings(iterations=2, bilateral_sd=5.0, gaussian_weight=0.0)
    with Image.open(found.photo) as photo:
        refined = refine(np.array(photo), merged.numpy(), settings)
    assert (pixels(tmp_path / "p1.png") == refined.argmax(0)).mean() > 0.999


def test_trees_are_kept_and_files_may_be_named(deconvnet, stored, tmp_path):
    deep = store(tmp_path / "photos" / "b.png", tmp_path / "scores" / "deep" / "er" / "b.c.npz")
    out = tmp_path / "out"
    told = deconvnet("crf", stored.parent, "-o", out)
    assert told.exit_code == 0 and told.stdout == ""
    written = sorted(map(str, out.rglob("*.png")))
    assert told.stderr == f"{' to '.join(written)}: {len(written)} refined\n"
    assert deconvnet("crf", stored.parent, "-o", out, "--quiet").stderr == ""
    made = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert made == ["a.png", "deep/er/b.c.png"]
    single = tmp_path / "single"
    assert deconvnet("crf", deep, "-o", single, "--quiet").exit_code == 0
    assert [path.name for path in single.iterdir()] == ["b.c.png"]


def test_one_photo_may_be_written_to_a_file(deconvnet, stored, tmp_path):
    assert deconvnet("crf", stored, "-o", tmp_path / "out", "--quiet").exit_code == 0
    target = tmp_path / "refined.png"
    told = deconvnet("crf", stored, "-o", target)
    assert told.exit_code == 0 and told.stderr == f"{target}: 1 refined\n"
    assert target.read_bytes() == (tmp_path / "out" / "a.png").read_bytes()


def test_a_file_takes_one_photo_and_its_name_says_png(deconvnet, stored, tmp_path):
    store(tmp_path / "photos" / "b.png", stored.parent / "b.npz")
    several = deconvnet("crf", stored.parent, "-o", tmp_path / "x.png")
    one_error_line(several, 2, "x.png", "2 files of scores need a folder", "x.png/")
    one_error_line(deconvnet("crf", stored, "-o", tmp_path / "x.jpg"), 2, "x.jpg", ".png")
    (tmp_path / "x.json").touch()
    one_error_line(deconvnet("crf", stored, "-o", tmp_path / "x.json"), 2, "x.json", ".png")
    (tmp_path / "plain").touch()
    one_error_line(deconvnet("crf", stored, "-o", tmp_path / "plain"), 2, "plain: is a file")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["photos", "plain", "scores", "x.json"]


def test_a_file_that_fails_does_not_stop_the_others(deconvnet, stored, tmp_path):
    folder = stored.parent
    (folder / "aa.npz").write_text("damaged")
    store(tmp_path / "photos" / "gone.png", folder / "b.npz")
    (tmp_path / "photos" / "gone.png").unlink()
    store(tmp_path / "photos" / "changed.png", folder / "c.npz")
    Image.linear_gradient("L").resize((30, 20)).convert("RGB").save(
        tmp_path / "photos" / "changed.png"
    )
    store(tmp_path / "photos" / "d.png", folder / "d.npz", fcn=False)
    store(tmp_path / "photos" / "e.png", folder / "e.npz")
    out = tmp_path / "out"
    result = deconvnet("crf", folder, "-o", out, "--net", "edeconvnet", "--json", "--quiet")
    assert result.exit_code == 1
    said = (
        "aa.npz: not a file of stored scores",
        "gone.png: no such file",
        "changed.png: not the photo of these stored scores",
        "d.npz: has scores of deconvnet alone",
    )
    lines = result.stderr.splitlines()
    assert len(lines) == len(said)
    for line, words in zip(lines, said, strict=True):
        assert line.startswith("deconvnet: ") and words in line
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "e.png"]
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["scores"]).name for line in told if "error" in line] == [
        "aa.npz", "b.npz", "c.npz", "d.npz",
    ]  # fmt: skip
    assert "gone.png" in told[2]["error"] and len(told) == 6


@pytest.mark.parametrize("options", [("--share", 0.3), ("--ensemble", "product")])
def test_an_ensemble_of_scores_of_one_net(deconvnet, tmp_path, options):
    scores = store(tmp_path / "d.png", tmp_path / "kept" / "d.npz", fcn=False)
    result = deconvnet("crf", scores, "-o", tmp_path / "out", "--quiet", *options)
    one_error_line(result, 2, "the scores of d.png are of one")


def test_labels_beside_their_scores_are_not_replaced(deconvnet, stored):
    labels = stored.with_suffix(".png")
    labels.write_bytes(b"unrefined")
    result = deconvnet("crf", stored, "-o", f"{stored.parent}/")
    one_error_line(result, 2, labels.name, "beside its scores")
    assert labels.read_bytes() == b"unrefined"


def test_labels_never_take_the_photos_place(deconvnet, stored, tmp_path):
    photo = tmp_path / "photos" / "a.png"
    before = photo.read_bytes()
    result = deconvnet("crf", stored, "-o", tmp_path / "photos")
    one_error_line(result, 2, "a.png", "the photo itself")
    assert photo.read_bytes() == before


# Sweeps.


def sweep(deconvnet, voc, *options: object) -> dict[str, float]:
    result = deconvnet("crf", *options, "--voc-root", voc, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    ious = [line["mean_iou"] for line in lines]
    assert ious == sorted(ious, reverse=True), "the best first"
    return {line["crf"]: line["mean_iou"] for line in lines}


def evaluated(deconvnet, voc, *options: object) -> float:
    result = deconvnet("evaluate", "--voc-root", voc, *options, "--json", "--quiet")
    return json.loads(result.stdout)["mean_iou"]


def test_every_combination_and_none(deconvnet, voc, kept):
    grid = ("--grid", "iterations=10,1", "--grid", "bilateral_sd = 20, 4")
    found = sweep(deconvnet, voc, kept, *grid)
    paper = "iterations = 10, bilateral_sd = 20.0"
    assert set(found) == {
        "no CRF", paper, "iterations = 10, bilateral_sd = 4.0",
        "iterations = 1, bilateral_sd = 20.0", "iterations = 1, bilateral_sd = 4.0",
    }  # fmt: skip
    assert len(set(found.values())) == 5
    assert found["no CRF"] == evaluated(deconvnet, voc, "--scores", kept)
    assert found[paper] == evaluated(deconvnet, voc, "--scores", kept, "--crf")


def test_progress_counts_every_choice_of_every_photo(deconvnet, voc, kept, monkeypatch):
    done = []
    advance = Progress.advance
    monkeypatch.setattr(Progress, "advance", lambda *given: done.append(1) or advance(*given))
    found = sweep(deconvnet, voc, kept, "--grid", "iterations=2,1", "--workers", 2)
    assert len(done) == 3 * len(NAMES)
    assert found == sweep(deconvnet, voc, kept, "--grid", "iterations=2,1", "--workers", 1)


def test_a_figure_is_that_of_the_labels(deconvnet, voc, kept, tmp_path):
    given = ("--set", "gaussian_sd=1", "--net", "deconvnet")
    found = sweep(deconvnet, voc, kept, *given, "--grid", "iterations=3")
    deconvnet("crf", kept, "-o", tmp_path, *given, "--set", "iterations=3", "--quiet")
    total = np.zeros((21, 21), np.int64)
    for name in NAMES:
        truth = pixels(voc / "SegmentationClass" / f"{name}.png")
        total += confusion(truth, pixels(tmp_path / f"{name}.png"))
    assert found["iterations = 3"] == metrics_of(total).mean_iou
    table = deconvnet("crf", kept, *given, "--grid", "iterations=3", "--voc-root", voc).stdout
    assert all(name in table and f"{iou:.4f}" in table for name, iou in found.items())


def test_a_sweep_over_a_list(deconvnet, voc, kept, tmp_path):
    root = tmp_path / "VOC2012"
    shutil.copytree(voc, root)
    (root / "ImageSets/Segmentation/few.txt").write_text("\n".join(NAMES[:2]))
    (root / "ImageSets/Segmentation/none.txt").write_text("other")
    (root / "JPEGImages/other.jpg").write_bytes((root / f"JPEGImages/{NAMES[0]}.jpg").read_bytes())
    mask = root / f"SegmentationClass/{NAMES[0]}.png"
    (root / "SegmentationClass/other.png").write_bytes(mask.read_bytes())
    grid = ("--grid", "iterations=1")
    found = sweep(deconvnet, root, kept, *grid, "--split", "few")
    expected = evaluated(deconvnet, root, "--scores", kept, "--split", "few")
    assert found["no CRF"] == expected != sweep(deconvnet, root, kept, *grid)["no CRF"]
    shown = deconvnet("crf", kept, *grid, "--voc-root", root, "--split", "few")
    assert "mean IoU of 2 photos" in shown.stdout
    result = deconvnet("crf", kept, *grid, "--voc-root", root, "--split", "none")
    one_error_line(result, 2, "--split none: none of its photos has scores")


def test_the_ensemble_of_a_sweep(deconvnet, voc, kept):
    grid = ("--grid", "iterations=1")
    product = sweep(deconvnet, voc, kept, *grid, "--ensemble", "product")
    expected = evaluated(deconvnet, voc, "--scores", kept, "--ensemble", "product")
    assert product["no CRF"] == expected
    alone = sweep(deconvnet, voc, kept, *grid, "--net", "fcn8s")
    assert alone == sweep(deconvnet, voc, kept, *grid, "--share", 1)


def test_a_sweep_over_a_folder_above(deconvnet, voc, kept, tmp_path):
    """As after `batch --voc-submission --save-scores`: OUT/scores/NAME.npz."""
    (tmp_path / "out" / "scores").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "out/scores" / f"{name}.npz").write_bytes((kept / f"{name}.npz").read_bytes())
    grid = ("--grid", "iterations=1")
    found = sweep(deconvnet, voc, tmp_path / "out", *grid)
    assert found == sweep(deconvnet, voc, kept, *grid)
    # A file counts once, however often it is named.
    again = sweep(deconvnet, voc, tmp_path / "out", tmp_path / "out/scores/p0.npz", *grid)
    assert again == found


def tree_of(root: Path, *names: str) -> Path:
    """A VOC tree with masks for red photos, and their scores in ``metrics_of/`` beside it."""
    for name in names:
        mask = root / "SegmentationClass" / f"{name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.write_bytes(label_png(np.zeros((20, 30), np.uint8)))
        store(root / "JPEGImages" / f"{name}.jpg", root.parent / "scores" / f"{name}.npz")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    return root


def test_a_sweep_over_names_with_folders(deconvnet, tmp_path):
    root = tree_of(tmp_path / "VOC2012", "a/p", "b/p")
    found = sweep(deconvnet, root, tmp_path / "scores", "--grid", "iterations=1")
    assert set(found) == {"no CRF", "iterations = 1"}
    (root / "SegmentationClass" / "b" / "p.png").unlink()
    options = ("--grid", "iterations=1", "--voc-root", root, "--json", "--quiet")
    result = deconvnet("crf", tmp_path / "scores", *options)
    one_error_line(result, 1, "p.png: no such label PNG")


def test_a_sweep_over_a_tree_that_was_moved(deconvnet, tmp_path):
    root = tree_of(tmp_path / "VOC2012", "a", "b")
    before = sweep(deconvnet, root, tmp_path / "scores", "--grid", "iterations=1")
    moved = root.rename(tmp_path / "elsewhere")
    assert sweep(deconvnet, moved, tmp_path / "scores", "--grid", "iterations=1") == before


def test_sweeps_that_would_mean_nothing(deconvnet, tmp_path):
    root = tree_of(tmp_path / "VOC2012", "a", "b")
    options = ("--grid", "iterations=1", "--voc-root", root, "--json", "--quiet")
    store(root / "JPEGImages" / "b.jpg", tmp_path / "scores" / "b.npz", fcn=False)
    result = deconvnet("crf", tmp_path / "scores", *options)
    one_error_line(result, 1, "b.npz", "scores of deconvnet", "--net")
    assert deconvnet("crf", tmp_path / "scores", *options, "--net", "deconvnet").exit_code == 0
    Image.linear_gradient("L").resize((30, 20)).convert("RGB").save(root / "JPEGImages" / "a.jpg")
    result = deconvnet("crf", tmp_path / "scores", *options, "--net", "deconvnet")
    one_error_line(result, 1, "a.jpg: not the photo of these stored scores")
    (root / "SegmentationClass" / "b.png").write_bytes(label_png(np.zeros((9, 9), np.uint8)))
    result = deconvnet("crf", tmp_path / "scores" / "b.npz", *options)
    one_error_line(result, 1, "b.npz: truth and prediction differ in size")


# What cannot be.

BAD = {
    "radius=3": "the CRF has no setting radius",
    "=3": "the CRF has no setting",
    "iterations": "nothing is not a whole number",
    "iterations=": "nothing is not a whole number",
    "iterations=many": "many is not a whole number",
    "iterations=2.5": "2.5 is not a whole number",
    "iterations=0": "iterations must be 1 to",
    "iterations=-1": "iterations must be",
    "gaussian_sd=0": "gaussian_sd must be",
    "gaussian_sd=1e-30": "gaussian_sd must be",  # pydensecrf ends the process there
    "bilateral_sd=inf": "bilateral_sd must be",
    "bilateral_colour_sd=nan": "bilateral_colour_sd must be",
    "gaussian_weight=-0.5": "gaussian_weight must be",
    "bilateral_sd=1,,2": "nothing is not a number",
}


@pytest.mark.parametrize("option", ["--set", "--grid"])
@pytest.mark.parametrize("text", BAD)
def test_settings_that_do_not_exist(deconvnet, voc, stored, tmp_path, option, text):
    rest = ("-o", tmp_path / "out") if option == "--set" else ("--voc-root", voc)
    result = deconvnet("crf", stored, option, text, *rest)
    one_error_line(result, 2, BAD[text])
    assert not (tmp_path / "out").exists()


def test_one_value_for_set_and_one_option_for_a_setting_of_the_grid(deconvnet, stored, voc):
    result = deconvnet("crf", stored, "-o", "out", "--set", "iterations=1,2")
    one_error_line(result, 2, "iterations=1,2", "--grid")
    grid = ("--grid", "iterations=1", "--grid", "iterations=2")
    one_error_line(deconvnet("crf", stored, *grid, "--voc-root", voc), 2, "named twice")


def test_wrong_usage(deconvnet, stored, voc, tmp_path):
    grid = ("--grid", "iterations=1")
    for options, words in (
        ((), "either -o DIR"),
        (("-o", tmp_path / "out", *grid, "--voc-root", voc), "either -o DIR"),
        (grid, "--voc-root"),
        (("-o", tmp_path / "out", "--voc-root", voc), "for --grid; leave them out"),
        (("-o", tmp_path / "out", "--rgb"), "for --grid; leave them out"),
        ((*grid, "--set", "iterations=2", "--voc-root", voc), "iterations: --grid gives"),
        (("-o", "-"), "-o DIR/"),
    ):
        one_error_line(deconvnet("crf", stored, *options), 2, words)
    assert deconvnet("crf", "-o", tmp_path / "out").exit_code == 2
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "none", tmp_path / "none.npz"):
        result = deconvnet("crf", source, "-o", tmp_path / "out")
        one_error_line(result, 2, str(source), "no stored scores", "--save-scores")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "manifest.1-of-2.jsonl").write_text("")
    result = deconvnet("crf", stored, "-o", tmp_path / "made")
    one_error_line(result, 2, "made: has the labels of a batch", "give another folder")
    assert len(list((tmp_path / "made").iterdir())) == 1
    result = deconvnet("crf", tmp_path / "photos" / "a.png", "-o", tmp_path / "out")
    one_error_line(result, 1, "a.png: not a file of stored scores", "--save-scores")
    one_error_line(deconvnet("crf", stored, *grid, "--voc-root", tmp_path), 1, "not a VOC tree")


def test_two_files_with_one_output(tmp_path):
    first = store(tmp_path / "a.png", tmp_path / "one" / "a.npz")
    second = store(tmp_path / "b.png", tmp_path / "two" / "a.npz")
    with pytest.raises(UsageError, match=r"a\.npz: another file has the output a\.npz"):
        stored_files((first.parent, second.parent))
    assert list(stored_files((tmp_path,)).values()) == [Path("one/a.npz"), Path("two/a.npz")]
    assert stored_files((first.parent, first, first.parent)) == {first: Path("a.npz")}


def test_without_the_package_nothing_is_read(deconvnet, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    (tmp_path / "a.npz").write_text("damaged")
    result = deconvnet("crf", tmp_path, "-o", tmp_path / "out", "--crf-backend", "pydensecrf")
    one_error_line(result, 1, "pip install")
    assert not (tmp_path / "out").exists()


def test_settings_by_hand():
    settings = settings_with(("gaussian_sd=1.5", "iterations=3", "gaussian_sd=2"), CrfSettings())
    assert settings == CrfSettings(gaussian_sd=2.0, iterations=3)
    found = combinations(settings, ("bilateral_weight=0,1",))
    assert found["bilateral_weight = 0.0"] == CrfSettings(2.0, 3.0, 20.0, 3.0, 0.0, 3)
    assert list(found) == ["no CRF", "bilateral_weight = 0.0", "bilateral_weight = 1.0"]
