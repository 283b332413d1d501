"""A folder that fills: photos are taken once they are whole, and again when they change."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from helpers.small_batch import kill, lines, outputs, parts, small_photos, start_warm, wait_for

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import DONE, Entry
from deconvnet_cli.batch.plan import plan
from deconvnet_cli.batch.spec import BatchSpec
from deconvnet_cli.batch.watch import INTERVAL, arriving
from deconvnet_cli.commands.shared.batch_progress import Report, jobs_now
from deconvnet_cli.outputs.files import Outputs

LOOK = 0.7  # seconds between two looks of a real run here
OFTEN = (
    "-c",
    f"from deconvnet_cli.batch import watch; watch.INTERVAL = {LOOK}; "
    "from deconvnet_cli.cli import main; main()",
)


class Looks:
    """The looks of a batch at folders that fill."""

    def __init__(self, out: Path, *sources: Path) -> None:
        self.report = Report(out, False, False)
        self.entries: dict[str, Entry] = {}
        self.find = partial(plan, tuple(map(str, sources)), out)
        self.spec = BatchSpec(pytest.fail, out, outputs=Outputs(overlay=True))

    @property
    def failures(self) -> list[str]:
        return self.report.wrong()

    def names(self) -> list[str]:
        """The names of the photos that are there now and not refused."""
        jobs = jobs_now(self.find, self.spec, self.entries, self.report)
        return [job.photo.name for job in jobs]


class Folder:
    """A folder whose photos and clock a test moves by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 100.0
        self.ended = False
        self.at_work: set[Path] = set()
        self.coming = arriving(self.look, lambda: self.ended, self.at_work, lambda: self.now)

    def look(self) -> list[Job]:
        photos = sorted(self.path.glob("*.jpg"))
        return [Job(photo, photo.with_suffix(".png")) for photo in photos]

    def write(self, name: str, content: str, at: int = 0) -> None:
        """Write a file that says that it was changed at this moment."""
        (self.path / name).write_text(content)
        os.utime(self.path / name, (at, at))

    def next_look(self) -> list[str]:
        """What comes in at the next look, until there is nothing for now."""
        self.now += INTERVAL
        found = []
        while job := next(self.coming, None):
            found.append(job.photo.name)
        return found


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_a_photo_comes_when_it_has_not_changed_between_two_looks(folder):
    folder.write("a.jpg", "whole")
    assert folder.next_look() == []
    folder.write("b.jpg", "new")
    assert folder.next_look() == ["a.jpg"]
    assert folder.next_look() == ["b.jpg"]
    assert folder.next_look() == []


def test_a_file_that_is_written_slowly(folder):
    for number in range(1, 5):
        folder.write("a.jpg", "x" * number)
        assert folder.next_look() == []
    assert folder.next_look() == ["a.jpg"]


def test_the_same_size_at_another_time_is_a_change(folder):
    folder.write("a.jpg", "one", at=1)
    folder.next_look()
    folder.write("a.jpg", "two", at=2)
    assert folder.next_look() == []
    assert folder.next_look() == ["a.jpg"]


def test_a_photo_that_changes_comes_again(folder):
    folder.write("a.jpg", "one")
    folder.next_look()
    assert folder.next_look() == ["a.jpg"]
    folder.write("a.jpg", "other")
    assert [folder.next_look() for _ in range(3)] == [[], ["a.jpg"], []]


@pytest.mark.skipif(os.name == "nt", reason="no time of such a change there")
def test_a_photo_that_may_be_read_at_last_comes_again(folder):
    folder.write("a.jpg", "one")
    (folder.path / "a.jpg").chmod(0)
    folder.next_look()
    assert folder.next_look() == ["a.jpg"]  # and fails
    (folder.path / "a.jpg").chmod(0o644)
    assert [folder.next_look() for _ in range(3)] == [[], ["a.jpg"], []]


def test_a_photo_that_goes_and_comes_back(folder):
    folder.write("a.jpg", "one")
    folder.next_look()
    folder.next_look()
    (folder.path / "a.jpg").unlink()
    assert folder.next_look() == []
    folder.write("a.jpg", "one")
    assert [folder.next_look() for _ in range(2)] == [[], ["a.jpg"]]


