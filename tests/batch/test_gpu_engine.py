"""A batch whose nets have processes of their own, here on the CPU: labels, errors, deaths.

``tests/test_cuda.py`` runs the same on a GPU.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
import torch
from PIL import Image

from deconvnet_cli.batch.engines import LOCAL, local_engine, open_engine
from deconvnet_cli.batch.gpu import engine as gpu
from deconvnet_cli.batch.gpu import net_process
from deconvnet_cli.batch.gpu.engine import gpu_engine
from deconvnet_cli.batch.gpu.net_process import Request
from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import Entry, read_entries
from deconvnet_cli.batch.run import locked_run
from deconvnet_cli.batch.spec import BatchSpec
from deconvnet_cli.errors import CrashError, NetsError, UsageError, WeightsError
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.runtime.worker_process import prepare_workers
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.stored_scores import read_scores
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.weights.files import load


def lively(weights: Path) -> tuple[System, SegmentSettings]:
    """Load the system as a batch does; processes import this function."""
    return alone(load(str(weights))).ready(torch.device("cpu"), "fp32"), SegmentSettings(
        proposals=4, batch_size=4
    )


def broken(weights: Path) -> tuple[System, SegmentSettings]:
    """Load the system in a process whose GPU fails for good at the first photo."""

    def fail(*arguments: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    net_process.segment_group, net_process.gpu_works = fail, lambda: False
    return lively(weights)


def wrong() -> tuple[System, SegmentSettings]:
    raise WeightsError("no weights here")


@pytest.fixture(scope="module", autouse=True)
def quick_processes() -> None:
    """Fork processes from one that has imported what they need, as the command does."""
    prepare_workers("deconvnet_cli.batch.preload")


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Jobs of five photos, of which the last is none."""
    names = [tmp_path / f"{number}.png" for number in range(5)]
    rng = np.random.default_rng(0)
    for number, path in enumerate(names[:4]):
        pixels = rng.integers(0, 256, (5, 6 + number, 3), np.uint8)
        Image.fromarray(pixels).resize((60 + 10 * number, 50)).save(path)
    names[4].write_text("no photo")
    return [Job(path, tmp_path / "out" / f"{path.stem}.png") for path in names]


def answers_of(engine, jobs):
    return {job.photo.stem: answer for job, answer in engine(iter(jobs), lambda: False)}


def test_files_are_those_of_workers_with_nets(lively_weights, jobs, tmp_path: Path) -> None:
    outputs = Outputs(polygons="geojson", cutout=True)
    files: list[dict[str, bytes]] = []
    for folder in ("out", "other"):
        spec = BatchSpec(partial(lively, lively_weights), tmp_path / folder, True, outputs)
        mine = [Job(job.photo, tmp_path / folder / job.target.name) for job in jobs]
        if folder == "out":
            with gpu_engine(spec, workers=2, nets=2) as (info, engine):
                entries = answers_of(engine, mine)
        else:
            entries = answers_of(local_engine(replace(info, spec=spec), 1), mine)
        assert [entries[str(n)].status for n in range(5)] == ["done"] * 4 + ["failed"]
        assert str(jobs[4].photo) in entries["4"].error
        assert set(entries["0"].ms) >= {"proposals", "net", "labels"}
        names = sorted(path for path in (tmp_path / folder).iterdir() if path.suffix == ".png")
        files.append({path.name: path.read_bytes() for path in names})
    assert files[0] == files[1] and len(files[0]) == 8  # labels and cut-outs
    found, expected = (read_scores(tmp_path / f / "0.npz").maps for f in ("out", "other"))
    torch.testing.assert_close(found.deconvnet, expected.deconvnet, atol=1e-2, rtol=0)


def test_a_net_process_that_ends_stops_the_run_and_blames_no_photo(lively_weights, jobs, tmp_path):
    spec = BatchSpec(partial(lively, lively_weights), tmp_path / "out")
    before = {process.pid for process in multiprocessing.active_children()}
    done = []
    with (
        gpu_engine(spec, workers=1, nets=1) as (info, engine),
        locked_run(info, engine, None) as run,
    ):
        (mine,) = {process.pid for process in multiprocessing.active_children()} - before

        def end_the_nets(entry: Entry) -> None:
            done.append(entry.output)
            os.kill(mine, signal.SIGKILL)

        with pytest.raises(NetsError, match="the same command goes on"):
            run.do(iter(jobs), end_the_nets, lambda: False)
    assert list(read_entries(spec.folder)) == done == ["0.png"]
    assert {process.pid for process in multiprocessing.active_children()} <= before


def test_a_gpu_that_fails_for_good_ends_the_run(lively_weights, jobs, tmp_path: Path) -> None:
    spec = BatchSpec(partial(broken, lively_weights), tmp_path / "out")
    words = r"the GPU failed for good \(CUDA error: device-side assert triggered\)"
    with (
        gpu_engine(spec, workers=1, nets=1) as (info, engine),
        locked_run(info, engine, None) as run,
        pytest.raises(NetsError, match=words),
    ):
        run.do(iter(jobs), lambda entry: None, lambda: False)
    assert not read_entries(spec.folder)


def test_a_net_process_that_cannot_be_made(lively_weights, tmp_path: Path, monkeypatch) -> None:
    before = {process.pid for process in multiprocessing.active_children()}
    start, asked = gpu.Worker, []

    def one_alone(begin):
        asked.append(begin)
        if len(asked) > 1:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(begin)

    monkeypatch.setattr(gpu, "Worker", one_alone)
    engine = gpu_engine(BatchSpec(partial(lively, lively_weights), tmp_path), workers=1, nets=2)
    with pytest.raises(CrashError, match="--nets-per-gpu"), engine:
        pass
    assert {process.pid for process in multiprocessing.active_children()} <= before


def test_weights_that_cannot_be_loaded_are_said_at_once(tmp_path: Path) -> None:
    engine = gpu_engine(BatchSpec(wrong, tmp_path), workers=1, nets=2)
    with pytest.raises(WeightsError, match="no weights here"), engine:
        pass


def test_if_a_group_fails_its_photos_are_tried_alone(monkeypatch) -> None:
    tried: list[list[int]] = []

    def fail_on_wide_ones(requests, system, settings):
        tried.append([request.size[0] for request in requests])
        if any(request.size[0] > 2 for request in requests):
            raise RuntimeError("CUDA out of memory")
        return [f"labels of {request.size[0]}" for request in requests]

    monkeypatch.setattr(net_process, "segment_group", fail_on_wide_ones)
    asked: net_process.Asked = SimpleQueue()
    futures: list[Future] = [Future() for _ in range(3)]
    for width, future in enumerate(futures, 1):
        asked.put((Request(np.zeros((1, width, 3), np.uint8), None, (width, 1), False), future))
    work = partial(net_process.segment_all, asked, None, None)
    threading.Thread(target=work, daemon=True).start()
    assert [future.result(10) for future in futures[:2]] == ["labels of 1", "labels of 2"]
    error = futures[2].exception(10)
    assert tried == [[1, 2, 3], [1], [2], [3]]
    assert isinstance(net_process.portable(error), MemoryError)


def test_without_a_gpu_there_are_no_nets_per_gpu(tmp_path: Path) -> None:
    spec = BatchSpec(wrong, tmp_path)
    opened = open_engine(LOCAL, None, 2, spec, 1, "cpu")
    with pytest.raises(UsageError, match="this is cpu"), opened:
        pass
