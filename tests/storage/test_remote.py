"""Remote folders: in memory, on an S3 server of this machine, and ``file://``, which is local."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from helpers import warm_python
from helpers.object_store import s3_server
from helpers.small_batch import lines, outputs, small_photos, unloaded
from PIL import Image

from deconvnet_cli.batch.find import Look, find_photos
from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import DONE, Entry, read_entries
from deconvnet_cli.batch.photo import start_worker
from deconvnet_cli.batch.plan import apart, plan
from deconvnet_cli.batch.remote_manifest import LINES, SECONDS, RemoteManifest
from deconvnet_cli.batch.resume import damaged, reason, sort_out
from deconvnet_cli.batch.run import remove_unfinished
from deconvnet_cli.batch.spec import BatchSpec, batch_info
from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.data.label_png import DRAWN_PICTURE, HEAD, LABEL_PNG, label_png
from deconvnet_cli.errors import DependencyError, ImageError, OutputError, UsageError
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.remote import RemotePath, place
from deconvnet_cli.weights.files import load

PHOTOS = 5


@pytest.fixture
def memory():
    """The file system in memory of this process, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places") / "photos"
    small_photos(folder, PHOTOS - 1)
    small_photos(folder / "deep", 1, seed=3)
    return folder


@pytest.fixture(scope="module")
def options(lively_weights):
    return ("--weights", lively_weights, "--proposals", 2, "--quiet")


@pytest.fixture(scope="module")
def local_run(photos, options):
    """The label PNGs of a run that knows local folders alone."""
    from helpers.command_line import run_cli

    out = photos.with_name("local")
    assert run_cli("batch", photos, "-o", out, *options, "--workers", 1).exit_code == 0
    assert len(set(outputs(out).values())) == PHOTOS
    return out


@pytest.fixture(scope="module")
def s3():
    with s3_server() as bucket:
        yield bucket


def test_a_url_goes_where_a_path_goes():
    path = place("s3://bucket/a/b.jpg")
    assert isinstance(path, RemotePath)
    assert (str(path), path.name, path.suffix) == ("s3://bucket/a/b.jpg", "b.jpg", ".jpg")
    assert str(path.with_suffix(".png")) == "s3://bucket/a/b.png"
    assert str(path.parent / "c") == "s3://bucket/a/c"
    assert path.relative_to(place("s3://bucket/")).as_posix() == "a/b.jpg"
    assert Path("out") / path.relative_to(place("s3://bucket")) == Path("out/a/b.jpg")
    again = pickle.loads(pickle.dumps(path))
    assert (again, hash(again), str(again)) == (path, hash(path), str(path))
    assert len({path, again, place("gs://bucket/a/b.jpg")}) == 2
    assert not isinstance(place("a:/b"), RemotePath)
    assert place("file:///a/b.jpg") == Path("/a/b.jpg")


def test_what_would_touch_a_file_of_this_machine_fails():
    path = place("s3://bucket/a.jpg")
    with pytest.raises(FileNotFoundError):
        os.stat(path)
    assert not any(hasattr(path, name) for name in ("stat", "mkdir", "unlink", "write_bytes"))


def test_places_that_there_are_not():
    with pytest.raises(UsageError, match=r"nonsense://a"):
        remote.read(place("nonsense://a"))  # type: ignore[arg-type]
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        with pytest.raises(DependencyError, match="gcsfs"):
            remote.found(place("gs://bucket/a"))  # type: ignore[arg-type]


def test_photos_of_a_remote_folder_keep_its_tree(memory):
    for name in ("b/a.jpg", "b/deep/c.png", "b/notes.txt", "b/.hidden.jpg", "other/d.jpg"):
        memory.pipe_file(f"/{name}", b"x")
    jobs = plan(["memory://b"], Path("out"))
    assert [(str(job.photo), job.target) for job in jobs] == [
        ("memory://b/a.jpg", Path("out/a.png")),
        ("memory://b/deep/c.png", Path("out/deep/c.png")),
    ]
    (job,) = plan(["memory://b/a.jpg"], place("memory://labels"))
    assert (str(job.target), job.target.name) == ("memory://labels/a.png", "a.png")
    assert [job.photo.name for job in plan(["memory://b/*.jpg"], Path("out"))] == [
        ".hidden.jpg",
        "a.jpg",
    ]
    memory.pipe_file("/other/a.jpg", b"x")
    for sources, out, words in (
        (["memory://b", "memory://other/"], Path("out"), "b/a.jpg and memory://other/a.jpg would"),
        (["memory://b/deep/c.png"], place("memory://b/deep"), "is one of the photos"),
    ):
        with pytest.raises(UsageError, match=words):
            apart(plan(sources, out), BatchSpec(pytest.fail, out).files)
    for nothing in ("memory://none", "memory://b/*.gif"):
        with pytest.raises(ImageError, match=r"memory://"):
            plan([nothing], Path("out"))


