"""The page of ``deconvnet serve`` in a real browser: a photo is dropped on it, labels are seen."""

from __future__ import annotations

import base64
import io
import json
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from helpers import needs_serve, serving  # noqa: F401
from helpers.chromium import Browser
from helpers.photos import pieces
from helpers.serving import FIRST, SECOND, encoded, expected, servers, shown, until
from httpx import get
from PIL import Image, ImageOps

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.segmentation.labels import class_shares

TOKEN = "0123456789abcdef"
PHOTO = pieces((60, 40))[0]
# A browser that decodes no photo 60 pixels wide and 41 high, as some JPEGs are not decoded.
BLIND = """(() => {
    const { decode } = HTMLImageElement.prototype;
    HTMLImageElement.prototype.decode = function () {
        return decode.call(this).then(() => this.naturalHeight === 41 && Promise.reject());
    };
})()"""
UNSEEN = encoded(PHOTO.resize((60, 41)), "JPEG")
SHOWN = colours_of("safe")  # the page's colours; label PNGs that it saves have VOC's
STATES = "[...document.querySelectorAll('#photos button')].map((b) => b.dataset.state)"
pytestmark = pytest.mark.browser


def choose(browser: Browser, view: str) -> None:
    browser.run(f"document.querySelector('[value={view}]').click()")


def test_a_photo_is_dropped_and_its_labels_are_seen(browser, address, system):
    browser.open(address)
    assert not browser.shown("result")
    browser.drop(FIRST)
    browser.wait("done")
    right = shown(system, FIRST)
    colours = SHOWN[right.labels]
    over = browser.pixels("labels")  # without background
    seen = right.labels != 0
    assert seen.any() and not seen.all()
    assert (over[seen, :3] == colours[seen]).all() and (over[seen, 3] == 255).all()
    assert (over[~seen, 3] == 0).all()
    assert browser.run("document.getElementById('photo').naturalWidth") == 60
    choose(browser, "labels")
    assert (browser.pixels("labels")[..., :3] == colours).all()
    assert not browser.shown("photo") and browser.shown("labels")
    choose(browser, "photo")
    assert browser.shown("photo") and not browser.shown("labels")
    rows = browser.run(
        "[...document.querySelectorAll('tbody tr')].map(r => [r.cells[0].innerText,"
        " r.cells[2].innerText, getComputedStyle(r.querySelector('.swatch')).backgroundColor])"
    )
    shares = class_shares(right.labels, system.classes)
    # JavaScript rounds halves up.
    tenths = {
        k: Decimal(100 * v).quantize(Decimal("0.1"), ROUND_HALF_UP) for k, v in shares.items()
    }
    assert [row[:2] for row in rows] == [[name, f"{share} %"] for name, share in tenths.items()]
    for name, _, colour in rows:
        assert colour == "rgb({}, {}, {})".format(*SHOWN[system.classes.index(name)])
    for words in ("60 × 40 pixels", f"{right.proposals} boxes", "net "):  # noqa: RUF001
        assert words in browser.text("caption")
    assert browser.troubles() == []


def test_opacity(browser, address):
    browser.show(address, FIRST)

    def opacity() -> float:
        return float(browser.run("getComputedStyle(document.getElementById('labels')).opacity"))

    assert opacity() == pytest.approx(0.6)
    browser.run("document.getElementById('opacity').focus()")
    for kind in ("keyDown", "keyUp"):
        key = {"key": "End", "code": "End", "windowsVirtualKeyCode": 35}
        browser.call("Input.dispatchKeyEvent", type=kind, **key)
    assert opacity() == 1 and browser.text("percent") == "100 %"
    browser.run("""(() => {
        const slider = document.getElementById("opacity");
        slider.value = 25;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
    })()""")
    assert opacity() == 0.25
    choose(browser, "labels")
    assert opacity() == 1 and browser.run("document.getElementById('opacity').disabled")


