"""The page of an evaluation: what it says, what its images show, how a browser draws it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.html import Outline, contrast, drawn, images, said_by, self_contained
from PIL import Image

from deconvnet_cli.evaluation import metrics
from deconvnet_cli.evaluation.html import Example, Row, page
from deconvnet_cli.evaluation.tally import Result
from deconvnet_cli.reporting.label_images import error_map

ODD = "<b>&x\"'"  # must never be seen as HTML
# Of background, aeroplane, person and void, as overlays show them.
BLACK, ORANGE, VERMILION, PALE = (0, 0, 0), (230, 159, 0), (213, 94, 0), (226, 228, 232)
RED = (205, 20, 35)


def result(counts: np.ndarray, interval: tuple[float, float] = (0.5, 0.75)) -> Result:
    scores = metrics.metrics_of(counts)
    boundary = tuple(None if value is None else value / 2 for value in scores.iou)
    return Result(7, scores, boundary, scores.mean_iou / 2, interval, None, counts)


def counts(right: int) -> np.ndarray:
    """Background always right; of 1000 aeroplane pixels ``right`` ones, the rest are persons."""
    matrix = np.zeros((21, 21), np.int64)
    matrix[0, 0] = 5000
    matrix[1, 1], matrix[1, 15] = right, 1000 - right
    return matrix


ROWS = (Row("plain", result(counts(700)), 69.6), Row("plain + CRF", result(counts(900)), 72.5))


def example(name: str = "2007_000033") -> Example:
    """Blocks of 8 pixels, as JPEG has them: right, wrong, right, wrong, void."""
    truth = np.repeat(np.array([[0, 0, 1, 1, 255]], np.uint8), 8, axis=1).repeat(16, axis=0)
    guess = np.repeat(np.array([[0, 15, 1, 0, 1]], np.uint8), 8, axis=1).repeat(16, axis=0)
    return Example(name, 0.4321, Image.new("RGB", (40, 16), (200, 40, 90)), truth, guess)


def cells(text: str, name: str) -> list[str]:
    """The cells beside a row's name, in the first table that has it."""
    found = re.search(rf'<th scope="row">(?:<i [^>]*></i>)?{re.escape(name)}</th>(.*?)</tr>', text)
    assert found
    parts = re.findall(r"<td[^>]*>(.*?)</td>", found[1])
    return [html.unescape(re.sub("<[^>]*>", "", part)) for part in parts]


def test_self_contained_and_balanced() -> None:
    about = {"settings": {"url": "https://example.org/x"}}
    text = page("Evaluation", ROWS, [example()], [example()], about)
    outline = self_contained(text)
    assert len(outline.of("img")) == 8
    assert outline.of("html") == [{"lang": "en"}]
    assert len(outline.of("caption")) == len(outline.of("table")) == 6
    assert all(head.get("scope") for head in outline.of("th"))
    assert any(meta.get("name") == "viewport" for meta in outline.of("meta"))


def test_table_says_what_was_measured_and_what_was_not() -> None:
    text = page("Evaluation", ROWS, [], [], {})
    # Three classes are seen: 5000 of 5000 right, 900 of 1000, and person with none.
    assert cells(text, "plain + CRF") == [
        "63.33", "50.00 to 75.00", "3 of 21", "98.33", "95.00", "98.33", "31.67", "72.5",
    ]  # fmt: skip
    assert "reported in the paper, its own weights, VOC 2012 test (not measured here)" in text
    assert "mean IoU <strong>63.33 %</strong>" in text and "over 7 photos" in text
    assert Outline(text).of("figure") == [] and "Best photos" not in text


def test_without_reported_values_there_is_no_such_column() -> None:
    text = page("Evaluation", [replace(row, reported=None) for row in ROWS], [], [], {})
    assert "reported" not in text and "not measured" not in text
    assert cells(text, "plain")[-1] == "28.33"


def test_the_last_of_the_best_rows_is_shown_first() -> None:
    rows = [Row(name, result(counts(800))) for name in ("first", "second")]
    text = page("Evaluation", [*rows, Row("third", result(counts(100)))], [], [], {})
    assert "<h2>Classes: second</h2>" in text and "<h2>Confusion: second</h2>" in text
    assert re.findall("<summary>.*?: (.*)</summary>", text) == ["first", "third"]


