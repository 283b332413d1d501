"""``deconvnet serve``: what is answered, to photos and to what is none."""

import base64
import gzip
import io
import json
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from helpers import needs_serve  # noqa: F401
from helpers.photos import pieces, png_chunk
from helpers.serving import (
    FIRST,
    FOURTH,
    SECOND,
    SETTINGS,
    THIRD,
    encoded,
    error_of,
    expected,
    raw,
    servers,
    shown,
)
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import label_png, made_kind
from deconvnet_cli.outputs.coco import coco
from deconvnet_cli.outputs.overlay import cutout
from deconvnet_cli.outputs.polygons import geojson
from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.segmentation.settings import CrfSettings
from deconvnet_cli.serve import app as module
from deconvnet_cli.serve.responses import SegmentQuery, choose_output
from deconvnet_cli.serve.uploads import read_upload

LONG = "a," * 15_001

# What is answered.


def test_the_labels_are_those_of_segment(server, system):
    for data in (FIRST, SECOND):
        right = label_png(expected(system, data).labels)
        raw = server.post("/segment", content=data)
        assert raw.status_code == 200 and raw.headers["content-type"] == "image/png"
        assert raw.content == right
        form = server.post("/segment", files={"file": ("a.png", data, "image/png")})
        assert form.content == right
    assert len(np.unique(expected(system, FIRST).labels)) > 5


def test_photos_at_a_time_do_not_mix(server, system):
    photos = [FIRST, SECOND, THIRD, FOURTH]
    right = [label_png(expected(system, data).labels) for data in photos]
    assert len(set(right)) == 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda data: server.post("/segment", content=data), photos * 3))
    assert [each.content for each in found] == right * 3


def test_a_large_form_stays_in_memory(server, system, monkeypatch):
    monkeypatch.setattr("tempfile._get_default_tempdir", lambda: pytest.fail("a file was written"))
    monkeypatch.setattr("tempfile.tempdir", None)
    data = encoded(pieces((720, 500))[0], compress_level=0)
    assert len(data) > 1 << 20
    form = server.post("/segment", files={"file": ("a.png", data)})
    assert form.content == label_png(expected(system, data).labels)


def test_a_form_has_few_fields_and_files(server):
    fields = {f"a{number}": "1" for number in range(9)}
    many = server.post("/segment", files={"file": ("a.png", FIRST)}, data=fields)
    assert "more than 8 fields" in error_of(many, 422)
    files = [("file", (f"{number}.png", FIRST)) for number in range(9)]
    assert "more than 8 files" in error_of(server.post("/segment", files=files), 422)


def test_json(server, system):
    right = shown(system, FIRST)
    response = server.post("/segment?output=json", content=FIRST)
    assert response.headers["content-type"] == "application/json"
    found = response.json()
    assert found.keys() == {"size", "classes", "confidence", "proposals", "ms", "notes"}
    assert found["notes"] == []
    assert found["size"] == {"width": 60, "height": 40}
    assert found["classes"] == class_shares(right.labels, system.classes)
    sure = {system.classes[label]: mean for label, mean in right.confidence.items()}
    assert list(found["confidence"]) == list(found["classes"])
    for name, mean in found["confidence"].items():
        assert mean == pytest.approx(sure[name], abs=1e-4)
    assert found["proposals"] == right.proposals
    assert found["ms"].keys() == {"proposals", "net", "labels"} == right.ms.keys()
    timing = ", ".join(f"{stage};dur={ms}" for stage, ms in found["ms"].items())
    assert response.headers["server-timing"] == timing
    embedded = server.post("/segment?output=json&embed=true", content=FIRST).json()
    every = expected(system, FIRST).labels
    assert base64.b64decode(embedded["labels_png"]) == label_png(every) != label_png(right.labels)
    assert base64.b64decode(embedded["shown_png"]) == label_png(right.labels)
    photo = base64.b64decode(embedded["photo_png"])
    assert (np.asarray(Image.open(io.BytesIO(photo))) == np.asarray(read_photo(FIRST))).all()
    # A batch over what was saved takes the photo, and leaves out what this tool drew of it.
    assert not made_kind(photo)
    drawn = server.post("/segment?output=overlay", content=FIRST).content
    assert made_kind(drawn) and made_kind(base64.b64decode(embedded["shown_png"]))


def test_who_sends_a_photo_is_told_how_it_is_read(server, capsys):
    """Each request tells it, and the server's own standard error does not."""
    buffer = io.BytesIO()
    pages = pieces((60, 40))[:2]
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    for _ in range(2):
        found = server.post("/segment?output=json", content=buffer.getvalue()).json()
        assert found["notes"] == [
            "photo: has several pages; the first is read; "
            "`deconvnet segment` and `batch` read another with --page N"
        ]
    assert capsys.readouterr().err == ""


