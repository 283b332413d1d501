"""Pictures on a terminal: what was written is decoded again, by other code, and looked at."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from deconvnet_cli.data.voc import CLASSES, palette
from deconvnet_cli.reporting.preview import (
    about,
    blocks,
    fit,
    iterm,
    kitty,
    picture,
    side_by_side,
    sixel,
)
from deconvnet_cli.reporting.terminal import Screen, choose, text_colours


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def labels_of(width: int, height: int) -> np.ndarray:
    """Background, and a person in the right half."""
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 2 :] = CLASSES.index("person")
    return labels


def read_kitty(text: str) -> tuple[dict[str, str], bytes]:
    """Keys of the first command, and the payload of all of them."""
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert "".join(f"\x1b_G{keys};{part}\x1b\\" for keys, part in commands) == text
    keys = [dict(pair.split("=") for pair in command[0].split(",")) for command in commands]
    assert [one["m"] for one in keys] == ["1"] * (len(keys) - 1) + ["0"]
    assert all(one["q"] == "2" for one in keys)  # else the terminal answers, into what is typed
    assert all(len(part) <= 4096 for _, part in commands)
    assert all(len(part) % 4 == 0 for _, part in commands)
    return keys[0], base64.b64decode("".join(part for _, part in commands))


def read_sixel(text: str) -> np.ndarray:
    """RGBA in per cent; what no sixel covers is transparent."""
    header = re.match(r'\x1bP0;1;0q"1;1;(\d+);(\d+)', text)
    assert header and text.endswith("\x1b\\")
    width, height = map(int, header.groups())
    image = np.zeros((height, width, 4), int)
    colours: dict[int, tuple[int, ...]] = {}
    chosen, column, top = (0, 0, 0), 0, 0
    rest = text[header.end() : -2]
    token = re.compile(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([?-~])|(\$)|(-)")
    place = 0
    while place < len(rest):
        found = token.match(rest, place)
        assert found, rest[place : place + 20]
        place = found.end()
        number, red, green, blue, select, count, repeated, one, back, down = found.groups()
        if number:
            colours[int(number)] = (int(red), int(green), int(blue))
        elif select:
            chosen = colours[int(select)]
        elif back:
            column = 0
        elif down:
            column, top = 0, top + 6
        else:
            bits = ord(repeated or one) - 63
            end = column + int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    assert not image[top + row, column:end, 3].any(), "a pixel is drawn twice"
                    image[top + row, column:end] = (*chosen, 100)
            column = end
    return image


def read_blocks(text: str) -> list[list[tuple[str, str] | None]]:
    """Colours of the upper and the lower half of each cell; None where nothing is drawn."""
    rows = []
    for line in text.splitlines():
        row: list[tuple[str, str] | None] = []
        style = None
        for sequence, cell in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
            if not cell:
                style = re.fullmatch(r"38;(2;\d+;\d+;\d+|5;\d+);48;(2;\d+;\d+;\d+|5;\d+)", sequence)
                assert style or sequence == "0"
                continue
            assert cell == ("▀" if style else " ")
            row.append((style[1], style[2]) if style else None)
        assert style is None, "colours go on after the line's end"
        rows.append(row)
    return rows


def test_kitty_carries_the_very_pixels():
    image = side_by_side(noise(300, 200), labels_of(300, 200), (150, 96), 8)
    keys, data = read_kitty(kitty(image, 39, 6))
    assert keys | {"m": ""} == {"a": "T", "f": "100", "q": "2", "c": "39", "r": "6", "m": ""}
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.format == "PNG"
        assert np.array_equal(np.asarray(shown), np.asarray(image))


def test_iterm_carries_the_very_pixels():
    image = side_by_side(noise(300, 200), labels_of(300, 200), (150, 96), 8)
    found = re.fullmatch(r"\x1b\]1337;File=([^:]*):([A-Za-z0-9+/=]*)\x07", iterm(image, 39, 6))
    assert found
    data = base64.b64decode(found[2])
    keys = dict(pair.split("=") for pair in found[1].split(";"))
    assert keys["inline"] == "1" and int(keys["size"]) == len(data)
    assert (keys["width"], keys["height"]) == ("39", "6")
    with Image.open(io.BytesIO(data)) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(image))


def test_sixel_of_labels_is_exact():
    """21 colours, runs of every length, a height that is no multiple of six."""
    labels = np.random.default_rng(2).integers(0, 21, (23, 50), np.uint8)
    labels[5:12, 3:40] = 7
    rgba = np.dstack([palette()[labels], np.full((23, 50), 255, np.uint8)])
    rgba[:, 20:24, 3] = 0
    decoded = read_sixel(sixel(Image.fromarray(rgba)))
    expected = np.round(rgba.astype(float) * 100 / 255)
    expected[rgba[..., 3] == 0] = 0
    assert np.abs(decoded - expected).max() <= 1  # 128 of 255 is 50.2 %


def test_sixel_of_a_photo_is_near(data):
    with Image.open(data / "astronaut.jpg") as photo:
        image = side_by_side(photo, labels_of(*photo.size), (96, 96), 8)
    decoded = read_sixel(sixel(image))
    rgba = np.asarray(image).astype(float) * 100 / 255
    assert np.array_equal(decoded[..., 3], rgba[..., 3])
    assert not decoded[:, 96:104].any()
    difference = np.abs(decoded - rgba)[..., :3]
    assert difference[:, :96].mean() < 3
    assert difference[:, 104:].max() <= 1  # the labels keep their colours beside a photo's


def test_blocks_in_true_colour_are_the_pixels():
    image = side_by_side(noise(90, 60), labels_of(90, 60), (9, 6), 1)
    rows = read_blocks(blocks(image, "true"))
    pixels = np.asarray(image)
    assert len(rows) == 3 and all(len(row) == 19 for row in rows)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if x == 9:
                assert cell is None
                continue
            names = [f"2;{r};{g};{b}" for r, g, b, _ in pixels[2 * y : 2 * y + 2, x].tolist()]
            assert list(cell or ()) == names


def xterm(index: int) -> tuple[int, int, int]:
    """Colour 16 to 255 of xterm, by its own rule."""
    if index >= 232:
        return (8 + 10 * (index - 232),) * 3
    digits = (index - 16) // 36, (index - 16) // 6 % 6, (index - 16) % 6
    return tuple(55 + 40 * digit if digit else 0 for digit in digits)  # type: ignore[return-value]


def test_blocks_in_256_colours_are_the_nearest():
    image = side_by_side(noise(90, 60), labels_of(90, 60), (9, 6), 1)
    pixels = np.asarray(image).astype(int)
    for y, row in enumerate(read_blocks(blocks(image, "256"))):
        for x, cell in enumerate(row):
            for half, name in enumerate(cell or ()):
                wanted = pixels[2 * y + half, x, :3]
                distances = [np.abs(wanted - xterm(index)).sum() for index in range(16, 256)]
                assert distances[int(name.removeprefix("5;")) - 16] == min(distances)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (4000, 20), (20, 4000), (1, 1)])
@pytest.mark.parametrize("columns", [1, 2, 3, 20, 40, 80, 300])
@pytest.mark.parametrize("cell", [(1, 2), (8, 16), (10, 17)])
def test_the_picture_fits(size, columns, cell):
    wide, high = fit(size, columns, cell)
    assert wide >= 1 and 1 <= high <= 15
    assert 2 * wide + 1 <= max(3, min(columns, 60))
    if columns >= 40 and max(size) == 500:  # the photo's shape, to half a cell
        scale = wide * cell[0] / size[0]
        assert abs(high * cell[1] / size[1] - scale) <= 0.5 * (
            cell[1] / size[1] + cell[0] / size[0]
        )


def test_labels_stand_beside_the_photo_in_their_colours():
    photo = Image.new("RGB", (100, 50), (10, 200, 30))
    image = np.asarray(side_by_side(photo, labels_of(100, 50), (20, 10), 2))
    assert image.shape == (10, 42, 4)
    assert (image[:, :20] == (10, 200, 30, 255)).all()
    assert (image[:, 20:22, 3] == 0).all()
    assert (image[:, 22:32] == (0, 0, 0, 255)).all()
    assert (image[:, 32:] == (213, 94, 0, 255)).all()  # the overlays' colour of a person


@pytest.mark.parametrize(
    "kind, start", [("kitty", "\x1b_G"), ("iterm", "\x1b]1337;"), ("sixel", "\x1bP")]
)
def test_pictures_have_the_size_of_their_cells(kind, start):
    text = picture(Screen(kind, "true", 40, (10, 20)), noise(60, 40), labels_of(60, 40))
    assert text.startswith(start) and text.endswith("\n")
    columns, rows = fit((60, 40), 40, (10, 20))
    if kind == "sixel":
        assert read_sixel(text[:-1]).shape == (rows * 20, (2 * columns + 1) * 10, 4)
    elif kind == "kitty":
        keys, data = read_kitty(text[:-1])
        assert (int(keys["c"]), int(keys["r"])) == (2 * columns + 1, rows)
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.size == ((2 * columns + 1) * 10, rows * 20)


def test_no_picture_and_no_colours():
    line = {
        "image": "a\x1b[2Jb.jpg", "output": "-", "classes": {"person": 0.99995, "cat": 0.00005},
        "confidence": {"person": 0.876}, "proposals": 3, "ms": {"net": 1000.0, "labels": 260.0},
    }  # fmt: skip
    text = about(Screen("none", "none", 40), line, CLASSES, noise(9, 9), labels_of(9, 9))
    assert text.splitlines() == [
        "a\\x1b[2Jb.jpg",  # a name cannot clear the screen
        "class   pixels  confidence",
        "person  100.0%        0.88",
        "cat      <0.1%           -",
        "labels: standard output",
        "3 boxes, 1.3 s",
        "",
    ]


def test_swatches_have_the_colours_of_the_labels():
    line = {
        "image": "a.jpg", "output": "a.png", "classes": {"tvmonitor": 0.5, "background": 0.5},
        "confidence": {}, "proposals": 3, "ms": {},
    }  # fmt: skip
    text = about(Screen("none", "true", 40), line, CLASSES, noise(9, 9), labels_of(9, 9))
    found = dict(re.findall(r"\x1b\[48;2;([\d;]+)m  \x1b\[0m  (\w+)", text))
    assert found == {"0;114;178": "tvmonitor", "0;0;0": "background"}


XTERM = {"TERM": "xterm-256color"}
TRUE = XTERM | {"COLORTERM": "truecolor"}


@pytest.mark.parametrize("environment, kind, colours", [
    (TRUE, "blocks", "true"),
    (XTERM, "blocks", "256"),
    ({"TERM": "xterm"}, "none", "none"),
    ({"TERM": "dumb"}, "none", "none"),
    ({}, "none", "none"),
    ({"TERM": "xterm-kitty", "COLORTERM": "truecolor"}, "kitty", "true"),
    (TRUE | {"KITTY_WINDOW_ID": "1"}, "kitty", "true"),
    (TRUE | {"KITTY_WINDOW_ID": "1", "TMUX": "/tmp/tmux"}, "blocks", "true"),
    ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, "blocks", "256"),
    (TRUE | {"TERM_PROGRAM": "iTerm.app"}, "iterm", "true"),
    (TRUE | {"TERM_PROGRAM": "WezTerm"}, "iterm", "true"),
    (XTERM | {"TERM_PROGRAM": "Apple_Terminal"}, "blocks", "256"),
    (TRUE | {"NO_COLOR": "1"}, "none", "none"),
    (TRUE | {"NO_COLOR": ""}, "blocks", "true"),  # no-color.org: not an empty string
    (TRUE | {"NO_COLOR": "1", "KITTY_WINDOW_ID": "1"}, "kitty", "none"),
    ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, "none", "none"),
])  # fmt: skip
def test_the_kind_by_the_environment(environment, kind, colours):
    assert text_colours(environment) == colours
    assert choose("auto", colours, environment) == kind


@pytest.mark.parametrize("wanted", ["kitty", "iterm", "sixel", "blocks", "none"])
def test_the_kind_that_is_asked_for(wanted):
    assert choose(wanted, "true", TRUE) == wanted
    without = "none" if wanted == "blocks" else wanted
    assert choose(wanted, "none", TRUE | {"NO_COLOR": "1"}) == without
