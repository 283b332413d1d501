"""`segment` of a video: a label PNG a frame, the MP4 of overlays, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import read_clip, write_clip
from helpers.command_line import one_error_line, run_cli
from helpers.photos import pieces, pixels
from PIL import Image

from deconvnet_cli.commands.shared import clips
from deconvnet_cli.data.video import frames, opened_clip
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import OutputError
from deconvnet_cli.outputs import video
from deconvnet_cli.outputs.overlay import FILL
from deconvnet_cli.outputs.palettes import colours_of

SIZE = (64, 48)


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_clip(tmp_path / "clip.mp4", pieces(SIZE)[:5], rate=12)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_each_frame_gets_the_labels_of_a_photo(clip, quick, tmp_path):
    out = tmp_path / "new" / "out"
    result = run_cli("segment", clip, "-o", out, "--overlay", "--json", *quick)
    assert result.exit_code == 0, result.output
    names = [f"clip_{number:06d}.png" for number in range(5)]
    assert names_in(out) == [*names, "clip_overlay.mp4"]
    with opened_clip(clip) as opened:
        photos = [frame.photo for frame in frames(opened)]
    photos[3].save(tmp_path / "photo.png")
    target = tmp_path / "alone.png"
    assert run_cli("segment", tmp_path / "photo.png", "-o", target, *quick).exit_code == 0
    assert np.array_equal(pixels(target), pixels(out / names[3]))
    *lines, last = map(json.loads, result.stdout.splitlines())
    assert [line["frame"] for line in lines] == list(range(5))
    assert [line["output"] for line in lines] == [str(out / name) for name in names]
    assert lines[2]["seconds"] == pytest.approx(2 / 12, abs=1e-3)
    assert last == {"image": str(clip), "frames": 5, "overlay": str(out / "clip_overlay.mp4")}
    for name in (names[0], names[-1], "clip_overlay.mp4"):
        assert name in result.stderr


def test_the_overlay_shows_the_colours_of_the_labels(tmp_path):
    """Away from contours a frame is the photo with a share of the class's colour."""
    cat, dog = CLASSES.index("cat"), CLASSES.index("dog")
    photos = pieces((160, 120))[:3]
    labels = np.zeros((120, 160), np.uint8)
    labels[:60, :80], labels[60:, 80:] = cat, dog
    with video.overlay_video(tmp_path / "a.mp4", 12, CLASSES, palette="safe") as add:
        for photo in photos:
            add(photo, labels)
    rate, shown = read_clip(tmp_path / "a.mp4")
    assert rate == 12 and len(shown) == 3 and shown[0].shape[0] > 120
    for photo, frame in zip(photos, shown, strict=True):
        mixed = (1 - FILL) * np.asarray(photo) + FILL * colours_of("safe")[labels]
        for rows, columns in ((np.s_[:50], np.s_[:70]), (np.s_[70:], np.s_[90:])):
            difference = frame[:120][rows, columns] - mixed[rows, columns]
            assert np.abs(difference).mean() < 6
        alone = frame[:120][:50, 90:] - np.asarray(photo)[:50, 90:].astype(float)
        assert np.abs(alone).mean() < 6  # background


def test_every_nth_frame(clip, quick, tmp_path):
    out = tmp_path / "out"
    options = ("-o", f"{out}/", "--overlay", "--every", 2)
    assert run_cli("segment", clip, *options, *quick).exit_code == 0
    assert names_in(out)[:-1] == [f"clip_{number:06d}.png" for number in (0, 2, 4)]
    rate, shown = read_clip(out / "clip_overlay.mp4")
    assert (rate, len(shown)) == (6, 3)
    again = run_cli("segment", clip, "-o", out, "--every", 3, *quick)
    left = "also has 3 files of an earlier run: clip_000002.png to clip_overlay.mp4"
    assert left in again.stderr  # 2 and 4, and the overlays of 0, 2 and 4


def test_files_of_an_earlier_run_are_counted_whatever_kind_they_are(clip, quick, tmp_path):
    run_cli("segment", clip, "-o", tmp_path, "--mask", "cat", "--cutout", "--overlay", *quick)
    part = tmp_path / ".clip_overlay.mp4.x_1y.part.mp4"  # of a run that was killed
    part.touch()
    before = names_in(tmp_path)
    for name in ("clip_1.png", "clip_000001.txt", "other_000001.png", "clip_000001_000000.png"):
        (tmp_path / name).touch()  # of somebody else
    again = run_cli(
        "segment", clip, "-o", tmp_path, "--format", "none", "--mask", "dog", "--every", 2, *quick
    )
    written = [f"clip_00000{number}.mask.png" for number in (0, 2, 4)]
    others = sorted(set(before) - {"clip.mp4", *written})
    assert len(others) == len(before) - 4
    said = f"{len(others)} files of an earlier run: {others[0]} to {others[-1]}"
    assert said in again.stderr
    assert part.exists()  # this run has no overlays
    run_cli("segment", clip, "-o", tmp_path, "--overlay", "--every", 3, *quick)
    assert not part.exists()


