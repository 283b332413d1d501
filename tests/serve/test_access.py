"""``deconvnet serve``: who may ask, how it starts and how it ends."""

import os
import signal
import socket
import sys
from dataclasses import replace

import pytest
from helpers import needs_serve, warm_python  # noqa: F401
from helpers.serving import FIRST, PATIENCE, error_of, expected, ready_nets, rest_of, samples, until

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.errors import UsageError
from deconvnet_cli.serve import app as module
from deconvnet_cli.serve.server import listen
from deconvnet_cli.serve.settings import ServeSettings, check

TOKEN = "0123456789abcdef"


# Who may ask.


def test_a_token(serve):
    client = serve(token=TOKEN)
    for header in ({}, *({"Authorization": f"{value}"} for value in (
        TOKEN, "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é",
    ))):  # fmt: skip
        encoded_header = {key: value.encode() for key, value in header.items()}
        for call in (("POST", "/segment"), ("GET", "/metrics"), ("GET", "/anything")):
            response = client.request(*call, headers=encoded_header)
            assert TOKEN not in error_of(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/page.js", "/about", "/healthz", "/readyz"):
        assert client.get(path).status_code == 200
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/segment", content=FIRST, headers=right).status_code == 200
    assert samples(client, headers=right)["requests_total", "/metrics", "401"] == 7


def test_openapi_says_which_requests_need_the_token(serve):
    client = serve(token=TOKEN)
    document = client.get("/openapi.json").json()
    ((name, scheme),) = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            refused = client.request(method, path).status_code == 401
            assert about.get("security") == ([{name: []}] if refused else None), path
            assert "401" in about["responses"] or not refused


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "x@localhost", "["])
def test_a_foreign_host_name(server, host):
    for path in ("/", "/segment", "/metrics", "/healthz"):
        error_of(server.get(path, headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_loopback(server, host):
    assert server.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_name_by_which_a_proxy_reaches_it(serve):
    client = serve(token=TOKEN, names=("Photos.example.org",))
    headers = {"Host": "photos.example.org", "Authorization": f"Bearer {TOKEN}"}
    assert client.get("/metrics", headers=headers).status_code == 200
    page = {**headers, "Origin": "https://photos.example.org"}
    assert client.post("/segment", content=FIRST, headers=page).status_code == 200
    error_of(client.get("/", headers={"Host": "other.example.org"}), 403)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", ""])
def test_a_page_of_another_origin(server, origin):
    error_of(server.post("/segment", content=FIRST, headers={"Origin": origin}), 403)


def test_a_page_of_a_permitted_origin(serve):
    """It may ask, send and read; others may not. The question itself needs no token."""
    client = serve(token=TOKEN, origins=("https://app.example",))
    page = {"Origin": "https://app.example"}
    question = {**page, "Access-Control-Request-Method": "POST"}
    answer = client.options("/segment", headers=question)
    assert answer.status_code == 204 and answer.content == b""
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    sent = client.post(
        "/segment", content=FIRST, headers={**page, "Authorization": f"Bearer {TOKEN}"}
    )
    refused = client.post("/segment", content=FIRST, headers=page)
    assert (sent.status_code, refused.status_code) == (200, 401)
    for each in (sent, refused):
        assert each.headers["access-control-allow-origin"] == "https://app.example"
        assert each.headers["vary"] == "Origin"
    for other in ("https://evil.example", "http://app.example", "https://app.example.evil"):
        asked = client.options("/segment", headers={**question, "Origin": other})
        error_of(asked, 403)
        assert "access-control-allow-origin" not in asked.headers
    error_of(client.options("/segment", headers={**question, "Host": "evil.example"}), 403)


def test_no_other_page_is_told_anything(server):
    own = str(server.base_url).rstrip("/")
    response = server.post("/segment", content=FIRST, headers={"Origin": own})
    assert response.status_code == 200
    for answer in (response, server.get("/"), server.get("/none"), server.get("/", headers={
        "Host": "evil",
    })):  # fmt: skip
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


# How it starts and ends.


@pytest.mark.parametrize("given, words", [
    ({"origins": ("*",)}, r"--allow-origin \*: give scheme and host"),
    ({"origins": ("https://a.example/page",)}, "--allow-origin"),
    ({"origins": ("null",)}, "--allow-origin"),
    ({"host": "0.0.0.0"}, "DECONVNET_TOKEN"),
    ({"host": "::"}, "DECONVNET_TOKEN"),
    ({"host": "localhost.example.org"}, "DECONVNET_TOKEN"),
    ({"names": ("photos.example.org",)}, "DECONVNET_TOKEN"),
    ({"token": "short"}, "16 characters"),
    ({"token": ""}, "16 characters"),
    ({"token": "with a space in the middle"}, "header"),
    ({"max_pixels": 10**9}, "200000000"),
])  # fmt: skip
def test_what_is_not_safe_is_refused(given, words):
    with pytest.raises(UsageError, match=words):
        check(replace(ServeSettings(), **given))


def test_what_is_safe():
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        check(ServeSettings(host=host))
    check(ServeSettings(host="0.0.0.0", token=TOKEN))


def test_the_command_refuses_an_open_address(deconvnet, monkeypatch):
    monkeypatch.delenv("DECONVNET_TOKEN", raising=False)
    result = deconvnet("serve", "--host", "0.0.0.0")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert "--host 0.0.0.0" in result.stderr


def test_a_port_that_is_taken(deconvnet, tiny_weights):
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        result = deconvnet("serve", "--port", port, "--weights", tiny_weights)
    assert result.exit_code == 2
    assert f"--port {port}: cannot listen there (Address already in use);" in result.stderr


def test_a_package_that_is_missing(deconvnet, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = deconvnet("serve")
    assert result.exit_code == 1
    assert 'prometheus_client: pip install ".[serve]"' in result.stderr


def test_never_ready_when_the_nets_do_not_work(serve, monkeypatch, log):
    def broken(photo, system, settings):
        raise RuntimeError("no memory")

    monkeypatch.setattr(module, "segment", broken)
    client = serve(ready=False)
    until(lambda: "no memory" in log.getvalue())
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_after_what_was_begun(lively_weights, number):
    right = label_png(expected(ready_nets(lively_weights), FIRST).labels)
    options = ("--weights", lively_weights, "--proposals", "3", "--precision", "fp32")
    ours, theirs = os.pipe()
    command = ("-m", "deconvnet_cli", "serve", "--port", "0", *options)
    process = warm_python.start(command, stderr=theirs)
    os.close(theirs)
    with open(ours) as errors:
        try:
            address = errors.readline().split()[0]
            port = int(address.rstrip("/").rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.settimeout(PATIENCE)
                head = (
                    f"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(FIRST)}\r\n"
                )
                sock.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
                assert sock.recv(100).startswith(b"HTTP/1.1 100")  # it is being answered
                process.send_signal(number)
                until(lambda: refuses(port))
                sock.sendall(FIRST)
                answer = rest_of(sock)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.partition(b"\r\n\r\n")[2] == right
            assert process.wait(PATIENCE) == 0 and "Traceback" not in errors.read()
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_page_is_whole(server):
    page = server.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for path, kind in {"/page.js": "javascript", "/page.css": "css", "/icon.svg": "svg"}.items():
        assert f'"{path[1:]}"' in page.text
        assert kind in server.get(path).headers["content-type"]
    assert "<script>" not in page.text and "style=" not in page.text
