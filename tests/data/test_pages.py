"""``--page`` reads the page or frame that Pillow's own ``seek`` shows, and refuses others."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from helpers.paths import DATA
from helpers.photos import png_chunk
from helpers.tiffs import tiff
from PIL import Image, ImageOps

from deconvnet_cli import Segmenter
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.photo_values import photo_of
from deconvnet_cli.data.suffixes import reads_heif
from deconvnet_cli.errors import ImageError, UsageError

SIZE = (60, 40)


@pytest.fixture(scope="module")
def pictures():
    """Three pictures that differ, with a white corner: full scale is the scale of 8 bits."""
    with Image.open(DATA / "chelsea.jpg") as photo:
        small = np.asarray(photo.convert("RGB").resize(SIZE)).copy()
    small[:4, :4] = 255
    return [small, small[::-1].copy(), small[:, ::-1].copy()]


def saved(kind: str, frames: list[np.ndarray], **options: object) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()


def read(data: bytes, page: int | None = None) -> np.ndarray:
    return np.asarray(read_photo(data, "many.tif", page=page))


def by_pillow(data: bytes, page: int) -> np.ndarray:
    """Return a page as Pillow seeks it, upright and on black."""
    with Image.open(io.BytesIO(data)) as image:
        image.seek(page - 1)
        upright = ImageOps.exif_transpose(image.convert("RGBA"))
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, upright).convert("RGB"))


def refusal(data: bytes, page: int) -> str:
    with pytest.raises(ImageError) as caught:
        read(data, page)
    return str(caught.value)


@pytest.mark.parametrize("kind, options", [
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"big_tiff": True}),  # of Pillow 11.1 and later
    ("GIF", {}),
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("MPO", {}),
])  # fmt: skip
def test_each_page_is_that_of_pillow(pictures, kind, options, capsys):
    data = saved(kind, pictures, **options)
    for page in (1, 2, 3):
        assert np.array_equal(read(data, page), by_pillow(data, page))
        near = [np.abs(read(data, page).astype(int) - other).mean() for other in pictures]
        assert np.argmin(near) == page - 1
    assert capsys.readouterr().err == ""
    assert np.array_equal(read(data), by_pillow(data, 1))
    pages = "pages" if kind == "TIFF" else "frames"
    assert capsys.readouterr().err == (
        f"deconvnet: many.tif: has several {pages}; the first is read; "
        "`deconvnet segment` and `batch` read another with --page N\n"
    )
    assert refusal(data, 4) == "many.tif: has 3 pages; give --page 1 to 3"


def test_frames_that_change_a_part_are_whole(pictures):
    first = Image.fromarray(pictures[0]).quantize(64)
    second = first.copy()
    second.paste(7, (10, 5, 30, 20))
    third = second.copy()
    third.paste(9, (40, 30, 50, 35))
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[second, third])
    data = buffer.getvalue()
    # The file holds only the boxes that change.
    assert b"\x2c" + np.array([10, 5, 20, 15], "<u2").tobytes() in data
    for page, frame in enumerate((first, second, third), 1):
        assert np.array_equal(read(data, page), np.asarray(frame.convert("RGB")))
        assert np.array_equal(read(data, page), by_pillow(data, page))


def test_clear_frames_are_put_on_black(pictures):
    alpha = np.full((40, 60, 1), 255, np.uint8)
    alpha[10:20, 10:30] = 0
    frames = [np.concatenate([picture, alpha], -1) for picture in pictures]
    for kind in ("GIF", "PNG", "WEBP"):
        data = saved(kind, frames, disposal=2) if kind != "WEBP" else saved(kind, frames)
        assert np.array_equal(read(data, 2), by_pillow(data, 2))
        assert not read(data, 2)[12:18, 12:28].any()


def test_pages_of_16_bits(pictures):
    greys = [np.asarray(Image.fromarray(picture).convert("L")) for picture in pictures]
    for values in (greys, pictures):
        deep = [picture.astype("u2") * 257 for picture in values]
        packed = cv2.imencodemulti(".tif", deep, (cv2.IMWRITE_TIFF_COMPRESSION, 5))[1].tobytes()
        # OpenCV writes and reads blue first.
        turned = [picture[..., ::-1] if picture.ndim == 3 else picture for picture in deep]
        for data, pages in ((tiff(*deep), deep), (tiff(*deep, order=">"), deep), (packed, turned)):
            for page, wanted in enumerate(pages, 1):
                shown = wanted[..., None] if wanted.ndim == 2 else wanted
                assert np.array_equal(read(data, page), np.broadcast_to(shown // 257, (40, 60, 3)))
    with Image.open(io.BytesIO(tiff(*(grey.astype("u2") * 257 for grey in greys)))) as image:
        image.seek(1)
        assert np.array_equal(np.asarray(image) // 257, greys[1])


def test_pages_of_several_kinds(pictures):
    grey = np.asarray(Image.fromarray(pictures[1]).convert("L"))
    data = tiff(pictures[0], grey.astype("u2")[::2] * 257, (pictures[2] / 255).astype("f4"))
    assert np.array_equal(read(data, 1), pictures[0])
    assert read(data, 2).shape == (20, 60, 3) and np.array_equal(read(data, 2)[..., 0], grey[::2])
    assert np.array_equal(read(data, 3), pictures[2])


def test_thumbnails_are_no_pages(pictures, capsys):
    data = tiff(pictures[0][::4, ::4], pictures[0], pictures[1], tags={254: (1,)})
    assert np.array_equal(read(data), pictures[0])
    assert "has several pages" in capsys.readouterr().err
    assert np.array_equal(read(data, 1), pictures[0])
    assert np.array_equal(read(data, 2), pictures[1])
    assert "has 2 pages" in refusal(data, 3)


def test_a_page_that_follows_itself_is_one_page(pictures):
    data = bytearray(tiff(pictures[0].astype("u2") * 257))
    data[-4:] = data[4:8]  # where the first page is, in the place of "no page follows"
    assert np.array_equal(read(bytes(data)), pictures[0])
    assert "has 1 page" in refusal(bytes(data), 2)


def test_more_pages_than_a_hundred():
    pages = [np.full((2, 2), number, np.uint8) for number in range(150)]
    assert read(tiff(*pages), 150)[0, 0, 0] == 149
    assert "has 150 pages" in refusal(tiff(*pages), 151)


def test_one_page(pictures):
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(pictures[0]).save(buffer, kind)
        data = buffer.getvalue()
        assert np.array_equal(read(data, 1), read(data))
        assert refusal(data, 2) == "many.tif: has 1 page; leave out --page"
    deep = cv2.imencode(".png", pictures[0].astype("u2") * 257)[1].tobytes()
    assert np.array_equal(read(deep, 1), read(deep))
    assert "has 1 page" in refusal(deep, 2)


def test_frames_of_a_deep_animation_are_refused(pictures):
    """Pillow keeps 8 of their 16 bits, and OpenCV reads the first alone."""
    small = pictures[0][:10, :20]
    data = cv2.imencode(".png", small[..., ::-1].astype("u2") * 257)[1].tobytes()
    place = data.index(b"IDAT") - 4
    length = int.from_bytes(data[place : place + 4], "big")
    whole = data[place : place + 12 + length]
    frame = struct.pack(">IIIIHHBB", 20, 10, 0, 0, 1, 2, 0, 0)
    moving = (
        data[:place]
        + png_chunk(b"acTL", struct.pack(">II", 2, 0))
        + png_chunk(b"fcTL", struct.pack(">I", 0) + frame)
        + whole
        + png_chunk(b"fcTL", struct.pack(">I", 1) + frame)
        + png_chunk(b"fdAT", struct.pack(">I", 2) + whole[8:-4])
        + png_chunk(b"IEND", b"")
    )
    assert len(data) == place + len(whole) + 12  # one chunk of pixels
    with Image.open(io.BytesIO(moving)) as image:
        assert image.n_frames == 2
    assert np.array_equal(read(moving, 1), small)
    assert "an animation of over 8 bits; give --page 1" in refusal(moving, 2)


def test_a_later_frame_is_within_the_limits(pictures):
    large = np.zeros((400, 600, 3), np.uint8)
    data = tiff(pictures[0], large)
    assert read_photo(data, "a.tif", max_pixels=5000, page=1).size == SIZE
    with pytest.raises(ImageError, match=r"a\.tif: 600x400 pixels"):
        read_photo(data, "a.tif", max_pixels=5000, page=2)


def test_damaged_frames(pictures):
    gif, png = saved("GIF", pictures), saved("PNG", pictures)
    for data in (gif[: len(gif) * 2 // 3], png[: len(png) * 2 // 3]):
        assert refusal(data, 3).startswith("many.tif: ")


@pytest.mark.skipif(not reads_heif(), reason="pillow-heif is not installed")
def test_bursts(pictures, capsys):
    from pillow_heif import from_pillow

    burst = from_pillow(Image.fromarray(pictures[0]))
    for picture in pictures[1:]:
        burst.add_from_pillow(Image.fromarray(picture))
    buffer = io.BytesIO()
    burst.save(buffer, quality=-1, primary_index=1)
    data = buffer.getvalue()
    assert np.abs(read(data).astype(int) - pictures[1]).mean() < 3
    assert "several frames; the main one is read" in capsys.readouterr().err
    for page, picture in enumerate(pictures, 1):
        assert np.abs(read(data, page).astype(int) - picture).mean() < 3
    assert "has 3 pages" in refusal(data, 4)


def test_from_python(pictures, tiny_weights, tmp_path):
    path = tmp_path / "many.tif"
    path.write_bytes(tiff(*pictures))
    segmenter = Segmenter.load(str(tiny_weights), proposals=1)
    wanted = segmenter.segment(pictures[1])
    found = segmenter.segment(path, page=2)
    assert np.array_equal(np.asarray(found.photo), pictures[1])
    assert np.array_equal(found.labels, wanted.labels)
    with open(path, "rb") as file:
        assert np.array_equal(np.asarray(photo_of(file, 3)), pictures[2])
    assert np.array_equal(np.asarray(photo_of(path.read_bytes(), 3)), pictures[2])
    with pytest.raises(ImageError, match=r"many\.tif: has 3 pages; give page 1 to 3$"):
        segmenter.segment(path, page=4)
    with pytest.raises(ImageError, match="ndarray: has no pages to choose from"):
        segmenter.segment(pictures[0], page=2)
    with pytest.raises(UsageError, match="page=0: must be a whole number above 0"):
        segmenter.segment(path, page=0)