def test_the_overlays_of_an_earlier_run_are_not_taken_for_those_of_this_one(clip, quick, tmp_path):
    (tmp_path / "clip_overlay.mp4").write_bytes(b"earlier")
    clip.write_bytes(clip.read_bytes()[:100])
    result = run_cli("segment", clip, "-o", tmp_path, "--overlay", "--json", *quick)
    assert result.exit_code == 1
    line = {"image": str(clip), "frames": 0, "overlay": None}
    assert json.loads(result.stdout.splitlines()[-1]) == line
    assert (tmp_path / "clip_overlay.mp4").read_bytes() == b"earlier"


def test_all_files_of_a_frame_and_only_the_overlay(clip, quick, tmp_path):
    more = ("--cutout", "--mask", "person", "--polygons", "geojson", "--only", "person,cat")
    result = run_cli("segment", clip, "-o", tmp_path / "a", "--every", 4, *more, *quick)
    assert result.exit_code == 0
    endings = (".cutout.png", ".geojson", ".mask.png", ".png")
    expected = [f"clip_00000{number}{end}" for number in (0, 4) for end in endings]
    assert names_in(tmp_path / "a") == expected
    assert all(name in result.stderr for name in expected)
    found = json.loads((tmp_path / "a/clip_000004.geojson").read_text())
    assert found["image"] == "clip.mp4#frame=4"
    only = ("--format", "none", "--overlay", "--quiet")
    result = run_cli("segment", clip, "-o", tmp_path / "b", *only, *quick)
    assert (result.output, names_in(tmp_path / "b")) == ("", ["clip_overlay.mp4"])
    result = run_cli("segment", clip, "-o", tmp_path / "c", "--every", 5, *quick)
    assert "clip_000000.png: 1 frame (" in result.stderr  # not clip_000000.png to clip_000000.png


def test_classes_that_no_frame_has_are_named(clip, quick, tmp_path):
    result = run_cli("segment", clip, "-o", tmp_path / "a", "--json", *quick)
    lines = [json.loads(line) for line in result.stdout.splitlines()[:-1]]
    there = {name for line in lines for name in line["classes"]}
    absent, present = min(set(CLASSES) - there), max(there)
    count = sum(present in line["classes"] for line in lines)
    assert f"{present} in {count}" in result.stderr
    for more in (("--overlay", "--only"), ("--mask",)):
        for names in (absent, f"{absent},{present}"):
            result = run_cli("segment", clip, "-o", tmp_path / "b", *more, names, *quick)
            said = f"clip.mp4: no {absent} found in any frame" in result.stderr
            assert said == (names == absent)


def test_frames_of_odd_sizes(quick, tmp_path, monkeypatch):
    """OpenCV cuts the last row and column of such frames off, which must not happen to labels."""
    photo = pieces((61, 41))[0]
    with video.overlay_video(tmp_path / "a.mp4", 5, CLASSES) as add:
        add(photo, np.full((41, 61), 15, np.uint8))
    _, (frame,) = read_clip(tmp_path / "a.mp4")
    assert frame.shape[0] > 41 and frame.shape[1] >= 62
    assert not {side % 2 for side in frame.shape[:2]} & {1}


def test_the_legend_of_a_clip_keeps_its_place_and_size():
    draw = video.overlay_drawer(CLASSES, tuple(range(1, 21)), colours_of("voc"))
    photo = Image.new("RGB", (320, 240), "white")
    many = np.repeat(np.arange(20, dtype=np.uint8), 240 * 16).reshape(240, 320)
    sizes = set()
    for labels in (np.zeros((240, 320), np.uint8), np.full((240, 320), 8, np.uint8), many):
        sizes.add(draw(photo, labels).size)
    assert len(sizes) == 1
    legend = np.asarray(draw(photo, np.full((240, 320), 8, np.uint8)))[240:]
    assert (legend == colours_of("voc")[8]).all(2).sum() > 80  # the swatch of cat


def test_ctrl_c_leaves_whole_files(clip, quick, tmp_path, monkeypatch):
    label = clips.label_frame

    def interrupted(job, frame, *rest):
        if frame.number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return label(job, frame, *rest)

    monkeypatch.setattr(clips, "label_frame", interrupted)
    result = run_cli("segment", clip, "-o", tmp_path / "out", "--overlay", *quick)
    assert result.exit_code == 1
    assert "stopped after 3 frames" in result.stderr.splitlines()[-1]
    assert names_in(tmp_path / "out")[:-1] == [f"clip_{number:06d}.png" for number in range(3)]
    assert len(read_clip(tmp_path / "out" / "clip_overlay.mp4")[1]) == 3