def test_what_is_made_of_photos_there_is_known_by_its_head(memory, monkeypatch):
    """No PNG is read whole for this."""
    labels = label_png(np.ones((4, 5), np.uint8))
    drawn = png_bytes(Image.effect_noise((200, 200), 99))
    files = {"a": b"x", "b": labels, "c": drawn, "d": b"", "e": b"x" * 9999, "b.mask": b"x"}
    for name, content in files.items():
        memory.pipe_file(f"/b/{name}.png", content)
    ranges = []
    cat_file = type(memory).cat_file

    def counted(files, path, start=None, end=None, **more):
        ranges.append((start, end))
        return cat_file(files, path, start, end, **more)

    monkeypatch.setattr(type(memory), "cat_file", counted)
    monkeypatch.setattr(remote, "AT_A_TIME", 2)
    for source, wanted in (("b", "ade"), ("b/**", "ade"), ("b/*.png", "ab.maskbcde")):
        look = Look()
        found = find_photos(f"memory://{source}", look)
        assert "".join(photo.stem for photo, _ in found) == wanted
        assert look.left_out == ({} if "c" in wanted else {LABEL_PNG: 1, DRAWN_PICTURE: 2})
    assert ranges == [(0, HEAD)] * 12


def test_annotations_there_say_which_photo_they_are_of(memory, tmp_path):
    """As of LabelMe: a photo elsewhere is another one if its name is another."""
    folder = place("memory://labels")
    files = {"a.png": b"png", "a.json": b'{"imagePath": "a.jpg"}'}
    for name, content in files.items():
        memory.pipe_file(f"/labels/{name}", content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    photos = [tmp_path / "a.jpg", tmp_path / "a.jpeg"]
    for photo in photos:
        photo.write_bytes(b"photo")
    entry = Entry(
        "before/a.jpg",
        "a.png",
        DONE,
        5,
        sha256=hashlib.sha256(b"photo").hexdigest(),
        output_sha256=hashes["a.png"],
        extras=hashes,
    )
    info = unloaded(BatchSpec(pytest.fail, folder, outputs=Outputs(polygons="labelme")))
    jobs = [Job(photo, folder / "a.png") for photo in photos]
    found = [reason(job, entry, info) for job in jobs]
    assert found == [None, "the photo moved"]


def test_lists_may_name_urls(memory, tmp_path):
    (tmp_path / "list.txt").write_text("memory://b/a.jpg\n")
    (job,) = plan([f"@{tmp_path / 'list.txt'}"], Path("out"))
    assert (str(job.photo), job.target) == ("memory://b/a.jpg", Path("out/b/a.png"))


def test_labels_of_an_earlier_run_in_the_source_are_no_photos(memory):
    for name in ("b/a.jpg", "b/labels/a.png"):
        memory.pipe_file(f"/{name}", b"x")
    (job,) = plan(["memory://b"], place("memory://b/labels"))
    assert str(job.photo) == "memory://b/a.jpg"


def tiny(weights: Path) -> tuple[System, SegmentSettings]:
    return alone(load(str(weights))), SegmentSettings(proposals=2)


@pytest.fixture(scope="module")
def made_local(lively_weights, photos):
    """A photo, and what a local folder gets of it."""
    out = photos.with_name("one")
    spec = BatchSpec(partial(tiny, lively_weights), out, True, Outputs(overlay=True))
    job = Job(photos / "0000.jpg", out / "0000.png")
    entry = start_worker(batch_info(spec, *spec.load()))(job)
    return job, entry


def test_memory_gets_the_bytes_that_a_folder_gets(memory, lively_weights, made_local):
    local, expected = made_local
    memory.pipe_file("/in/0000.jpg", local.photo.read_bytes())
    folder = place("memory://out")
    spec = BatchSpec(partial(tiny, lively_weights), folder, True, Outputs(overlay=True))
    known = batch_info(spec, *spec.load())
    (job,) = plan(["memory://in"], folder)
    entry = start_worker(known)(job)
    assert (entry.status, entry.image, entry.output) == ("done", "memory://in/0000.jpg", "0000.png")
    assert (entry.sha256, entry.size) == (expected.sha256, expected.size)
    assert entry.output_sha256 == expected.output_sha256
    for name in ("0000.png", "0000.overlay.png"):
        assert memory.cat_file(f"/out/{name}") == (local.target.parent / name).read_bytes()
    manifest = RemoteManifest(folder / "manifest.jsonl")  # type: ignore[arg-type]
    manifest.add(entry)
    manifest.close()

    def todo() -> list[str]:
        remove_unfinished([job], spec)
        entries = read_entries(spec.folder)
        return [why for _, why in sort_out([job], entries, known).jobs]

    assert todo() == []
    memory.pipe_file("/in/0000.jpg", local.photo.read_bytes())  # another time, the same bytes
    assert todo() == []
    memory.pipe_file("/in/0000.jpg", local.photo.read_bytes() + b"\0")
    assert todo() == ["the photo changed"]
    memory.pipe_file("/in/0000.jpg", local.photo.read_bytes())
    memory.rm("/out/0000.npz")
    assert todo() == ["0000.npz is missing"]
    memory.pipe_file("/out/0000.npz", b"")
    (wrong,) = damaged(read_entries(folder).values(), folder)
    assert wrong[1] == "memory://out/0000.npz: changed since it was written"


def test_a_photo_that_is_gone_fails_alone(memory, lively_weights):
    folder = place("memory://out")
    spec = BatchSpec(partial(tiny, lively_weights), folder)
    work = start_worker(batch_info(spec, *spec.load()))
    with pytest.raises(ImageError, match=r"memory://in/a.jpg: no such file"):
        work(Job(place("memory://in/a.jpg"), folder / "a.png"))
    memory.pipe_file("/in/a.jpg", b"not a photo")
    assert work(Job(place("memory://in/a.jpg"), folder / "a.png")).status == "failed"


def names(files, folder: str) -> list[str]:
    return [Path(name).name for name in files.ls(folder, detail=False)]


def test_parts_of_a_manifest(memory):
    """They are written when lines are many or old, outlive a kill, and become one file."""
    now = [0.0]
    path = RemotePath("memory://out/manifest.jsonl")
    manifest = RemoteManifest(path, lambda: now[0])
    entries = [Entry("a.jpg", f"{number}.png", "done") for number in range(LINES + 2)]
    for entry in entries[: LINES - 1]:
        manifest.add(entry)
    assert not memory.exists("/out")
    manifest.add(entries[LINES - 1])
    assert len(names(memory, "/out")) == 1
    manifest.add(entries[LINES])
    now[0] = SECONDS
    manifest.add(entries[LINES + 1])
    parts = names(memory, "/out")
    assert len(parts) == 2 and "manifest.jsonl" not in parts
    assert list(read_entries(path.parent).values()) == entries  # of a run that was killed here
    again = RemoteManifest(path)
    newer = Entry("a.jpg", "0.png", "failed", error="x", time=entries[0].time + 1)
    again.add(newer)
    again.close()
    assert names(memory, "/out") == ["manifest.jsonl"]
    written = memory.cat_file("/out/manifest.jsonl").splitlines()
    assert [json.loads(line)["output"] for line in written] == [
        *(entry.output for entry in entries),
        "0.png",
    ]
    assert read_entries(path.parent)["0.png"] == newer
    last = RemoteManifest(path)
    last.close()
    assert memory.cat_file("/out/manifest.jsonl").splitlines() == written


def test_shards_have_parts_of_their_own(memory):
    for number in (1, 2):
        manifest = RemoteManifest(RemotePath(f"memory://out/manifest.{number}-of-2.jsonl"))
        manifest.add(Entry("a.jpg", f"{number}.png", "done"))
        manifest.flush()
    manifest.close()
    assert "manifest.2-of-2.jsonl" in names(memory, "/out")
    assert sum(name.startswith("manifest.1-of-2.part-") for name in names(memory, "/out")) == 1
    assert set(read_entries(place("memory://out"))) == {"1.png", "2.png"}


def test_file_urls_are_folders(deconvnet, photos, options, local_run, tmp_path):
    out = tmp_path / "out"
    result = deconvnet("batch", f"file://{photos}", "-o", f"file://{out}", *options)
    assert result.exit_code == 0, result.output
    assert outputs(out) == outputs(local_run)
    assert (out / ".deconvnet.lock").exists()


@pytest.mark.parametrize("arguments", [
    ("s3://b/photos", "-o", "out", "--watch"),
    ("photos", "-o", "s3://b/labels", "--watch"),
    ("-o", "s3://b/labels", "--merge"),
    ("s3://b/photos", "-o", "out", "--voc-submission", __file__),
    ("s3://b/photos",),
])  # fmt: skip
def test_what_is_for_folders_alone(deconvnet, arguments):
    result = deconvnet("batch", *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output


def test_a_batch_from_s3_to_s3(deconvnet, photos, options, local_run, s3):
    """As from folder to folder: labels, manifest, a photo that fails, resume, --verify."""
    files = fsspec.filesystem("s3", use_listings_cache=False)
    source, out = f"{s3}/in", f"{s3}/out"
    for path in photos.rglob("*.jpg"):
        files.pipe_file(f"{source}/{path.relative_to(photos).as_posix()}", path.read_bytes())
    files.pipe_file(f"{source}/bad.jpg", b"not a photo")
    command = ("batch", source, "-o", out, *options, "--json")
    assert deconvnet(*command, "--dry-run").stdout.count('"to do"') == PHOTOS + 1
    # In a process of its own: worker processes of this one may not know of the server.
    first = warm_python.run(("-m", "deconvnet_cli", *command, "--workers", 2))
    assert first.returncode == 1 and first.stderr.count(b"bad.jpg") == 1, first.stderr
    made = {name: files.cat_file(f"{out}/{name}") for name in outputs(local_run)}
    assert made == outputs(local_run)
    stored = [json.loads(line) for line in files.cat_file(f"{out}/manifest.jsonl").splitlines()]
    assert info(stored) - info(lines(local_run)) == {("bad.png", "failed", None)}
    assert [Path(name).name for name in files.ls(out, detail=False)].count("manifest.jsonl") == 1
    assert len(files.find(out)) == PHOTOS + 1
    again = deconvnet(*command)
    assert again.stdout.count('"skipped"') == PHOTOS and "(before; --retry-failed)" in again.stderr
    files.rm_file(f"{source}/bad.jpg")
    files.pipe_file(f"{out}/0001.png", b"another")
    checked = deconvnet("batch", "-o", out, "--verify")
    assert "0001.png: changed since it was written" in checked.stderr
    again = deconvnet(*command, "--dry-run")
    assert again.exit_code == 0 and again.stdout.count('"to do"') == 1, again.output
    assert "0001.png changed" in again.stdout


def info(manifest) -> set[tuple[object, ...]]:
    return {(line["output"], line["status"], line.get("output_sha256")) for line in manifest}


def test_the_file_of_all_photos_has_those_of_this_run(photos, options, s3):
    """Lines of a remote manifest wait, and the file of all photos must not miss them."""
    files, out = fsspec.filesystem("s3", use_listings_cache=False), f"{s3}/all"
    for expected in (["0000.jpg"], ["0000.jpg", "0001.jpg"]):
        sources = [photos / name for name in expected]
        command = ("batch", *sources, "-o", out, *options, "--workers", 1, "--polygons", "coco")
        result = warm_python.run(("-m", "deconvnet_cli", *command))
        assert result.returncode == 0, result.stderr
        found = json.loads(files.cat_file(f"{out}/coco.json"))
        assert [image["file_name"] for image in found["images"]] == expected
        assert len(files.cat_file(f"{out}/manifest.jsonl").splitlines()) == len(expected)


def test_what_s3_refuses(deconvnet, photos, options, s3):
    result = deconvnet("batch", "s3://no-such-bucket/in", "-o", f"{s3}/out", *options)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    with pytest.raises(OutputError, match=r"s3://no-such-bucket/a.png: cannot be written"):
        remote.write(place("s3://no-such-bucket/a.png"), b"")  # type: ignore[arg-type]


def test_a_key_that_is_no_path_is_named(s3):
    files = fsspec.filesystem("s3", use_listings_cache=False)
    for key in ("odd/", "odd/empty/", "odd/a.jpg", "odd//a.jpg"):  # consoles make the first two
        files.pipe_file(f"{s3}/{key}", b"x")
    told: list[ImageError] = []
    jobs = plan([f"{s3}/odd"], Path("out"), unreadable=told.append)
    assert [str(job.photo) for job in jobs] == ["s3://photos/odd/a.jpg"]
    assert len(told) == 1 and "s3://photos/odd//a.jpg" in str(told[0])