def test_overlay(server, system):
    response = server.post("/segment?output=overlay", content=FIRST)
    photo, labels = np.asarray(read_photo(FIRST)), shown(system, FIRST).labels
    height, width = labels.shape
    found = np.asarray(Image.open(io.BytesIO(response.content)))[:height, :width]  # then a legend
    there = labels != 0
    assert there.any() and (found[~there] == photo[~there]).all()
    assert (found[there] != photo[there]).any(axis=1).mean() > 0.9


def test_cutouts_and_polygons(server, system):
    """They are those of the modules that write them beside label PNGs, of the classes asked for."""
    right, photo = shown(system, FIRST), read_photo(FIRST)
    name = next(name for name in class_shares(right.labels, system.classes) if name != "background")
    given = {"classes": system.classes, "only": [name], "probabilities": right.probabilities()}
    address = f"/segment?only={name}&output="
    cut = Image.open(io.BytesIO(server.post(f"{address}cutout", content=FIRST).content))
    assert cut.mode == "RGBA"
    assert np.array_equal(np.array(cut), np.array(cutout(photo, right.labels, **given)))
    for output, encode in (("geojson", geojson), ("coco", coco)):
        found = server.post(f"{address}{output}", content=FIRST).json()
        assert found == json.loads(json.dumps(encode(right.labels, **given)))
    for query, words in (
        ("only=unicorn&output=cutout", "only: no class is called 'unicorn'"),
        ("only=cat", "only: goes with output overlay"),
    ):
        assert words in error_of(server.post(f"/segment?{query}", content=FIRST), 422)


@pytest.mark.parametrize("area", [0, 0.01, 40])
def test_the_least_area_of_a_part(server, system, area):
    """It is an option of the address or the form; labels keep every speck."""
    found = server.post(f"/segment?output=json&min_area={area}", content=FIRST).json()
    right = shown(system, FIRST, area)
    assert found["classes"] == class_shares(right.labels, system.classes)
    photo = {"file": ("a.png", FIRST, "image/png")}
    form = server.post("/segment", files=photo, data={"output": "geojson", "min_area": str(area)})
    parts = [feature["properties"]["area"] for feature in form.json()["features"]]
    given = {"classes": system.classes, "probabilities": right.probabilities()}
    rest = json.loads(json.dumps(geojson(right.labels, **given)))
    assert form.json() == rest and min(parts) >= (area if area >= 1 else area * 60 * 40)


@pytest.mark.parametrize("query, words", [
    ("output=mask", "output=mask: give labels, overlay, cutout, geojson, coco or json"),
    ("crf=maybe", "crf=maybe: give true or false"),
    ("embed=", "embed=: give true or false"),
    ("proposals=3", "proposals: no such option; there are output, crf, only, embed, min_area"),
    *(
        (
            f"output=json&min_area={area}",
            f"min_area={area}: give a share of the photo below 1 or",
        )
        for area in ("-1", "1.5", "nan", "some")
    ),
    ("min_area=0.1", "min_area: goes with output overlay, cutout, geojson, coco, json"),
    ("min_area=0", "min_area: goes with output overlay, cutout, geojson, coco, json"),
    ("output=json&only=cat", "only: goes with output overlay"),
    pytest.param(
        f"output=overlay&only={LONG}", ": give at most 30000 characters", id="only too long"
    ),
    ("embed=true", "embed: goes with output json"),
    ("output=overlay&embed=true", "embed: goes with output json"),
])  # fmt: skip
def test_an_option_that_would_not_be_heeded_is_refused(server, query, words):
    assert words in error_of(server.post(f"/segment?{query}", content=FIRST), 422)


@pytest.mark.parametrize("accept, output", [
    ("", "labels"),
    ("*/*", "labels"),
    ("image/png", "labels"),
    ("text/html, */*;q=0.8", "labels"),
    ("application/json", "json"),
    ("Application/JSON, image/png;q=0.5", "json"),
    ("image/*, application/json;q=0.9", "labels"),
    ("application/json, */*;q=0.1", "json"),
    ("image/png;q=0, application/*;q=0.001", "json"),
    ("text/html", "labels"),
])  # fmt: skip
def test_accept(accept, output):
    assert choose_output(SegmentQuery(), accept) == output
    assert choose_output(SegmentQuery(output="overlay"), accept) == "overlay"


def test_accept_by_http(server):
    response = server.post("/segment", content=FIRST, headers={"Accept": "application/json"})
    assert response.json()["size"]["width"] == 60


