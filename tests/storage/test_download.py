"""Downloads from a server of this machine: whole, gone on with, changed, too large, refused."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import one_error_line, run_cli
from safetensors.torch import load_file

from deconvnet_cli.errors import ChecksumError, DownloadError, UsageError
from deconvnet_cli.storage.download import downloaded, name_in
from deconvnet_cli.weights.shipped import shipped_folder

DATA = bytes(range(256)) * 4096  # 1 MiB


def fetched(address: str, folder: Path, **options: Any) -> bytes:
    with downloaded(address, folder, **options) as path:
        return path.read_bytes()


@dataclass
class Site:
    """A file on a server: how it answers, and what it was asked."""

    address: str
    data: bytes = DATA
    tag: str | None = '"1"'
    break_after: int | None = None  # bytes of one answer
    length: bool = True
    redirect: str | None = None
    asked: list[str | None] = field(default_factory=list)  # the ranges
    sent: int = 0


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            begun, whole = self.headers.get("Range"), site.data
            site.asked.append(begun)
            if site.redirect:
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            if not self.path.startswith("/files/"):
                self.send_error(404)
                return
            first = 0
            if begun and self.headers.get("If-Range") == site.tag:
                first = int(begun.removeprefix("bytes=").removesuffix("-"))
            if first == len(whole):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(whole)}")
                self.end_headers()
                return
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
            if site.length:
                self.send_header("Content-Length", str(len(whole) - first))
            if site.tag:
                self.send_header("ETag", site.tag)
            self.end_headers()
            body = whole[first:][: site.break_after]
            site.sent += len(body)
            with contextlib.suppress(ConnectionError):  # the client has heard enough
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    site = Site(f"http://127.0.0.1:{server.server_port}/files/net.bin")
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_whole_file_is_there_in_the_block_and_gone_after(site, tmp_path):
    seen: list[tuple[int, int | None]] = []
    digest = hashlib.sha256(DATA).hexdigest().upper()
    with downloaded(
        site.address, tmp_path, sha256=digest, on_progress=lambda *now: seen.append(now)
    ) as path:
        assert path.name == "net.bin" and path.read_bytes() == DATA
    assert not list(tmp_path.iterdir())
    assert seen[-1] == (len(DATA), len(DATA))


def test_an_interrupted_download_goes_on(site, tmp_path):
    site.break_after = 300_000
    with pytest.raises(DownloadError, match="300000 of 1048576 bytes; run the same command again"):
        fetched(site.address, tmp_path)
    site.break_after = None
    assert fetched(site.address, tmp_path) == DATA
    assert site.asked == [None, "bytes=300000-"]
    assert site.sent == len(DATA)  # no byte came twice


@pytest.mark.parametrize("tag", ['"2"', None])
def test_a_file_that_changed_is_downloaded_anew(site, tmp_path, tag):
    site.break_after = 300_000
    with pytest.raises(DownloadError):
        fetched(site.address, tmp_path)
    site.break_after, site.data, site.tag = None, DATA[::-1], tag
    assert fetched(site.address, tmp_path) == DATA[::-1]


def test_a_part_of_an_unknown_version_is_not_gone_on_with(site, tmp_path):
    site.break_after, site.tag = 300_000, None
    with pytest.raises(DownloadError):
        fetched(site.address, tmp_path)
    site.break_after = None
    assert fetched(site.address, tmp_path) == DATA
    assert site.asked == [None, None]


def test_after_a_failure_in_the_block_nothing_is_sent_again(site, tmp_path):
    with pytest.raises(RuntimeError), downloaded(site.address, tmp_path):
        raise RuntimeError
    assert fetched(site.address, tmp_path) == DATA
    assert site.sent == len(DATA)


def test_a_wrong_checksum_removes_the_file(site, tmp_path):
    with pytest.raises(ChecksumError, match="expected 0000"):
        fetched(site.address, tmp_path, sha256="0" * 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [True, False])
def test_too_large_a_file_is_refused_at_once(site, tmp_path, length):
    site.length = length
    with pytest.raises(DownloadError, match=r"larger than 0\.0005 GB; see --max-size"):
        fetched(site.address, tmp_path, most_bytes=500_000)
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.bin"))
    assert written <= 500_000


def test_refusals(site, tmp_path):
    with pytest.raises(DownloadError, match="the server answers 404"):
        fetched(site.address.replace("files", "other"), tmp_path)
    with socket.socket() as silent, pytest.raises(DownloadError, match="cannot be reached"):
        silent.bind(("127.0.0.1", 0))  # so that nobody listens there
        fetched(f"http://127.0.0.1:{silent.getsockname()[1]}/net.bin", tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("of this machine")
    site.redirect = secret.as_uri()
    with pytest.raises(DownloadError):
        fetched(site.address, tmp_path)


@pytest.mark.parametrize("address", ["http://", "https://host", "https://host/", "http://h/a/.."])
def test_an_address_without_a_file(address):
    with pytest.raises(UsageError, match="the address of a file is needed"):
        name_in(address)


def test_names_are_decoded():
    assert name_in("https://host/a/b%20c.caffemodel?download=1#x") == "b c.caffemodel"


def test_weights_import_of_an_address_is_that_of_the_file(site, tmp_path):
    source = shipped_folder() / "fcn8s-mobilenet.safetensors"
    site.data = source.read_bytes()
    site.address = site.address.replace("net.bin", source.name)
    digest = hashlib.sha256(site.data).hexdigest()
    of_file, of_address = tmp_path / "file.safetensors", tmp_path / "address.safetensors"
    net = ("--net", "fcn8s-mobilenet")
    assert run_cli("weights", "import", source, "-o", of_file, *net).exit_code == 0
    command = ("weights", "import", site.address, "-o", of_address, "--sha256", digest)
    one_error_line(run_cli(*command, "--max-size", 1e-3), 1, "larger than 0.001 GB")
    one_error_line(run_cli(*command), 1, "--net fcn8s-mobilenet")
    sent = site.sent
    result = run_cli(*command, *net)
    assert result.exit_code == 0, result.stderr
    assert str(of_address) in result.stdout
    assert site.sent == sent  # what the second call downloaded served the third
    expected, found = load_file(of_file), load_file(of_address)
    assert expected.keys() == found.keys()
    assert all((expected[key] == found[key]).all() for key in expected)
    assert {path.name for path in tmp_path.iterdir()} == {of_file.name, of_address.name}


def test_weights_import_checks_the_sum_of_a_file_too(tmp_path, tiny_weights):
    result = run_cli("weights", "import", tiny_weights, "--sha256", "0" * 64)
    one_error_line(result, 1, "SHA-256")
