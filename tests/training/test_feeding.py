"""Batches from files, memory and the device show the same samples, in the same order."""

from __future__ import annotations

import pytest
import torch

from deconvnet_cli.data.objects import find_objects
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.training import feeding
from deconvnet_cli.training.feeding import DeviceCrops, batches_of, choose_cache
from deconvnet_cli.training.photo_store import PhotoFiles, load_photos
from deconvnet_cli.training.samples import CropDataset
from deconvnet_cli.training.settings import TrainSettings

CPU = torch.device("cpu")
NAMES = ["p0", "p1", "p2", "p3"]
SETTINGS = TrainSettings(crops=24, batch=4, accumulate=2)


def batches(voc, cache: str, start: int = 0, workers: int = 0) -> list[list[torch.Tensor]]:
    tree = VocTree(voc)
    files = PhotoFiles(tree)
    source = files if cache == "none" else load_photos(files, NAMES)
    how = TrainSettings(size=32, resize=40)
    kind = DeviceCrops if cache == "device" else CropDataset
    samples = kind(source, find_objects(tree, NAMES), 24, 0, how)
    return list(batches_of(samples, SETTINGS, start, workers, CPU))


@pytest.fixture(scope="module")
def from_files(voc) -> list[list[torch.Tensor]]:
    return batches(voc, "none")


@pytest.mark.parametrize("workers", [0, 1])
def test_photos_in_memory_give_the_crops_of_files(voc, from_files, workers):
    found = batches(voc, "memory", workers=workers)
    assert len(found) == len(from_files) == 6
    for here, there in zip(found, from_files, strict=True):
        assert all(map(torch.equal, here, there))


def test_photos_on_the_device_give_them_up_to_rounding(voc, from_files):
    for (crops, labels), (theirs, true) in zip(batches(voc, "device"), from_files, strict=True):
        assert crops.shape == theirs.shape and crops.dtype == theirs.dtype == torch.uint8
        far = (crops.int() - theirs.int()).abs()
        assert far.max() <= 3 and far.float().mean() < 0.5  # colours round once more
        assert (labels != true).float().mean() < 0.01


@pytest.mark.parametrize("cache", ["none", "device"])
def test_a_run_goes_on_at_its_step(voc, cache):
    whole, rest = batches(voc, cache), batches(voc, cache, start=2)
    for here, there in zip(rest, whole[4:], strict=True):
        assert all(map(torch.equal, here, there))


def test_photos_are_held_in_memory_where_they_fit(voc, monkeypatch):
    files = PhotoFiles(VocTree(voc))
    pixels = 60 * 40 + 40 * 56 + 48 * 48 + 52 * 44
    monkeypatch.setattr(
        feeding.os, "sysconf", {"SC_PHYS_PAGES": 20 * pixels + 1, "SC_PAGE_SIZE": 1}.get
    )
    assert choose_cache("auto", files, NAMES, CPU) == "memory"
    monkeypatch.setattr(
        feeding.os, "sysconf", {"SC_PHYS_PAGES": 20 * pixels, "SC_PAGE_SIZE": 1}.get
    )
    assert choose_cache("auto", files, NAMES, CPU) == "none"
    assert choose_cache("device", files, NAMES, CPU) == "device"