def test_crf_by_request(server, system):
    refined = label_png(expected(system, FIRST, replace(SETTINGS, crf=CrfSettings())).labels)
    plain = label_png(expected(system, FIRST).labels)
    assert refined != plain
    assert server.post("/segment?crf=true", content=FIRST).content == refined
    assert server.post("/segment?crf=0", content=FIRST).content == plain
    with servers(system, replace(SETTINGS, crf=CrfSettings())) as start:
        client = start()
        assert client.get("/about").json()["crf"] is True
        assert client.post("/segment", content=FIRST).content == refined
        assert client.post("/segment?crf=false", content=FIRST).content == plain


def test_about(server):
    about = server.get("/about").json()
    cat = {"label": 8, "name": "cat", "colour": "#400000", "overlay": "#f0e442"}
    assert about["classes"][8] == cat
    assert len(about["classes"]) == 21
    assert (about["max_bytes"], about["max_pixels"]) == (20_000_000, 50_000_000)


@pytest.mark.parametrize("path", ["/", "/page.js", "/about", "/healthz", "/metrics", "/docs"])
def test_head_is_get_without_a_body(server, path):
    head, full = server.head(path), server.get(path)
    assert head.status_code == full.status_code == 200 and head.content == b""
    assert head.headers["content-type"] == full.headers["content-type"]
    assert path == "/metrics" or head.headers["content-length"] == str(len(full.content))


def test_options_as_fields_of_the_form(server, system):
    """They count as those of the address do, and never fall under the table."""
    photo = {"file": ("a.png", FIRST, "image/png")}
    refined = label_png(expected(system, FIRST, replace(SETTINGS, crf=CrfSettings())).labels)
    assert server.post("/segment", files=photo, data={"crf": "true"}).content == refined
    mixed = server.post("/segment?embed=true", files=photo, data={"output": "json", "crf": "1"})
    assert base64.b64decode(mixed.json()["labels_png"]) == refined
    for data, address, words in (
        ({"crf": "maybe"}, "", "crf=maybe: give true or false"),
        ({"proposals": "3"}, "", "proposals: no such option"),
        ({"output": "json"}, "?output=json", "output: given twice"),
        ({"crf": ["1", "0"]}, "", "crf: given twice"),
        ({}, "?crf=1&crf=0", "crf: given twice"),
    ):
        assert words in error_of(server.post(f"/segment{address}", files=photo, data=data), 422)


