"""Batches that are killed, stopped, starved and robbed of their files, for real.

More kills than here: DECONVNET_KILLS=50.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from helpers import warm_python
from helpers.small_batch import (
    PATIENCE,
    kill,
    lines,
    outputs,
    parts,
    run_warm,
    small_photos,
    start_warm,
    unloaded,
    wait_for,
    workers_of,
)
from helpers.warm_python import WarmProcess

from deconvnet_cli.batch.manifest import NAME, Manifest
from deconvnet_cli.batch.photo import failed_entry, start_worker
from deconvnet_cli.batch.plan import plan
from deconvnet_cli.batch.resume import sort_out
from deconvnet_cli.batch.run import Run
from deconvnet_cli.batch.spec import BatchSpec, batch_info
from deconvnet_cli.errors import (
    BusyError,
    CrashError,
    DiskFullError,
    ImageError,
    OutputError,
    WeightsError,
)
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.storage.files import locked
from deconvnet_cli.weights.files import load

KILLS = int(os.environ.get("DECONVNET_KILLS", "4"))
PHOTOS = 24
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals of this kind")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "photos"
    small_photos(folder, PHOTOS)
    return folder


@pytest.fixture(scope="module")
def options(lively_weights):
    return ("--weights", lively_weights, "--proposals", 4, "--batch-size", 1)


@pytest.fixture(scope="module")
def undisturbed(photos, options):
    """The label PNGs of a run that nothing happens to."""
    from helpers.command_line import run_cli

    out = photos.with_name("undisturbed")
    result = run_cli("batch", photos, "-o", out, *options, "--workers", 1, "--quiet")
    assert result.exit_code == 0, result.output
    made = outputs(out)
    assert len(made) == PHOTOS and len(set(made.values())) == PHOTOS
    return made


def begun(out: Path, process: WarmProcess) -> None:
    """Wait until a run has done one photo more than there are now."""
    before = len(lines(out))
    wait_for(lambda: len(lines(out)) > before or process.poll() is not None)


@needs_proc
@pytest.mark.slow
def test_kill_9_at_random_moments(photos, options, undisturbed, tmp_path):
    """The parent alone and all processes in turn; every file is whole at any moment."""
    choice, out, log = random.Random(7), tmp_path / "out", tmp_path / "log"
    command = (photos, "-o", out, *options, "--workers", 2)
    for number in range(KILLS):
        process = start_warm(*command, log=log)
        begun(out, process)
        time.sleep(choice.uniform(0, 0.3))
        workers = workers_of(process.pid)
        kill(process, signal.SIGKILL, group=bool(number % 2))
        wait_for(lambda pids=workers: not any(Path(f"/proc/{pid}").exists() for pid in pids))
        assert all(undisturbed[name] == data for name, data in outputs(out).items())
        if number == 0:  # what a kill leaves behind once in a while
            for name in (".0001.png.abcdefgh.part", ".coco.json.abcdefgh.part"):
                (out / name).write_bytes(b"half")
            with open(out / NAME, "ab") as file:
                file.write(b'{"image": "photos/00')
    assert run_warm(*command, log=log) == 0, log.read_text()
    assert outputs(out) == undisturbed
    assert not parts(out)
    done = [line["output"] for line in lines(out)]
    assert sorted(done) == sorted(undisturbed)  # each once: none was done again after its line


@needs_proc
@pytest.mark.slow
def test_stopped_by_signals_and_robbed_of_a_worker(photos, options, undisturbed, tmp_path):
    """One folder, four runs: Ctrl-C, SIGTERM, Ctrl-C twice, and one that gets to its end."""
    out, log = tmp_path / "out", tmp_path / "log"
    command = (photos, "-o", out, *options, "--workers", 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        process = start_warm(*command, log=log)
        begun(out, process)
        before = len(lines(out))
        kill(process, number, group=True)  # as a terminal and a cluster do
        assert process.wait(PATIENCE) == 1, log.read_text()
        # What was in flight is done: one photo a worker, and those of meanwhile.
        assert f"stopped, {PHOTOS - len(lines(out))} left" in log.read_text()
        assert before <= len(lines(out)) <= before + 4
        consistent(out, undisturbed, log)
    process = start_warm(*command, log=log)
    begun(out, process)
    for worker in workers_of(process.pid):
        os.kill(worker, signal.SIGSTOP)  # photos that take for ever
    kill(process, signal.SIGINT, group=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    kill(process, signal.SIGINT, group=True)
    assert process.wait(PATIENCE) == 1, log.read_text()
    assert "Aborted" in log.read_text()
    # A worker that was killed while it wrote has left a part, which the next run clears away.
    consistent(out, undisturbed, log, killed=True)
    process = start_warm(*command, log=log)
    begun(out, process)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    assert process.wait(PATIENCE) == 0, log.read_text()  # its photo was tried once more
    assert len(lines(out)) == PHOTOS == len(outputs(out))
    consistent(out, undisturbed, log, killed=True)  # as above, if it was writing just then


def consistent(
    out: Path, undisturbed: dict[str, bytes], log: Path, *, killed: bool = False
) -> None:
    """All label PNGs and no others have a line, and are as they should be."""
    there = outputs(out)
    done = {line["output"] for line in lines(out)}
    assert done <= set(there) and all(undisturbed[name] == data for name, data in there.items())
    assert killed or (done == set(there) and not parts(out))
    assert "Traceback" not in log.read_text()


def test_a_second_run_is_told_who_is_there(deconvnet, photos, options, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with locked(out):
        for more in ((), ("--shard", "1/2"), ("--merge",)):
            arguments = (out,) if more == ("--merge",) else (photos, "-o", out, *options)
            if more == ("--merge",):
                (out / "manifest.1-of-1.jsonl").touch()
            result = deconvnet("batch", *arguments, *more)
            assert result.exit_code == 1
            (line,) = result.stderr.splitlines()
            assert line == (
                f"deconvnet: {out}: another run is writing there; "
                "wait for it, stop it, or give another -o"
            )
    assert not outputs(out)


def test_shards_share_a_folder_but_not_with_themselves(tmp_path):
    busy = pytest.raises(BusyError, match="another run")
    with locked(tmp_path, shared=True), locked(tmp_path, shared=True), busy, locked(tmp_path):
        pass
    with locked(tmp_path, "1") as held, busy, locked(tmp_path, "1"):
        assert held


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path):
    program = (
        "import sys, time, pathlib\n"
        "from deconvnet_cli.storage.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(600)\n"
    )
    held, said = os.pipe()
    holder = warm_python.start(["-c", program, tmp_path], stdout=said, stderr=2)
    os.close(said)
    with open(held) as pipe:
        assert pipe.readline() == "locked\n"
        with pytest.raises(BusyError), locked(tmp_path):
            pass
        kill(holder, signal.SIGKILL, group=False)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    """As Lustre is mounted on many clusters: better no lock than no run."""

    def none(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", none)
    with locked(tmp_path) as held:
        assert held is False


def test_a_lock_that_fails(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", broken)
    with pytest.raises(OutputError, match="cannot be locked"), locked(tmp_path):
        pass


# Disks and folders.


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "none", place]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_full(deconvnet, photos, options, undisturbed, small_disk):
    out = small_disk / "out"
    command = ("batch", photos, "-o", out, *options, "--workers", 2, "--quiet")
    result = deconvnet(*command)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "cannot be written (No space left on device)" in line
    made = outputs(out)
    assert 0 < len(made) < PHOTOS
    assert all(undisturbed[name] == data for name, data in made.items())
    assert not parts(out)
    assert {line["status"] for line in lines(out)} == {"done"}  # no photo is to blame
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    assert deconvnet(*command).exit_code == 0
    assert outputs(out) == undisturbed
    assert deconvnet("batch", "--verify", "-o", out).exit_code == 0


def stub(folder: Path, engine) -> Run:
    """A run whose photos are not segmented."""
    spec = BatchSpec(lambda: pytest.fail("no net is needed"), folder)
    return Run(unloaded(spec), engine, Manifest(folder / NAME))


def test_a_full_disk_lets_what_is_in_flight_come_out(photos, tmp_path):
    """The second photo finds no room; the first was being worked on meanwhile and is done."""
    jobs = plan([str(photos)], tmp_path)
    done = []
    begun_before_stop = []

    def engine(items, stop):
        first, second, *rest = items
        yield second, DiskFullError("no room")
        begun_before_stop.extend(rest if not stop() else [])
        yield first, ImageError("broken")

    batch = stub(tmp_path, engine)
    with pytest.raises(DiskFullError, match="no room"):
        batch.do(jobs, done.append, lambda: False)
    batch.manifest.close()
    assert begun_before_stop == []
    assert [entry.image for entry in done] == [str(jobs[0].photo)]
    assert [line["image"] for line in lines(tmp_path)] == [str(jobs[0].photo)]


def test_an_output_folder_that_vanishes_ends_the_run(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    jobs = plan([str(photos)], out)
    ended = []

    def engine(items, stop):
        try:
            for job in items:
                yield job, ImageError("broken")
        finally:
            ended.append(True)

    batch = stub(out, engine)
    with pytest.raises(OutputError, match=r"manifest\.jsonl: cannot be written"):
        batch.do(jobs, lambda entry: out.rename(tmp_path / "gone"), lambda: False)
    batch.manifest.close()
    assert ended  # and its workers with it, before anything else is done
    assert len(lines(tmp_path / "gone")) == 2


def test_photos_that_vanish_and_folders_that_cannot_be_written(
    deconvnet, photos, options, undisturbed, tmp_path
):
    """Each fails with its name, the others are done, the exit code is 1."""
    copies = tmp_path / "photos"
    (copies / "deep").mkdir(parents=True)
    for name in ("0000.jpg", "0001.jpg"):
        (copies / name).write_bytes((photos / name).read_bytes())
    (copies / "deep" / "0002.jpg").write_bytes((photos / "0002.jpg").read_bytes())
    (tmp_path / "list.txt").write_text("".join(
        f"{name}\n" for name in ("0000.jpg", "gone.jpg", "deep/0002.jpg", "0001.jpg")
    ))  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    (out / "deep").write_bytes(b"")  # a file where a folder is needed
    previous = os.getcwd()
    os.chdir(copies)
    try:
        result = deconvnet("batch", f"@{tmp_path}/list.txt", "-o", out, *options, "--quiet")
    finally:
        os.chdir(previous)
    assert result.exit_code == 1
    assert "gone.jpg: no such file" in result.stderr
    assert f"{out}/deep: cannot be made" in result.stderr
    assert "2 failed" in result.stderr
    assert outputs(out) == {name: undisturbed[name] for name in ("0000.png", "0001.png")}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may all")
def test_permission_denied(deconvnet, photos, options, tmp_path):
    copies, out = tmp_path / "photos", tmp_path / "out"
    (copies / "locked").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (copies / name).write_bytes((photos / "0000.jpg").read_bytes())
    (copies / "a.jpg").chmod(0)
    (copies / "locked").chmod(0)
    try:
        result = deconvnet("batch", copies, "-o", out, *options, "--quiet")
        assert result.exit_code == 1
        assert "a.jpg: cannot be read (Permission denied)" in result.stderr
        assert "locked: cannot be read (Permission denied)" in result.stderr
        assert list(outputs(out)) == ["b.png"]
        out.chmod(0o500)
        result = deconvnet("batch", copies, "-o", out, *options, "--quiet")
        assert result.exit_code == 1
        assert "cannot be written (Permission denied)" in result.stderr
    finally:
        for path in (copies / "a.jpg", copies / "locked", out):
            path.chmod(0o700)


def test_a_folder_that_cannot_be_looked_into(deconvnet, photos, options, tmp_path, monkeypatch):
    """Said, with exit code 1, and the others are done; also for root, who may look anywhere."""
    copies, out = tmp_path / "photos", tmp_path / "out"
    (copies / "locked").mkdir(parents=True)
    (copies / "a.jpg").write_bytes((photos / "0000.jpg").read_bytes())
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for _ in range(2):
        result = deconvnet("batch", copies, "-o", out, *options, "--quiet", "--workers", 1)
        assert result.exit_code == 1
        assert f"  {copies}/locked: cannot be read (Permission denied)" in result.stderr
    assert list(outputs(out)) == ["a.png"]
    alone = deconvnet("batch", copies / "locked", "-o", out, *options)
    assert alone.exit_code == 1 and "locked: cannot be read (Permission denied)" in alone.stderr


# One photo.


def tiny(weights: Path):
    return alone(load(str(weights))), SegmentSettings(proposals=1)


@pytest.fixture
def spec(tiny_weights, tmp_path):
    return BatchSpec(partial(tiny, tiny_weights), tmp_path)


@pytest.fixture
def job(photos, tmp_path):
    return plan([str(photos / "0000.jpg")], tmp_path)[0]


@pytest.mark.parametrize("words", [
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 4096 bytes. Error code 12 (Cannot allocate memory)",
    "CUDA out of memory. Tried to allocate 2.00 GiB.",
    "std::bad_alloc",
])  # fmt: skip
def test_out_of_memory_is_for_another_process_to_try(spec, job, monkeypatch, words):
    def fail(*_: object) -> None:
        raise RuntimeError(words)

    work = start_worker(batch_info(spec, *spec.load()))
    monkeypatch.setattr("deconvnet_cli.batch.photo.infer", fail)
    with pytest.raises(MemoryError):
        work(job)


def test_no_memory_to_decode_a_photo_is_no_damaged_photo(spec, job, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    work = start_worker(batch_info(spec, *spec.load()))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(MemoryError):
        work(job)


def test_weights_that_change_while_the_batch_runs(spec, job):
    """A worker that is started later would make other labels under the same name."""
    info = batch_info(spec, *spec.load())
    other = replace(info.fingerprint, weights={"DeconvNet": "other"})
    with pytest.raises(WeightsError, match="changed while the batch ran"):
        start_worker(replace(info, fingerprint=other))


def test_a_photo_that_fails_is_noted_as_it_was_read(spec, job, tmp_path, monkeypatch):
    """Not as it is by then: whoever was writing to it has perhaps just ended."""
    whole = job.photo.read_bytes()
    photo = tmp_path / "a.jpg"
    photo.write_bytes(whole[: len(whole) // 2])
    (slow,) = plan([str(photo)], tmp_path)
    info = batch_info(spec, *spec.load())
    real = start_worker.__globals__["read_photo"]

    def read_and_write_on(*arguments, **named):
        photo.write_bytes(whole)
        return real(*arguments, **named)

    monkeypatch.setattr("deconvnet_cli.batch.photo.read_photo", read_and_write_on)
    entry = start_worker(info)(slow)
    assert entry.status == "failed" and "truncated" in (entry.error or "")
    todo = sort_out([slow], {entry.output: entry}, info)
    assert [why for _, why in todo.jobs] == ["the photo changed"]


def test_a_photo_that_kills_its_worker_is_not_tried_each_time(job, tmp_path):
    info = unloaded(BatchSpec(pytest.fail, tmp_path))
    entry = failed_entry(job, CrashError("its worker process was killed, twice"), info)
    assert entry.error == f"{job.photo}: its worker process was killed, twice"
    todo = sort_out([job], {entry.output: entry}, info)
    assert todo.failed == [entry] and not todo.jobs
    assert sort_out([job], {entry.output: entry}, info, retry=True).jobs