def test_classes_and_marks() -> None:
    text = page("Evaluation", ROWS, [], [], {})
    first = text[text.index("<h2>Classes") :]
    assert cells(first, "aeroplane") == ["", "90.0", "45.0", "–"]  # noqa: RUF001
    assert cells(first, "person") == ["", "0.0", "0.0", "–"]  # noqa: RUF001
    assert cells(first, "cat") == ["", "absent", "–", "–"]  # noqa: RUF001
    known = replace(ROWS[0].result, photos=tuple(range(21)))
    text = page("Evaluation", [Row("plain", known)], [], [], {})
    assert cells(text[text.index("<h2>Classes") :], "person")[-1] == "15"
    bar = re.search(r">aeroplane</th>.*", first)
    assert bar and re.findall(r'class="(m\d)" style="--at:([\d.]+)%"', bar[0]) == [
        ("m0", "90.0"),
        ("m1", "70.0"),
    ]


def test_confusion_is_a_share_of_the_true_class() -> None:
    matrix = counts(900)
    matrix[1, 2], matrix[1, 1] = 9, 891  # 0.9 %: too little for a number
    matrix[2, 2], matrix[2, 3] = 99, 1  # 1 % exactly
    text = page("Evaluation", [Row("one", result(matrix))], [], [], {})
    text = text[text.index("<h2>Confusion") :]
    assert cells(text, "aeroplane") == ["", "89", *[""] * 13, "10", *[""] * 5]
    assert cells(text, "bicycle") == ["", "", "99", "1", *[""] * 17]
    assert cells(text, "bird") == ["absent from the truth"]
    assert '<td class="h8">89</td>' in text and '<td class="h4">10</td>' in text


def test_names_and_values_are_escaped() -> None:
    rows = [Row(ODD, result(counts(500))), Row("best" + ODD, result(counts(600)))]
    about = {ODD: {ODD: ODD, "nested": {ODD: [1, ODD]}, "none": None}}
    text = page(ODD, rows, [example(ODD)], [example(ODD)], about)
    outline = Outline(text)
    # The one <b> of an example's caption; none out of a name.
    assert len(outline.of("b")) == 2
    assert outline.of("img")[0]["alt"] == f"Photo {ODD}"
    assert "".join(outline.text).count(ODD) >= 10


def test_settings_nest() -> None:
    more = {"on": True, "path": Path("x"), "mean": (128.0, 0.5), "none": None, "nothing": {}}
    text = page("E", ROWS, [], [], {"crf": {"gauss": [3, 3], "more": more}})
    table = text[text.index('<table class="settings">') :]
    found = re.findall(
        r'scope="(\w+)" style="--depth:(\d)"[^>]*>(\w+)</th>(?:<td>(.*?)</td>)?', table
    )
    assert found == [
        ("row", "0", "gauss", "3, 3"), ("rowgroup", "0", "more", ""), ("row", "1", "on", "yes"),
        ("row", "1", "path", "x"), ("row", "1", "mean", "128, 0.5"),
    ]  # fmt: skip


def test_embedded_images() -> None:
    text = page("Evaluation", ROWS, [example()], [], {})
    photo, truth, guess, errors = images(text)
    assert [image.format for image in (photo, truth, guess, errors)] == [
        "JPEG", "PNG", "PNG", "JPEG",
    ]  # fmt: skip
    assert {image.size for image in (photo, truth, guess, errors)} == {(40, 16)}
    assert near(photo.getpixel((20, 8)), (200, 40, 90))
    middles = [(4 + 8 * block, 8) for block in range(5)]
    assert truth.mode == guess.mode == "P"
    truth, guess = truth.convert("RGB"), guess.convert("RGB")
    assert [truth.getpixel(at) for at in middles] == [BLACK, BLACK, ORANGE, ORANGE, PALE]
    assert [guess.getpixel(at) for at in middles] == [BLACK, VERMILION, ORANGE, BLACK, ORANGE]
    grey = (0.299 * 200 + 0.587 * 40 + 0.114 * 90 + 255) / 2
    faded = (grey, grey, grey)
    # The last block is void in the truth: no error whatever is predicted.
    for at, colour in zip(middles, (faded, RED, faded, RED, faded), strict=True):
        assert near(errors.getpixel(at), colour)
    assert "wrong in red: 50.0 %" in text and "mean IoU 43.2 %" in text


def near(pixel: object, colour: tuple[float, ...]) -> bool:
    return bool(np.abs(np.subtract(pixel, colour)).max() <= 6)  # type: ignore[call-overload]


def test_legend_leaves_out_what_is_predicted_where_the_truth_is_void() -> None:
    """Such a label does not count, and may be of no class at all."""
    odd = example()
    odd.prediction[odd.truth == 255] = 30
    assert page("Evaluation", ROWS, [odd], [], {}).count('class="legend"') > 0


