"""A Ray cluster of two nodes on this machine: the bytes of local workers, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.command_line import run_cli
from helpers.object_store import s3_server
from helpers.small_batch import (
    PATIENCE,
    ROOT,
    below,
    kill,
    lines,
    outputs,
    parts,
    small_photos,
    start,
    wait_for,
)
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.batch.manifest import read_entries
from deconvnet_cli.batch.plan import Job, plan
from deconvnet_cli.batch.ray.cluster import Cluster, choose_resources, connected
from deconvnet_cli.batch.resume import sort_out
from deconvnet_cli.batch.run import locked_run
from deconvnet_cli.batch.source import Source
from deconvnet_cli.batch.spec import BatchSpec, SystemInfo
from deconvnet_cli.errors import CrashError, DeviceError, UsageError, WeightsError
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.storage.remote import place
from deconvnet_cli.weights.files import load

PHOTOS = 16
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
    node = {"include_dashboard": False, "object_store_memory": 100 << 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")  # as ``connected`` does
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # whatever else this machine does
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
    return ("--weights", lively_weights, "--proposals", 12, "--crf", "--precision", "fp32")


@pytest.fixture(scope="module")
def local_run(photos, options):
    """The output folder of local workers."""
    out = photos.with_name("local")
    result = run_cli("batch", photos, "-o", out, *options, "--workers", 2, "--quiet")
    assert result.exit_code == 1 and len(set(outputs(out).values())) == PHOTOS, result.output
    return out


def info(manifest: list[dict[str, object]]) -> list[dict[str, object]]:
    """The lines of a manifest, without what differs from run to run."""
    kept = ({k: v for k, v in line.items() if k not in ("ms", "time")} for line in manifest)
    return sorted(kept, key=lambda line: str(line["output"]))


def workers(stage: str) -> list[int]:
    """Worker processes of the cluster that are at a stage."""
    return [pid for pid, command in below(os.getpid()) if "ray::" in command and stage in command]


@pytest.fixture(scope="module")
def machines(cluster) -> Iterator[Cluster]:
    """The same, with this process on it."""
    with connected(cluster, "auto") as machines:
        yield machines


@pytest.mark.ray
@pytest.mark.slow
def test_stopped_and_robbed_of_a_worker_in_the_middle(
    cluster, machines, photos, options, local_run, tmp_path, monkeypatch, capfd
):
    """One folder, two runs: Ctrl-C, and one that gets to its end without the net that it had.

    The second is on the cluster already, with workers that the later tests use as well.
    """
    out, log = tmp_path / "out", tmp_path / "log"
    engine = ("--engine", "ray", "--ray-address", cluster)
    # Relative to where the command is: workers begin elsewhere.
    arguments = (photos, "-o", os.path.relpath(out), *options, *engine)

    process = start(*arguments, log=log)
    wait_for(lambda: lines(out) or process.poll() is not None)
    kill(process, signal.SIGINT, group=True)
    assert process.wait(PATIENCE) == 1
    kept = lines(out)
    assert "left; the same command goes on" in log.read_text() and 0 < len(kept) < PHOTOS + 1
    assert all((out / str(line["output"])).exists() for line in kept if line["status"] == "done")

    def rob() -> None:
        wait_for(lambda: len(lines(out)) > len(kept))
        (net,) = wait_for(lambda: workers("NetActor)).submit"))  # it works on a photo
        os.kill(net, signal.SIGKILL)

    monkeypatch.setattr(
        "deconvnet_cli.batch.ray.cluster.connected", lambda *_: nullcontext(machines)
    )
    capfd.readouterr()
    with ThreadPoolExecutor(1) as pool:
        robbed = pool.submit(rob)
        result = run_cli("batch", *arguments)
        robbed.result()
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 3 and "bad.jpg" in result.stderr, result.stderr
    assert capfd.readouterr().err == ""  # nor do Ray's processes say anything
    assert info(lines(out)) == info(lines(local_run))
    assert outputs(out) == outputs(local_run)
    assert not parts(out)


@pytest.mark.ray
@pytest.mark.slow
def test_from_s3_to_s3(machines, photos, lively_weights, local_run, s3):
    import fsspec

    from deconvnet_cli.batch.ray.engine import ray_engine, survey_cluster

    files = fsspec.filesystem("s3", use_listings_cache=False)
    for path in sorted(photos.glob("000*.jpg")):
        files.pipe_file(f"{s3}/in/{path.name}", path.read_bytes())
    folder = place(f"{s3}/out")
    load_nets = partial(as_in_a_batch, lively_weights)
    spec = BatchSpec(load_nets, folder, outputs=Outputs(overlay=True))
    jobs, told = plan([f"{s3}/in"], folder), []
    known = survey_cluster(spec, machines)
    engine = ray_engine(spec, known, machines)
    with locked_run(spec, known.fingerprint, engine, None) as run:
        run.do(jobs, told.append, lambda: False)
    made = {name: data for name, data in outputs(local_run).items() if name.startswith("000")}
    assert {name: files.cat_file(f"{s3}/out/{name}") for name in made} == made
    assert len(files.ls(f"{s3}/out", detail=False)) == 2 * 10 + 1 and len(told) == 10
    stored = list(map(json.loads, files.cat_file(f"{s3}/out/manifest.jsonl").splitlines()))
    assert sorted(line["output"] for line in stored) == sorted(made)
    assert not sort_out(jobs, read_entries(folder), known.fingerprint, folder, spec.extras).jobs


def as_in_a_batch(weights: Path) -> tuple[System, SegmentSettings]:
    """What the command makes of ``options``."""
    system = alone(load(str(weights))).ready(torch.device("cpu"), "fp32")
    return system, SegmentSettings(proposals=12, crf=CrfSettings())


class Deadly(nn.Module):
    """A net that kills its process when it is shown a white crop, and once for a black one."""

    def __init__(self, net: nn.Module, killed: Path) -> None:
        super().__init__()
        self.net = net
        self.killed = killed

    def forward(self, crops: Tensor) -> Tensor:
        if bool((crops.std((2, 3)) == 0).all()):
            black = bool(crops.mean() < 0)
            if not (black and self.killed.exists()):
                if black:
                    self.killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        scores: Tensor = self.net(crops)
        return scores


def deadly(weights: Path, killed: Path) -> tuple[System, SegmentSettings]:
    system = alone(load(str(weights)))
    assert system.deconvnet is not None
    armed = replace(system.deconvnet, net=Deadly(system.deconvnet.net, killed))
    return replace(system, deconvnet=armed), SegmentSettings(proposals=1)


@pytest.mark.ray
@pytest.mark.slow
def test_a_photo_that_kills_its_worker_fails_alone(machines, lively_weights, tmp_path):
    from deconvnet_cli.batch.ray.engine import ray_engine, survey_cluster

    assert (machines.cpus, machines.gpus, machines.actors) == (3, 1, 1)
    small_photos(tmp_path / "photos", 5)
    for name, colour in (("0002.jpg", "white"), ("0003.jpg", "black")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / "photos" / name)
    killed = tmp_path / "killed"
    spec = BatchSpec(partial(deadly, lively_weights, killed), tmp_path)
    engine = ray_engine(spec, survey_cluster(spec, machines), machines)
    jobs = plan([str(tmp_path / "photos")], tmp_path)
    answers = {job.photo.name: answer for job, answer in engine(jobs, lambda: False)}
    died = answers.pop("0002.jpg")
    assert killed.exists()
    assert isinstance(died, CrashError) and str(died) == "its worker process died, twice"
    assert [answer.status for answer in answers.values()] == ["done"] * 4


@pytest.mark.ray
def test_workers_that_cannot_work_end_the_run(lively_weights, tmp_path):
    pytest.importorskip("ray.data", reason="Ray is not here: pip install '.[ray]'")
    from deconvnet_cli.batch.ray.stages import NetActor, OpenedPhoto, Stop, survey

    good = BatchSpec(partial(deadly, lively_weights, tmp_path), tmp_path)
    known = survey(good, str(tmp_path))
    assert isinstance(known, SystemInfo) and known.boxes == 1
    missing = replace(good, load=partial(deadly, tmp_path / "none", tmp_path))
    assert isinstance(survey(missing, "."), WeightsError)
    other = replace(known, fingerprint=replace(known.fingerprint, settings="of another precision"))
    opened = OpenedPhoto(
        Job(tmp_path, tmp_path), Source(b"", 0, 0, ""), Image.new("RGB", (4, 4)), None, {}
    )
    for actor, kind in (
        (NetActor(missing, known, ".", None), WeightsError),
        (NetActor(good, other, ".", None), DeviceError),
    ):
        stop = actor.infer_photo(opened)
        assert isinstance(stop, Stop) and isinstance(stop.error, kind)


def test_what_is_used_of_a_cluster():
    assert choose_resources(16, 8, "auto").actors == 8
    assert choose_resources(4, 8, "cuda").actors == 3
    assert (
        choose_resources(64, 8, "auto", 4).actors,
        choose_resources(64, 8, "auto", 4).share,
    ) == (32, 0.25)
    assert (choose_resources(16, 8, "cpu").gpus, choose_resources(16, 8, "cpu").actors) == (0, 15)
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
    assert "pip install '.[ray]'" in result.stderr and result.stderr.count("\n") == 1
