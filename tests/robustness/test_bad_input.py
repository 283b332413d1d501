"""Odd photos, outputs that cannot be written, broken trees and packages, as a user meets them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import warm_python
from helpers.command_line import one_error_line
from helpers.photos import png_chunk
from PIL import Image

from deconvnet_cli.data.images import read_photo

MAIN = "import sys\nfrom deconvnet_cli.cli import main\n"


def photo(path: Path, size: tuple[int, int] = (60, 40), colour: str = "teal", **options) -> Path:
    # With a gradient, as photos of one colour are noted on standard error.
    shades = Image.linear_gradient("L").resize(size).convert("RGB")
    Image.blend(Image.new("RGB", size, colour), shades, 0.5).save(path, **options)
    return path


# Photos. Missing, empty, truncated and misnamed ones are in tests/commands/test_cli.py.


def test_pixels_of_every_colour_mode(tmp_path):
    """Each file holds the same half-bright red, so each must be read as that."""
    red = Image.new("RGB", (20, 10), (128, 0, 0))
    red.convert("CMYK").save(tmp_path / "cmyk.tif")
    half_clear = Image.new("RGBA", (20, 10), (255, 0, 0, 128))  # on black
    half_clear.save(tmp_path / "rgba.png")
    red.quantize().save(tmp_path / "palette.png")
    red.save(tmp_path / "still.gif")
    deep = np.zeros((10, 20, 3), np.uint16)
    deep[..., 2] = 128 * 257  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cv2.imwrite(str(tmp_path / "deep.tif"), deep)
    for file in sorted(tmp_path.iterdir()):
        read = read_photo(file)
        assert (read.mode, read.size) == ("RGB", (20, 10)), file
        difference = np.abs(np.asarray(read).astype(int) - (128, 0, 0))
        assert difference.max() <= 3, file


@pytest.mark.parametrize("mode", ["I;16", "L", "1", "LA"])
def test_pixels_of_grey_photos(tmp_path, mode):
    ramp = np.linspace(0, 255, 32).round().astype(np.uint8).reshape(1, 32).repeat(4, axis=0)
    grey = Image.fromarray(ramp.astype(np.uint16) * 257 if mode == "I;16" else ramp)
    if mode != "I;16":
        grey = grey.convert(mode, dither=Image.Dither.NONE)
    grey.save(tmp_path / "grey.png")
    expected = np.where(ramp > 127, 255, 0) if mode == "1" else ramp
    read = np.asarray(read_photo(tmp_path / "grey.png"))
    for channel in range(3):
        assert np.abs(read[..., channel].astype(int) - expected).max() <= 1


def test_more_transparencies_than_a_palette_has_colours(tmp_path):
    grid = np.arange(8, dtype=np.uint8).reshape(2, 4)
    image = Image.fromarray(grid).convert("P")
    image.putpalette([value for shade in range(8) for value in (30 * shade,) * 3])
    opaque = bytes([255]) * 8
    image.save(tmp_path / "right.png", transparency=opaque)
    data = (tmp_path / "right.png").read_bytes()
    at = data.index(b"tRNS")
    longer = png_chunk(b"tRNS", bytes([255]) * 300)
    (tmp_path / "odd.png").write_bytes(data[: at - 4] + longer + data[at + 4 + 8 + 4 :])
    shown = np.asarray(read_photo(tmp_path / "odd.png"))
    np.testing.assert_array_equal(shown[..., 0], grid * 30)


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800001, 0x7F800000, 0xFF800000])
def test_pixels_that_are_no_numbers(tmp_path, bits):
    """NaN, NaN of the kind that signals, and both infinities."""
    values = np.zeros((17, 23), np.uint32)  # an odd number: NumPy's loops have a last one alone
    values[:, 1::3] = values[-1, -1] = bits
    Image.fromarray(values.view(np.float32)).save(tmp_path / "odd.tif")
    shown = np.asarray(read_photo(tmp_path / "odd.tif"))
    assert np.unique(shown).tolist() == [0, 255] if bits == 0x7F800000 else not shown.any()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_broken_exif_does_not_make_a_photo_unreadable(tmp_path, suffix):
    source = photo(tmp_path / f"a.{suffix}", exif=b"Exif\0\0garbage garbage")
    assert read_photo(source).size == (60, 40)


@pytest.mark.parametrize("cut", [0.02, 0.5])
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_truncated_files_of_every_kind(deconvnet, tiny_weights, tmp_path, suffix, cut):
    values = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(values).save(whole)
    data = whole.read_bytes()
    source = tmp_path / f"cut.{suffix}"
    source.write_bytes(data[: int(len(data) * cut)])
    out = tmp_path / "out.png"
    result = deconvnet("segment", source, "-o", out, "--weights", tiny_weights)
    one_error_line(result, 1, source.name)
    assert not out.exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak of memory")
def test_memory_of_a_photo_12000_pixels_wide_is_bounded(tiny_weights, tmp_path):
    """Scores of 21 classes at its full size alone would take another 1.0 GB."""
    source = photo(tmp_path / "wide.jpg", size=(12000, 1000))
    # VmHWM: unlike getrusage it does not count what this process had before.
    code = MAIN + (
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "status = open('/proc/self/status').read().split()\n"
        "print(status[status.index('VmHWM:') + 1])"
    )
    command = ("segment", source, "-o", tmp_path / "wide.png", "--weights", tiny_weights)
    done = warm_python.run(["-c", code, *command])
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "wide.png") as labels:
        assert labels.size == (12000, 1000)
    assert int(done.stdout) / 1e6 < 1.5  # kB to GB


# Outputs.


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
@pytest.mark.parametrize("command", ["segment", "proposals"])
def test_the_output_is_the_photo(deconvnet, tmp_path, command, link):
    """By its own name, or by another one."""
    source = photo(tmp_path / "a.png")
    before = source.read_bytes()
    other = tmp_path / "b.png" if link else source
    if link:
        getattr(other, link)(source)
    result = deconvnet(command, source, "-o", other)
    one_error_line(result, 2, f"{other.name}: is the photo itself")
    assert source.read_bytes() == other.read_bytes() == before


def test_a_folder_that_cannot_be_written_to(deconvnet, tiny_weights, tmp_path):
    # Root may write to any folder of a disk, but not to those that the kernel makes up.
    folder = tmp_path / "locked" if os.geteuid() else Path("/sys")
    if os.geteuid():
        folder.mkdir(0o500)
    elif not folder.is_dir():
        pytest.skip("root may write everywhere here")
    source = photo(tmp_path / "a.jpg")
    out = folder / "labels.png"
    result = deconvnet("segment", source, "-o", out, "--weights", tiny_weights, "--quiet")
    one_error_line(result, 1, str(out), "cannot be written")
    result = deconvnet("batch", tmp_path, "-o", folder / "new", "--weights", tiny_weights)
    one_error_line(result, 1, str(folder / "new"), "cannot be made")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among files here")
def test_a_pipe_gets_the_labels_and_stays_a_pipe(deconvnet, tiny_weights, tmp_path):
    """A device or pipe, as /dev/stdout is, must not be replaced by a file."""
    source, pipe = photo(tmp_path / "a.jpg"), tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        result = deconvnet("segment", source, "-o", pipe, "--weights", tiny_weights)
        assert result.exit_code == 0, result.output
        assert pipe.is_fifo()
        assert os.read(reader, 1 << 16).startswith(b"\x89PNG")
    finally:
        os.close(reader)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("options", [("-o", "-"), ("--json", "--quiet")])
def test_standard_output_on_a_full_disk(tiny_weights, tmp_path, options):
    source = photo(tmp_path / "a.jpg")
    command = ("segment", source, "--weights", tiny_weights, *options)
    with open("/dev/full", "wb") as full:
        done = warm_python.run(["-c", MAIN + "main()", *command], stdout=full)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("deconvnet: standard output: cannot be written")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_file_on_a_full_disk(deconvnet, tiny_weights, tmp_path):
    target = tmp_path / "labels.png"
    target.symlink_to("/dev/full")
    source = photo(tmp_path / "a.jpg")
    result = deconvnet("segment", source, "-o", target, "--weights", tiny_weights)
    one_error_line(result, 1, "labels.png", "No space left")


def test_a_manifest_that_is_a_device_is_not_read_for_ever(deconvnet, tiny_weights, tmp_path):
    if not Path("/dev/zero").exists():
        pytest.skip("no such device")
    photo(tmp_path / "a.jpg")
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.jsonl").symlink_to("/dev/zero")
    options = ("-o", out, "--weights", tiny_weights, "--quiet")
    for more in ((), ("--dry-run",)):
        result = deconvnet("batch", tmp_path / "*.jpg", *options, *more)
        one_error_line(result, 1, "manifest.jsonl", "a pipe or device")
    one_error_line(deconvnet("batch", "-o", out, "--verify"), 1, "a pipe or device")


# Standard input and batches.


def test_bytes_that_are_no_photo_on_standard_input(deconvnet, tiny_weights):
    for data, words in ((b"", "empty"), (b"hello", "not an image")):
        result = deconvnet("segment", "-", "-o", "-", "--weights", tiny_weights, stdin=data)
        one_error_line(result, 1, "standard input", words)
        assert result.stdout_bytes == b""


def test_standard_input_to_a_file_with_a_json_line(deconvnet, tiny_weights, tmp_path):
    source, out = photo(tmp_path / "a.jpg"), tmp_path / "labels.png"
    arguments = ("segment", "-", "-o", out, "--json", "--quiet", "--weights", tiny_weights)
    result = deconvnet(*arguments, stdin=source.read_bytes())
    assert result.exit_code == 0 and result.stderr == ""
    (line,) = result.stdout.splitlines()
    fields = json.loads(line)
    assert (fields["image"], fields["output"]) == ("-", str(out))
    with Image.open(out) as labels:
        shares = np.bincount(np.array(labels).ravel()) / (60 * 40)
    assert sorted(fields["classes"].values()) == pytest.approx(sorted(shares[shares > 0]), abs=1e-4)


def test_a_list_that_cannot_be_read(deconvnet, tmp_path):
    one_error_line(deconvnet("batch", f"@{tmp_path}/no.txt", "-o", tmp_path / "out"), 2, "no.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    result = deconvnet("batch", f"@{tmp_path}/binary.txt", "-o", tmp_path / "out")
    one_error_line(result, 2, "binary.txt")


# VOC trees.


def test_a_wrong_voc_root(deconvnet, voc, tmp_path):
    """What its lists may lack is in tests/data/test_voc_lists.py."""
    (tmp_path / "JPEGImages").mkdir()
    for root, words in (
        (tmp_path / "gone", "no such folder"),
        (voc / "JPEGImages" / "p0.jpg", "no such folder"),
        (tmp_path, "SegmentationClass/ is missing"),
    ):
        one_error_line(deconvnet("evaluate", "--voc-root", root), 1, str(root), words)
