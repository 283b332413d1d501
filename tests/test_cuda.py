"""What a GPU computes against what the CPU does; nothing of it runs where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deconvnet_cli.batch.gpu.engine import gpu_engine
from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import Entry
from deconvnet_cli.batch.spec import BatchSpec
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.objects import find_objects
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.explain.explanation import explain
from deconvnet_cli.nets.fusion import fused
from deconvnet_cli.nets.registry import build_net, net_spec
from deconvnet_cli.segmentation.crf.refine import refine
from deconvnet_cli.segmentation.crops import cut
from deconvnet_cli.segmentation.inference import cutter
from deconvnet_cli.segmentation.labels import enlarge_and_label
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import infer, segment
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.stored_scores import read_scores, write_scores
from deconvnet_cli.segmentation.system import System, choose_system
from deconvnet_cli.training.feeding import DeviceCrops
from deconvnet_cli.training.loop import Hooks, train
from deconvnet_cli.training.photo_store import PhotoFiles, load_photos
from deconvnet_cli.training.run_folder import prepare_run, read_log
from deconvnet_cli.training.samples import CropDataset
from deconvnet_cli.training.settings import TrainSettings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA"),
]
CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def system() -> tuple[System, System]:
    """EDeconvNet with the shipped weights, on the CPU and on the GPU, both in fp32."""
    found = choose_system(SegmentOptions("edeconvnet", "deconvnet-mobilenet", "fcn8s-mobilenet"))
    return found.ready(torch.device("cpu"), "fp32"), found.ready(CUDA, "fp32")


@pytest.fixture
def photo(data: Path) -> Image.Image:
    return read_photo(data / "chelsea.jpg")


@pytest.mark.parametrize("crf", [None, CrfSettings()], ids=["plain", "crf"])
def test_the_labels_of_the_cpu(system, photo, crf):
    settings = SegmentSettings(proposals=5, crf=crf)
    here, there = (segment(photo, each, settings) for each in system)
    assert (here.labels == there.labels).mean() > 0.99
    assert abs(here.probabilities() - there.probabilities()).mean() < 0.01
    assert here.confidence.keys() == there.confidence.keys()


def test_crops_are_cut_there(photo: Image.Image) -> None:
    box = (-30, 20, 200, 290)
    found = cutter(photo, CUDA)(box, 64, 48)
    assert found.device.type == "cuda"
    expected = cut(photo, box, 64, 48).astype(int)
    assert abs(found.permute(1, 2, 0).cpu().numpy() - expected).max() <= 1


def test_the_crf_of_the_cpu_and_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    scores = rng.random((4, 40, 60), dtype=np.float32)
    maps = scores / scores.sum(0)
    there = refine(image, maps, device=CUDA)
    np.testing.assert_allclose(there, refine(image, maps), atol=1e-3)
    np.testing.assert_array_equal(there, refine(image, maps, device=CUDA))


def test_large_photos_are_labelled_there() -> None:
    maps = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    there = enlarge_and_label(maps.to(CUDA), 900, 600)
    assert (there == enlarge_and_label(maps, 900, 600)).mean() > 0.999


def test_explain_and_stored_scores(system, photo, tmp_path):
    settings = SegmentSettings(proposals=5)
    explained = explain(photo, system[1], settings)
    labels = segment(photo, system[1], settings).labels
    np.testing.assert_array_equal(explained.result.labels, labels)
    scored = infer(photo, system[1], settings)
    photo.save(tmp_path / "a.png")
    write_scores(tmp_path / "a.npz", scored, tmp_path / "a.png", photo.size, {})
    stored = read_scores(tmp_path / "a.npz").maps.deconvnet
    assert stored is not None and scored.maps.deconvnet is not None
    torch.testing.assert_close(stored, scored.maps.deconvnet.cpu(), atol=1e-3, rtol=1e-3)


def on_gpu() -> tuple[System, SegmentSettings]:
    """Load the default system as a batch does; processes import this function."""
    return load_system(SegmentOptions(device="cuda", precision="fp32"))


def test_a_batch_with_nets_in_processes_of_their_own(system, photo, tmp_path):
    jobs = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        photo.crop((0, 0, 400 + 16 * number, 300)).save(path)
        jobs.append(Job(path, tmp_path / "out" / path.name))
    with gpu_engine(BatchSpec(on_gpu, tmp_path / "out"), workers=3, nets=2) as (_, engine):
        entries = [entry for _, entry in engine(iter(jobs), lambda: False)]
    assert [entry.status for entry in entries if isinstance(entry, Entry)] == ["done"] * 6
    settings = SegmentSettings(until_settled=True)
    for job in jobs:
        here = segment(read_photo(job.photo), replace(system[0], fcn=None), settings).labels
        assert (np.asarray(Image.open(job.target)) == here).mean() > 0.99


def test_prepared_nets_compute_the_same(system: tuple[System, System]) -> None:
    weights = choose_system(
        SegmentOptions(None, "deconvnet-mobilenet", "fcn8s-mobilenet")
    ).deconvnet
    assert weights is not None
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        there = fused(weights.net).to(CUDA)(x.to(CUDA)).cpu()
        here = weights.net(x)
    # TF32 of cuDNN, and switches of maxima that are nearly equal.
    assert (there.argmax(1) == here.argmax(1)).float().mean() > 0.99


def test_photos_on_the_gpu_give_the_crops_of_memory(voc: Path) -> None:
    tree, names = VocTree(voc), ["p0", "p1", "p2", "p3"]
    objects, how = find_objects(tree, names), TrainSettings(size=32, resize=40)
    batches = []
    for kind, device in ((CropDataset, torch.device("cpu")), (DeviceCrops, CUDA)):
        source = load_photos(PhotoFiles(tree), names).to(device)
        batches.append(kind(source, objects, 16, 0, how).batch(range(16)))
    (crops, labels), (there, found) = batches
    assert there.device.type == "cuda"
    far = (there.cpu().int() - crops.int()).abs()
    assert far.max() <= 3 and far.float().mean() < 0.5
    assert (found.cpu() != labels).float().mean() < 0.01


def test_a_run_on_the_gpu_learns_and_goes_on(voc: Path, tmp_path: Path) -> None:
    """Photos, crops, optimiser and average are all there; a stopped run ends as another does."""
    tree, names = VocTree(voc), ["p0", "p1", "p2", "p3"]
    settings = TrainSettings(crops=240, batch=8, size=32, lr=3e-3, warmup=2, log_every=5, ema=0.9)
    source = load_photos(PhotoFiles(tree), names).to(CUDA)
    samples = DeviceCrops(source, find_objects(tree, names), 240, 0, TrainSettings(size=32))
    convention = net_spec(settings.net).input
    steps: list[int] = []
    hooks = Hooks(on_step=lambda step, loss: steps.append(step), stop=lambda: len(steps) == 12)
    for name, times in (("straight", 1), ("stopped", 2)):
        prepare_run(tmp_path / name, settings)
        for _ in range(times):
            torch.manual_seed(0)
            net = build_net(settings.net)
            run = (net, samples, convention, tmp_path / name, settings)
            train(*run, device=CUDA, hooks=hooks if times == 2 else Hooks())
    assert steps == list(range(1, 31))
    straight, stopped = (read_log(tmp_path / name) for name in ("straight", "stopped"))
    assert straight[-1]["loss"] < straight[0]["loss"]
    assert stopped[-1]["loss"] == pytest.approx(straight[-1]["loss"], rel=0.2)
