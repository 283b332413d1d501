"""Clips are read frame by frame, as they were drawn, or refused in one line."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.clips import grey_frames, turn, write_clip
from PIL import Image

from deconvnet_cli.data.video import frames, opened_clip
from deconvnet_cli.data.video_files import is_clip, is_video
from deconvnet_cli.errors import ImageError

CLOSE = 6  # steps of grey that a codec may change; frames are 20 apart


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("every", [1, 4])
def test_the_frames_are_those_drawn(tmp_path, suffix, every):
    path = write_clip(tmp_path / f"a{suffix}", grey_frames(10), rate=20)
    with opened_clip(path) as clip:
        assert (clip.rate, clip.count) == (20, 10)
        found = list(frames(clip, every))
    assert [frame.number for frame in found] == list(range(0, 10, every))
    for frame in found:
        assert frame.photo.mode == "RGB" and frame.photo.size == (64, 48)
        assert np.asarray(frame.photo) == pytest.approx(20 * frame.number, abs=CLOSE)
        assert frame.seconds == pytest.approx(frame.number / 20, abs=1e-3)


def test_colours_are_not_exchanged(tmp_path):
    path = write_clip(tmp_path / "a.mp4", [Image.new("RGB", (64, 48), (200, 100, 30))])
    with opened_clip(path) as clip:
        (frame,) = frames(clip)
    assert np.asarray(frame.photo).reshape(-1, 3).mean(0) == pytest.approx((200, 100, 30), abs=5)


def test_a_clip_is_read_as_a_stream(tmp_path):
    path = write_clip(tmp_path / "a.mp4", grey_frames(10))
    with opened_clip(path) as clip:
        next(frames(clip))
        assert clip.capture.get(cv2.CAP_PROP_POS_FRAMES) == 1


def test_a_clip_of_a_phone_held_upright_is_upright(tmp_path):
    left = Image.new("RGB", (64, 48))
    left.paste((255, 255, 255), (0, 0, 32, 48))
    path = write_clip(tmp_path / "a.mp4", [left])
    turn(path)
    with opened_clip(path) as clip:
        (frame,) = frames(clip)
    shown = np.asarray(frame.photo)[..., 0]
    assert shown.shape == (64, 48)  # turned clockwise, the left half is above
    assert shown[:24].min() > 200 and shown[40:].max() < 50


def cut_before(path, number: int) -> None:
    """Cut an AVI off before a frame."""
    data = path.read_bytes()
    start = data.index(b"movi")
    for _ in range(number + 1):
        start = data.index(b"00dc", start + 4)
    path.write_bytes(data[:start])


def test_a_clip_that_ends_too_early_gives_its_frames_and_then_an_error(tmp_path):
    path = write_clip(tmp_path / "a.avi", grey_frames(12))
    cut_before(path, 7)
    found = []
    with opened_clip(path) as clip, pytest.raises(ImageError, match=r"a\.avi: damaged.* 7 of 12"):
        for frame in frames(clip):
            found.append(np.asarray(frame.photo).mean())
    assert found == pytest.approx([20 * number for number in range(7)], abs=CLOSE)


def test_a_few_frames_less_than_the_header_says_are_noted(tmp_path, capsys):
    path = write_clip(tmp_path / "a.avi", [Image.new("RGB", (16, 16))] * 60)
    cut_before(path, 58)
    with opened_clip(path) as clip:
        assert len(list(frames(clip))) == 58
    assert "has 58 frames, though its header says 60" in capsys.readouterr().err


def broken(kind: str, data: bytes) -> bytes:
    return {
        "empty": b"",
        "text": b"no video at all, " * 30,
        "playlist": b"ffconcat version 1.0\nfile other.mp4\n" + b"#" * 400,
        "photo": png(),
        "cut off": data[: len(data) // 2],
        "head alone": data[:32],
    }[kind]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 80).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind, words", [
    ("empty", "the file is empty"),
    ("text", "not a video"),
    ("playlist", "not a video"),
    ("photo", "not a video"),
    ("cut off", "damaged, cut off"),
    ("head alone", "damaged, cut off"),
])  # fmt: skip
def test_what_is_no_clip_is_refused(tmp_path, kind, words, capfd):
    path = write_clip(tmp_path / "a.mp4", grey_frames(4))
    path.write_bytes(broken(kind, path.read_bytes()))
    with pytest.raises(ImageError, match=rf"a\.mp4: .*{words}"), opened_clip(path) as clip:
        list(frames(clip))
    assert capfd.readouterr().err == ""  # nothing of FFmpeg's own


def test_what_is_no_file_is_refused(tmp_path):
    """`batch` takes URLs of photos, but not of videos."""
    url = "a URL, .*; download the video first$"
    for path, words in (
        (Path("s3://bucket/a.mp4"), f"^s3://bucket/a.mp4: {url}"),
        (Path("https://example.org/b/a.mp4"), f"^https://example.org/b/a.mp4: {url}"),
        (tmp_path / "a.mp4", "no such file"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(ImageError, match=words), opened_clip(path):
            pass


def test_a_clip_without_frames(tmp_path):
    path = tmp_path / "a.avi"
    data = write_clip(path, grey_frames(2)).read_bytes()
    path.write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(ImageError, match=r"a\.avi: "), opened_clip(path) as clip:
        list(frames(clip))


def test_too_large_frames_are_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4", grey_frames(2))
    words = r"a\.mp4: 64x48 pixels are more than the 3,071 allowed; scale it down"
    with opened_clip(path, 64 * 48 - 1) as clip, pytest.raises(ImageError, match=words):
        next(frames(clip))


def test_clips_are_known_by_what_they_hold(tmp_path):
    for suffix in (".mp4", ".avi"):
        path = write_clip(tmp_path / f"a{suffix}", grey_frames(2))
        assert is_clip(path.rename(tmp_path / f"{suffix[1:]}.dat"))
    packet = b"\x47" + bytes(187)
    assert is_video(3 * packet) and is_video(3 * (bytes(4) + packet))
    assert is_video(b"\x1a\x45\xdf\xa3" + bytes(400))


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"]
)
def test_photos_are_no_clips(tmp_path, kind):
    path = tmp_path / "photo"
    Image.effect_noise((40, 30), 80).convert("RGB").save(path, kind)
    assert not is_clip(path)


def test_a_gif_with_the_marks_of_packets_is_a_photo(tmp_path):
    """It begins with one, "G"; a colour of its palette and a pixel are the others."""
    path = tmp_path / "a.gif"
    Image.effect_noise((40, 30), 80).save(path)
    data = bytearray(path.read_bytes())
    data[188] = data[376] = ord("G")
    path.write_bytes(data)
    assert not is_clip(path)
    with Image.open(path) as image:
        assert image.format == "GIF"
