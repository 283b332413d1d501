"""A Ray cluster of two nodes on this machine: the bytes of local workers, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import Result
from helpers.command_line import run_cli
from helpers.object_store import s3_server
from helpers.small_batch import PATIENCE, ROOT, info, lines, outputs, parts, small_photos, wait_for
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import Entry, read_entries
from deconvnet_cli.batch.plan import plan
from deconvnet_cli.batch.ray.cluster import Cluster, choose_resources, connected
from deconvnet_cli.batch.resume import sort_out
from deconvnet_cli.batch.run import locked_run
from deconvnet_cli.batch.source import Source
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec
from deconvnet_cli.errors import (
    CrashError,
    DeconvnetError,
    DeviceError,
    NetsError,
    UsageError,
    WeightsError,
)
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.storage.remote import place
from deconvnet_cli.weights.files import load

PHOTOS, PROPOSALS = 12, 6
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's, in this process: of files left open


@pytest.fixture(scope="module")
def s3():
    with s3_server() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def cluster(s3, tmp_path_factory) -> Iterator[str]:
    """Address of a cluster of two nodes, with three CPUs and what it takes for a GPU.

    Its workers know of the S3 server, since it is begun after that.
    """
    pytest.importorskip("ray.data", reason="Ray is not here: pip install '.[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray import cluster_utils

    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    node = {"include_dashboard": False, "no_monitor": True, "object_store_memory": 100 << 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")  # as ``connected`` does
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # whatever else this machine does
        patch.setenv("RAY_worker_niceness", "0")  # else other tests leave its workers no time
        here = os.getcwd()
        os.chdir(tmp_path_factory.mktemp("elsewhere"))
        nodes = cluster_utils.Cluster(
            initialize_head=True, head_node_args={**node, "num_cpus": 2, "num_gpus": 1}
        )
        nodes.add_node(**node, num_cpus=1)
        os.chdir(here)
        yield nodes.address
        nodes.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray") / "photos"
    small_photos(folder, PHOTOS)
    (folder / "bad.jpg").write_bytes(b"not a photo")
    return folder


@pytest.fixture(scope="module")
def options(lively_weights):
    return ("--weights", lively_weights, "--proposals", PROPOSALS, "--crf", "--precision", "fp32")


@pytest.fixture(scope="module")
def local_run(photos, options):
    """The output folder of local workers."""
    out = photos.with_name("local")
    result = run_cli("batch", photos, "-o", out, *options, "--workers", 2, "--quiet")
    assert result.exit_code == 1 and len(set(outputs(out).values())) == PHOTOS, result.output
    return out


@pytest.fixture(scope="module")
def machines(cluster) -> Iterator[Cluster]:
    """The same, with this process on it; its workers serve all tests."""
    with connected(cluster, "auto") as machines:
        assert (machines.cpus, machines.gpus, machines.actors) == (3, 1, 1)
        yield machines


def run_and(meddle: Callable[[], None], *arguments: object) -> Result:
    """Run a batch while ``meddle`` runs beside it; it leaves nothing that a process waits for."""
    before = set(threading.enumerate())
    with ThreadPoolExecutor(1) as pool:
        meddling = pool.submit(meddle)
        result = run_cli("batch", *arguments)
        meddling.result()
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    return result


@pytest.mark.ray
@pytest.mark.slow
def test_stopped_in_the_middle_and_gone_on_with_elsewhere(
    cluster, machines, photos, options, local_run, tmp_path, monkeypatch, capfd
):
    """One folder, two runs: Ctrl-C on a cluster, and one that ends without a cluster."""
    out = tmp_path / "out"
    # Relative to where the command is: workers begin elsewhere.
    arguments = (photos, "-o", os.path.relpath(out), *options)
    asked: list[object] = []
    monkeypatch.setattr(
        "deconvnet_cli.batch.ray.cluster.connected",
        lambda *given: asked.append(given) or nullcontext(machines),
    )

    def stop() -> None:
        wait_for(lambda: lines(out), 5 * PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    capfd.readouterr()
    result = run_and(stop, *arguments, "--engine", "ray", "--ray-address", cluster)
    assert result.exit_code == 1, result.output
    assert asked == [(cluster, "auto", 1)]  # as ``machines`` did
    kept = lines(out)
    assert "left; the same command goes on" in result.stderr and 0 < len(kept) < PHOTOS + 1
    assert all((out / str(line["output"])).exists() for line in kept if line["status"] == "done")
    assert capfd.readouterr().err == ""  # nor do Ray's processes say anything
    result = run_cli("batch", *arguments, "--workers", 1)
    assert result.exit_code == 1 and "bad.jpg" in result.stderr, result.output
    assert lines(out)[: len(kept)] == kept  # what a worker of the cluster did is not done again
    assert info(out) == info(local_run)
    assert outputs(out) == outputs(local_run)
    assert not parts(out)


class Deadly(nn.Module):
    """A net that kills its process at its third batch, once, and whenever it sees a white crop."""

    def __init__(self, net: nn.Module, robbed: Path) -> None:
        super().__init__()
        self.net, self.robbed, self.batches = net, robbed, 0

    def forward(self, crops: Tensor) -> Tensor:
        self.batches += 1
        if self.batches == 3 and not self.robbed.exists():
            self.robbed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if bool((crops.std((2, 3)) == 0).all()):
            os.kill(os.getpid(), signal.SIGKILL)
        scores: Tensor = self.net(crops)
        return scores


def deadly(weights: Path, robbed: Path) -> tuple[System, SegmentSettings]:
    """What the command makes of ``options``, with a net that dies; ``robbed`` says that it has."""
    system = alone(load(str(weights))).ready(torch.device("cpu"), "fp32")
    assert system.deconvnet is not None
    armed = replace(system.deconvnet, net=Deadly(system.deconvnet.net, robbed))
    settings = SegmentSettings(proposals=PROPOSALS, crf=CrfSettings())
    return replace(system, deconvnet=armed), settings


@pytest.mark.ray
@pytest.mark.slow
def test_from_s3_to_s3_where_a_worker_dies_and_a_photo_that_kills_its_worker_fails_alone(
    machines, photos, lively_weights, local_run, s3, tmp_path
):
    import fsspec

    from deconvnet_cli.batch.ray.engine import ray_engine, survey_cluster

    files = fsspec.filesystem("s3", use_listings_cache=False)
    Image.new("RGB", (64, 64), "white").save(tmp_path / "0001.white.png")
    good = sorted(photos.glob("000[0-3].jpg"))
    for path in (*good, tmp_path / "0001.white.png"):
        files.pipe_file(f"{s3}/in/{path.name}", path.read_bytes())
    folder = place(f"{s3}/out")
    robbed = tmp_path / "robbed"
    load_system = partial(deadly, lively_weights, robbed)
    spec = BatchSpec(load_system, folder, outputs=Outputs(overlay=True))
    jobs, told = plan([f"{s3}/in"], folder), []
    known = survey_cluster(spec, machines)
    answers: dict[str, Entry | DeconvnetError] = {}

    def engine(jobs, stop):
        for job, answer in ray_engine(known, machines)(jobs, stop):
            answers[job.photo.name] = answer
            yield job, answer

    with locked_run(known, engine, None) as run:
        run.do(jobs, told.append, lambda: False)
    assert robbed.exists()
    died = answers.pop("0001.white.png")
    assert isinstance(died, CrashError) and str(died) == "its worker process died, twice"
    assert [answer.status for answer in answers.values()] == ["done"] * len(good)
    made = {f"{path.stem}.png": (local_run / f"{path.stem}.png").read_bytes() for path in good}
    assert {name: files.cat_file(f"{s3}/out/{name}") for name in made} == made
    assert len(files.ls(f"{s3}/out", detail=False)) == 2 * len(good) + 1
    assert len(told) == len(good) + 1
    stored = list(map(json.loads, files.cat_file(f"{s3}/out/manifest.jsonl").splitlines()))
    status = dict.fromkeys(made, "done") | {"0001.white.png": "failed"}
    assert {line["output"]: line["status"] for line in stored} == status
    todo = sort_out(jobs, read_entries(folder), known)
    assert not todo.jobs and [entry.output for entry in todo.failed] == ["0001.white.png"]


@pytest.mark.ray
def test_workers_that_cannot_work_end_the_run(lively_weights, tmp_path):
    pytest.importorskip("ray.data", reason="Ray is not here: pip install '.[ray]'")
    from deconvnet_cli.batch.ray.stages import NetActor, OpenedPhoto, survey

    good = BatchSpec(partial(deadly, lively_weights, tmp_path / "robbed"), tmp_path)
    known = survey(good, str(tmp_path))
    assert isinstance(known, BatchInfo) and known.boxes == PROPOSALS
    missing = replace(good, load=partial(deadly, tmp_path / "none", tmp_path))
    assert isinstance(survey(missing, "."), WeightsError)
    other = replace(known, fingerprint=replace(known.fingerprint, settings="of another precision"))
    source = Source(Job(tmp_path, tmp_path), b"", 0, 0, "")
    opened = OpenedPhoto(source, Image.new("RGB", (4, 4)), None, {})
    for here, words in (
        (replace(known, spec=missing), "nor shipped weights"),
        (other, "different precisions"),
    ):
        with pytest.raises(NetsError, match=words):
            NetActor(here, ".", None).infer_photo(opened)


def test_what_is_used_of_a_cluster():
    assert choose_resources(16, 8, "auto").actors == 8
    assert choose_resources(4, 8, "cuda").actors == 3
    shared, plain = choose_resources(64, 8, "auto", 4), choose_resources(16, 8, "cpu")
    assert (shared.actors, shared.share) == (32, 0.25)
    assert (plain.gpus, plain.actors) == (0, 15)
    assert choose_resources(2, 0, "auto").actors == 1
    for cpus, gpus, device in ((1, 0, "auto"), (1, 1, "cuda"), (4, 0, "cuda")):
        with pytest.raises(DeviceError):
            choose_resources(cpus, gpus, device)
    with pytest.raises(UsageError):
        choose_resources(4, 4, "cuda:1")


@pytest.mark.parametrize("arguments", [
    ("--engine", "ray", "--workers", "2"),
    ("--engine", "ray", "--watch"),
    ("--ray-address", "host:1"),
    ("--nets-per-gpu", "2"),
    ("--engine", "ray", "--ray-address", "ray://host:10001"),
])  # fmt: skip
def test_what_does_not_go_together(deconvnet, photos, tmp_path, arguments):
    result = deconvnet("batch", photos, "-o", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output


def test_without_the_extra(deconvnet, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    result = deconvnet("batch", photos, "-o", tmp_path / "out", "--engine", "ray")
    assert result.exit_code == 1
    assert 'pip install ".[ray]"' in result.stderr and result.stderr.count("\n") == 1
