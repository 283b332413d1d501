"""Downloads of large files over http(s), which go on where an interrupted one ended."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from deconvnet_cli.errors import ChecksumError, DownloadError, UsageError
from deconvnet_cli.storage.files import locked, make_folder, writing
from deconvnet_cli.storage.hashing import file_sha256

WEB = re.compile(r"https?://", re.IGNORECASE)
MOST_BYTES = 4 << 30  # the authors' largest file has 1 GB
CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
OnProgress = Callable[[int, int | None], None]


def is_web_address(text: str) -> bool:
    """Return whether a text is an http(s) address."""
    return WEB.match(text) is not None


def name_in(address: str) -> str:
    """Return the name of the file that an address ends with.

    Raises:
        UsageError: The address has no host, or does not end with the name of a file.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise UsageError(f"{address}: not an address ({error})") from error
    name = unquote(parts.path).rpartition("/")[2]
    if not parts.hostname or name in ("", ".", "..") or "\\" in name or not name.isprintable():
        raise UsageError(f"{address}: the address of a file is needed, as https://HOST/NAME")
    return name


@contextmanager
def downloaded(
    address: str,
    folder: Path,
    *,
    sha256: str | None = None,
    most_bytes: int = MOST_BYTES,
    on_progress: OnProgress = lambda done, total: None,
) -> Iterator[Path]:
    """Download a file, yield its path, and remove it after the block if that succeeded.

    If the block or the download fails, what is there stays, and the next call goes on with it, if
    the server says that the file has not changed.

    Args:
        address: The http(s) address, without a user's name or password.
        folder: The folder in which a hidden folder holds the file.
        sha256: The SHA-256 that the file must have, a hex digest.
        most_bytes: The largest file that is taken.
        on_progress: Called after each piece with the bytes that are there, and with all of them if
            the server tells.

    Raises:
        UsageError: The address is not that of a file.
        DownloadError: The server cannot be reached, refuses, breaks off, or sends too much.
        ChecksumError: The file has another SHA-256; it is removed.
        OutputError: The file cannot be written.
    """
    name = name_in(address)
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    part = folder / f".download-{key}"
    path = part / name
    make_folder(part)
    with locked(part):  # or the same command, run elsewhere meanwhile, would add to the part
        with writing(path):
            fetch(address, path, most_bytes, on_progress)
            actual = None if sha256 is None else file_sha256(path)
        if sha256 is not None and actual != sha256.lower():
            shutil.rmtree(part, ignore_errors=True)
            raise ChecksumError(
                f"{address}: SHA-256 is {actual}, expected {sha256}; what was downloaded is removed"
            )
        yield path
        shutil.rmtree(part, ignore_errors=True)


def fetch(address: str, path: Path, most_bytes: int, on_progress: OnProgress) -> None:
    """Download a file to ``path``, or the rest of it if a part is there and still right.

    Raises:
        DownloadError: See :func:`downloaded`.
        OSError: The file cannot be written.
    """
    validator = path.with_name("validator")  # says which version of the file the part is of
    done = path.stat().st_size if path.is_file() and validator.is_file() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": validator.read_text()}
    with asked(address, headers) as answer:
        if answer is None:  # nothing lies after the part
            return
        if answer.status != 206:
            done = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise DownloadError(f"{address}: the server sends another part than was asked for")
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        if total is not None and total > most_bytes:
            raise too_large(address, most_bytes)
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if tag is None or tag.startswith("W/"):  # such a part cannot be gone on with
            validator.unlink(missing_ok=True)
        else:
            validator.write_text(tag)
        with path.open("ab" if done else "wb") as file:
            for piece in pieces(answer, address):
                done += len(piece)
                if done > most_bytes:
                    raise too_large(address, most_bytes)
                file.write(piece)
                on_progress(done, total)
    if total is not None and done < total:
        raise DownloadError(
            f"{address}: the connection ended after {done} of {total} bytes; "
            "run the same command again to go on"
        )


@contextmanager
def asked(address: str, headers: dict[str, str]) -> Iterator[Any]:
    """Yield the answer to a request, or None if the part that is there is the whole file.

    Raises:
        DownloadError: The server cannot be reached, or it refuses.
    """
    try:
        answer = web().open(Request(address, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        whole = error.headers.get("Content-Range", "").partition("*/")[2]
        begun = headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        error.close()
        if error.code == 416 and begun and whole == begun:
            yield None
            return
        raise DownloadError(f"{address}: the server answers {error.code} {error.reason}") from error
    except (URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(f"{address}: cannot be reached ({reason})") from error
    with answer:
        yield answer


def pieces(answer: Any, address: str) -> Iterator[bytes]:
    """Yield the body of an answer piece by piece.

    Raises:
        DownloadError: The connection breaks.
    """
    try:
        yield from iter(lambda: answer.read1(CHUNK), b"")
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"{address}: the connection broke ({error}); run the same command again to go on"
        ) from error


def web() -> OpenerDirector:
    """Return what opens http(s) addresses and nothing else, redirects included."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-agent", "deconvnet")]
    return opener


def too_large(address: str, most_bytes: int) -> DownloadError:
    """Return the error for a file with more bytes than are taken."""
    return DownloadError(f"{address}: larger than {most_bytes / 1e9:.3g} GB; see --max-size")
