"""The soft labels of the crops: what a shipped net of another kind says of each photo."""

from __future__ import annotations

from pathlib import Path

import torch

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.objects import list_names
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.runtime.devices import CPU
from deconvnet_cli.segmentation.inference import logits_of, to_device
from deconvnet_cli.segmentation.system import ready
from deconvnet_cli.training.soft_labels import SoftLabels, on_grid, soft_path, write_soft
from deconvnet_cli.weights.files import load

TEACHER = "fcn8s-mobilenet"  # a point or two below the default net, at a tenth of its time


@torch.inference_mode()
def write_soft_labels(tree: VocTree, lists: tuple[str, ...], folder: Path) -> None:
    """Write the soft labels of each photo on the lists, from the photo and its mirror image.

    Photos whose file is there already are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    teacher = ready(load(TEACHER), CPU, "bf16")
    for name in list_names(tree, lists):
        path = soft_path(folder, name)
        if path.is_file():
            continue
        photo = read_photo(tree.image(name))
        pixels = to_device(photo, CPU).permute(2, 0, 1)
        logits = logits_of(torch.stack((pixels, pixels.flip(2))), teacher)
        probabilities = logits.float().softmax(1)
        mean = (probabilities[0] + probabilities[1].flip(2)) / 2
        write_soft(path, SoftLabels(on_grid(mean, *photo.size)))