def test_a_photo_that_changes_while_it_is_worked_on_waits(folder):
    """Else two workers would write its labels, and the slower one last."""
    folder.write("a.jpg", "one")
    folder.next_look()
    assert folder.next_look() == ["a.jpg"]
    folder.at_work.add(folder.path / "a.jpg")
    folder.write("a.jpg", "other")
    assert [folder.next_look() for _ in range(4)] == [[]] * 4
    folder.at_work.clear()
    assert folder.next_look() == ["a.jpg"]


def test_between_two_looks_nothing_is_looked_at(folder):
    folder.write("a.jpg", "whole")
    folder.next_look()
    folder.now += INTERVAL / 2
    assert next(folder.coming) is None
    folder.now += INTERVAL / 2
    assert next(folder.coming).photo.name == "a.jpg"


def test_it_ends_when_it_is_told_to(folder):
    folder.write("a.jpg", "whole")
    folder.next_look()
    folder.ended = True
    assert list(folder.coming) == []


def test_an_empty_folder_beside_a_full_one(tmp_path):
    """Nothing there yet in one of them must not hide what is in the other."""
    small_photos(tmp_path / "full", 1)
    (tmp_path / "empty").mkdir()
    sources = (str(tmp_path / "empty"), str(tmp_path / "full"), str(tmp_path / "none"))
    looks = Looks(tmp_path / "out", *sources)
    assert looks.names() == ["0000.jpg"] and looks.failures == []


def test_two_photos_for_one_label_png_are_said_once(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    for name in ("a.jpg", "a.png"):
        small_photos(tmp_path / "a", 1)[0].rename(tmp_path / "a" / name)
    looks = Looks(tmp_path / "out", tmp_path / "a")
    for _ in range(3):
        assert looks.names() == ["a.jpg"]
    assert len(looks.failures) == 1 and "would both be written to" in looks.failures[0]
    assert capsys.readouterr().err.count("would both be written to") == 1
    (tmp_path / "a" / "a.png").unlink()
    assert looks.names() == ["a.jpg"] and looks.failures == []


@pytest.mark.parametrize(
    ("done", "later"), [("a.png", "a.jpg"), ("a.overlay.jpg", "a.jpg"), ("a.jpg", "a.overlay.jpg")]
)
def test_a_photo_that_comes_later_takes_no_files_of_one_that_is_done(tmp_path, done, later):
    for name in (done, later):
        small_photos(tmp_path / "a", 1)[0].rename(tmp_path / "a" / name)
    looks = Looks(tmp_path / "out", tmp_path / "a")
    output = Path(done).with_suffix(".png").name
    looks.entries[output] = Entry(str(tmp_path / "a" / done), output, DONE)
    assert looks.names() == [done] and later in looks.failures[0]


@pytest.mark.slow
def test_a_folder_watched_for_real(lively_weights, tmp_path):
    """Photos come in, one of them slowly; Ctrl-C ends it well."""
    ready = small_photos(tmp_path / "ready", 4)
    incoming, out, log = tmp_path / "incoming", tmp_path / "out", tmp_path / "log"
    incoming.mkdir()
    (incoming / "0.jpg").write_bytes(ready[0].read_bytes())
    options = ("--weights", lively_weights, "--proposals", 1, "--workers", 1)
    process = start_warm(incoming, "-o", out, "--watch", *options, log=log, program=OFTEN)
    try:
        wait_for(lambda: b"watching" in log.read_bytes())
        (incoming / "1.jpg").write_bytes(ready[1].read_bytes())
        slow = ready[2].read_bytes()
        step = len(slow) // 12
        with open(incoming / "2.jpg", "wb", buffering=0) as file:
            for begin in range(0, len(slow), step):  # longer than three looks
                assert not (out / "2.png").exists()
                file.write(slow[begin : begin + step])
                time.sleep(LOOK / 4)
        wait_for(lambda: len(lines(out)) == 3)
        (incoming / "1.jpg").write_bytes(ready[3].read_bytes())  # another photo in its place
        wait_for(lambda: len(lines(out)) == 4)
        kill(process, signal.SIGINT, group=True)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert set(outputs(out)) == {"0.png", "1.png", "2.png"}
    assert {line["status"] for line in lines(out)} == {"done"}
    assert lines(out)[-1]["output"] == "1.png"
    assert not parts(out)
    assert b"Traceback" not in log.read_bytes()