def drop_many(browser: Browser, photos: list[bytes]) -> None:
    """Drop several photos, named 0.png, 1.png and so on, at once."""
    parts = ",".join(f'"{base64.b64encode(photo).decode()}"' for photo in photos)
    browser.run(f"""(() => {{
        const dataTransfer = new DataTransfer();
        [{parts}].forEach((text, i) => {{
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            dataTransfer.items.add(new File([bytes], `${{i}}.png`, {{ type: "image/png" }}));
        }});
        const made = {{ dataTransfer, bubbles: true, cancelable: true }};
        document.querySelector(".drop").dispatchEvent(new DragEvent("drop", made));
    }})()""")


def test_several_photos_one_after_another(browser, address, system):
    """All are segmented, one that cannot be read too; a click shows each with its own labels."""
    browser.open(address)
    drop_many(browser, [FIRST, b"hello", SECOND])
    until(lambda: browser.run(STATES) == ["done", "failed", "done"])
    until(lambda: browser.run("document.body.dataset.state") == "done")
    until(lambda: browser.text("status") == "2 done, 1 failed.")  # said by a screen reader
    for index, data in ((0, FIRST), (2, SECOND), (0, FIRST)):
        browser.run(f"document.querySelectorAll('#photos button')[{index}].click()")
        browser.wait("done")
        colours = SHOWN[shown(system, data).labels]
        choose(browser, "labels")
        assert (browser.pixels("labels")[..., :3] == colours).all()
        assert browser.run("document.querySelector('[aria-current]').innerText") == f"{index}.png"
    browser.run("document.querySelectorAll('#photos button')[1].click()")
    until(lambda: browser.run("document.body.dataset.state") == "failed")
    assert "cannot be read" in browser.text("message") and not browser.shown("result")
    assert not browser.text("status")


def pick(browser: Browser, index: int) -> None:
    """Click on one of several photos."""
    browser.run(f"document.querySelectorAll('#photos button')[{index}].click()")
    browser.wait("done")


def seen_parts(browser: Browser) -> list[bool]:
    return [browser.shown(name) for name in ("photo", "labels", "contours")]


@pytest.mark.parametrize("view, parts", [
    ("photo", [True, False, False]),
    ("labels", [False, True, False]),
    ("overlay", [True, True, True]),
])  # fmt: skip
def test_the_view_stays_from_photo_to_photo(browser, address, view, parts):
    """A photo that the browser cannot show has only labels; the next has the chosen view again."""
    browser.open(address)
    browser.run(BLIND)
    drop_many(browser, [FIRST, SECOND, UNSEEN])
    until(lambda: browser.run(STATES) == ["done"] * 3)
    pick(browser, 0)
    choose(browser, view)
    assert seen_parts(browser) == parts
    for index, right in ((1, parts), (2, [False, True, False]), (0, parts)):
        pick(browser, index)
        assert seen_parts(browser) == right


