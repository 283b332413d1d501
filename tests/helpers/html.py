"""HTML pages, for tests that look into them."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
VOID_ELEMENTS = {"meta", "img", "br", "hr", "link", "input", "wbr"}


class Outline(HTMLParser):
    """Fails on unbalanced tags; keeps the tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def of(self, tag: str, kind: str | None = None) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag and kind in (None, a.get("class"))]


def self_contained(text: str) -> Outline:
    """The outline of a page that loads nothing and runs nothing."""
    outline = Outline(text)
    names = {tag for tag, _ in outline.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in outline.tags:
        assert not {key for key in attributes if key.startswith("on")}
        for value in (attributes.get("src"), attributes.get("href")):
            assert value is None or value.startswith("data:image/")
    assert not re.search(r"url\(|@import", re.sub(r"base64,[^\"]+", "", text))
    assert all(image["alt"] for image in outline.of("img"))
    assert len(outline.of("h1")) == 1
    return outline


def drawn(
    browser: Callable[..., str], folder: Path, text: str, size: tuple[int, int], *, dark: bool
) -> Image.Image:
    """The picture that a browser makes of a page, in a light or dark scheme."""
    file, target = folder / "page.html", folder / "page.png"
    file.write_text(text, encoding="utf-8")
    scheme = "--blink-settings=preferredColorScheme=" + ("0" if dark else "1")
    browser(file, f"--screenshot={target}", f"--window-size={size[0]},{size[1]}", scheme)
    return Image.open(target).convert("RGB")


def said_by(
    browser: Callable[..., str], folder: Path, text: str, width: int, script: str
) -> list[object]:
    """The array that a script gives of a page, which it calls ``page``.

    The page is in a frame, as a window cannot be as narrow as a phone; and it allows no script.
    """
    file = folder / "frame.html"
    file.write_text(
        f'<!doctype html><meta charset="utf-8"><title></title><iframe srcdoc="{html.escape(text)}" '
        f'style="border:0;width:{width}px;height:900px"></iframe><script>onload = () => {{'
        'const page = document.querySelector("iframe").contentDocument;'
        "const all = selector => [...page.querySelectorAll(selector)];"
        f"document.title = JSON.stringify((() => {{{script}}})());}}</script>",
        encoding="utf-8",
    )
    title = re.search("<title>(.*?)</title>", browser(file, "--dump-dom"))
    assert title
    found: list[object] = json.loads(html.unescape(title[1]))
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def images(text: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r'src="data:image/(?:jpeg|png);base64,([^"]+)"', text)
    ]
