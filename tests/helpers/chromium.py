"""A page in headless Chromium, for tests that do what a person would do."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx import get
from PIL import Image

from helpers.html import CHROMIUM_FLAGS
from helpers.serving import PATIENCE, until

client = pytest.importorskip(
    "websockets.sync.client", reason="no websockets here: pip install websockets"
)
FLAGS = (*CHROMIUM_FLAGS, "--remote-debugging-port=0")


class Browser:
    """A tab of Chromium, by its debugging protocol."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.numbers = itertools.count()
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def run(self, script: str) -> Any:
        """The value of a script, once it is there."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def open(self, address: str, width: int = 1280, dark: bool = False) -> None:
        """Load a page in a window of this width."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.events.clear()
        for url in ("about:blank", address):
            self.call("Page.navigate", url=url)
        loaded = "document.readyState === 'complete' && location.href !== 'about:blank'"
        until(lambda: bool(self.run(loaded)))

    def drop(self, data: bytes, name: str = "photo.png", kind: str = "image/png") -> None:
        """Drop a file on the page, as a person would."""
        self.run(f"""(() => {{
            const bytes = Uint8Array.from(atob("{base64.b64encode(data).decode()}"),
                                          (c) => c.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], "{name}", {{ type: "{kind}" }}));
            const made = {{ dataTransfer, bubbles: true, cancelable: true }};
            document.querySelector(".drop").dispatchEvent(new DragEvent("drop", made));
        }})()""")

    def show(self, address: str, data: bytes, *file: str) -> None:
        """Load the page, drop a photo on it, with its name and kind, and wait for its labels."""
        self.open(address)
        self.drop(data, *file)
        self.wait("done")

    def pixels(self, name: str) -> np.ndarray:
        """RGBA of a canvas of the page, float H x W x 4."""
        width, height, values = self.run(f"""(() => {{
            const {{ width, height }} = document.getElementById("{name}");
            const context = document.getElementById("{name}").getContext("2d");
            return [width, height, [...context.getImageData(0, 0, width, height).data]];
        }})()""")
        return np.array(values, float).reshape(height, width, 4)

    def wait(self, state: str) -> None:
        """Wait until the page says that it is in this state."""
        until(lambda: self.run("document.body.dataset.state") in {state, "failed"})
        assert self.run("document.body.dataset.state") == state, self.text("message")

    def text(self, name: str) -> str:
        """The text of an element as it is shown."""
        return str(self.run(f"document.getElementById('{name}').innerText"))

    def shown(self, name: str) -> bool:
        """Whether an element is to be seen."""
        return bool(self.run(f"document.getElementById('{name}').checkVisibility()"))

    def screenshot(self, target: Path) -> Image.Image:
        """A picture of the whole page."""
        done = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        target.write_bytes(base64.b64decode(done["data"]))
        return Image.open(target).convert("RGB")

    def troubles(self) -> list[dict[str, Any]]:
        """What the browser has to say against the page."""
        self.run("1")  # whatever came until now
        return [
            event
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
            or (
                event["method"] == "Log.entryAdded"
                and event["params"]["entry"]["level"] in ("error", "warning")
                # An answer that is an error is shown to the person, and told here besides.
                and event["params"]["entry"]["source"] != "network"
            )
        ]


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """A browser with a profile folder of its own; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium here")
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = profile / "DevToolsActivePort"
        until(lambda: port_file.exists() and "\n" in port_file.read_text())
        port = port_file.read_text().split()[0]
        tabs = get(f"http://127.0.0.1:{port}/json", trust_env=False).json()
        page = next(tab for tab in tabs if tab["type"] == "page")
        with client.connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(PATIENCE)
