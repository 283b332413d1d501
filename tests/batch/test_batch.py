"""Folders of photos: the tree is kept, bad photos are named, what is done stays done."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.photo import start_worker
from deconvnet_cli.batch.plan import apart, plan
from deconvnet_cli.batch.spec import BatchSpec, batch_info
from deconvnet_cli.commands.shared.photo_targets import check_targets
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.stored_scores import read_scores
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.weights.files import load


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.png", "deep/er/c.JPG"):
        with open(folder / name, "wb") as file:
            Image.new("RGB", (40, 30), "green").save(file, "PNG")
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_the_tree_is_kept_and_a_second_run_does_nothing(deconvnet, tiny_weights, folder):
    result = deconvnet("batch", folder, "--weights", tiny_weights)
    assert result.exit_code == 0, result.output
    labels = folder.with_name("photos-labels")
    made = sorted(str(path.relative_to(labels)) for path in labels.rglob("*.png"))
    assert made == ["a.png", "deep/b.png", "deep/er/c.png"]
    times = [path.stat().st_mtime_ns for path in sorted(labels.rglob("*.png"))]
    again = deconvnet("batch", folder, "--weights", tiny_weights)
    assert "0 made, 3 there already" in again.stderr
    assert [path.stat().st_mtime_ns for path in sorted(labels.rglob("*.png"))] == times


def test_a_bad_photo_does_not_stop_the_others(deconvnet, tiny_weights, folder, tmp_path):
    (folder / "aa.jpg").write_text("not a photo")
    out = tmp_path / "out"
    result = deconvnet("batch", folder, "-o", out, "--weights", tiny_weights, "--json")
    assert result.exit_code == 1
    assert "aa.jpg" in result.stderr
    assert len(list(out.rglob("*.png"))) == 3
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {Path(line["image"]).name for line in lines if "error" in line} == {"aa.jpg"}
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    paths = [{"output": str(out / line["output"])} for line in manifest]
    assert [{**line, **path} for line, path in zip(manifest, paths, strict=True)] == lines


@pytest.mark.parametrize("system, clashes", [("linux", False), ("darwin", True)])
def test_on_a_mac_names_that_differ_by_case_are_one_file(tmp_path, monkeypatch, system, clashes):
    """One photo's labels would replace the other's there, without a word."""
    monkeypatch.setattr(sys, "platform", system)
    jobs = [Job(Path(f"{i}/{name}.jpg"), tmp_path / f"{name}.png") for i, name in enumerate("aA")]
    seen: list[str] = []
    kept = apart(jobs, lambda job: [job.target], lambda error: seen.append(str(error)))
    assert (len(kept), len(seen)) == ((1, 1) if clashes else (2, 0))
    files = [[job.target] for job in jobs]
    with pytest.raises(UsageError, match=r"a.png: would") if clashes else nullcontext():
        check_targets(("0/a.jpg", "1/A.jpg"), files)


def test_a_failure_inside_the_net_does_not_stop_the_others_either(
    tiny_weights, folder, tmp_path, monkeypatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match\nand a long story")

    spec = BatchSpec(partial(tiny, tiny_weights), tmp_path)
    work = start_worker(batch_info(spec, *spec.load()))
    job = Job(folder / "a.jpg", tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr("deconvnet_cli.batch.photo.infer", fail)
        entry = work(job)
    assert (entry.status, entry.error) == (
        "failed",
        f"{folder}/a.jpg: cannot be segmented (RuntimeError: shapes do not match)",
    )
    assert work(job).status == "done"


def tiny(weights: Path) -> tuple[System, SegmentSettings]:
    return alone(load(str(weights))), SegmentSettings(proposals=1)


def test_collisions_are_refused_before_the_start(deconvnet, tiny_weights, folder, tmp_path):
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    out = tmp_path / "out"
    result = deconvnet("batch", folder, "-o", out, "--weights", tiny_weights)
    assert result.exit_code == 2
    assert "a.jpg" in result.stderr and "a.png" in result.stderr
    assert not out.exists()


def test_labels_never_take_a_photos_place(folder):
    out = folder / "deep"
    (out / "b.overlay.png").touch()

    def kept(*names: str, **options: object) -> list[str]:
        spec = BatchSpec(pytest.fail, out, outputs=Outputs(**options))
        jobs = plan([str(out / name) for name in names], out, outputs=spec.outputs)
        return [job.target.name for job in apart(jobs, spec.files)]

    with pytest.raises(UsageError, match="is one of the photos"):
        kept("b.png")
    assert kept("b.png", format="npy") == ["b.npy"]
    assert kept("b.png", "b.overlay.png", format="npy") == ["b.npy", "b.overlay.npy"]
    with pytest.raises(UsageError, match=r"b\.overlay\.png: is one of the photos"):
        kept("b.png", "b.overlay.png", format="npy", overlay=True)


def test_scores_are_kept_beside_the_labels(deconvnet, tiny_weights, folder, tmp_path):
    out = tmp_path / "out"
    options = ("-o", out, "--weights", tiny_weights, "--proposals", 2, "--save-scores")
    result = deconvnet("batch", folder, *options)
    assert result.exit_code == 0, result.output
    for name in ("a", "deep/b", "deep/er/c"):
        found = read_scores(out / f"{name}.npz")
        assert found.maps.fcn is None and found.maps.raw
        assert (found.size, found.proposals) == ((40, 30), 1)
        assert found.photo.resolve() in map(Path.resolve, folder.rglob("*.*"))
        assert found.settings["DeconvNet"]["file"] == tiny_weights.name
        assert found.settings["settings"]["proposals"] == 2
        with Image.open(out / f"{name}.png") as labels:
            same = np.array(labels) == found.maps.merged().argmax(0).numpy()
        assert same.mean() > 0.995


def test_scores_are_those_before_the_crf(deconvnet, lively_weights, cat, tmp_path):
    options = ("--weights", lively_weights, "--proposals", 2, "--save-scores")
    for out in ("plain", "crf"):
        crf = "--crf" if out == "crf" else "--no-crf"
        assert deconvnet("batch", cat, "-o", tmp_path / out, crf, *options).exit_code == 0
    one, other = (read_scores(tmp_path / out / "cat.npz").maps for out in ("plain", "crf"))
    assert (one.deconvnet == other.deconvnet).all()
    labels = [(tmp_path / out / "cat.png").read_bytes() for out in ("plain", "crf")]
    assert labels[0] != labels[1]


def test_the_same_bytes_for_any_number_of_workers(deconvnet, voc, both, tmp_path):
    made = []
    for workers in (1, 2, 3):
        out = tmp_path / str(workers)
        options = ("--net", "edeconvnet", *both, "--workers", workers, "--quiet")
        assert deconvnet("batch", voc / "JPEGImages", "-o", out, *options).exit_code == 0
        made.append({path.name: path.read_bytes() for path in out.glob("*.png")})
    assert len(made[0]) == 4
    assert made[0] == made[1] == made[2]


def test_files_beside_the_labels_are_those_of_segment(deconvnet, lively_weights, cat, tmp_path):
    wanted = ("--overlay", "--cutout", "--polygons", "geojson", "--weights", lively_weights)
    options = (*wanted, "--proposals", 2, "--precision", "fp32")
    result = deconvnet("batch", cat, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert deconvnet("segment", cat, "-o", tmp_path / "cat.png", *options).exit_code == 0
    for name in ("cat.png", "cat.overlay.png", "cat.cutout.png", "cat.geojson"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes(), name
    (tmp_path / "out" / "cat.cutout.png").unlink()
    assert "1 made" in deconvnet("batch", cat, "-o", tmp_path / "out", *options).stderr
    other = (*options, "--only", "cat")
    assert "1 made" in deconvnet("batch", cat, "-o", tmp_path / "out", *other).stderr
    assert "0 made" in deconvnet("batch", cat, "-o", tmp_path / "out", *other).stderr


def test_a_photo_over_the_limit_fails(deconvnet, tiny_weights, folder, tmp_path):
    options = ("-o", tmp_path / "out", "--weights", tiny_weights, "--max-pixels", 1000)
    result = deconvnet("batch", folder, *options)
    assert result.exit_code == 1 and "3 failed" in result.stderr
    assert not list((tmp_path / "out").rglob("*.png"))
