"""What an overlay changes of a photo and what not, its legend, cut-outs, and the safe colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.colour_sight import SIGHT, lab, least_distance, linear
from PIL import Image

from deconvnet_cli.data.colours import OKABE_ITO, palette_for
from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.data.voc import CLASSES, palette
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.legend import PAPER, Entry, per_cent, with_legend
from deconvnet_cli.outputs.overlay import FILL, border_distance, contour_width, cutout, overlay
from deconvnet_cli.outputs.palettes import colours_of

CAT, DOG = CLASSES.index("cat"), CLASSES.index("dog")
VOC = colours_of("voc")
LEAST = {"normal": 24, "protanopia": 15, "deuteranopia": 15}  # CIE 1976 distance of any two colours


@pytest.fixture(scope="module")
def photo(data) -> Image.Image:
    with Image.open(data / "chelsea.jpg") as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def labels(photo) -> np.ndarray:
    """A cat with a hole, a dog that touches it and the photo's edge."""
    found = np.zeros(photo.size[::-1], np.uint8)
    found[50:200, 60:220] = CAT
    found[100:130, 100:140] = 0
    found[80:300, 220:300] = DOG
    return found


def drawn(photo, labels, **options) -> np.ndarray:
    options = {"colours": VOC, "classes": CLASSES, **options}
    return np.array(overlay(photo, labels, **options))[: photo.height, : photo.width]


def test_the_photo_is_untouched_where_no_class_is(photo, labels):
    before, after = np.array(photo), drawn(photo, labels)
    assert np.array_equal(after[labels == 0], before[labels == 0])
    assert (after[labels != 0] != before[labels != 0]).any(1).mean() > 0.99
    only = drawn(photo, labels, only=["dog"])
    assert np.array_equal(only[labels != DOG], before[labels != DOG])
    assert np.array_equal(only[100:280, 240:290], after[100:280, 240:290])


def test_a_photo_as_a_png_keeps_its_pixels(photo):
    for image in (photo, photo.convert("RGBA")):
        quick, usual = (png_bytes(image, photo=kind) for kind in (True, False))
        assert quick != usual
        with Image.open(io.BytesIO(quick)) as read:
            assert read.mode == image.mode and read.tobytes() == image.tobytes()


def test_inside_it_is_the_mean_of_photo_and_colour(photo, labels):
    inside = np.s_[60:90, 130:190]  # further from any border than a contour is wide
    expected = (1 - FILL) * np.array(photo)[inside] + FILL * palette()[CAT]
    assert np.abs(drawn(photo, labels)[inside] - expected).max() <= 1


def test_contours_are_of_the_colour_of_the_class(photo, labels):
    """Two pixels in a photo of this size, within a light one, and none along the photo's edge."""
    after = drawn(photo, labels).astype(int)
    assert contour_width(*photo.size) == pytest.approx(1.77, abs=0.01)
    colour = palette()[CAT].astype(int)
    rim = after[120, 60]
    assert (rim > 150).all()
    assert after[120, 61].tolist() == colour.tolist()
    assert after[120, 160].tolist() != colour.tolist()
    mixed = (1 - FILL) * np.array(photo)[299, 260] + FILL * palette()[DOG]
    assert np.abs(after[299, 260] - mixed).max() <= 1


def test_contours_grow_with_the_photo_but_more_slowly():
    widths = [contour_width(side, side) for side in (60, 500, 4000)]
    assert widths[0] == 1
    assert 2 < widths[1] < 3 < widths[2] / widths[1] < 8


def test_distance_to_the_border_by_hand():
    row = np.array([[3, 3, 3, 0, 0]] * 9, np.uint8)
    assert border_distance(row)[4].tolist() == [2, 1, 0, 0, 1]
    assert np.isinf(border_distance(np.zeros((4, 4), np.uint8))).all()


@pytest.mark.parametrize("size", [(60, 40), (1, 1), (30, 400), (1200, 900)])
def test_the_legend_is_below_the_photo_and_names_every_class(size):
    entries = [Entry(name, tuple(VOC[label]), 0.05) for label, name in enumerate(CLASSES)]
    picture = Image.new("RGB", size, (9, 200, 77))
    image = with_legend(picture, entries)
    assert np.array_equal(np.array(image)[: size[1], : size[0]], np.array(picture))
    assert (np.array(image)[: size[1], size[0] :] == PAPER).all()
    strip = np.array(image)[size[1] :].reshape(-1, 3)
    colours, counts = np.unique(strip, axis=0, return_counts=True)
    found = dict(zip(map(tuple, colours.tolist()), counts.tolist(), strict=True))
    assert all(found[tuple(colour)] >= 80 for colour in VOC[:21].tolist())  # swatches
    margins = np.array(image)[size[1] :][:, [0, -1]], np.array(image)[-1:]
    assert all((margin == PAPER).all() for margin in margins)  # nothing is cut off


