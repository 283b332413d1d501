"""Heat maps, colours of boxes and sheets, against figures by hand."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from helpers.html import contrast, images
from PIL import Image

from deconvnet_cli.explain import figures
from deconvnet_cli.explain.drawing import FAINT, box_colours, draw_proposals, free_place
from deconvnet_cli.explain.sheets import Picture, Scale, heat, ramp, sheet
from deconvnet_cli.reporting.html import rows, source, stylesheet


def test_many_boxes_have_colours_of_their_own():
    colours = box_colours(range(50))
    assert len(set(colours.values())) == 50 and colours[0] == (150, 150, 150)
    first = np.array([colours[number] for number in range(1, 9)], int)
    apart = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(8, dtype=int)
    assert apart.min() > 90


def test_entropy_by_hand():
    probabilities = np.zeros((4, 1, 5), np.float32)
    probabilities[0, 0, 0] = 1
    probabilities[:2, 0, 1] = 0.5
    probabilities[:, 0, 2] = 0.25
    probabilities[:3, 0, 3] = (0.5, 0.25, 0.25)
    probabilities[:2, 0, 4] = (0.9, 0.1)
    last = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert figures.entropy(probabilities)[0] == pytest.approx([0, 1, 2, 1.5, last], abs=1e-6)


def test_heat_maps_of_any_size():
    values = np.array([[0, 1], [2, 3]], np.float32)
    large = np.asarray(heat(values, Scale(0, 3, ""), (4, 4)))
    assert large.tolist() == np.kron([[0, 85], [170, 255]], np.ones((2, 2))).tolist()
    small = np.asarray(heat(np.kron(values, np.ones((4, 4))), Scale(0, 2, ""), (2, 2)))
    assert small.tolist() == [[0, 128], [255, 255]]  # beyond the scale is its end
    # Of the dots of an unpooling none is left out: four pixels make one.
    dots = np.kron(np.ones((3, 3)), np.array([[0, 0], [0, 4]]))
    assert (np.asarray(heat(dots, Scale(0, 4, ""), (3, 3))) == 64).all()
    assert (np.asarray(heat(values * 0, Scale(0, 0, ""), (2, 2))) == 0).all()
    lightness = ramp().astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > -1.5).all() and lightness[-1] > 230 and lightness[0] < 5


def test_a_sheet_holds_all_its_pictures():
    pictures = [
        Picture(Image.new("RGB", (40, 30), colour), "a caption that is too long for its line", "x")
        for colour in ("red", "lime", "blue")
    ]
    with Image.open(io.BytesIO(sheet(pictures, 2))) as image:
        counts = {colour: count for count, colour in image.convert("RGB").getcolors(1 << 20)}
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert counts[colour] == 40 * 30


def test_no_line_breaks_within_an_option():
    """In settings: ``<`` stays plain text, and words with hyphens may break."""
    found = rows({"the same with --crf": "<a-b> --crf-backend"})
    whole = '<span class="option">{}</span>'.format
    assert f">the same with {whole('--crf')}</th>" in found
    assert f"<td>&lt;a-b&gt; {whole('--crf-backend')}</td>" in found
    assert ".option { white-space: nowrap; }" in stylesheet("page.css")


def test_noise_can_be_embedded():
    noise = np.random.default_rng(0).integers(0, 255, (300, 480, 3), np.uint8)
    (found,) = images(f'src="{source(Image.fromarray(noise))}"')
    assert found.size == (480, 300)


def test_numbers_of_boxes_can_be_read():
    for colour in box_colours(range(9)).values():
        ink = "#1c1e21" if np.dot(colour, (0.299, 0.587, 0.114)) > 110 else "#ffffff"
        assert contrast("#" + bytes(colour).hex(), ink) >= 3


def test_the_first_ten_proposals_have_colours_and_numbers():
    photo = Image.new("RGB", (300, 200), (90, 90, 90))
    boxes = [(0, 0, 300, 200)] + [(20 * n, 10 * n, 20 * n + 40, 10 * n + 30) for n in range(1, 14)]
    drawn = np.asarray(draw_proposals(photo, boxes))
    assert drawn.shape == (200, 300, 3)
    for number, colour in box_colours(range(10)).items():
        assert (drawn == colour).all(-1).sum() > 100, number
    faint = (drawn == FAINT).all(-1)
    x0, y0, _, y1 = boxes[13]
    assert faint[y0 + 1 : y1, x0].all() and not faint[:100, :100].any()


def test_all_numbers_are_in_a_small_photo():
    """Those of boxes at its edges move where there is room, and cover no other."""
    photo = Image.new("RGB", (120, 160), (90, 90, 90))
    for x, y in ((112, 2), (112, 150), (2, 150)):
        drawn = np.asarray(draw_proposals(photo, [(x, y, x + 6, y + 6)] * 10))
        for number, colour in box_colours(range(10)).items():
            assert (drawn == colour).all(-1).sum() > 150, number


def test_a_tiny_photo_is_enlarged_so_that_numbers_do_not_cover_it():
    photo = Image.new("RGB", (64, 48), (90, 90, 90))
    drawn = np.asarray(
        draw_proposals(photo, [(4 * n, 3 * n, 4 * n + 9, 3 * n + 9) for n in range(10)])
    )
    assert drawn.shape == (144, 192, 3)
    faded = drawn[-1, 0]
    assert (drawn == faded).all(-1).mean() > 0.6
    assert draw_proposals(Image.new("RGB", (1, 3000)), [(0, 0, 1, 3000)]).height <= 9000


@pytest.mark.parametrize("seed", range(5))
def test_numbers_cover_no_other_while_there_is_room(seed):
    random = np.random.default_rng(seed)
    covered = np.zeros((160, 120), int)
    taken: list[tuple[int, int, int]] = []
    for wide in (20,) * 9 + (30,):
        corner = (int(random.integers(0, 120)), int(random.integers(0, 160)))
        left, top = free_place(corner, (wide, 20), (120, 160), taken)
        taken.append((left, top, wide))
        assert left >= 0 and top >= 0
        covered[top : top + 20, left : left + wide] += 1
    assert covered.max() == 1 and covered.sum() == 20 * (9 * 20 + 30)
    full = [(x, y, 20) for x in range(0, 120, 20) for y in range(0, 160, 20)]
    assert free_place((118, 159), (20, 20), (120, 160), full) == (100, 140)


def test_lines_of_proposals_grow_with_the_photo():
    def grey(factor: int) -> int:
        photo = Image.new("RGB", (640 * factor, 320 * factor), (90, 90, 90))
        drawn = np.asarray(draw_proposals(photo, [(0, 0, *photo.size)]))
        return int((drawn[:, 320 * factor] == (150, 150, 150)).all(-1).sum())

    assert (grey(1), grey(3)) == (6, 18)