def test_requests_as_openapi_and_as_a_page(server):
    document = server.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    about = document["paths"]["/segment"]["post"]
    names = {each["name"]: each["schema"] for each in about["parameters"]}
    assert names.keys() == {"output", "crf", "only", "embed", "min_area"}
    form = about["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert form.keys() == {"file", *names}
    assert {"image/*", "multipart/form-data"} <= about["requestBody"]["content"].keys()
    told = {"200", "400", "401", "403", "408", "413", "415", "422", "429", "500", "504"}
    assert about["responses"].keys() == told
    body = about["responses"]["400"]["content"]["application/json"]["schema"]
    answer = server.post("/segment", content=b"hello").json()
    assert body["properties"].keys() == set(body["required"]) == answer.keys()
    assert "security" not in about  # it has no token
    metrics, ready = (
        document["paths"][path]["get"]["responses"] for path in ("/metrics", "/readyz")
    )
    assert metrics["200"]["content"].keys() == {"text/plain"} and "503" in ready
    page = server.get("/docs").text
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page
    assert (
        "labels, overlay, cutout, geojson, coco, json" in page
        and "<script" not in page
        and "style=" not in page
    )


# Hostile and mistaken requests.


def png_head(width, height, bits=8):
    """A PNG of this size that says nothing of its pixels but a few zeros."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("body, words", [
    (b"", "empty"),
    (b"hello", "not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    (b"\x89PNG\r\n\x1a\n" + bytes(20), "image"),
    (encoded(pieces((60, 40))[0], "JPEG")[:600], "truncated"),
    (FIRST[:400], "truncated"),
    (png_head(60, 40), "truncated"),
])  # fmt: skip
def test_what_is_no_image(server, body, words):
    assert words in error_of(server.post("/segment", content=body), 400)
    line = error_of(server.post("/segment", files={"file": ("/etc/x.jpg", body)}), 400)
    assert words in line and "/" not in line


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(10_000, 5_001), (30_000, 30_000), (60_000, 60_000)])
def test_too_many_pixels_are_not_decoded(server, size, bits, monkeypatch):
    """They cannot be: the pixels are missing."""
    monkeypatch.setattr("deconvnet_cli.data.images.load", None)
    line = error_of(server.post("/segment", content=png_head(*size, bits)), 413)
    assert "pixels are more than the 50,000,000 allowed" in line


def test_the_limit_of_pixels_is_inclusive(serve):
    client = serve(max_pixels=2400)
    assert client.post("/segment", content=FIRST).status_code == 200
    one_more = encoded(Image.new("RGB", (49, 49)))
    assert "49x49" in error_of(client.post("/segment", content=one_more), 413)


def test_too_many_bytes(serve):
    client = serve(max_bytes=len(FIRST))
    assert client.post("/segment", content=FIRST).status_code == 200
    error_of(client.post("/segment", content=FIRST + b"x"), 413)


def test_a_stream_without_a_length_is_counted(serve):
    client = serve(max_bytes=100_000)
    sent = []

    def endless():
        for _ in range(300):
            sent.append(10_000)
            yield bytes(10_000)

    response = client.post("/segment", content=endless())
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert "0.1 MB" in error_of(response, 413)
    assert client.post("/segment", content=iter((FIRST[:50], FIRST[50:]))).status_code == 200


def test_a_length_that_is_too_large_is_refused_unread(serve):
    client = serve(max_bytes=1000)
    with raw(client, 1001) as sock:
        assert sock.recv(100).startswith(b"HTTP/1.1 413")


def form(*parts, boundary="b"):
    lines = [f"--{boundary}\r\nContent-Disposition: form-data; {part}" for part in parts]
    return ("\r\n".join((*lines, f"--{boundary}--\r\n"))).encode()


@pytest.mark.parametrize("kind, body, status, words", [
    ("application/json", b"{}", 415, "application/json"),
    ("text/plain", b"x", 415, "text/plain"),
    ("multipart/form-data", b"x", 422, "boundary"),
    ("multipart/form-data; boundary=b", b"nothing of the kind", 422, "form"),
    ("multipart/form-data; boundary=b", form('name="a"\r\n\r\n1'), 422, "0 files"),
    (
        "multipart/form-data; boundary=b",
        form('name="a"; filename="x"\r\n\r\n1', 'name="b"; filename="y"\r\n\r\n2'),
        422,
        "2 files",
    ),
    ("multipart/form-data; boundary=b", form(*['name="a"\r\n\r\n1'] * 99), 422, "form"),
])  # fmt: skip
def test_forms_and_types(server, kind, body, status, words):
    response = server.post("/segment", content=body, headers={"Content-Type": kind})
    assert words in error_of(response, status)


@pytest.mark.parametrize("kind", ["application/octet-stream", "binary/octet-stream", "image/x-new"])
def test_types_of_a_photo_as_it_is(server, system, kind):
    response = server.post("/segment", content=FIRST, headers={"Content-Type": kind})
    assert response.content == label_png(expected(system, FIRST).labels)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_body_is_refused(server, coding):
    headers = {"Content-Encoding": coding}
    response = server.post("/segment", content=gzip.compress(FIRST), headers=headers)
    assert f"Content-Encoding {coding}" in error_of(response, 415)
    assert response.headers["accept-encoding"] == "identity"
    headers["Content-Encoding"] = "identity"
    assert server.post("/segment", content=FIRST, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "name", ["filename*=UTF-8''%E7%8C%AB.png", "filename=a.png; FileName*=utf-8''%E7%8C%AB.png"]
)
def test_names_beyond_ascii(server, system, name):
    """RFC 5987; a photo that holds these words is left as it is."""
    words = b"\r\n--other\r\nfilename*=x\r\n"
    part = f'name="file"; {name}\r\nContent-Type: image/png\r\n\r\n'.encode()
    head, tail = form("X").split(b"X")
    content = head + part + FIRST + words + tail
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    right = label_png(expected(system, FIRST).labels)
    assert server.post("/segment", content=content, headers=kind).content == right
    assert read_upload(content, kind["Content-Type"]) == (FIRST + words, [])


@pytest.mark.parametrize("method, address, status", [
    ("POST", "/segment/", 404),
    ("GET", "/docs/", 404),
    ("GET", "/segment", 405),
    ("OPTIONS", "/segment", 405),
    ("GET", "/redoc", 404),
    ("GET", "/../pyproject.toml", 404),
    ("GET", "/page.css/..%2f..%2fcli.py", 404),
])  # fmt: skip
def test_wrong_addresses(server, method, address, status):
    response = server.request(method, address, content=FIRST if method == "POST" else None)
    line = error_of(response, status)
    assert "/" not in line
    assert line == "this address takes only POST" if status == 405 else "page docs" in line


def test_an_error_of_ours_tells_no_path(server, monkeypatch, log):
    def broken(photo, system, settings):
        raise RuntimeError("/home/someone/weights.safetensors is gone")

    monkeypatch.setattr(module, "segment", broken)
    line = error_of(server.post("/segment", content=FIRST), 500)
    assert "someone" not in line and "log" in line
    assert "/home/someone/weights.safetensors is gone" in log.getvalue()