def test_a_folder_is_dropped_among_photos(browser, address, tmp_path):
    browser.open(address)
    (tmp_path / "folder").mkdir()
    (tmp_path / "photo.png").write_bytes(FIRST)
    files = [str(tmp_path / name) for name in ("folder", "photo.png")]
    data = {"items": [], "files": files, "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.call("Input.dispatchDragEvent", type=kind, x=300, y=300, data=data)
    until(lambda: browser.run(STATES) == ["failed", "done"])
    browser.run("document.querySelector('#photos button').click()")
    assert browser.text("message").startswith("folder cannot be read: it is a folder")


def test_photos_wait_while_the_server_is_busy(browser, serve):
    """The others are not used up by refusals; they are tried again on a click."""
    browser.open(str(serve(workers=1, rate=2).base_url))
    drop_many(browser, [FIRST] * 5)
    until(lambda: browser.run("document.body.dataset.state") == "failed")
    right = ["done", "done", "failed", "waiting", "waiting"]
    assert browser.run(STATES) == right and browser.shown("again")


def test_classes_are_hidden_and_lit(browser, address, system):
    browser.show(address, FIRST)
    labels = shown(system, FIRST).labels
    name = next(name for name in class_shares(labels, system.classes) if name != "background")
    there = labels == system.classes.index(name)
    others = ~there & (labels != 0)
    row = f"[...document.querySelectorAll('tbody tr')].find(r => r.innerText.startsWith('{name}'))"
    browser.run(f"{row}.querySelector('input').click()")
    alpha = browser.pixels("labels")[..., 3]
    assert (alpha[there] == 0).all() and (alpha[others] == 255).all()
    browser.run(f"{row}.querySelector('input').click()")
    browser.run(f"{row}.dispatchEvent(new PointerEvent('pointerenter'))")
    alpha = browser.pixels("labels")[..., 3]
    assert (alpha[there] == 255).all() and (alpha[others] == 50).all() and others.any()
    browser.run(f"{row}.dispatchEvent(new PointerEvent('pointerleave'))")
    assert (browser.pixels("labels")[labels != 0][:, 3] == 255).all()
    boxes = browser.run("document.querySelectorAll('tbody input').length")
    assert boxes == len(set(labels.ravel().tolist()) - {0})
    assert browser.troubles() == []


def test_a_tap_on_a_class_dims_no_others(browser, address, system):
    """The focus that a tap gives to its box would do so until the next tap."""
    browser.open(address, 390)
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    browser.drop(FIRST)
    browser.wait("done")
    x, y = browser.run("""(() => {
        const box = document.querySelector("tbody input");
        box.scrollIntoView({ block: "center" });
        const { x, y } = box.getBoundingClientRect();
        return [x + 5, y + 5];
    })()""")
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    until(lambda: not browser.run("document.querySelector('tbody input').checked"))
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
    assert set(np.unique(browser.pixels("labels")[..., 3])) == {0, 255}


def test_what_is_downloaded(browser, address, system, tmp_path):
    browser.show(address, FIRST, "a.b.png")
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    right = shown(system, FIRST)
    browser.run("document.getElementById('outlined').click()")  # contours: test_contours.py
    for name in ("labels", "overlay", "json"):
        browser.run(f"document.getElementById('save-{name}').click()")
    names = ("a.b-labels.png", "a.b-overlay.png", "a.b.json")
    until(lambda: {path.name for path in tmp_path.iterdir()} == set(names))
    until(lambda: all((tmp_path / name).stat().st_size for name in names))
    assert (tmp_path / names[0]).read_bytes() == label_png(expected(system, FIRST).labels)
    found = json.loads((tmp_path / names[2]).read_text())
    assert found["classes"] == class_shares(right.labels, system.classes)
    assert found.keys() == {"size", "classes", "confidence", "proposals", "ms", "notes"}
    over = np.asarray(Image.open(tmp_path / names[1]).convert("RGB")).astype(float)
    photo = np.asarray(PHOTO).astype(float)
    mixed = 0.4 * photo + 0.6 * SHOWN[right.labels]
    assert np.abs(over - np.where(right.labels[..., None] == 0, photo, mixed)).max() <= 2


def test_ways_in_besides_dropping(browser, address):
    """A file that is chosen, and one that is pasted; the CRF is asked for with a box."""
    browser.open(address)
    browser.run(f"""(() => {{
        const bytes = Uint8Array.from(atob("{base64.b64encode(FIRST).decode()}"),
                                      (c) => c.charCodeAt(0));
        window.given = new DataTransfer();
        given.items.add(new File([bytes], "x.png", {{ type: "image/png" }}));
        document.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: given }}));
    }})()""")
    browser.wait("done")
    assert "crf" not in browser.text("caption")
    browser.run("document.getElementById('crf').click()")
    browser.wait("done")
    until(lambda: "crf " in browser.text("caption"))
    browser.run("""(() => {
        const file = document.getElementById("file");
        file.files = given.files;
        file.dispatchEvent(new Event("change"));
    })()""")
    assert browser.run("document.body.dataset.state") == "working"
    browser.wait("done")


@pytest.mark.parametrize("given, data, words", [
    ({}, b"hello", "cannot be read as a photo"),
    ({}, FIRST[:300], "truncated"),
    ({"max_bytes": 1000}, FIRST, "too large"),
    ({"max_pixels": 2399}, FIRST, "60x40"),
    ({"workers": 1, "rate": 1}, FIRST, "busy"),
])  # fmt: skip
def test_what_is_wrong_is_said(browser, serve, given, data, words):
    browser.open(str(serve(**given).base_url))
    if "rate" in given:
        browser.drop(data)
        browser.wait("done")
    browser.drop(data)
    until(lambda: browser.run("document.body.dataset.state") == "failed")
    assert words in browser.text("message") and browser.shown("problem")
    assert not browser.shown("result")
    # What may pass is tried again on a click.
    assert browser.shown("again") == ("rate" in given)
    assert browser.troubles() == []


@pytest.mark.parametrize(
    "status, words",
    [(502, "The answer was status 502, without a reason."), (413, "The photo is too large.")],
)
def test_an_error_of_a_proxy(browser, address, status, words):
    browser.open(address)
    browser.run(f"fetch = async () => new Response('<h1>No', {{ status: {status} }})")
    browser.drop(FIRST)
    until(lambda: browser.run("document.body.dataset.state") == "failed")
    assert browser.text("message") == words


def test_a_server_that_has_gone(browser, system):
    with servers(system) as start:
        browser.open(str(start().base_url))
    browser.drop(FIRST)
    until(lambda: browser.run("document.body.dataset.state") == "failed")
    assert "cannot be reached" in browser.text("message") and browser.shown("again")


def test_a_token_is_asked_for(browser, serve):
    browser.open(str(serve(token=TOKEN).base_url))
    browser.drop(FIRST)
    until(lambda: browser.run("document.body.dataset.state") == "failed")
    assert browser.shown("access") and "token" in browser.text("message")
    assert browser.run("document.activeElement.id") == "token"
    browser.call("Input.insertText", text=TOKEN)
    for kind in ("keyDown", "keyUp"):
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        browser.call("Input.dispatchKeyEvent", type=kind, **key)
    until(lambda: browser.run("document.body.dataset.state") == "done")
    assert not browser.shown("access") and not browser.shown("problem")
    assert browser.run("document.activeElement.id") == "status"  # the form has hidden itself
    until(lambda: browser.text("status") == "Done.")


def photo_on_page(browser: Browser) -> np.ndarray:
    """RGB of the photo as the browser shows it, in the size of its file."""
    width, height, values = browser.run("""(() => {
        const photo = document.getElementById("photo");
        const [width, height] = [photo.naturalWidth, photo.naturalHeight];
        const context = Object.assign(document.createElement("canvas"), { width, height })
            .getContext("2d");
        context.drawImage(photo, 0, 0);
        return [width, height, [...context.getImageData(0, 0, width, height).data]];
    })()""")
    return np.array(values, int).reshape(height, width, 4)[..., :3]


@pytest.mark.parametrize("kind, suffix", [("TIFF", "tif"), ("PPM", "ppm")])
def test_a_photo_that_browsers_do_not_show_is_shown_as_the_server_read_it(
    browser, address, system, kind, suffix
):
    data = encoded(PHOTO, kind)
    browser.show(address, data, f"photo.{suffix}", "")
    assert browser.shown("photo") and "cannot show" not in browser.text("caption")
    assert not browser.run("document.getElementById('save-overlay').disabled")
    assert (photo_on_page(browser) == np.asarray(PHOTO)).all()


def test_a_photo_that_the_browser_cannot_show(browser, address, system):
    browser.open(address)
    browser.run(BLIND)
    browser.drop(UNSEEN, "photo.jpg", "image/jpeg")
    browser.wait("done")
    assert not browser.shown("photo")
    assert "s. This browser cannot show the photo itself." in browser.text("caption")
    assert browser.run("document.getElementById('save-overlay').disabled")


def test_how_a_photo_is_read_is_said(browser, address):
    browser.open(address)
    browser.drop(encoded(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(180)]))
    browser.wait("done")
    assert "s. Has several frames; the first is read; " in browser.text("caption")