@pytest.mark.parametrize(("size", "has_one"), [((1, 100_000), False), ((1, 50_000), True)])
def test_a_legend_does_not_multiply_a_long_narrow_picture(size, has_one, capsys):
    """With a strip of about 150 pixels, the first would have 15 million and the second 7."""
    picture = Image.new("RGB", size, (9, 200, 77))
    image = with_legend(picture, [Entry("background cat", (250, 20, 30), 0.5)])
    assert (image.height > size[1]) == has_one
    assert image.width * image.height < 10_000_000
    assert ("1x100000 pixels are too narrow for a legend" in capsys.readouterr().err) != has_one


def test_the_text_stands_beside_its_swatch():
    image = np.array(with_legend(Image.new("RGB", (200, 100)), [Entry("dog", (250, 20, 30), 0.5)]))
    _, columns = np.nonzero((image == (250, 20, 30)).all(2))
    right = columns.max() + 2  # its frame is a pixel wide
    assert (image[100:, right : right + 4] == PAPER).all()
    assert (image[100:, right + 4 :] < 100).any()


def test_the_legend_has_the_classes_by_share_and_only_those_shown(photo, labels, monkeypatch):
    told = []
    monkeypatch.setattr(
        "deconvnet_cli.outputs.overlay.with_legend",
        lambda image, found, name: told.append(found) or image,
    )
    drawn(photo, labels)
    drawn(photo, labels, only=("dog", "bird"))
    cat, dog = ((labels == label).mean() for label in (CAT, DOG))
    names = [[(entry.name, entry.colour) for entry in found] for found in told]
    both = [("cat", tuple(VOC[CAT].tolist())), ("dog", tuple(VOC[DOG].tolist()))]
    assert cat > dog and names == [both, both[1:]]
    assert [entry.share for entry in told[0]] == pytest.approx([cat, dog], abs=1e-4)


def test_what_is_little_is_not_called_nothing():
    shares = (1, 0.126, 0.006, 0.004, 0.0)
    assert [per_cent(share) for share in shares] == ["100%", "13%", "1%", "<1%", "<1%"]


def test_a_photo_of_nothing_says_so(photo):
    nothing = np.zeros(photo.size[::-1], np.uint8)
    image = overlay(photo, nothing, colours=VOC, classes=CLASSES)
    assert np.array_equal(np.array(image)[: photo.height], np.array(photo))
    assert (np.array(image)[photo.height :] < 100).any()


def test_void_pixels_are_not_shown(photo, labels):
    void = np.where(labels == DOG, 255, labels).astype(np.uint8)
    assert np.array_equal(drawn(photo, void)[void == 255], np.array(photo)[void == 255])


@pytest.mark.parametrize("only, shown", [(None, (CAT, DOG)), (["dog"], (DOG,)), ("cat", (CAT,))])
def test_a_cutout_is_the_photo_where_the_class_is(photo, labels, only, shown):
    image = cutout(photo, labels, classes=CLASSES, only=only)
    inside = np.isin(labels, shown)
    values = np.array(image)
    assert image.mode == "RGBA"
    assert np.array_equal(values[..., 3], np.where(inside, 255, 0))
    assert np.array_equal(values[inside][:, :3], np.array(photo)[inside])
    assert not values[~inside].any()


def test_a_name_that_is_no_class_gets_a_near_one(photo, labels):
    with pytest.raises(
        UsageError, match=r"'PERSONS'.*did you mean person\?.*known: background, aer"
    ):
        cutout(photo, labels, classes=CLASSES, only=["cat", "PERSONS"])
    with pytest.raises(UsageError, match=r"'xyz'; known: ") as caught:
        overlay(photo, labels, colours=VOC, classes=CLASSES, only=["xyz"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no class is given"):
        cutout(photo, labels, classes=CLASSES, only=[])


def test_lab_of_known_colours():
    """Values of sRGB's red and white, as tables have them."""
    assert lab(np.array([[1.0, 0, 0]]))[0].tolist() == pytest.approx([53.2, 80.1, 67.2], abs=0.2)
    assert lab(np.ones((1, 3)))[0].tolist() == pytest.approx([100, 0, 0], abs=0.01)


@pytest.mark.parametrize("sight", SIGHT)
def test_safe_colours_stay_apart(sight):
    assert least_distance(colours_of("safe")[: len(CLASSES)], sight) > LEAST[sight]
    if sight != "normal":
        assert least_distance(palette()[: len(CLASSES)], sight) < 2  # what they are safe from


def test_safe_colours_are_bright():
    """VOC's own begin with a lightness of 8: a cat is nearly black."""
    lightness, green_red, blue_yellow = lab(linear(colours_of("safe")[1 : len(CLASSES)])).T
    assert lightness.min() > 45 and np.hypot(green_red, blue_yellow).min() > 30


def test_safe_colours_have_those_of_okabe_and_ito():
    colours = colours_of("safe")
    found = {int.from_bytes(bytes(colour), "big") for colour in colours[: len(CLASSES)].tolist()}
    assert set(OKABE_ITO.values()) <= found
    assert np.array_equal(colours[len(CLASSES) :], palette()[len(CLASSES) :])
    own = CLASSES[::-1]  # as many classes as VOC's, but others
    assert np.array_equal(colours_of("safe", own), palette_for(own))
