"""``--page`` of the commands that read photos, and what it means for later runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.photos import pixels
from helpers.tiffs import tiff
from PIL import Image

from deconvnet_cli.data.images import read_photo


@pytest.fixture
def pages(data, tmp_path):
    """A 16-bit TIFF of two pages, and each page as a PNG."""
    picture = np.asarray(read_photo(data / "chelsea.jpg").resize((60, 40))).copy()
    picture[:4, :4] = 255
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "many.tif").write_bytes(
        tiff(*(page.astype("u2") * 257 for page in (picture, picture[::-1])))
    )
    for number, page in enumerate((picture, picture[::-1]), 1):
        Image.fromarray(page).save(tmp_path / f"{number}.png")
    return photos / "many.tif"


@pytest.fixture
def options(lively_weights):
    return ("--weights", lively_weights, "--proposals", 3, "--quiet")


def test_segment_and_explain_take_the_page(deconvnet, pages, options, tmp_path):
    wanted = {}
    for number in (1, 2):
        target = tmp_path / f"labels-{number}.png"
        photo = tmp_path / f"{number}.png"
        assert deconvnet("segment", photo, "-o", target, *options).exit_code == 0
        wanted[number] = target.read_bytes()
    assert wanted[1] != wanted[2]
    found = tmp_path / "found.png"
    for number in (1, 2):
        result = deconvnet("segment", pages, "-o", found, "--page", number, *options)
        assert (result.exit_code, result.stderr) == (0, "")
        assert found.read_bytes() == wanted[number]
    assert deconvnet("segment", pages, "-o", found, *options).exit_code == 0
    assert found.read_bytes() == wanted[1]
    out = tmp_path / "explained"
    assert deconvnet("explain", pages, "-o", out, "--page", 2, *options).exit_code == 0
    assert (out / "labels.png").read_bytes() == wanted[2]


def test_proposals_take_the_page(deconvnet, pages, tmp_path):
    found = [deconvnet("proposals", pages, "--page", number).stdout for number in (1, 2)]
    alone = [deconvnet("proposals", tmp_path / f"{number}.png").stdout for number in (1, 2)]
    boxes = [json.loads(text)["boxes"] for text in (*found, *alone)]
    assert boxes[:2] == boxes[2:] and boxes[0] != boxes[1]


def test_a_page_that_is_missing(deconvnet, pages, tiny_weights, tmp_path):
    for name in ("segment", "explain"):
        more = ("-o", tmp_path / "out.d", "--weights", tiny_weights, "--page", 3)
        one_error_line(deconvnet(name, pages, *more), 1, "many.tif: has 2 pages", "--page 1 to 2")
    result = deconvnet("segment", tmp_path / "1.png", "--page", 2, "--weights", tiny_weights)
    one_error_line(result, 1, "1.png: has 1 page; leave out --page")
    assert deconvnet("segment", pages, "--page", 0).exit_code == 2


def test_a_batch_of_another_page_is_done_anew(deconvnet, pages, options, tmp_path):
    out, scores = tmp_path / "out", tmp_path / "refined"

    def plan(*more: object) -> str:
        dry_run = ("batch", pages.parent, "-o", out, *options[:-1], *more, "--dry-run")
        return deconvnet(*dry_run).output

    batch = ("batch", pages.parent, "-o", out, "--save-scores", *options)
    assert deconvnet(*batch, "--page", 1).exit_code == 0
    first = pixels(out / "many.png")
    assert "0 to do, 1 done" in plan() and "0 to do, 1 done" in plan("--page", 1)
    assert "other settings" in plan("--page", 2)
    assert deconvnet(*batch, "--page", 2).exit_code == 0
    second = pixels(out / "many.png")
    assert "0 to do, 1 done" in plan("--page", 2)
    assert "other settings" in plan()
    assert not np.array_equal(first, second)

    # The CRF is given the colours of the page that the scores are of.
    assert deconvnet("crf", out, "-o", scores, "--quiet").exit_code == 0
    wanted = tmp_path / "wanted.png"
    alone = ("segment", tmp_path / "2.png", "-o", wanted, "--crf", *options)
    assert deconvnet(*alone).exit_code == 0
    assert (pixels(scores / "many.png") == pixels(wanted)).mean() > 0.99