def test_legend_names_what_occurs() -> None:
    text = page("Evaluation", ROWS, [example()], [], {})
    legend = re.findall(r'<ul class="legend">(.*?)</ul>', text)[-1]
    colours = re.findall(r"background:(#\w+)\"></i>([^<]*)</li>", legend)
    assert colours == [
        ("#000000", "background"),
        ("#e69f00", "aeroplane"),
        ("#d55e00", "person (prediction only)"),
        ("#e2e4e8", "void"),
    ]


def test_wide_images_shrink_without_new_labels() -> None:
    truth = np.zeros((40, 960), np.uint8)
    truth[:, 480:] = 15
    photo = Image.new("RGB", (960, 40))
    text = page("Evaluation", ROWS, [], [Example("wide", 1.0, photo, truth, truth)], {})
    small = images(text)
    assert {image.size for image in small} == {(480, 20)}
    assert set(np.unique(np.asarray(small[1]))) == {0, 15}
    assert 'width="480" height="20"' in text


def test_error_map_of_any_pixels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 1, 255], np.uint8), (30, 50))
    guess = rng.choice(np.array([0, 1], np.uint8), (30, 50))
    pixels = np.asarray(error_map(Image.new("RGB", (50, 30), "white"), truth, guess))
    for row, column in np.ndindex(truth.shape):
        wrong = truth[row, column] in (0, 1) and truth[row, column] != guess[row, column]
        assert tuple(pixels[row, column]) == (RED if wrong else (255, 255, 255))


def test_an_image_of_void_alone() -> None:
    void = np.full((8, 8), 255, np.uint8)
    text = page("E", ROWS, [Example("v", 0.0, Image.new("RGB", (8, 8)), void, void * 0)], [], {})
    assert "wrong in red: 0.0 %" in text


def test_text_has_the_contrast_of_wcag_aa() -> None:
    text = page("Evaluation", ROWS, [], [], {})
    blocks = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    assert len(blocks) == 4  # light and dark, in base.css and in page.css
    for light_or_dark in (0, 1):
        block = blocks[light_or_dark] + blocks[light_or_dark + 2]
        colours = dict(re.findall(r"--([\w-]+): (#\w{6});", block))
        pairs = [(ink, paper) for ink in ("ink", "faint") for paper in ("paper", "card")]
        pairs += [("low-ink", f"h{step}") for step in range(1, 6)]
        pairs += [("high-ink", f"h{step}") for step in range(6, 9)]
        for ink, paper in pairs:
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
        # Shapes need less than text.
        assert contrast(colours["mark"], colours["bar"]) >= 3
        assert contrast(colours["mark"], colours["paper"]) >= 3


@pytest.fixture(scope="module")
def full() -> str:
    """A page with all parts, long names too."""
    rows = [*ROWS, Row("w" * 90, result(counts(10)), 1.0)]
    about = {"settings": {"path": "/" + "long" * 60, "nested": {"key" * 20: {"deep": "x" * 200}}}}
    return page("Evaluation", rows, [example()] * 2, [example("n" * 120)], about)


@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (390, False)])
@pytest.mark.browser
def test_a_browser_draws_it(browser, full, tmp_path, width, dark) -> None:
    picture = drawn(browser, tmp_path, full, (width, 2600), dark=dark)
    assert picture.size == (width, 2600)
    paper = picture.getpixel((1, 1))
    assert paper == ((21, 23, 27) if dark else (255, 255, 255))
    colours = {colour: count for count, colour in picture.getcolors(1 << 24) or []}
    # Words, the bars' blue, the labels' colours: all there in either scheme.
    bar = (63, 107, 163) if dark else (136, 171, 218)
    for colour in (bar, ORANGE, VERMILION):
        assert colours.get(colour, 0) > 50
    assert 0.02 < 1 - colours[paper] / (width * 2600) < 0.6


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_screen(browser, full, tmp_path, width) -> None:
    script = """
        const four = all(".four img").slice(0, 4);
        const tops = four.map(image => Math.round(image.getBoundingClientRect().top));
        return [
            page.documentElement.scrollWidth,
            page.body.scrollWidth,
            new Set(tops).size,
            all("img").every(i => i.naturalWidth > 0),
        ];"""
    text = full.replace("<details>", "<details open>")
    # The four pictures of an image stand in one line, on a phone in two.
    lines = 1 if width > 640 else 2
    assert said_by(browser, tmp_path, text, width, script) == [width, width, lines, True]