def test_a_turned_photo(browser, address, system):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = encoded(PHOTO, "JPEG", exif=exif, quality=95)
    browser.show(address, data, "photo.jpg", "image/jpeg")
    assert browser.pixels("labels").shape[:2] == expected(system, data).labels.shape == (60, 40)
    box = "document.getElementById('{}').getBoundingClientRect().toJSON()"
    assert browser.run(box.format("photo")) == browser.run(box.format("labels"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photo_lies_as_its_labels(browser, address, kind, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    square = PHOTO.crop((0, 0, 40, 40))  # its size does not tell whether it was turned
    data = encoded(square, kind, exif=exif.tobytes(), quality=95)
    browser.show(address, data, f"photo.{kind.lower()}", f"image/{kind.lower()}")
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert browser.shown("photo")
    assert np.abs(photo_on_page(browser) - np.asarray(upright, int)).mean() < 3


@pytest.mark.parametrize("width, dark", [(1280, False), (1280, True), (390, False), (390, True)])
def test_it_fits_and_has_its_colours(browser, address, system, tmp_path, width, dark):
    browser.open(address, width, dark)
    browser.drop(FIRST, "n" * 100 + ".png")
    browser.wait("done")
    sizes = browser.run("[document.documentElement.scrollWidth, innerWidth]")
    assert sizes == [width, width]
    inside = "[...document.querySelectorAll('main *')].every(e =>"
    inside += " e.getBoundingClientRect().right <= innerWidth + 0.5)"
    assert browser.run(inside)
    picture = browser.screenshot(tmp_path / "page.png")
    assert picture.getpixel((1, 1)) == ((21, 23, 27) if dark else (255, 255, 255))
    shares = class_shares(shown(system, FIRST).labels, system.classes)
    found = {colour for _, colour in picture.getcolors(1 << 24) or []}
    for name in shares:
        assert tuple(SHOWN[system.classes.index(name)].tolist()) in found


@pytest.mark.parametrize("width", [1280, 390])
def test_a_thin_photo_fits(browser, address, width):
    """Its height is that of the window at most, and the words under it have room."""
    browser.open(address, width)
    browser.drop(encoded(Image.new("RGB", (3, 300))))
    browser.wait("done")
    heights = "['stack', 'caption'].map((id) => document.getElementById(id).offsetHeight)"
    photo, caption = browser.run(heights)
    assert 300 < photo < 900 and 0 < caption < 200


def test_a_proxy_may_give_it_a_path(browser, serve, monkeypatch):
    """The page and /docs find all that they need under it."""
    beside = []
    build_app = serving.build_app

    def behind_a_proxy(*given):
        app = build_app(*given)

        async def proxied(scope, receive, send):
            path = scope.get("path", "")
            if scope["type"] == "http" and not path.startswith("/cats/"):
                beside.append(path)
            await app({**scope, "path": path.removeprefix("/cats")}, receive, send)

        return proxied

    monkeypatch.setattr(serving, "build_app", behind_a_proxy)
    address = f"{serve().base_url}/cats/"
    beside.clear()
    for target in (f"{address}docs", address):
        browser.open(target)
        parts = "[...document.querySelectorAll('[href], [src]')].map((e) => e.href || e.src)"
        for url in browser.run(parts):
            assert url.startswith(address) and get(url, trust_env=False).status_code == 200
    browser.drop(FIRST)
    browser.wait("done")
    assert beside == []


def test_nothing_else_is_loaded(browser, address):
    browser.show(address, FIRST)
    browser.run("1")
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) >= 4
    assert {url for url in asked if not url.startswith((address, "blob:", "data:"))} <= {
        "about:blank"
    }