def test_a_second_ctrl_c_leaves_no_half_video(clip, quick, tmp_path, monkeypatch):
    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(clips, "label_frame", interrupted)
    assert run_cli("segment", clip, "-o", tmp_path / "out", "--overlay", *quick).exit_code == 1
    assert names_in(tmp_path / "out") == []


def test_a_clip_damaged_in_the_middle(quick, tmp_path):
    path = write_clip(tmp_path / "cut.avi", pieces(SIZE))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"movi") + 5 * (len(data) - data.index(b"movi")) // 8])
    whole = write_clip(tmp_path / "whole.avi", pieces(SIZE)[:1])
    result = run_cli("segment", path, whole, "-o", tmp_path / "out", "--overlay", *quick)
    assert result.exit_code == 1
    assert "cut.avi: damaged or cut off" in result.stderr
    *labels, overlay = [name for name in names_in(tmp_path / "out") if name.startswith("cut")]
    assert len(read_clip(tmp_path / "out" / overlay)[1]) == len(labels) > 1
    assert (tmp_path / "out" / "whole_000000.png").exists()  # the others go on


def test_an_opencv_without_an_encoder(clip, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "CODECS", ())
    options = ("--overlay", "--format", "none", "--quiet")
    result = run_cli("segment", clip, "-o", tmp_path / "out", *options, *quick)
    one_error_line(result, 1, "clip_overlay.mp4", "can encode no MP4", "leave out --overlay")
    assert names_in(tmp_path / "out") == []


def test_a_video_that_is_not_written_whole_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(video.cv2.VideoWriter, "write", lambda *arguments: None, raising=False)
    target = tmp_path / "a.mp4"
    with (
        pytest.raises(OutputError, match="cannot be written whole"),
        video.overlay_video(target, 5, CLASSES) as add,
    ):
        add(Image.new("RGB", SIZE), np.zeros(SIZE[::-1], np.uint8))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("options, words", [
    ((), "-o DIR/"),
    (("-o", "-"), "-o DIR/"),
    (("-o", "there"), "is a file"),
    (("-o", "labels.png"), "-o labels.png/"),
    (("-o", "out", "--save-scores"), "--save-scores"),
    (("-o", "out", "--format", "cvat"), "--format cvat"),
    (("-o", "out", "--polygons", "yolo"), "--polygons yolo"),
    (("-o", "out", "--format", "none"), "add --cutout"),
    (("-o", "out", "--preview", "blocks"), "leave out --preview"),
    (("-o", "out", "photo.jpg"), "separate calls"),
    (("-o", "out", "more/clip.avi"), "the same files"),
    (("-o", ".", "clip_overlay.mp4", "--overlay"), "a video to label"),
])  # fmt: skip
def test_options_that_do_not_go_with_a_video(clip, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    (tmp_path / "more").mkdir()
    for name in ("more/clip.avi", "clip_overlay.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    pieces(SIZE)[0].save(tmp_path / "photo.jpg")
    before = names_in(tmp_path)
    one_error_line(run_cli("segment", "clip.mp4", *options), 2, words)
    assert names_in(tmp_path) == before


def test_every_is_for_videos(tmp_path):
    pieces(SIZE)[0].save(tmp_path / "a.jpg")
    result = run_cli("segment", tmp_path / "a.jpg", "--every", 2)
    one_error_line(result, 2, "--every takes frames of a video")


def test_batch_and_the_others_name_segment(clip, quick, tmp_path):
    for command in (("batch",), ("explain",)):
        result = run_cli(*command, clip, "-o", tmp_path / "out", *quick)
        assert result.exit_code == 1
        assert "clip.mp4: a video; `deconvnet segment" in result.stderr
    for missing in ("none.mp4", "*.mov"):  # their names alone do not make them videos
        one_error_line(
            run_cli("batch", tmp_path / missing, "-o", tmp_path / "out"),
            1,
            "no such file or folder",
        )
    alone = run_cli("batch", tmp_path, "-o", tmp_path / "out", *quick)
    assert "1 .mp4 (`deconvnet segment` labels videos)" in alone.stderr
    pieces(SIZE)[0].save(tmp_path / "a.jpg")
    both = run_cli("batch", f"{tmp_path}/*.*", "-o", tmp_path / "out", *quick)
    assert both.exit_code == 0
    assert "1 .mp4 (`deconvnet segment` labels videos)" in both.stderr
