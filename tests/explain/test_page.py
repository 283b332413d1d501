"""The page and pictures of an explanation: what they show, and how a browser draws them."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.html import Outline, drawn, said_by, self_contained
from PIL import Image

from deconvnet_cli.choices import MERGES
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.explain import decoder_figures, figures
from deconvnet_cli.explain.drawing import box_colours
from deconvnet_cli.explain.explanation import Explanation, explain
from deconvnet_cli.explain.page import rendered
from deconvnet_cli.explain.parts import DECIDES
from deconvnet_cli.reporting.html import page_colours
from deconvnet_cli.segmentation.settings import ProposalSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, describe
from deconvnet_cli.weights.files import load

ODD = "<b>&x\"'.jpg"  # must never be seen as HTML
SETTINGS = SegmentSettings(12, boxes=ProposalSettings(min_side=50.0))


@pytest.fixture(scope="module")
def found(data: Path, lively_weights: Path) -> Explanation:
    """A photo with smooth labels of three classes, so that pictures are no noise."""
    photo = read_photo(data / "astronaut.jpg").resize((100, 80))
    system = System(load(str(lively_weights))).ready(torch.device("cpu"), "fp32")
    noisy = explain(photo, system, SETTINGS, class_name="person")
    before = np.zeros((80, 100), np.uint8)
    before[20:70, 10:50], before[30:60, 55:95] = 15, 8
    after = before.copy()
    after[20:22, 10:50] = 0
    decided = np.zeros((80, 100), np.int16)
    decided[:40, 30:], decided[60:, :20], decided[:10, :10] = 3, 7, -1
    growth = {count: before if count == 12 else before * 0 for count in noisy.growth}
    return replace(
        noisy, before=before, after=after, decided=decided, growth=growth,
        result=replace(noisy.result, labels=before),
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(found: Explanation, lively_weights: Path) -> dict[str, bytes]:
    system = System(load(str(lively_weights)))
    return rendered(found, ODD, describe(system, SETTINGS))


@pytest.fixture(scope="module")
def text(files: dict[str, bytes]) -> str:
    return files["index.html"].decode()


def test_one_page_that_needs_nothing_else(text):
    outline = self_contained(text)
    assert "//" not in re.sub(r"base64,[^\"]+", "", text)
    assert f"Why {ODD} got its labels" in "".join(outline.text)


def test_the_page_has_each_part_and_states_its_rules(text):
    said = html.unescape(" ".join(Outline(text).text))
    for words in (
        "fills in the shape: person", "grows with the boxes", "The box that decided each pixel",
        "The merged map of each class", "Confidence and entropy", "Before and after the CRF",
        "figure 4", "figure 6", "unpool5: 14 x 14", "deconv1_2: 224 x 224", "correlates best",
        "decided most pixels", "12 boxes", "its switch and unpooling",
        "Unpooling puts it at the switch", "--rule context", "entropy in bits",
        "changed in red: 1.0 %", DECIDES["max"],
    ):  # fmt: skip
        assert words in said, words
    assert set(DECIDES) == set(MERGES)
    # One heat map a class and no other, on one scale.
    assert re.findall(r"(\w+): [\d.]+ % of pixels", said) == ["background", "person", "cat"]


def test_the_labels_are_laid_over_the_photo(found):
    photo, labels, both = (
        np.asarray(each.image, np.int64) for each in figures.photo_and_labels(found)
    )
    assert np.array_equal(labels, found.before)  # this photo is small, and shown as it is
    changed = (both != photo).any(axis=2)
    assert not changed[labels == 0].any()
    assert changed[labels > 0].mean() > 0.9


def test_the_crop_of_the_explained_box_is_shown(found):
    crop = decoder_figures.activations(found)[0].image
    assert crop.size == (224, 224) == found.explained.crop.size
    sizes = [part.values.shape[0] for part in found.explained.activations]
    assert sizes == [7, 14, 14, 28, 28, 56, 56, 112, 112, 224, 224]
    assert len(decoder_figures.activations(found)) == len(sizes) + 2


def test_growth_ends_with_the_labels(found, files):
    frames = figures.growth(found)
    assert [frame.caption for frame in frames] == [
        "1 box, the whole photo",
        "5 boxes: 0.0 % of the labels changed",
        "10 boxes: 0.0 % of the labels changed",
        "12 boxes: 40.0 % of the labels changed",
    ]
    assert np.array_equal(np.asarray(frames[-1].image), found.before)
    refined = figures.growth(replace(found, refined=True, system="edeconvnet"))
    assert np.array_equal(np.asarray(refined[-1].image), found.after)
    assert len(refined) == len(frames) + 2
    # The strip has all frames side by side; its last is the labels.
    with Image.open(io.BytesIO(files["progress.png"])) as strip:
        wide, gap = 100, 12
        assert strip.width == 4 * (wide + gap) + gap
        last = strip.crop((gap + 3 * (wide + gap), gap, gap + 3 * (wide + gap) + wide, gap + 80))
        assert np.array_equal(np.asarray(last), page_colours(found.classes)[found.before])


def test_boxes_and_what_they_decided_have_the_same_colours(found):
    drawn, decided = (
        np.asarray(picture.image.convert("RGB")) for picture in figures.deciders(found)
    )
    ranked = figures.ranking(found)
    assert [number for number, _ in ranked] == [0, 3, 7]
    assert sum(share for _, share in ranked) == pytest.approx(1 - 100 / 8000)
    colours = box_colours([number for number, _ in ranked])
    assert drawn.shape == decided.shape
    for colour in colours.values():
        assert (drawn == colour).all(-1).sum() > 100
    # Where no outline runs, a pixel has its box's colour; boxes beyond the edge make a margin.
    boxes = [found.boxes[number] for number in colours]
    margin = max(max(-x0, -y0, x1 - 100, y1 - 80) for x0, y0, x1, y1 in boxes)
    zoom = decided.shape[1] / (100 + 2 * margin)
    for x, y, number in ((80, 10, 3), (5, 75, 7), (30, 65, 0)):
        at = int((y + 0.5 + margin) * zoom), int((x + 0.5 + margin) * zoom)
        assert tuple(decided[at]) == colours[number]
    at = int((4.5 + margin) * zoom), int((4.5 + margin) * zoom)
    assert tuple(decided[at]) == (255, 255, 255)  # nobody


def test_nobody_decided_anything(found):
    empty = replace(found, decided=np.full((80, 100), -1, np.int16))
    assert figures.ranking(empty) == []
    boxes, decided = figures.deciders(empty)
    assert boxes.image.size == decided.image.size == (100, 80)


def test_confidence_and_entropy_are_of_the_merged_probabilities(found):
    _, confidence, bits = figures.doubt(found)
    softmax = np.exp(found.maps.merged().numpy().astype(np.float64))
    softmax /= softmax.sum(0)
    largest = np.asarray(confidence.image)
    assert np.abs(largest / 255 - softmax.max(0)).max() < 0.003
    entropy = -(softmax * np.log2(softmax)).sum(0)
    assert bits.scale is not None and bits.scale.high == pytest.approx(entropy.max(), abs=1e-4)
    assert np.abs(np.asarray(bits.image) / 255 * bits.scale.high - entropy).max() < 0.02


def test_score_maps_are_those_of_the_classes(found):
    for label, picture in zip(found.present, figures.class_maps(found), strict=True):
        assert picture.scale is not None and picture.scale.unit == "logit"
        shown = np.asarray(picture.image) / 255 * picture.scale.high
        assert np.abs(shown - found.maps.merged()[label].numpy()).max() <= picture.scale.high / 500


def test_changed_pixels_are_red(found):
    before, after, changed = (picture.image for picture in figures.refinement(found))
    assert np.array_equal(np.asarray(before), found.before)
    assert np.array_equal(np.asarray(after), found.after)
    red = (np.asarray(changed) == (205, 20, 35)).all(-1)
    assert np.array_equal(red, found.before != found.after)


def test_the_film_shows_each_frame(found, files):
    with Image.open(io.BytesIO(files["progress.gif"])) as film:
        assert film.info["loop"] == 0 and film.size == (100, 80)
        assert film.n_frames == 2  # frames that are the same are one that stays longer
        film.seek(1)
        assert np.array_equal(
            np.asarray(film.convert("RGB")), page_colours(found.classes)[found.before]
        )


@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (390, False)])
def test_a_browser_draws_it(browser, text, tmp_path, width, dark) -> None:
    high = 5600
    page = text.replace("<details>", "<details open>")
    picture = drawn(browser, tmp_path, page, (width, high), dark=dark)
    paper = picture.getpixel((1, 1))
    assert paper == ((21, 23, 27) if dark else (255, 255, 255))
    colours = {colour: count for count, colour in picture.getcolors(1 << 24) or []}
    person, cat, whole = (213, 94, 0), (240, 228, 66), (150, 150, 150)
    for colour in (person, cat, whole) if width > 640 else (person, cat):  # the rest is below
        assert colours.get(colour, 0) > 500
    assert 0.1 < 1 - colours[paper] / (width * high) < 0.9


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_screen(browser, text, tmp_path, width) -> None:
    script = """
        all("details").forEach(each => { each.open = true; });
        const tops = all(".four")[0].querySelectorAll("figure");
        return [
            page.documentElement.scrollWidth,
            [...tops].filter(each => each.offsetTop == tops[0].offsetTop).length,
            all("img").every(i => i.naturalWidth > 0 && i.getBoundingClientRect().width > 80),
            all(".ramp i").every(i => i.getBoundingClientRect().width > 30),
        ];"""
    first = 4 if width > 640 else 2
    assert said_by(browser, tmp_path, text, width, script) == [width, first, True, True]


@pytest.mark.parametrize(("share", "text"), [
    (0, "0.0 %"),
    (1e-9, "under 0.1 %"),
    (0.0004, "under 0.1 %"),
    (0.0006, "0.1 %"),
    (1, "100.0 %"),
])  # fmt: skip
def test_a_share_that_is_not_zero_does_not_look_like_zero(share, text):
    assert figures.share_text(share) == text
